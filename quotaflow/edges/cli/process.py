"""What `run` and `demo` share: the tasks' modules, the HTTP server, and how a daemon is told to stop."""

import asyncio
import contextlib
import gc
import importlib
import logging
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from quotaflow.edges.cli.systemd import Systemd
from quotaflow.edges.cli.watchdog import watching
from quotaflow.edges.cli.words import say
from quotaflow.edges.http.vitals import Stage, Vitals
from quotaflow.errors import ConfigError, QuotaflowError
from quotaflow.flow import Quotaflow
from quotaflow.log import Event, get_logger, printable
from quotaflow.timing import Clock

log = get_logger(room="daemon")

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """The first SIGTERM or SIGINT asks to stop; the second is the system's own and ends the process at once.

    Made inside the task that starts the daemon. Until that task waits here, being asked cancels it.
    """

    def __init__(self, vitals: Vitals, systemd: Systemd) -> None:
        self._vitals = vitals
        self._systemd = systemd
        self.asked = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._starting = asyncio.current_task()
        for number in SIGNALS:
            signal.signal(number, self._arrived)

    def _arrived(self, number: int, _frame: object) -> None:
        """Run by Python, not by the loop: while a task blocks that, the second signal must end the process too."""
        _leave_to_the_system()
        self._loop.call_soon_threadsafe(self.ask, signal.Signals(number).name)

    def ask(self, why: str) -> None:
        """Begin to stop."""
        _leave_to_the_system()
        log.info(Event.DAEMON_STOPPING, signal=why)
        self._vitals.stage = Stage.STOPPING
        self._systemd.tell("STOPPING=1", f"STATUS=stopping ({why}): runs may finish")
        self.asked.set()
        if self._starting is not None:
            self._starting.cancel()

    async def wait(self, seconds: float | None = None) -> None:
        """Return when asked, or after so many seconds; None waits for as long as it takes."""
        self._starting = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.asked.wait()

    @contextlib.contextmanager
    def cutting_short(self) -> Iterator[None]:
        """Make a start that was cut short by being asked to stop an ordinary end."""
        try:
            yield
        except asyncio.CancelledError:
            if not self.asked.is_set():
                raise


def _leave_to_the_system() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


@contextlib.asynccontextmanager
async def serving(qf: Quotaflow, vitals: Vitals) -> AsyncIterator[str]:
    """Answer HTTP while the block runs; gives the base URL. An admin token that is new is shown, this once.

    :raises ConfigError: the port is taken, or a socket cannot be made.
    """
    from quotaflow.edges.http.auth import admin_token  # noqa: PLC0415  0.4 s that asking a daemon does without
    from quotaflow.edges.http.server import serve  # noqa: PLC0415

    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    _, token = await admin_token(qf.store, qf.settings)
    if token is not None:
        sys.stderr.write(say("admin token, shown only now: {token}", token=token) + "\n")
    async with asyncio.TaskGroup() as group:
        server = group.create_task(serve(qf, qf.settings, started=url.set_result, vitals=vitals))
        try:
            yield await url
        finally:
            server.cancel()


@contextlib.asynccontextmanager
async def working(qf: Quotaflow, vitals: Vitals, clock: Clock) -> AsyncIterator[None]:
    """Tick and run tasks while the block runs, watched. To be used in `serving`: /readyz says that runs finish."""
    with watching(vitals, clock):
        async with qf.working():
            vitals.stage = Stage.WORKING
            try:
                yield
            finally:
                vitals.stage = Stage.STOPPING
                await asyncio.shield(vitals.granted())


def collect_seldom() -> None:
    """Set Python's garbage collector for a process that lives long and makes many short-lived objects at once.

    By default it looks at everything (100 ms, with what the libraries load) whenever a burst has made enough new
    objects: 40,000 decisions a second could not be kept up with, and their P95 at 30,000 was 0.5 to 1 s.
    """
    gc.collect()
    gc.freeze()  # what is there now stays for ever
    gc.set_threshold(50_000, 20, 100)


def import_tasks(modules: Sequence[str]) -> None:
    """Import the modules that declare tasks; those in the current directory are found too.

    :raises ConfigError: one line that names the module and the reason.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    for name in modules:
        try:
            importlib.import_module(name)
        except QuotaflowError:
            raise
        except (Exception, SystemExit) as error:
            logging.getLogger("quotaflow").debug("tasks.modules: %s", name, exc_info=error)
            reason = printable(f"{type(error).__name__}: {error}")
            raise ConfigError(f'tasks.modules: "{name}" cannot be imported: {reason}') from error
