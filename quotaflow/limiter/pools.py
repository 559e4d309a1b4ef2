"""Pools of upstream keys: one is picked by what it has left, reserved while it is used, and settled; checks correct it.

What is reserved here is kept every 2 s for as long as it is used. A process that dies keeps nothing: its reservations
end after the lease, and what became of them shows in the next check of the key.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from quotaflow.balances import Asked, KeyStatus, LiveKey, Verdict
from quotaflow.errors import QuotaflowError
from quotaflow.ids import Ids
from quotaflow.limiter import keys
from quotaflow.limiter.client import Client, reaching
from quotaflow.limiter.fence import Fence
from quotaflow.log import Event, get_logger
from quotaflow.timing import Clock

log = get_logger(room="limiter")

KEEP_EVERY_S = 2.0
PER_CALL = 500  # keys or reservations


@dataclass(frozen=True, slots=True)
class Reservation:
    """Units of one key, held for the caller. `sealed` says where its secret is; `available_micro` is without them."""

    lease_id: str
    provider: str
    key_id: str
    cost_micro: int
    sealed: str = field(repr=False)
    available_micro: int


class Resealed(NamedTuple):
    """A key's sealed secret as it was, and encrypted anew."""

    key_id: str
    before: str
    now: str


class Nothing(NamedTuple):
    """No key could be picked: how many there are, and why not. `rested_s`: until the first has rested."""

    rested_s: float | None
    keys: int
    invalid: int
    resting: int
    unknown: int


class Pools:
    """The pools of all providers. `run` must be running, or reservations end while they are used."""

    def __init__(
        self,
        fence: Fence,
        client: Client,
        clock: Clock,
        ids: Ids,
        *,
        lease_s: float,
        delays_s: Mapping[str, float],
    ) -> None:
        """`lease_s`: how long a dead process's reservation lasts.

        `delays_s`: seconds until a provider shows what was spent; others show it at once.
        """
        self._fence = fence
        self._client = client
        self._clock = clock
        self._ids = ids
        self._lease_s = lease_s
        self._delays_s = delays_s
        self._held: dict[str, Reservation] = {}
        self.lost = 0

    def __len__(self) -> int:
        return len(self._held)

    async def pick(self, provider: str, cost_micro: int, but: Collection[str] = ()) -> Reservation | Nothing:
        """Reserve units of the key with the most left, but of none of those.

        :raises Unavailable: Redis does not answer.
        """
        lease_id = self._ids.next()
        args = [lease_id, str(cost_micro), self._lease_us(provider), *but]
        word, *rest = await self._fence.run("pick", _keys(provider), args)
        if word == "none":
            rested, *counts = rest
            return Nothing(None if rested == "-" else int(rested) / 1e6, *map(int, counts))
        key_id, sealed, available = rest
        picked = Reservation(lease_id, provider, str(key_id), cost_micro, str(sealed), int(available))
        if cost_micro:
            self._held[lease_id] = picked
        return picked

    async def settle(self, held: Reservation, spent_micro: int, verdict: Verdict) -> None:
        """End a reservation. What Redis could not be told in time ends with its lease, and counts as spent.

        :raises Unavailable: Redis does not answer.
        """
        self._held.pop(held.lease_id, None)
        args = [
            held.lease_id,
            held.key_id,
            str(held.cost_micro),
            str(spent_micro),
            self._linger_us(held.provider),
        ]
        args += [verdict.status or "-", str(round(verdict.rest_s * 1e6)), held.sealed]
        await self._fence.run("settle", _keys(held.provider), args)

    async def define(self, provider: str, sealed: Mapping[str, str]) -> None:
        """Put keys into the pool: id -> sealed secret. Those that are there stay, unless their secret is another."""
        await self._pool("define", provider, _sealed(sealed))

    async def reseal(self, provider: str, changed: Sequence[Resealed]) -> None:
        """Take over secrets that were only encrypted anew; everything known of their keys stays."""
        await self._pool("reseal", provider, [(one.key_id, one.now, one.before, "-", "0") for one in changed])

    async def forget(self, provider: str, key_ids: Sequence[str]) -> None:
        """Take keys out of the pool."""
        await self._pool("forget", provider, _bare(key_ids))

    async def marks(self, provider: str, key_ids: Sequence[str]) -> dict[str, str]:
        """Note what has been taken of keys, before their service is asked; `check` wants it back."""
        marks = await self._pool("mark", provider, _bare(key_ids))
        return dict(zip(key_ids, marks, strict=True))

    async def check(
        self, provider: str, sealed: Mapping[str, str], marks: Mapping[str, str], found: Iterable[Asked]
    ) -> None:
        """Take over what the service said of the keys."""
        items = [(asked.key_id, sealed[asked.key_id], marks[asked.key_id], *_word(asked)) for asked in found]
        await self._pool("check", provider, items)

    async def live(self, provider: str) -> dict[str, LiveKey]:
        """Look at the whole pool."""
        names, balance, held = keys.upstream(provider)
        async with reaching(self._client), self._client.pipeline(transaction=True) as pipe:
            pipe.hgetall(names)
            pipe.zrange(balance, 0, -1, withscores=True)
            pipe.zrange(held, 0, -1)
            pipe.time()
            texts, available, reserved, (seconds, micros) = await pipe.execute()
        units: dict[str, int] = {}
        for member in reserved:
            _, key_id, cost = member.split(" ")
            units[key_id] = units.get(key_id, 0) + int(cost)
        known = {key_id: int(score) for key_id, score in available}
        now_us = int(seconds) * 1_000_000 + int(micros)
        return {
            key_id: _live(key_id, text, known.get(key_id), units.get(key_id, 0), now_us)
            for key_id, text in texts.items()
        }

    async def run(self) -> None:
        """Keep what is reserved here, every 2 s, until cancelled."""
        while True:
            await self._clock.sleep(KEEP_EVERY_S)
            try:
                await self.keep()
            except QuotaflowError as error:
                log.warning(Event.REDIS_AWAY, error=str(error))

    async def keep(self) -> None:
        """Renew the leases of all that is reserved; those that had ended are counted."""
        by_provider: dict[str, list[Reservation]] = {}
        for held in self._held.values():
            by_provider.setdefault(held.provider, []).append(held)
        for provider, some in by_provider.items():
            for first in range(0, len(some), PER_CALL):
                members = [
                    _member(held) for held in some[first : first + PER_CALL] if held.lease_id in self._held
                ]
                ended = await self._fence.run(
                    "hold", [keys.MARKER, keys.upstream(provider)[2]], [self._lease_us(provider), *members]
                )
                self.lost += int(ended)
                await asyncio.sleep(0)

    async def _pool(self, act: str, provider: str, items: Sequence[Sequence[str]]) -> list[Any]:
        marks: list[Any] = []
        for first in range(0, len(items), PER_CALL):
            args = [part for item in items[first : first + PER_CALL] for part in item]
            reply = await self._fence.run("pool", _keys(provider), [act, *args])
            marks += reply if act == "mark" else []
        return marks

    def _lease_us(self, provider: str) -> str:
        return str(round((self._lease_s + self._delays_s.get(provider, 0.0)) * 1e6))

    def _linger_us(self, provider: str) -> str:
        return str(round(self._delays_s.get(provider, 0.0) * 1e6))


def _keys(provider: str) -> list[str]:
    return [keys.MARKER, *keys.upstream(provider)]


def _member(held: Reservation) -> str:
    return f"{held.lease_id} {held.key_id} {held.cost_micro}"


def _sealed(sealed: Mapping[str, str]) -> list[tuple[str, ...]]:
    return [(key_id, text, "-", "-", "0") for key_id, text in sealed.items()]


def _bare(key_ids: Sequence[str]) -> list[tuple[str, ...]]:
    return [(key_id, "-", "-", "-", "0") for key_id in key_ids]


def _word(asked: Asked) -> tuple[str, str]:
    if asked.usage is not None:
        return "balance", str(asked.usage.remaining_micro)
    if asked.status is KeyStatus.COOLDOWN:
        return "cooldown", str(round(asked.rest_s * 1e6))
    return ("invalid", "0") if asked.status is KeyStatus.INVALID else ("-", "0")


def _live(key_id: str, text: str, available: int | None, held: int, now_us: int) -> LiveKey:
    word, until, _, _ = text.split(" ", 3)
    status, until_us = KeyStatus(word), int(until)
    if status is KeyStatus.COOLDOWN and until_us <= now_us:
        status = KeyStatus.ACTIVE
    if status is KeyStatus.ACTIVE and available is not None and available <= 0:
        status = KeyStatus.EXHAUSTED
    return LiveKey(key_id, status, available, held, until_us if status is KeyStatus.COOLDOWN else None)
