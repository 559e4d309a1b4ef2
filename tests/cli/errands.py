"""What the daemon of these tests runs; nothing is due by itself."""

from quotaflow import LimitTask

EVIL = "\x1b[2J[bold]gone[/bold]\nsecond line"


@LimitTask(id="errand/1", name="[red]An errand[/red]", quota_name="errands", cron="0 0 1 1 *")
async def errand() -> None:
    """Do nothing."""


@LimitTask(id="broken", name="Fails", quota_name="errands")
async def broken() -> None:
    """Fail with what must not reach a terminal as it is."""
    raise ValueError(EVIL)
