"""What `run` and `demo` share: the tasks' modules, and how a daemon process is told to stop."""

import asyncio
import contextlib
import importlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence

from quotaflow.errors import ConfigError, QuotaflowError
from quotaflow.log import printable

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """The first SIGTERM or SIGINT asks to stop; the second is the system's own and ends the process at once.

    Made inside the task that starts the daemon. Until that task waits here, being asked cancels it.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._starting = asyncio.current_task()
        for number in SIGNALS:
            self._loop.add_signal_handler(number, self.ask)

    def ask(self) -> None:
        """Begin to stop."""
        for number in SIGNALS:
            self._loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
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


def import_tasks(modules: Sequence[str]) -> None:
    """Import the modules that declare tasks; those in the current directory are found too.

    :raises ConfigError: one line that names the module and the reason.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in modules:
        try:
            importlib.import_module(name)
        except QuotaflowError:
            raise
        except (Exception, SystemExit) as error:
            logging.getLogger("quotaflow").debug("tasks.modules: %s", name, exc_info=error)
            reason = printable(f"{type(error).__name__}: {error}")
            raise ConfigError(f'tasks.modules: "{name}" cannot be imported: {reason}') from error
