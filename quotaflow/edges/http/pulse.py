"""Whether something has happened, for all who listen: they share one look a second."""

import asyncio
import math
from collections.abc import Awaitable, Callable

from quotaflow.errors import Unavailable
from quotaflow.timing import Clock

LOOK_S = 1.0  # between looks, which are four statements of SQL; nobody looks while nobody listens


class Pulse:
    """The last look and what it found. Whoever asks first in a second looks, the others get what it found."""

    def __init__(self, look: Callable[[], Awaitable[object]], clock: Clock) -> None:
        self._look = look
        self._clock = clock
        self._lock = asyncio.Lock()
        self._found: object = None
        self._until_s = -math.inf

    async def feel(self) -> object:
        """Return something that differs when something has happened since, or when a server went away or came back."""
        async with self._lock:
            if self._clock.mono_s() >= self._until_s:
                self._found = await self._looked()
                self._until_s = self._clock.mono_s() + LOOK_S
            return self._found

    async def _looked(self) -> object:
        try:
            return await self._look()
        except Unavailable as error:  # the pages say what is away
            return str(error)
