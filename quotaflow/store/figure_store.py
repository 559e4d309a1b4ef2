"""The part of the store about the figures that pages show. `Store` has it all."""

from collections.abc import Sequence
from typing import Any

from quotaflow.store import figures
from quotaflow.store.engine import Database
from quotaflow.store.figures import MinuteFigures, Refusals, Result


class FigureStore:
    """Figures."""

    _database: Database

    async def minutes(self, since_us: int, until_us: int, quota_id: str | None = None) -> list[MinuteFigures]:
        """Return the minutes from the one of `since_us` on in which anything happened, oldest first.

        :param quota_id: only this quota, with its level. Without it, runs that have no quota count too.
        """
        async with self._database.read() as connection:
            return await figures.minutes(connection, since_us, until_us, quota_id)

    async def minutes_of(
        self, quota_ids: Sequence[str], since_us: int, until_us: int
    ) -> dict[str, list[MinuteFigures]]:
        """Do the same for each of these quotas, by one statement."""
        async with self._database.read() as connection:
            return await figures.minutes_of(connection, quota_ids, since_us, until_us)

    async def last_results(self, task_ids: Sequence[str], limit: int = 20) -> dict[str, list[Result]]:
        """Return the newest runs of each of these tasks, newest first; none of a task that is not registered."""
        async with self._database.read() as connection:
            return await figures.last_results(connection, task_ids, limit)

    async def refusals(self, quota_id: str, since_us: int, limit: int = 20) -> Refusals:
        """Return the newest runs that a quota's limit, a person or a late daemon kept from running, and their reasons.

        The counts are of all since then. Refused calls that are no runs are only in the minutes.
        """
        async with self._database.read() as connection:
            return await figures.refusals(connection, quota_id, since_us, limit)

    async def spent(self, subject: str, since_us: int, until_us: int, buckets: int) -> list[int]:
        """Return what a token or a prepaid quota was charged less what came back, in micro-units, oldest first.

        :param buckets: into how many equal parts the time is cut, each of at least a second.
        """
        async with self._database.read() as connection:
            return await figures.spent(connection, subject, since_us, until_us, buckets)

    async def pulse(self) -> tuple[Any, ...]:
        """Return what differs whenever SQL's traces, minutes, ledger, tasks or quotas may have changed."""
        async with self._database.read() as connection:
            return await figures.pulse(connection)
