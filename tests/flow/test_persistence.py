"""A server that does not keep its data: refused, told of, or mended; and what a crash of it can cost."""

import logging

import pytest

from quotaflow import Quotaflow
from quotaflow.errors import ConfigError, Unavailable
from quotaflow.limiter import rpo
from quotaflow.limiter.client import connect
from quotaflow.limiter.server import KEEP_S, Server
from quotaflow.timing import ManualClock
from tests.flow.conftest import MakeSettings
from tests.servers import ValkeyProcess


async def test_require_refuses_with_the_reason_and_the_command_that_mends_it(
    make_settings: MakeSettings,
) -> None:
    with ValkeyProcess(appendonly=False) as server:
        with pytest.raises(ConfigError) as caught:
            async with Quotaflow.open(make_settings(server.url)):
                pytest.fail("it opened")
        assert str(caught.value) == (
            "Redis: appendonly is no: a restart loses everything:"
            " run `CONFIG SET appendonly yes`, then `CONFIG REWRITE`"
        )


async def test_warn_goes_on_and_says_so(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    with ValkeyProcess(appendonly=False) as server:
        async with Quotaflow.open(make_settings(server.url, redis__persistence="warn")) as qf:
            ready = await qf.statistics.readiness()
            assert (ready.is_ready, ready.rpo) == (True, rpo.EVERYTHING)
        assert [record for record in caplog.records if "redis.unfit" in record.getMessage()]


async def test_enable_mends_it_for_good_and_logs_what_it_changed(
    make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    with ValkeyProcess(appendonly=False) as server:
        with server.client() as client:
            client.config_set("appendfsync", "no")
        with caplog.at_level(logging.WARNING):
            async with Quotaflow.open(make_settings(server.url, redis__persistence="enable")) as qf:
                figures = await qf.statistics.everything()
                assert figures["redis"]["appendfsync"] == "everysec"
                assert figures["redis"]["rpo"] == rpo.SECONDS
        told = [record.getMessage() for record in caplog.records if "redis.changed" in record.getMessage()]
        assert [text.partition("CONFIG SET ")[2].partition("'")[0] for text in told] == [
            "appendonly yes",
            "appendfsync everysec",
        ]
        server.kill()
        server.start()
        async with Quotaflow.open(make_settings(server.url)) as qf:
            assert (await qf.statistics.readiness()).rpo == rpo.SECONDS


# What a crash can cost


@pytest.mark.parametrize(
    ("appendonly", "appendfsync", "text"),
    [
        (True, "always", rpo.NO_CRASH),
        (True, "everysec", rpo.SECONDS),
        (True, "no", rpo.HALF_A_MINUTE),
        (True, None, rpo.UNKNOWN),
        (True, "sometimes", rpo.UNKNOWN),
        (False, "always", rpo.EVERYTHING),
        (False, None, rpo.EVERYTHING),
    ],
)
def test_each_way_to_keep_data_has_its_price(appendonly: bool, appendfsync: str | None, text: str) -> None:
    assert rpo.rpo(appendonly=appendonly, appendfsync=appendfsync) == text
    assert text in rpo.TEXTS


async def test_it_is_read_from_the_server_that_runs_and_kept_for_some_seconds() -> None:
    clock = ManualClock()
    with ValkeyProcess() as process:
        client = connect(process.url, deadline_s=2)
        server = Server(client, clock)
        assert await server.rpo() == rpo.SECONDS
        await client.config_set("appendfsync", "always")
        assert await server.rpo() == rpo.SECONDS
        await clock.advance(KEEP_S)
        assert await server.rpo() == rpo.NO_CRASH
        await client.config_set("appendonly", "no")
        assert (await server.persistence())["appendfsync"] == "off"
        assert await server.rpo() == rpo.EVERYTHING
        process.kill()
        await clock.advance(KEEP_S)
        assert await server.rpo() == rpo.EVERYTHING, "what it last told"
        with pytest.raises(Unavailable):
            await server.persistence()
        await client.aclose()


async def test_a_server_that_refuses_config_says_so() -> None:
    with ValkeyProcess() as process:
        with process.client() as owner:
            owner.acl_setuser("guest", enabled=True, nopass=True, commands=["+@all", "-config"], keys=["*"])
        client = connect(f"{process.url}?username=guest&password=any", deadline_s=2)
        found = await Server(client, ManualClock()).persistence()
        assert (found["appendfsync"], found["rpo"]) == (None, rpo.UNKNOWN)
        await client.aclose()
