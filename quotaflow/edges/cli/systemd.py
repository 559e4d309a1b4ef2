"""What systemd is told of a service: datagrams of words, as sd_notify(3) has them. Without systemd nothing is said."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping

from quotaflow.control.stats import Readiness
from quotaflow.log import printable
from quotaflow.timing import Clock

ASK_EVERY_S = 0.5  # whether we are ready yet


class Systemd:
    """Whoever started us and listens at NOTIFY_SOCKET."""

    def __init__(self, environ: MutableMapping[str, str], pid: int) -> None:
        """Take what is for us out of `environ`: a process that we start must not speak in our name."""
        address = environ.pop("NOTIFY_SOCKET", "")
        usec, owner = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        is_ours = owner in ("", str(pid)) and usec.isdecimal() and int(usec) > 0
        self.ping_s = (
            int(usec) / 2e6 if is_ours else None
        )  # half of what is allowed, as sd_watchdog_enabled(3) says

    def tell(self, *words: str) -> bool:
        """Send words like "STOPPING=1"; False when nobody could be reached. Never waits: we are on the loop."""
        if not self._address.startswith(("/", "\0")):
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(map(printable, words)).encode(), self._address)
        except OSError as error:
            logging.getLogger("quotaflow").debug("systemd does not hear %s: %s", words, error)
            return False
        return True

    async def tell_ready(self, readiness: Callable[[], Awaitable[Readiness]], url: str, clock: Clock) -> None:
        """Say READY=1 once, as soon as /readyz would answer 200; until then say why not."""
        while True:
            ready = await readiness()
            if ready.is_ready and self.tell("READY=1", f"STATUS=serving {url}"):
                return
            self.tell(f"STATUS=not ready: {'; '.join(ready.problems)}")
            await clock.sleep(ASK_EVERY_S)

    @contextlib.contextmanager
    def pinging(self, clock: Clock) -> Iterator[None]:
        """Say WATCHDOG=1 from the loop as often as asked to: a loop that is blocked says nothing, and is restarted."""
        if self.ping_s is None:
            yield
            return
        pinging = asyncio.create_task(self._ping(self.ping_s, clock), name="pings for systemd")
        try:
            yield
        finally:
            pinging.cancel()

    async def _ping(self, every_s: float, clock: Clock) -> None:
        while True:
            self.tell("WATCHDOG=1")
            await clock.sleep(every_s)
