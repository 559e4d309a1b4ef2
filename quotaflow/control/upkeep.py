"""What somebody must do about upstream keys from time to time: one process does, by duty.

All are refreshed when `refresh_cron` is due, and when a quota begins to mirror some. In a new life Redis knows no
balance, as what was spent may be lost: until a check brings one, a key is not used.
"""

from collections.abc import Callable, Iterator, Mapping

from quotaflow.balances import UpstreamKey
from quotaflow.control.refreshing import Refresher
from quotaflow.control.upstream import UpstreamDesk
from quotaflow.errors import ConfigError, InvalidInput, QuotaflowError
from quotaflow.limiter.pools import KEEP_EVERY_S
from quotaflow.log import Event, get_logger
from quotaflow.schedule.cron import load_zone, next_after, parse
from quotaflow.settings_upstream import ProviderSettings, Upstream
from quotaflow.timing import Clock

log = get_logger(room="upstream")

EVERY_S = 1.0
SAID_S = KEEP_EVERY_S + 1.0  # in a new life of Redis everybody has said by then what is reserved
AGAIN_S = 60.0  # until a key whose balance nobody knows is asked about again: it cannot be used before


class Upkeep:
    """Keeps the pools in order."""

    def __init__(
        self,
        desk: UpstreamDesk,
        refresher: Refresher,
        life: Callable[[], int],
        mirroring: Callable[[], frozenset[str]],
        settings: Upstream,
        zone: str,
        clock: Clock,
    ) -> None:
        """Read the cron expressions.

        :param life: which life of Redis this is, 0 while none is known.
        :param mirroring: the ids of the quotas that mirror keys.
        :raises ConfigError: one that is none.
        """
        check_crons(settings)
        self._desk = desk
        self._refresher = refresher
        self._life = life
        self._mirroring = mirroring
        self._mirrors: frozenset[str] = frozenset()
        self._clock = clock
        self._zone = load_zone(zone)
        self._cron = parse(settings.refresh_cron) if settings.refresh_cron else None
        self._next_us = self._following()
        self._seen = 0
        self._unknown: list[UpstreamKey] = []
        self._next_s = 0.0

    async def run(self, is_held: Callable[[], bool]) -> None:
        """Look every second while this process holds the duty, until cancelled."""
        while True:
            await self._clock.sleep(EVERY_S)
            try:
                await self.look(held=is_held())
            except QuotaflowError as error:
                log.warning(Event.UPSTREAM_FAILED, error=str(error))

    async def look(self, *, held: bool) -> None:
        """Do what is due. Who takes the duty over looks at the pools first."""
        await self._desk.settle()
        if not held:
            self._seen = 0
            return
        if (life := self._life()) != self._seen:
            self._unknown = await self._desk.put_all()
            self._seen = life
            self._next_s = self._clock.mono_s() + SAID_S
        if self._unknown and self._clock.mono_s() >= self._next_s:
            self._next_s = self._clock.mono_s() + AGAIN_S
            await self._refresher.check(self._unknown)
            self._unknown = await self._desk.put_all()
        if self._is_due():
            await self._refresher.refresh()

    def _is_due(self) -> bool:
        """Say whether all services are to be asked now; what makes them due does so once."""
        regular = self._next_us is not None and self._clock.wall_us() >= self._next_us
        if regular:
            self._next_us = self._following()
        mirrors, before = self._mirroring(), self._mirrors
        self._mirrors = mirrors
        return regular or not mirrors <= before

    def _following(self) -> int | None:
        return None if self._cron is None else next_after(self._cron, self._zone, self._clock.wall_us())


def check_crons(settings: Upstream) -> None:
    """Check every cron expression of the section.

    :raises ConfigError: naming the one that is none.
    """
    for where, cron in _crons(settings):
        try:
            parse(cron)
        except InvalidInput as error:
            raise ConfigError(f"{where}: {error}") from error


def _crons(settings: Upstream) -> Iterator[tuple[str, str]]:
    if settings.refresh_cron:
        yield "upstream.refresh_cron", settings.refresh_cron
    providers: Mapping[str, ProviderSettings] = settings.all_providers
    for name, provider in providers.items():
        if provider.reset_cron:
            yield f'upstream provider "{name}": reset_cron', provider.reset_cron
