"""Every store test runs on both databases, each time on an empty one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from quotaflow.store import Store
from quotaflow.store.tables import metadata
from quotaflow.timing import ManualClock
from tests.servers import PATIENCE_S, PostgresProcess
from tests.stores import empty_tables, make_tables, sqlite_url

DATABASES = ["sqlite", "postgresql"]


@pytest.fixture(params=DATABASES)
async def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Give the URL of a database without tables."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path)
        return
    server: PostgresProcess = request.getfixturevalue("postgres_server")
    async with server.database() as url:
        yield url


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of a database with empty tables; they are made once, it takes longer than a test."""
    if request.param == "sqlite":
        (tmp_path / "store.db").write_bytes(empty_tables())
        return sqlite_url(tmp_path)
    clean_postgres: Callable[[], str] = request.getfixturevalue("clean_postgres")
    return clean_postgres()


@pytest.fixture(scope="session")
def clean_postgres(postgres_server: PostgresProcess) -> Iterator[Callable[[], str]]:
    """Make the database that tests share, one after the other, and give the function that empties it."""
    database = postgres_server.database()
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        url = runner.run(database.__aenter__())
        runner.run(make_tables(url))
        yield lambda: runner.run(_emptied(url))
        runner.run(database.__aexit__(None, None, None))


async def _emptied(url: str) -> str:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""), timeout=10)
    await connection.execute("".join(f"DELETE FROM {table};" for table in metadata.tables))
    await connection.close()
    return url


@pytest.fixture
def clock() -> ManualClock:
    """Give the clock of `store`."""
    return ManualClock()


@pytest.fixture
async def store(url: str, clock: ManualClock) -> AsyncIterator[Store]:
    """Give an open store. PostgreSQL ends a transaction whose client is silent for two fifths of the deadline."""
    opened = await Store.open(url, deadline_s=3 * PATIENCE_S, clock=clock)
    yield opened
    await opened.close()
