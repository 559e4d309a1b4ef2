"""`quotaflow doctor`: is everything fit that a daemon with this configuration would use? Nothing is changed."""

import asyncio
import os
import stat
from collections.abc import Awaitable
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

import typer

from quotaflow.edges.cli.client import Config, DataDir, Format
from quotaflow.edges.cli.show import Columns, Output, Show
from quotaflow.edges.cli.sql import Peek, peek
from quotaflow.edges.cli.words import say
from quotaflow.errors import QuotaflowError, Unavailable
from quotaflow.limiter.client import connect
from quotaflow.limiter.server import Server
from quotaflow.redis_server.launch import binary_path
from quotaflow.redis_server.locks import FileLock
from quotaflow.redis_server.place import Place
from quotaflow.redis_server.preflight import Finding, inspect
from quotaflow.settings import Settings, load
from quotaflow.store.migrate import HEAD
from quotaflow.timing import SystemClock

COLUMNS: Columns = {"": "level", "what": "what", "found": "found", "what to do": "do"}
WAL_RESET = ((3, 7, 0), (3, 51, 2))  # first and last SQLite in which two writers can lose a commit
FAULT, UNREACHABLE = 1, 3


def doctor(config: Config = None, data_dir: DataDir = None, output: Format = Output.TABLE) -> None:
    """Check the servers and files that a daemon would use; nothing is changed.

    Exit code 1: something is wrong; 3: a server cannot be reached.
    """
    settings = load(config, data_dir=data_dir)
    findings, unreachable = asyncio.run(examine(settings))
    Show(output).items({"items": [asdict(finding) for finding in findings]}, COLUMNS)
    if unreachable:
        raise typer.Exit(UNREACHABLE)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(FAULT)


async def examine(settings: Settings) -> tuple[list[Finding], bool]:
    """Look at all parts; True when one of the servers does not answer."""
    parts: dict[str, Awaitable[list[Finding]]] = {"Redis": _redis(settings), "SQL": _sql(settings)}
    findings, unreachable = _data_dir(settings.data_dir), False
    for what, part in parts.items():
        try:
            findings += await part
        except QuotaflowError as error:
            is_away = isinstance(error, Unavailable)
            do = say("start it, or correct its address") if is_away else say("correct the configuration")
            findings.append(Finding("error", what, str(error), do))
            unreachable |= is_away
    return findings, unreachable


async def _redis(settings: Settings) -> list[Finding]:
    url = settings.redis.url
    if url == "embedded":
        place = Place(settings.data_dir.resolve())
        if not _runs(place):
            found = say("not running; a daemon starts it: {binary}", binary=binary_path())
            return [Finding("ok", "embedded server", found)]
        url = f"unix://{quote(str(place.socket()))}"
    client = connect(url, deadline_s=settings.redis.deadline_s)
    keep = settings.redis.persistence
    try:
        clock = SystemClock()
        findings = await inspect(client, clock, persistence="warn" if keep == "enable" else keep)
        kept = await Server(client, clock).persistence()
        return [*findings, Finding("ok", "RPO", say(kept["rpo"]))]
    finally:
        await client.aclose()


def _runs(place: Place) -> bool:
    lock = FileLock(place.lock)
    if not place.lock.exists():
        return False
    is_free = lock.try_acquire()
    lock.release()
    return not is_free


async def _sql(settings: Settings) -> list[Finding]:
    return judge_sql(await peek(settings.store_url, settings.store.deadline_s))


def judge_sql(found: Peek) -> list[Finding]:
    """Judge what a look at the store found."""
    findings = [Finding("ok", "SQL", found.server + _wal_note(found.server))]
    if found.durability is not None:
        do = say("let no other program change it; the next daemon sets it right")
        findings.append(
            Finding("ok", "durability", found.durability)
            if found.is_durable
            else Finding("warn", "durability", found.durability, do)
        )
    if found.revision is None:
        return [*findings, Finding("ok", "schema", say("none yet; the first start makes it"))]
    if found.revision > HEAD:
        return [*findings, Finding("error", "schema", found.revision, say("install the newer quotaflow"))]
    return [*findings, Finding("ok", "schema", found.revision)]


def _wal_note(server: str) -> str:
    name, _, version = server.partition(" ")
    if name != "SQLite" or not WAL_RESET[0] <= tuple(map(int, version.split("."))) <= WAL_RESET[1]:
        return ""
    return say(" (two writers could lose a commit in this version; the daemon is the only one)")


def _data_dir(data_dir: Path) -> list[Finding]:
    what = f"data_dir {data_dir}"
    try:
        found = data_dir.stat()
    except FileNotFoundError:
        return [Finding("ok", what, say("not there yet; the first start makes it"))]
    except OSError as error:
        return [Finding("error", what, str(error.strerror), say("choose another data_dir"))]
    mode = stat.filemode(found.st_mode)
    if not stat.S_ISDIR(found.st_mode) or not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        return [Finding("error", what, mode, say("choose a directory that this user can write"))]
    if found.st_mode & 0o077:
        return [
            Finding("warn", what, say("{mode}: others can look inside", mode=mode), f"chmod 700 {data_dir}")
        ]
    return [Finding("ok", what, mode)]
