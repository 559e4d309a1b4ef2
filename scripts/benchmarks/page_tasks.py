"""The tasks of `scripts/bench pages`: 200, due once a year."""

from quotaflow import LimitTask


def _declare(number: int) -> None:
    @LimitTask(
        id=f"task_{number:03d}",
        name=f"Task {number}",
        quota_name=f"quota_{number:04d}",
        cron=f"{number % 60} {number % 24} 31 12 *",
    )
    async def nothing() -> None:
        """Do nothing."""


for each in range(200):
    _declare(each)
