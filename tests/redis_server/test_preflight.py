"""What is said about a server before work begins."""

import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from quotaflow.errors import ConfigError, Unavailable
from quotaflow.redis_server.embedded import open_embedded
from quotaflow.redis_server.preflight import CHANGED, Finding, Persistence, examine, inspect
from quotaflow.timing import SystemClock
from tests.servers import ValkeyProcess

GOOD_INFO: dict[str, object] = {
    "redis_version": "7.0.15",
    "role": "master",
    "cluster_enabled": 0,
    "maxmemory_policy": "noeviction",
    "aof_enabled": 1,
}
GOOD_CONFIG = {"appendfsync": "everysec"}
CHECKS = ["version", "role", "cluster_enabled", "maxmemory_policy", "appendonly", "appendfsync", "clock"]


class LateClock(SystemClock):
    """A machine whose clock is 5 s behind."""

    def wall_us(self) -> int:
        """Read the machine's clock late."""
        return super().wall_us() - 5_000_000


def troubles(findings: list[Finding]) -> dict[str, str]:
    return {finding.what: finding.level for finding in findings if finding.level != "ok"}


@pytest.fixture
def server() -> Iterator[ValkeyProcess]:
    """Start a server that the test may spoil."""
    with ValkeyProcess() as process:
        yield process


@pytest.fixture
async def client(server: ValkeyProcess) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url) as connected:
        yield connected


def test_a_good_server_is_ok_in_every_respect_and_asks_for_nothing() -> None:
    findings = examine(GOOD_INFO, GOOD_CONFIG, 0, "require")
    assert [finding.what for finding in findings] == CHECKS
    assert {(finding.level, finding.do) for finding in findings} == {("ok", "")}


@pytest.mark.parametrize(
    ("change", "what", "found", "do"),
    [
        ({"redis_version": "6.2.14"}, "version", "redis 6.2.14", "use Redis 7.0 or later, or any Valkey"),
        ({"redis_version": "none"}, "version", "redis none", "use Redis 7.0 or later, or any Valkey"),
        ({"role": "slave"}, "role", "slave", "point redis.url at the master: a replica takes no writes"),
        ({"cluster_enabled": 1}, "cluster_enabled", "1", "use a server that is not part of a cluster"),
        (
            {"maxmemory_policy": "allkeys-lru"},
            "maxmemory_policy",
            "allkeys-lru",
            "run `CONFIG SET maxmemory-policy noeviction`, then `CONFIG REWRITE`",
        ),
        (
            {"aof_enabled": 0},
            "appendonly",
            "no: a restart loses everything",
            "run `CONFIG SET appendonly yes`, then `CONFIG REWRITE`",
        ),
    ],
)
def test_each_error_says_what_was_found_and_the_command_that_mends_it(
    change: dict[str, object], what: str, found: str, do: str
) -> None:
    findings = examine(GOOD_INFO | change, GOOD_CONFIG, 0, "require")
    assert [each for each in findings if each.level != "ok"] == [Finding("error", what, found, do)]


@pytest.mark.parametrize("missing", ["role", "maxmemory_policy", "cluster_enabled"])
def test_what_a_server_does_not_tell_counts_as_wrong(missing: str) -> None:
    info = {name: value for name, value in GOOD_INFO.items() if name != missing}
    assert troubles(examine(info, GOOD_CONFIG, 0, "require")) == {missing: "error"}


@pytest.mark.parametrize(("version", "level"), [("7.0.0", "ok"), ("8.2.1", "ok"), ("10.0.0", "ok")])
def test_later_versions_are_ok(version: str, level: str) -> None:
    assert examine(GOOD_INFO | {"redis_version": version}, GOOD_CONFIG, 0, "require")[0].level == level


def test_any_valkey_is_ok_whatever_redis_it_claims_to_be() -> None:
    info = GOOD_INFO | {"redis_version": "6.0.0", "valkey_version": "9.1.2"}
    assert examine(info, GOOD_CONFIG, 0, "require")[0] == Finding("ok", "version", "valkey 9.1.2")


@pytest.mark.parametrize(("mode", "level"), [("require", "error"), ("warn", "warn"), ("enable", "error")])
def test_a_server_that_keeps_nothing_is_refused_unless_told_to_go_on(mode: Persistence, level: str) -> None:
    assert troubles(examine(GOOD_INFO | {"aof_enabled": 0}, GOOD_CONFIG, 0, mode)) == {"appendonly": level}


@pytest.mark.parametrize(
    ("config", "level"),
    [({"appendfsync": "always"}, "ok"), ({"appendfsync": "no"}, "warn"), ({}, "warn"), (None, "warn")],
)
def test_how_often_the_disk_is_synced_is_judged(config: dict[str, str] | None, level: str) -> None:
    findings = {each.what: each.level for each in examine(GOOD_INFO, config, 0, "require")}
    assert findings["appendfsync"] == level


@pytest.mark.parametrize(
    ("offset_us", "level"), [(1_000_000, "ok"), (-1_000_000, "ok"), (1_000_001, "warn"), (-1_000_001, "warn")]
)
def test_clocks_more_than_a_second_apart_are_warned_of(offset_us: int, level: str) -> None:
    assert examine(GOOD_INFO, GOOD_CONFIG, offset_us, "require")[-1].level == level


async def test_a_real_server_with_our_settings_passes(client: Redis) -> None:
    found = [troubles(await inspect(client, SystemClock())) for _ in range(5)]
    assert {} in found  # a machine that stands still in between sees its clock ahead


async def test_a_decoding_client_sees_the_same(server: ValkeyProcess, client: Redis) -> None:
    async with Redis.from_url(server.url, decode_responses=True, protocol=2) as other:
        decoded = await inspect(other, SystemClock())
    plain = await inspect(client, SystemClock())
    assert [each.what for each in decoded] == CHECKS
    assert troubles(decoded) == troubles(plain) == {}


async def test_every_trouble_of_a_real_server_is_found_at_once(client: Redis) -> None:
    await client.config_set("maxmemory-policy", "volatile-lru")
    await client.config_set("appendfsync", "no")
    await client.replicaof("127.0.0.1", "1")
    assert troubles(await inspect(client, SystemClock())) == {
        "role": "error",
        "maxmemory_policy": "error",
        "appendfsync": "warn",
    }


async def test_a_late_clock_shows_as_a_server_ahead(client: Redis) -> None:
    clock = (await inspect(client, LateClock()))[-1]
    assert clock.level == "warn"
    assert clock.found.startswith(("+4.9", "+5.0"))


async def test_enable_switches_persistence_on_for_good_and_require_changes_nothing() -> None:
    with ValkeyProcess(appendonly=False) as server:
        async with Redis.from_url(server.url) as client:
            required = await inspect(client, SystemClock(), persistence="require")
            assert troubles(required) == {"appendonly": "error"}
            assert troubles(await inspect(client, SystemClock(), persistence="enable")) == {}
        server.kill()
        server.start()
        async with Redis.from_url(server.url) as client:
            assert troubles(await inspect(client, SystemClock(), persistence="require")) == {}


async def test_enable_syncs_every_second_where_it_was_left_to_the_system(
    server: ValkeyProcess, client: Redis
) -> None:
    await client.config_set("appendfsync", "no")
    findings = await inspect(client, SystemClock(), persistence="enable")
    assert [each.found for each in findings if each.what == CHANGED] == ["appendfsync everysec"]
    assert troubles(findings) == {}
    again = await inspect(client, SystemClock(), persistence="enable")
    assert [each.found for each in again if each.what == CHANGED] == [], "nothing is left to change"
    await client.config_set("appendfsync", "always")
    await inspect(client, SystemClock(), persistence="enable")
    assert (await client.config_get("appendfsync"))["appendfsync"] == "always", "what is better stays"


async def test_enabling_a_server_without_a_configuration_file_warns_of_its_restart(home: Path) -> None:
    embedded = await open_embedded(home)
    async with Redis.from_url(embedded.url) as client:
        await client.config_set("appendonly", "no")
        findings = await inspect(client, SystemClock(), persistence="enable")
        assert troubles(findings) == {"CONFIG REWRITE": "warn"}
        assert "appendonly yes" in findings[-1].do
        assert troubles(await inspect(client, SystemClock(), persistence="enable")) == {}


async def test_a_forbidden_config_is_a_warning(server: ValkeyProcess, client: Redis) -> None:
    await client.acl_setuser("guest", enabled=True, nopass=True, commands=["+@all", "-config"], keys=["*"])
    async with Redis.from_url(f"{server.url}?username=guest&password=any") as guest:
        assert troubles(await inspect(guest, SystemClock())) == {"appendfsync": "warn"}
        await client.config_set("appendonly", "no")
        assert troubles(await inspect(guest, SystemClock(), persistence="enable")) == {"appendonly": "error"}


async def test_a_wrong_password_is_a_matter_of_configuration(server: ValkeyProcess, client: Redis) -> None:
    await client.acl_setuser("guest", enabled=True, passwords=["+right"], commands=["+@all"], keys=["*"])
    async with Redis.from_url(f"{server.url}?username=guest&password=wrong") as guest:
        with pytest.raises(ConfigError, match="Redis refuses this user: "):
            await inspect(guest, SystemClock())


async def test_a_server_that_is_away_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with Redis(host="127.0.0.1", port=port, retry=Retry(NoBackoff(), 0)) as nobody:
        with pytest.raises(Unavailable, match=rf"cannot be examined: .* connecting to 127.0.0.1:{port}"):
            await inspect(nobody, SystemClock())


async def test_a_frozen_server_meets_the_deadline(server: ValkeyProcess, client: Redis) -> None:
    await client.ping()
    os.kill(server.pid, signal.SIGSTOP)
    with pytest.raises(Unavailable, match="cannot be examined: no answer"):
        await inspect(client, SystemClock(), deadline_s=0.1)
