"""Ids that sort by the time they were made and never repeat across processes."""

import itertools
import secrets

from quotaflow.timing import Clock


class Ids:
    """Makes ids: 14 hex digits of microseconds, 10 random ones per process, then a counter.

    A reader sees at a glance which ids one process made; SQL indexes grow at their end.
    """

    def __init__(self, clock: Clock, node: str | None = None) -> None:
        self._clock = clock
        self.node = node or secrets.token_hex(5)
        self._counter = itertools.count()

    def next(self) -> str:
        """Return a new id of at least 30 characters, [0-9a-f-]."""
        return f"{self._clock.wall_us():014x}-{self.node}-{next(self._counter):06x}"
