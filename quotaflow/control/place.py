"""What this process may own: the data directory, the store's file, the embedded server."""

import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from quotaflow.errors import ConfigError, QuotaflowError, StoreLocked, Unavailable
from quotaflow.limiter.client import Client
from quotaflow.limiter.instances import Instances
from quotaflow.limiter.server import Server
from quotaflow.log import Event, get_logger
from quotaflow.redis_server.embedded import EmbeddedServer, open_embedded, server_guard
from quotaflow.redis_server.locks import FileLock
from quotaflow.redis_server.preflight import CHANGED, Persistence, inspect
from quotaflow.settings import Settings
from quotaflow.store import Store
from quotaflow.timing import Clock

log = get_logger(room="place")

DAEMON = "daemon"
KEEP_S = 0.5  # how often the embedded server is looked after


@dataclass(frozen=True, slots=True)
class Place:
    """`owns_store`: this process may open the SQL store."""

    owns_store: bool


@contextlib.asynccontextmanager
async def claim_place(settings: Settings, role: str) -> AsyncIterator[Place]:
    """Take the locks that belong to the role, for as long as the block runs.

    :raises StoreLocked: another daemon has this data directory, or another process writes this SQLite store.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.ExitStack() as stack:
        if role == DAEMON:
            _take(stack, settings.data_dir / "daemon.lock", f"another daemon uses {settings.data_dir}")
        path = sqlite_path(settings.store_url)
        if path is None:
            yield Place(owns_store=True)
            return
        lock = FileLock(path.with_name(path.name + ".lock"))
        owns = lock.try_acquire()
        if owns:
            stack.callback(lock.release)
        elif role == DAEMON:
            raise StoreLocked(
                f"process {lock.holder() or 'unknown'} writes the SQLite store {path}; one process at a time can. "
                "Stop it, or use PostgreSQL for several daemons (store.url)"
            )
        yield Place(owns_store=owns)


def _take(stack: contextlib.ExitStack, path: Path, why: str) -> None:
    lock = FileLock(path)
    if not lock.try_acquire():
        raise StoreLocked(f"{why} (process {lock.holder() or 'unknown'}); stop it or choose another data_dir")
    stack.callback(lock.release)


def sqlite_path(url: str) -> Path | None:
    """Return the file of a SQLite URL; None for another database."""
    scheme, _, path = url.partition(":///")
    return Path(unquote(path.partition("?")[0])) if scheme.startswith("sqlite") else None


async def open_sql(stack: contextlib.AsyncExitStack, settings: Settings, place: Place) -> Store | None:
    """Open the store until the stack ends; None where another process has it."""
    if not place.owns_store:
        return None
    store = await Store.open(settings.store_url, deadline_s=settings.store.deadline_s)
    stack.push_async_callback(store.close)
    return store


async def open_redis(settings: Settings) -> tuple[str, EmbeddedServer | None]:
    """Return the URL of the server, and the embedded server when it is one."""
    if settings.redis.url != "embedded":
        return settings.redis.url, None
    async with server_guard(settings.data_dir):
        server = await open_embedded(settings.data_dir, port=settings.redis.port)
    return server.url, server


async def keep_redis(settings: Settings, server: Server, clock: Clock) -> None:
    """Start the embedded server again when it has died. Runs until cancelled."""
    while True:
        await clock.sleep(KEEP_S)
        try:
            await server.ping()
        except Unavailable:
            try:
                await open_redis(settings)
            except QuotaflowError as error:
                log.error(Event.REDIS_AWAY, error=str(error))


async def check_server(client: Client, clock: Clock, persistence: Persistence) -> None:
    """Look at the server before work begins; what is only doubtful is logged, and what was changed too.

    :raises ConfigError: a line for each reason why it is not fit to hold quotas, with what to do.
    """
    findings = await inspect(client, clock, persistence=persistence)
    for finding in findings:
        if finding.what == CHANGED:
            log.warning(Event.REDIS_CHANGED, what=f"{finding.what} {finding.found}")
        if finding.level == "warn":
            log.warning(Event.REDIS_UNFIT, what=finding.what, found=finding.found, do=finding.do)
    errors = [
        f"Redis: {finding.what} is {finding.found}: {finding.do}"
        for finding in findings
        if finding.level == "error"
    ]
    if errors:
        raise ConfigError("\n".join(errors))


async def release_redis(settings: Settings, server: EmbeddedServer | None, instances: Instances) -> None:
    """Sign off; the last instance to leave stops the embedded server."""
    try:
        if server is None:
            await instances.leave()
            return
        async with server_guard(settings.data_dir):
            # A process that was killed beats no more, and looks alive for 10 s; here its pid tells.
            if not any(is_running(other.pid) for other in await instances.leave()):
                await server.shutdown()
    except Unavailable as error:
        log.debug(Event.REDIS_AWAY, error=str(error))  # nobody is left to sign off from


def is_running(pid: int) -> bool:
    """Say whether a process of this machine exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
