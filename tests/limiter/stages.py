"""Three stages for the same stories: plain Python, fakeredis, and a real server whose clock cannot be set."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, Protocol

import time_machine
from fakeredis import FakeAsyncRedis

from quotaflow.amounts import MICRO
from quotaflow.limiter import keys
from quotaflow.limiter.decide import Even, Layout, lay_out
from quotaflow.limiter.quotas import definition_args
from quotaflow.limiter.scripts import assemble_all
from quotaflow.model import Quota
from tests.limiter.plain import Answer, Plain, PlainQuotas

START_US = 1_750_000_000_000_000
NEAR_US = 20_000  # how much real time may pass unnoticed in one step on a real server

Ask = Sequence[Mapping[str, int]]


class Stage(Protocol):
    """Where a story is played."""

    slack_us: int  # how far apart the moment meant and the moment decided may be

    async def define(self, quota: Quota) -> None: ...
    async def ask(self, after_us: int, requests: Ask) -> list[Answer]: ...


class PlainStage:
    """The model itself."""

    slack_us = 0

    def __init__(self) -> None:
        self.quotas = PlainQuotas(START_US)

    async def define(self, quota: Quota) -> None:
        self.quotas.buckets[quota.id] = Plain(quota.capacity_micro, quota.refill_micro_s, quota.enabled)

    async def ask(self, after_us: int, requests: Ask) -> list[Answer]:
        self.quotas.now += after_us
        return self.quotas.ask(requests)


def laid_out(requests: Ask) -> Layout | Even:
    """Lay out requests as the batcher does."""
    return lay_out(
        [tuple((quota_id, "", cost) for quota_id, cost in request.items()) for request in requests]
    )


def told_micro(units: float) -> int:
    """Read units as micro-units; a double has room for each of them up to 2**33 units, above for every second."""
    return round(Fraction(units) * MICRO)


def answers(reply: str, layout: Layout | Even) -> list[Answer]:
    """Read a reply of acquire.lua as whole numbers."""
    return [
        (
            str(decision.reason),
            decision.quota_id,
            round(
                Fraction(decision.remaining) * MICRO
            ),  # a product of floats would be half a unit off at 4.5e9
            -1 if decision.retry_after is None else round(decision.retry_after * 1e6),
            -1 if decision.reset_after is None else round(decision.reset_after * 1e6),
        )
        for decision in layout.decisions(reply)
    ]


class FakeStage:
    """fakeredis runs the Lua itself; its TIME follows the patched clock."""

    slack_us = 0

    def __init__(self) -> None:
        self.now_us = START_US
        self.batches = 0
        self.redis: Any = FakeAsyncRedis(decode_responses=True)
        self.begin_life(1)

    def begin_life(self, number: int) -> None:
        """Go on as after a recovery, with scripts of another incarnation."""
        self.life = number
        self.scripts = {name: script.text.split("\n", 1)[1] for name, script in assemble_all(number).items()}

    async def run(self, name: str, script_keys: Sequence[str], args: Sequence[str]) -> Any:
        moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self.now_us)  # exact, unlike a float
        with time_machine.travel(moment, tick=False):
            await self.redis.hset(keys.MARKER, "incarnation", str(self.life))
            return await self.redis.eval(self.scripts[name], len(script_keys), *script_keys, *args)

    async def define(self, quota: Quota) -> None:
        script_keys = [keys.MARKER, keys.QUOTAS, keys.quota(quota.id), keys.level(quota.id)]
        await self.run("define", script_keys, definition_args(quota))

    async def ask(self, after_us: int, requests: Ask) -> list[Answer]:
        self.now_us += after_us
        layout = laid_out(requests)
        self.batches += 1
        reply = await self.run(*layout.call("lane", self.batches))
        return answers(reply, layout)


class RealStage:
    """A real server. Time passes by making the stored moments older; a step that took too long is played again."""

    slack_us = NEAR_US

    def __init__(self, redis: Any) -> None:
        self.redis = redis
        self.scripts = assemble_all(1)
        self.batches = 0
        self.ages: dict[str, tuple[str, int]] = {}  # level key -> level, age of its moment

    async def define(self, quota: Quota) -> None:
        await self.redis.hset(keys.MARKER, "incarnation", "1")
        for script in self.scripts.values():
            await self.redis.script_load(script.text)
        script_keys = [keys.MARKER, keys.QUOTAS, keys.quota(quota.id), keys.level(quota.id)]
        await self.redis.evalsha(self.scripts["define"].sha, 4, *script_keys, *definition_args(quota))

    async def ask(self, after_us: int, requests: Ask) -> list[Answer]:
        self.ages = {key: (level, age + after_us) for key, (level, age) in self.ages.items()}
        layout = laid_out(requests)
        while True:
            self.batches += 1
            script, script_keys, args = layout.call("lane", self.batches)
            levels = [key for key in script_keys if key.startswith(keys.level(""))]
            meant_us = await self._now_us()
            for key, (level, age) in self.ages.items():
                await self.redis.set(key, f"{level} {meant_us - age}")
            async with self.redis.pipeline(transaction=True) as pipe:
                pipe.evalsha(self.scripts[script].sha, len(script_keys), *script_keys, *args)
                pipe.time()
                pipe.mget(levels)
                reply, (seconds, micros), stored = await pipe.execute()
            now_us = seconds * 1_000_000 + micros
            if now_us - meant_us <= NEAR_US:
                break
            await self.redis.delete(*[key for key in levels if key not in self.ages] or ["-"])
            await asyncio.sleep(0)
        for key, text in zip(levels, stored, strict=True):
            if text is not None:
                level, at = text.split()
                self.ages[key] = (level, now_us - int(at))
        return answers(reply, layout)

    async def _now_us(self) -> int:
        seconds, micros = await self.redis.time()
        return int(seconds) * 1_000_000 + int(micros)
