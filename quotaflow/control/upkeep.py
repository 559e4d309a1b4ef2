"""What somebody must do about upstream keys from time to time: one process does, by duty.

All are refreshed when `refresh_cron` is due, and a provider's when its plans begin again. In a new life Redis knows no
balance, as what was spent may be lost; keys whose balance nobody knows cannot be used, and are asked about again.
"""

from collections.abc import Callable, Iterator

from quotaflow.balances import UpstreamKey
from quotaflow.control.lending import next_reset_us
from quotaflow.control.reconciling import Reconciler
from quotaflow.control.refreshing import Refresher
from quotaflow.control.upstream import UpstreamDesk
from quotaflow.errors import ConfigError, InvalidInput
from quotaflow.limiter.pools import KEEP_EVERY_S
from quotaflow.log import Event, get_logger
from quotaflow.schedule.cron import load_zone, next_after, parse
from quotaflow.settings_upstream import Upstream
from quotaflow.timing import Clock
from quotaflow.upstream.kinds import find

log = get_logger(room="upstream")

EVERY_S = 1.0
SAID_S = KEEP_EVERY_S + 1.0  # in a new life of Redis everybody has said by then what is reserved
AGAIN_S = 60.0  # until keys whose balance nobody knows are looked for again
MOST_AGAIN_S = 3600.0  # it doubles with each failure of a key
LATE_S = 5.0  # services do not begin their periods to the second


class Upkeep:
    """Keeps the pools in order."""

    def __init__(
        self,
        desk: UpstreamDesk,
        refresher: Refresher,
        reconciler: Reconciler,
        life: Callable[[], int],
        mirroring: Callable[[], frozenset[tuple[str, str]]],
        settings: Upstream,
        zone: str,
        clock: Clock,
    ) -> None:
        """Check the settings.

        :param life: which life of Redis this is, 0 while none is known.
        :param mirroring: which provider's keys are mirrored by which quota.
        :raises ConfigError: a cron expression that is none, or a kind of provider.
        """
        check_settings(settings)
        self._desk = desk
        self._refresher = refresher
        self._reconciler = reconciler
        self._life = life
        self._mirroring = mirroring
        self._mirrored: frozenset[tuple[str, str]] = frozenset()
        self._settings = settings
        self._zone = zone
        self._clock = clock
        self._seen = 0
        self._since_s = self._look_s = 0.0
        self._due_us = {name: self._next_us(name) for name in (None, *settings.all_providers)}

    async def run(self, is_held: Callable[[], bool]) -> None:
        """Look every second while this process holds the duty, until cancelled."""
        while True:
            await self._clock.sleep(EVERY_S)
            try:
                await self.look(held=is_held())
            except Exception as error:  # noqa: BLE001  whatever a proxy or a plug-in does, the daemon goes on
                log.warning(Event.UPSTREAM_FAILED, error_type=type(error).__name__, error=str(error))

    async def look(self, *, held: bool) -> None:
        """Begin what is due. Who takes the duty over looks at the pools first."""
        await self._desk.settle()
        if not held:
            self._seen = 0
            return
        now_s = self._clock.mono_s()
        if (life := self._life()) != self._seen:
            self._seen, self._since_s, self._look_s = life, now_s, now_s + SAID_S
        if now_s >= self._look_s:
            self._look_s = now_s + AGAIN_S
            unknown = await self._reconciler.unknown()
            if self._life() != life:  # it has ended meanwhile: the next look begins anew
                return
            if due := [key for key in unknown if self._may_ask(key)]:
                self._refresher.check(due)
        for name, due_us in self._due_us.items():
            if due_us is not None and self._clock.wall_us() >= due_us:
                self._due_us[name] = self._next_us(name)
                self._refresher.start(name)
        await self._mirror_new()

    async def _mirror_new(self) -> None:
        """Give quotas that begin to mirror keys what these have."""
        mirroring = self._mirroring()
        for provider in sorted({provider for provider, _ in mirroring - self._mirrored}):
            await self._reconciler.correct(provider)
        self._mirrored = mirroring

    def _may_ask(self, key: UpstreamKey) -> bool:
        """Say whether a key may be asked about: not before its service shows what was spent in an earlier life."""
        provider = self._settings.all_providers.get(key.provider)
        if provider is None:
            return False
        shows_s = self._since_s + max(SAID_S, provider.usage_delay_s)
        again_s = min(AGAIN_S * 2.0 ** max(0, key.failures - 1), MOST_AGAIN_S) if key.failures else 0.0
        again_us = (key.checked_us or 0) + round(again_s * 1e6)
        return self._clock.mono_s() >= shows_s and self._clock.wall_us() >= again_us

    def _next_us(self, name: str | None) -> int | None:
        """Return when a provider's keys are to be refreshed next; None stands for all."""
        now_us = self._clock.wall_us()
        if name is None:
            cron = self._settings.refresh_cron
            return next_after(parse(cron), load_zone(self._zone), now_us) if cron else None
        reset_us = next_reset_us(self._settings.all_providers[name], self._zone, now_us)
        return None if reset_us is None else reset_us + round(LATE_S * 1e6)


def check_settings(settings: Upstream) -> None:
    """Check every cron expression of the section, and that there is somebody for every kind of provider.

    :raises ConfigError: naming the one that is none.
    """
    for provider in settings.all_providers.values():
        find(provider)
    for where, cron in _crons(settings):
        try:
            parse(cron)
        except InvalidInput as error:
            raise ConfigError(f"{where}: {error}") from error


def _crons(settings: Upstream) -> Iterator[tuple[str, str]]:
    if settings.refresh_cron:
        yield "upstream.refresh_cron", settings.refresh_cron
    for name, provider in settings.all_providers.items():
        if provider.reset_cron:
            yield f'upstream provider "{name}": reset_cron', provider.reset_cron
