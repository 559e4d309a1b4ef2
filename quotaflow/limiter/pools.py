"""Pools of upstream keys: one is picked by what it has left, reserved while it is used, and settled; checks correct it.

What is reserved here is kept every 2 s for as long as it is used. A process that dies keeps nothing: its reservations
end after the lease, and what became of them shows in the next check of the key.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from quotaflow.balances import Asked, KeyStatus, LiveKey, UpstreamKey, Verdict
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
    """Units of one key, held for the caller. `sealed` says where its secret is, `print` which it is."""

    lease_id: str
    provider: str
    key_id: str
    cost_micro: int
    print: str = field(repr=False)
    sealed: str = field(repr=False)


class Nothing(NamedTuple):
    """No key could be picked: how many there are, and why not.

    `rested_s`: until the first has rested that has enough. `resting`: those that rest and have enough.
    `unusable`: those that are off, invalid, or not checked yet.
    """

    rested_s: float | None
    keys: int
    resting: int
    unusable: int


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
        picked = Reservation(lease_id, provider, str(rest[0]), cost_micro, str(rest[1]), str(rest[2]))
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
        args += [verdict.status or "-", str(round(verdict.rest_s * 1e6)), held.print]
        await self._fence.run("settle", _keys(held.provider), args)

    async def put(self, provider: str, some: Sequence[UpstreamKey]) -> None:
        """Put keys into force: those that are enabled may be used, the others not. A later word stands.

        With another secret, or after it was off, the balance of a key is unknown.
        """
        for act, enabled in (("on", True), ("off", False)):
            await self._pool(act, provider, [_item(key) for key in some if key.enabled is enabled])

    async def drop(self, provider: str, key_ids: Sequence[str]) -> None:
        """Forget keys that nobody knows any more."""
        await self._pool("drop", provider, [_bare(key_id) for key_id in key_ids])

    async def ids(self, provider: str) -> list[str]:
        """Return the ids of all keys that the pool knows, of those that are off too."""
        async with reaching(self._client):
            return [str(key_id) for key_id in await self._client.hkeys(keys.upstream(provider)[0])]

    async def marks(self, provider: str, key_ids: Sequence[str]) -> dict[str, str]:
        """Note what has been taken of keys, before their service is asked; `check` wants it back."""
        marks = await self._pool("mark", provider, [_bare(key_id) for key_id in key_ids])
        return dict(zip(key_ids, marks, strict=True))

    async def check(
        self, provider: str, some: Sequence[UpstreamKey], marks: Mapping[str, str], asked: Mapping[str, Asked]
    ) -> None:
        """Take over what the service said of the keys."""
        items = [_item(key, marks[key.id], *_word(asked[key.id])) for key in some]
        await self._pool("check", provider, items)

    async def live(self, provider: str, key_ids: Sequence[str] | None = None) -> dict[str, LiveKey]:
        """Look at these keys, or at the whole pool; those that are off are left out."""
        if key_ids is not None and not key_ids:
            return {}
        names, balance, held = keys.upstream(provider)
        async with reaching(self._client), self._client.pipeline(transaction=True) as pipe:
            if key_ids is None:
                pipe.hgetall(names)
                pipe.zrange(balance, 0, -1, withscores=True)
            else:
                pipe.hmget(names, key_ids)
                pipe.zmscore(balance, key_ids)
            pipe.zrange(held, 0, -1)
            pipe.time()
            texts, scores, reserved, (seconds, micros) = await pipe.execute()
        if key_ids is not None:
            texts = {key_id: text for key_id, text in zip(key_ids, texts, strict=True) if text is not None}
            scores = zip(key_ids, scores, strict=True)
        known = {key_id: int(score) for key_id, score in scores if score is not None}
        units = _units(reserved)
        now_us = int(seconds) * 1_000_000 + int(micros)
        return {
            key_id: _live(key_id, text, known.get(key_id), units.get(key_id, 0), now_us)
            for key_id, text in texts.items()
            if not text.startswith("off ")
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
                ended = await self._fence.run("hold", _keys(provider), [self._lease_us(provider), *members])
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


def _item(key: UpstreamKey, mark: str = "-", word: str = "-", number: str = "0") -> tuple[str, ...]:
    return key.id, str(key.updated_us), key.fingerprint, key.sealed, mark, word, number


def _bare(key_id: str) -> tuple[str, ...]:
    return key_id, "0", "-", "-", "-", "-", "0"


def _units(reserved: Iterable[str]) -> dict[str, int]:
    units: dict[str, int] = {}
    for member in reserved:
        _, key_id, cost = member.split(" ")
        units[key_id] = units.get(key_id, 0) + int(cost)
    return units


def _word(asked: Asked) -> tuple[str, str]:
    if asked.usage is not None:
        return "balance", str(asked.usage.remaining_micro)
    if asked.status is KeyStatus.COOLDOWN:
        return "cooldown", str(round(asked.rest_s * 1e6))
    return ("invalid", "0") if asked.status is KeyStatus.INVALID else ("-", "0")


def _live(key_id: str, text: str, available: int | None, held: int, now_us: int) -> LiveKey:
    word, until, _ = text.split(" ", 2)
    status, until_us = KeyStatus(word), int(until)
    if status is KeyStatus.COOLDOWN and until_us <= now_us:
        status = KeyStatus.ACTIVE
    if status is KeyStatus.ACTIVE and available is not None and available <= 0:
        status = KeyStatus.EXHAUSTED
    return LiveKey(key_id, status, available, held, until_us if status is KeyStatus.COOLDOWN else None)
