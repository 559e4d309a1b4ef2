"""What type checkers must accept: decorated functions keep their signature and their result. It is never run."""

from collections.abc import Callable, Coroutine
from typing import Any, assert_type

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from tenacity import wait_exponential

from quotaflow import LimitCallTask, LimitTask, Retry, SchedulerTask, SoftTimeLimitExceeded, TaskContext


class OwnSession(AsyncSession):
    """An application's own."""


@SchedulerTask(
    id="report_daily_001",
    name="Daily report",
    cron="0 9 * * *",
    timezone="Asia/Shanghai",
    description="...",
    misfire="coalesce",
    soft_time_limit=50,
    time_limit=60.5,
)
async def daily_report(session: AsyncSession, context: TaskContext) -> None: ...


@SchedulerTask(id="a", name="A", cron="@daily")
def plain_report(session: Session) -> int:
    return 1


@LimitTask(id="b", name="B", quota_name="api", cost=0.5, on_missing="allow", cron=None)
async def fetch(session: OwnSession, *, count: int = 3) -> list[str]:
    return [str(count)]


@LimitTask(
    id="c",
    name="C",
    quota_name="api",
    on_limit="wait(30)",
    rate_limit="10/m",
    retry=Retry(attempts=5, wait=wait_exponential(max=60), on=(ConnectionError, TimeoutError)),
    max_running=1,
    overlap="queue(1)",
    isolation="process",
)
def fetch_nothing() -> None: ...


@LimitCallTask(id="d", name="D", quota_name="api", cost=2, max_wait=5, on_missing="skip")
async def get_quote(symbol: str, *, days: int = 1) -> float:
    return len(symbol) * days


@LimitCallTask(id="e", name="E", quota_name="api")
def get_plain_quote(symbol: str) -> float:
    return len(symbol)


class Client:
    @LimitCallTask(id="f", name="F", quota_name="api")
    async def quote(self, symbol: str) -> float:
        return len(symbol)


async def signatures_and_results_are_kept(
    session: AsyncSession, own: OwnSession, context: TaskContext
) -> None:
    as_report: Callable[[AsyncSession, TaskContext], Coroutine[Any, Any, None]] = daily_report
    await as_report(session, context)
    assert_type(plain_report(session=Session()), int)
    assert_type(await fetch(own, count=1), list[str])
    fetch_nothing()
    assert_type(await get_quote("600519", days=3), float)
    assert_type(get_plain_quote("600519"), float)
    assert_type(await Client().quote("600519"), float)
    assert_type(context.run_id, str)
    assert_type(context.timelimit, tuple[float | None, float | None])
    try:
        await get_quote("x")
    except SoftTimeLimitExceeded as error:
        assert_type(error, SoftTimeLimitExceeded)
