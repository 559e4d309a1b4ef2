"""What the daemon of these tests runs; nothing is due by itself."""

import asyncio

from quotaflow import LimitTask, SchedulerTask

EVIL = "<img src=x onerror=\"document.title='caught'\">"


@SchedulerTask(id="nightly", name="Nightly 每晚", cron="0 3 1 1 *")
async def nightly() -> None:
    """Do nothing."""


@LimitTask(id="errand/1", name=EVIL, quota_name="errands", cron="0 0 1 1 *", timezone="Asia/Shanghai")
async def errand() -> None:
    """Do nothing, and be called what must not become markup."""


@LimitTask(id="broken", name="Fails", quota_name="errands")
async def broken() -> None:
    """Fail with what must not become markup."""
    raise ValueError(EVIL)


@LimitTask(id="long", name="Takes its time", quota_name="errands")
async def long() -> None:
    """Go on until it is stopped."""
    await asyncio.Event().wait()


@LimitTask(id="starved", name="Never enough", quota_name="dry")
async def starved() -> None:
    """Be limited: its quota has nothing."""


@LimitTask(id="newcomer", name="Under newcomers", quota_name="newcomers")
async def newcomer() -> None:
    """Do nothing, under a quota that somebody makes in the browser."""
