"""What SQL has and Redis could not take: whoever asked is answered, and it comes into force when Redis is back."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from quotaflow.errors import NotFound, Unavailable
from quotaflow.log import Event, get_logger

log = get_logger(room="pending")


class Pending:
    """The ids of what is to be put into force."""

    def __init__(self) -> None:
        self._ids: set[str] = set()

    @contextmanager
    def unless_done(self, subject: str) -> Iterator[None]:
        """Leave it for `settle` if the block fails.

        What was left before stays left: the block may put a part of it into force only.
        """
        was_left = subject in self._ids
        self._ids.add(subject)
        try:
            yield
        except BaseException:
            self._ids.add(subject)  # another block may have ended well meanwhile
            raise
        if not was_left:
            self._ids.discard(subject)

    @contextmanager
    def later(self, subject: str) -> Iterator[None]:
        """Do the same; while Redis is away the block ends early, and the log says so."""
        try:
            with self.unless_done(subject):
                yield
        except Unavailable as error:
            log.warning(Event.REDIS_AWAY, error=str(error), subject=subject)

    async def settle(self, put: Callable[[str], Awaitable[None]]) -> None:
        """Put what is left into force; what SQL does not have any more is forgotten.

        :raises Unavailable: Redis or SQL is away; the rest is left for the next time.
        """
        for subject in list(self._ids):
            self._ids.discard(subject)
            try:
                with suppress(NotFound):
                    await put(subject)
            except BaseException:
                self._ids.add(subject)
                raise

    def leave(self, *subjects: str) -> None:
        """Leave these for `settle`."""
        self._ids.update(subjects)
