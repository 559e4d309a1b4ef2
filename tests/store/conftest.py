"""Every store test runs on both databases, each time on an empty one."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from quotaflow.store import Store
from quotaflow.timing import ManualClock
from tests.servers import PostgresProcess


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Give the URL of an empty database."""
    async with AsyncExitStack() as stack:
        if request.param == "sqlite":
            yield sqlite_url(tmp_path)
        else:
            server: PostgresProcess = request.getfixturevalue("postgres_server")
            yield await stack.enter_async_context(server.database())


@pytest.fixture
def clock() -> ManualClock:
    """Give the clock of `store`."""
    return ManualClock()


@pytest.fixture
async def store(url: str, clock: ManualClock) -> AsyncIterator[Store]:
    """Give an open store; calls have 5 seconds."""
    opened = await Store.open(url, deadline_s=5, clock=clock)
    yield opened
    await opened.close()


def sqlite_url(directory: Path) -> str:
    """Name a file in the directory."""
    return f"sqlite+aiosqlite:///{directory}/store.db"
