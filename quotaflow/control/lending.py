"""Using upstream keys: one is picked and reserved, handed out for a block, and judged by how the block went."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TypeVar

from quotaflow.amounts import MICRO, check_id, cost_micro, wait_s
from quotaflow.balances import KeyStatus, Verdict
from quotaflow.errors import NotFound, NoUpstreamKey, QuotaflowError, SecretUnavailable
from quotaflow.limiter.pools import Nothing, Pools, Reservation
from quotaflow.log import Event, get_logger
from quotaflow.schedule.cron import load_zone, next_after, parse
from quotaflow.settings_upstream import ProviderSettings, Upstream
from quotaflow.timing import Clock, to_the_end
from quotaflow.upstream.vault import Vault
from quotaflow.upstream.verdicts import rest_of, verdict_of

log = get_logger(room="upstream")

SOON_S = 5.0  # until somebody may know what keys have that nobody has asked about yet

T = TypeVar("T")


class LentKey:
    """An upstream key for the length of a block. `secret` is the API key itself; `cost` is in units."""

    def __init__(self, held: Reservation, secret: str) -> None:
        self.id = held.key_id
        self.provider = held.provider
        self.cost = held.cost_micro / MICRO
        self.secret = secret
        self._held = held
        self._spent_micro: int | None = None
        self._verdict: Verdict | None = None

    def __repr__(self) -> str:
        return f"<LentKey {self.provider} {self.id}>"

    def settle(self, cost: float) -> None:
        """Say what it really cost, in units; otherwise it is what was reserved.

        :raises InvalidInput: a cost that is none.
        """
        self._spent_micro = cost_micro(cost)

    def cool_down(self, seconds: float = 0) -> None:
        """Say that the service asked to be left alone with this key; 0 when it did not say for how long: 60 s.

        :raises InvalidInput: seconds that are none.
        """
        rest_s = rest_of(wait_s(seconds, field="seconds"))
        self._verdict = Verdict(KeyStatus.COOLDOWN, rest_s, is_spent=False)

    def mark_invalid(self) -> None:
        """Say that the service does not know this key; it is not picked until a check knows better."""
        self._verdict = Verdict(KeyStatus.INVALID, is_spent=False)

    def mark_exhausted(self) -> None:
        """Say that nothing is left of this key; it is not picked until a check finds something."""
        self._verdict = Verdict(KeyStatus.EXHAUSTED, is_spent=False)

    def outcome(self, error: BaseException | None, now: datetime) -> tuple[int, Verdict]:
        """Return what was spent, in micro-units, and what is to be thought of the key; what it was told comes first."""
        judged = Verdict() if error is None else verdict_of(error, now)
        verdict = self._verdict or judged
        if self._spent_micro is not None:
            return self._spent_micro, verdict
        return self._held.cost_micro if verdict.is_spent else 0, verdict


class Lending:
    """Hands out keys of all providers."""

    def __init__(self, pools: Pools, vault: Vault, settings: Upstream, clock: Clock, zone: str) -> None:
        """`zone`: of providers that name none."""
        self._pools = pools
        self._vault = vault
        self._settings = settings
        self._clock = clock
        self._zone = zone
        self._closed: set[str] = set()

    @asynccontextmanager
    async def key(
        self, provider: str, cost_micro: int, but: frozenset[str] = frozenset()
    ) -> AsyncIterator[LentKey]:
        """Hand out a key for the block; see UpstreamDesk.key. `but`: ids of keys that are not wanted."""
        lent, held = await self._lend(check_id(provider, field="provider"), cost_micro, but)
        failed: BaseException | None = None
        try:
            yield lent
        except BaseException as error:
            failed = error
            raise
        finally:
            await to_the_end(self._settle(lent, held, failed))

    async def call(self, provider: str, work: Callable[[LentKey], Awaitable[T]], cost_micro: int) -> T:
        """Do it with one key after the other until the service refuses none; see UpstreamDesk.call."""
        refused: frozenset[str] = frozenset()
        last: Exception | None = None
        while True:
            used: LentKey | None = None
            try:
                async with self.key(provider, cost_micro, refused) as key:
                    used = key
                    return await work(key)
            except NoUpstreamKey as none:
                raise none from last
            except Exception as error:
                if used is None or used.outcome(error, self._now())[1].status is None:
                    raise
                refused |= {used.id}
                last = error

    async def _lend(self, provider: str, cost: int, but: frozenset[str]) -> tuple[LentKey, Reservation]:
        closed: SecretUnavailable | None = None
        while True:
            held = await self._pools.pick(provider, cost, but)
            if isinstance(held, Nothing):
                raise closed or self._none(provider, held)
            try:
                return LentKey(held, self._vault.open(held.sealed)), held
            except SecretUnavailable as error:  # another process may have it
                closed = error
                but |= {held.key_id}
                if held.key_id not in self._closed:  # one line is enough
                    self._closed.add(held.key_id)
                    log.warning(
                        Event.UPSTREAM_CLOSED, key_id=held.key_id, provider=provider, error=str(error)
                    )
                await self._end(held, 0, Verdict())

    async def _settle(self, lent: LentKey, held: Reservation, error: BaseException | None) -> None:
        spent_micro, verdict = lent.outcome(error, self._now())
        if verdict.status is not None:
            log.warning(Event.UPSTREAM_REFUSED, key_id=lent.id, provider=lent.provider, status=verdict.status)
        await self._end(held, spent_micro, verdict)

    async def _end(self, held: Reservation, spent_micro: int, verdict: Verdict) -> None:
        try:
            await self._pools.settle(held, spent_micro, verdict)
        except QuotaflowError as error:  # its lease ends; it counts as spent until the next check
            log.warning(Event.REDIS_AWAY, error=str(error), key_id=held.key_id)

    def _none(self, provider: str, nothing: Nothing) -> QuotaflowError:
        settings = self._settings.all_providers.get(provider)
        if settings is None and not nothing.keys:
            return NotFound(f'no provider "{provider}"; configure it in [[upstream.providers]]')
        now_us = self._clock.wall_us()
        if nothing.keys == nothing.unusable:  # as in a new life of Redis: they are asked about within seconds
            return self._no_key(provider, nothing, [SOON_S] if nothing.keys else [], None)
        resets_us = next_reset_us(settings, self._zone, now_us)
        moments_us = [resets_us, self._refresh_us(now_us)]
        waits = [(moment_us - now_us) / 1e6 for moment_us in moments_us if moment_us is not None]
        if nothing.rested_s is not None:
            waits.append(nothing.rested_s)
        return self._no_key(provider, nothing, waits, resets_us)

    def _no_key(
        self, provider: str, nothing: Nothing, waits: list[float], resets_us: int | None
    ) -> NoUpstreamKey:
        return NoUpstreamKey(
            words(provider, nothing, resets_us),
            provider=provider,
            retry_after=min(waits, default=None),
            resets_at=None if resets_us is None else datetime.fromtimestamp(resets_us / 1e6, UTC),
        )

    def _refresh_us(self, now_us: int) -> int | None:
        """Return when all balances are asked for next."""
        cron = self._settings.refresh_cron
        return next_after(parse(cron), load_zone(self._zone), now_us) if cron else None

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall_us() / 1e6, UTC)


def next_reset_us(settings: ProviderSettings | None, zone: str, now_us: int) -> int | None:
    """Return when a provider's keys have their limit again; None for never, or when nobody said."""
    if settings is None or settings.reset_cron is None:
        return None
    return next_after(parse(settings.reset_cron), load_zone(settings.timezone or zone), now_us)


def words(provider: str, nothing: Nothing, resets_us: int | None) -> str:
    """Say in one line why no key could be picked."""
    counts = {"resting": nothing.resting, "off, invalid or not checked yet": nothing.unusable}
    rest = nothing.keys - sum(counts.values())
    found = [f"{count} {what}" for what, count in ({"with too little left": rest} | counts).items() if count]
    why = f"of {nothing.keys}: {', '.join(found)}" if found else "the pool is empty"
    again = "" if nothing.rested_s is None else f"; the first has rested in {nothing.rested_s:.1f} s"
    if resets_us is not None:
        moment = datetime.fromtimestamp(resets_us / 1e6, UTC).isoformat(timespec="seconds")
        again += f"; the next reset is at {moment}"
    return f'no key of "{provider}" can be used now ({why}){again}'
