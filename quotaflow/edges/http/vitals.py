"""What a process knows of itself: whether it works yet, or still, and whether its event loop keeps up."""

import asyncio
import contextlib
from collections.abc import Iterator
from enum import StrEnum

from quotaflow.control.stats import Readiness, Statistics
from quotaflow.errors import NotOpen
from quotaflow.timing import Clock

# Nobody is answered while the loop is blocked, so a block is told afterwards, to whoever asks at least every 10 s (as
# Kubernetes does by default): one block costs one probe, a loop that keeps blocking gets no more work.
TELL_BLOCK_S = 10.0


class Stage(StrEnum):
    """Where in its life a process is."""

    STARTING = "starting"
    WORKING = "working"
    STOPPING = "stopping"


class Vitals:
    """One process: its stage, the blocks of its loop, and the triggers that its HTTP is granting."""

    def __init__(self, clock: Clock, stage: Stage = Stage.STARTING) -> None:
        self.stage = stage
        self.blocks = 0
        self.longest_s = 0.0
        self._clock = clock
        self._block: tuple[float, float] | None = None  # when the last one ended, and how long it was
        self._granting = 0
        self._granted = asyncio.Event()

    def blocked(self, seconds: float) -> None:
        """Count a block of the event loop that has just ended."""
        self.blocks += 1
        self.longest_s = max(self.longest_s, seconds)
        self._block = self._clock.mono_s(), seconds

    def figures(self) -> dict[str, float]:
        """Return how the loop kept up."""
        return {"blocks": self.blocks, "longest_s": round(self.longest_s, 3)}

    async def readiness(self, statistics: Statistics) -> Readiness:
        """Say whether to send work here: the answer of /readyz."""
        ready = await statistics.readiness()
        ready.problems[:0] = self._problems()
        return ready

    def _problems(self) -> Iterator[str]:
        if self.stage is not Stage.WORKING:
            yield f"the process is {self.stage}"
        if self._block is not None and self._clock.mono_s() < self._block[0] + TELL_BLOCK_S:
            yield f"the event loop was blocked for {self._block[1]:.1f} s: see loop.blocked in the log"

    @contextlib.contextmanager
    def granting(self) -> Iterator[None]:
        """Trigger a task in the block; `granted` waits for it, or the run could come when the workers have gone.

        :raises NotOpen: the process is stopping.
        """
        if self.stage is Stage.STOPPING:
            raise NotOpen("this process is stopping; ask another daemon")
        self._granting += 1
        try:
            yield
        finally:
            self._granting -= 1
            self._granted.set()

    async def granted(self) -> None:
        """Return when no trigger is under way; Redis' deadline bounds it."""
        while self._granting:
            self._granted.clear()
            await self._granted.wait()
