"""Duties that one process at a time may have, such as flushing the journal: held by a lease, renewed in time."""

from quotaflow.errors import Unavailable
from quotaflow.limiter.admission import Admission
from quotaflow.timing import Clock

TTL_S = 6.0
RENEW_S = 2.0


class Duty:
    """One duty of this process."""

    def __init__(self, name: str, admission: Admission, clock: Clock, *, shared: bool) -> None:
        """`shared`: other processes could do it too; a duty that only this one can do is always its own."""
        self._shared = shared
        self._name = name
        self._admission = admission
        self._clock = clock
        self._held_until_s = 0.0

    def is_held(self) -> bool:
        """It is ours now. Judged by our own clock from before the lease was asked for, so never too long."""
        return not self._shared or self._clock.mono_s() < self._held_until_s

    async def run(self) -> None:
        """Take the duty when it is free and keep it, until cancelled."""
        while self._shared:
            asked_s = self._clock.mono_s()
            try:
                held = await self._admission.hold(self._name, ttl_s=TTL_S)
                self._held_until_s = asked_s + TTL_S if held else 0.0
            except Unavailable:
                pass  # what was held stays held until it runs out
            await self._clock.sleep(RENEW_S)

    async def give_up(self) -> None:
        """Let another process take over at once."""
        if self._shared and self.is_held():
            self._held_until_s = 0.0
            await self._admission.hold(self._name, ttl_s=0)
