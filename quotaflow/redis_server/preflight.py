"""Is this server fit to hold quotas? A look at any server before work begins, with what to do about it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from quotaflow.errors import ConfigError, Unavailable
from quotaflow.timing import Clock

Severity = Literal["ok", "warn", "error"]

# What a server without append-only file means: refuse it; say so and go on; switch it on, else refuse.
Persistence = Literal["require", "warn", "enable"]

CHANGED = "CONFIG SET"  # what a finding is about that tells of a change we have made

OLDEST_REDIS = 7  # the first whose scripts carry flags
MAX_CLOCK_OFFSET_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `do` says how to mend it, in one line; empty when it is ok."""

    level: Severity
    what: str
    found: str
    do: str = ""


def examine(
    info: Mapping[str, object],
    config: Mapping[str, str] | None,
    clock_offset_us: int,
    persistence: Persistence,
) -> list[Finding]:
    """Judge a server by its INFO, its CONFIG (None: not allowed) and by how far its clock leads ours."""
    return [
        _version(info),
        _expect(info, "role", "master", "point redis.url at the master: a replica takes no writes"),
        _expect(info, "cluster_enabled", "0", "use a server that is not part of a cluster"),
        _expect(info, "maxmemory_policy", "noeviction", _set("maxmemory-policy", "noeviction")),
        *_durability(info, config, persistence),
        _clock(clock_offset_us),
    ]


async def inspect(
    client: Redis, clock: Clock, *, persistence: Persistence = "require", deadline_s: float = 5.0
) -> list[Finding]:
    """Look at the server behind `client`. Only `enable` changes it, and only its persistence: a finding tells.

    :raises ConfigError: it wants another user or password, or this user may not run INFO.
    :raises Unavailable: no answer within `deadline_s` seconds, or it is still loading.
    """
    try:
        async with asyncio.timeout(deadline_s):
            enabling = await _enable(client) if persistence == "enable" else []
            offset_us = await _clock_offset_us(client, clock)
            return examine(await client.info(), await _config(client), offset_us, persistence) + enabling
    except (RedisError, OSError) as error:  # asyncio's TimeoutError is an OSError
        # A refusal while connecting comes wrapped, as a ConnectionError.
        if any(
            isinstance(each, AuthenticationError | NoPermissionError) for each in (error, error.__cause__)
        ):
            raise ConfigError(f"Redis refuses this user: {error}") from error
        raise Unavailable(f"Redis cannot be examined: {str(error) or 'no answer'}") from error


def _expect(info: Mapping[str, object], what: str, wanted: str, do: str) -> Finding:
    found = str(info.get(what, "unknown"))
    return Finding("ok", what, found) if found == wanted else Finding("error", what, found, do)


def _set(name: str, value: str) -> str:
    return f"run `CONFIG SET {name} {value}`, then `CONFIG REWRITE`"


def _version(info: Mapping[str, object]) -> Finding:
    if "valkey_version" in info:
        return Finding("ok", "version", f"valkey {info['valkey_version']}")
    found = str(info.get("redis_version", "unknown"))
    major = found.partition(".")[0]
    if major.isdecimal() and int(major) >= OLDEST_REDIS:
        return Finding("ok", "version", f"redis {found}")
    return Finding("error", "version", f"redis {found}", "use Redis 7.0 or later, or any Valkey")


def _durability(
    info: Mapping[str, object], config: Mapping[str, str] | None, persistence: Persistence
) -> list[Finding]:
    if str(info.get("aof_enabled")) == "1":
        return [Finding("ok", "appendonly", "yes"), _fsync(config)]
    level: Severity = "warn" if persistence == "warn" else "error"
    return [Finding(level, "appendonly", "no: a restart loses everything", _set("appendonly", "yes"))]


def _fsync(config: Mapping[str, str] | None) -> Finding:
    what = "appendfsync"
    found = (config or {}).get(what)
    if found is None:
        return Finding("warn", what, "CONFIG GET is refused", "ask its operator whether it is everysec")
    if found in ("always", "everysec"):
        return Finding("ok", what, found)
    return Finding("warn", what, f"{found}: a power loss costs about 30 s", _set(what, "everysec"))


def _clock(offset_us: int) -> Finding:
    found = f"{offset_us / 1e6:+.3f} s against ours"
    if abs(offset_us) <= MAX_CLOCK_OFFSET_US:
        return Finding("ok", "clock", found)
    return Finding("warn", "clock", found, "synchronise the clocks of both machines, for example with chrony")


async def _enable(client: Redis) -> list[Finding]:
    """Switch on the append-only file, and its sync every second, where they are off.

    A refusal shows in the examination that follows.
    """
    changes: list[str] = []
    try:
        if (await client.info("persistence")).get("aof_enabled") != 1:
            await client.config_set("appendonly", "yes")
            changes.append("appendonly yes")
        if (await _config(client) or {}).get("appendfsync") == "no":
            await client.config_set("appendfsync", "everysec")
            changes.append("appendfsync everysec")
    except ResponseError:
        pass
    findings = [Finding("ok", CHANGED, change) for change in changes]
    return [*findings, *await _rewrite(client, changes)] if changes else []


async def _rewrite(client: Redis, changes: list[str]) -> list[Finding]:
    """Write the changes into the server's own file, so that they outlast it."""
    try:
        await client.config_rewrite()
    except ResponseError as error:
        lines = " and ".join(f"`{change}`" for change in changes)
        do = f"add {lines} to the server's start: the next one knows nothing of it"
        return [Finding("warn", "CONFIG REWRITE", str(error), do)]
    return []


async def _config(client: Redis) -> dict[str, str] | None:
    try:
        found: dict[Any, Any] = await client.config_get("appendfsync")
    except ResponseError:
        return None
    return {str(name): str(value) for name, value in found.items()}


async def _clock_offset_us(client: Redis, clock: Clock) -> int:
    before_us = clock.wall_us()
    seconds, micros = await client.time()
    return int(seconds) * 1_000_000 + int(micros) - (before_us + clock.wall_us()) // 2
