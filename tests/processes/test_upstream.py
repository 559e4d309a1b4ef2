"""Several processes share upstream keys that fail, and one of them dies: what was spent is what the service says."""

import asyncio
import json
import random
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from quotaflow import Quotaflow
from quotaflow.examples.upstream_service import key_of
from quotaflow.settings import load
from quotaflow.upstream.vault import new_key
from tests.processes.stand_in import StandIn, stand_in
from tests.processes.support import kill, line, python, tell
from tests.servers import ValkeyProcess

KEYS = [key_of(number) for number in range(10)]
UNITS = 1_000
WORKERS = (7, 7, 6)  # of each process
# What goes above a limit is charged all the same, and noted.
SERVICE = ("--keys=10", "--limit=100", "--overdraft", "--latency-ms=50")
TROUBLES: list[dict[str, Any]] = [
    {"mode": "fail_before"},
    {"mode": "fail_after"},
    {"mode": "hang"},
    {"mode": "hang_up"},
    {"mode": "limited", "retry_after": "1"},
    {"mode": "revoked"},
    {"slow_s": 0.25},  # answered too late for the caller, charged all the same
]
AT_ONCE = 3  # keys in trouble
HITS = 8  # calls that meet a trouble before the next one comes
LOOK_S = 0.02

MakeConfig = Callable[[StandIn, float], Path]

CONFIG = """
[redis]
url = "{redis}"
deadline_s = 20.0
[store]
url = "{store}"
[upstream]
timeout_s = 0.4
attempts = 1
refresh_cron = ""
[[upstream.providers]]
name = "tavily"
kind = "tavily"
url = "{service}/usage"
reset_cron = ""
usage_delay_s = {delay_s}
"""


@pytest.fixture
def make_config(valkey: ValkeyProcess, postgres: str, tmp_path: Path) -> MakeConfig:
    """Give a function that writes a config.toml for a service."""

    def make(service: StandIn, delay_s: float) -> Path:
        config = tmp_path / "config.toml"
        config.write_text(
            CONFIG.format(redis=valkey.url, store=postgres, service=service.url, delay_s=delay_s)
        )
        return config

    return make


@pytest.mark.timeout(300)
async def test_20_workers_of_3_processes_spend_all_of_10_failing_keys_and_never_more_though_one_is_killed(
    make_config: MakeConfig,
) -> None:
    """The books are the service's own. The second process is killed while its workers hold units."""
    async with stand_in(*SERVICE) as service:
        ends = await spend(make_config(service, 0), service)
        books = await service.books()
    assert overspent(books) == {}
    assert 995 <= books["spent"] <= UNITS
    assert ends.keys() >= {"ok", "500", "401", "429", "ReadTimeout", "RemoteProtocolError"}


@pytest.mark.timeout(300)
async def test_figures_that_lag_behind_do_not_let_anything_be_spent_twice(make_config: MakeConfig) -> None:
    """What was spent shows after 1 s; the settings say 1.5 s."""
    async with stand_in(*SERVICE, "--usage-delay-ms=1000") as service:
        await spend(make_config(service, 1.5), service)
        books = await service.books()
    assert overspent(books) == {}
    assert 995 <= books["spent"] <= UNITS


def overspent(books: dict[str, Any]) -> dict[str, int]:
    """Return by how much keys were charged above their limits."""
    return {name: key["overspent"] for name, key in books["keys"].items() if key["overspent"]}


async def spend(config: Path, service: StandIn) -> Counter[str]:
    """Let three processes spend all there is, and kill one; returns how the calls of the others ended."""
    secret_key = new_key()
    await import_keys(config, secret_key)
    async with AsyncExitStack() as stack:

        async def begun(number: int) -> Process:
            folder = str(config.parent / f"process-{number}")
            given = (str(config), folder, service.url, secret_key, str(WORKERS[number]))
            return await stack.enter_async_context(python("tests.processes.spenders", *given))

        processes = await asyncio.gather(*[begun(number) for number in range(len(WORKERS))])
        for process in processes:
            tell(process, "begin")
        await trouble(service, processes[1])
        survivors = [processes[0], processes[2]]
        for process in survivors:
            tell(process, "no key fails any more")
        ends = [Counter(json.loads(await line(process))) for process in survivors]
    return sum(ends, Counter())


async def import_keys(config: Path, secret_key: str) -> None:
    """Store the keys, as a person does before anybody uses them."""
    environ = {"QUOTAFLOW_UPSTREAM__SECRET_KEY": secret_key}
    settings = load(config, environ=environ, data_dir=str(config.parent / "people"))
    async with Quotaflow.open(settings) as qf:
        rows = "".join(f"tavily,{key}\n" for key in KEYS)
        assert (await qf.upstream.add_many(f"provider,secret\n{rows}")).success == len(KEYS)
        assert (await qf.upstream.refresh()).success == len(KEYS)


async def trouble(service: StandIn, victim: Process) -> None:
    """Let some keys fail one way, then others another way, until each way had its turn; kill in the middle."""
    rng = random.Random(7)  # noqa: S311  the same troubles each time
    turns = rng.sample(TROUBLES, len(TROUBLES))
    for number, turn in enumerate(turns):
        await fail(service, rng.sample(KEYS, AT_ONCE), turn, HITS)
        if number == len(turns) // 2:
            await kill(victim)
    await spend_the_last(service)


async def spend_the_last(service: StandIn) -> None:
    """Let mistakes show: what is wrong about the last units is charged above a limit.

    First one key hangs, so that a refresh takes 0.4 s while the others are spent. Then calls fail that were charged.
    """
    await service.behave(KEYS[:1], mode="hang")
    await spent(service, KEYS[1:], 880)
    await service.behave(KEYS[:1], mode="ok")
    await spent(service, KEYS, 960)
    await fail(service, KEYS, {"mode": "fail_after"}, 5 * HITS)


async def spent(service: StandIn, keys: list[str], units: int) -> None:
    """Return when so much was spent of these keys."""
    while sum(key["spent"] for name, key in (await service.books())["keys"].items() if name in keys) < units:
        await asyncio.sleep(LOOK_S)


async def fail(service: StandIn, keys: list[str], how: dict[str, Any], hits: int) -> None:
    """Let these keys fail until they were used so often, then work again."""
    before = await service.requests(keys)
    await service.behave(keys, **how)
    while await service.requests(keys) < before + hits:
        await asyncio.sleep(LOOK_S)
    await service.behave(keys, mode="ok")
