"""One house for each module: opening one takes longer than most tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.http.house import House, held, opened
from tests.servers import ValkeyProcess


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(
    valkey_server: ValkeyProcess, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    """Give an open house. Tests share it: each uses ids of its own."""
    valkey_server.start()
    valkey_server.clear()
    async with held(lambda: opened(valkey_server, tmp_path_factory.mktemp("house"))) as house:
        yield house


@pytest_asyncio.fixture(loop_scope="module")
async def fresh(tmp_path: Path) -> AsyncIterator[House]:
    """Give a house of the test's own, in which nothing has happened yet."""
    with ValkeyProcess() as valkey:
        async with opened(valkey, tmp_path / "fresh") as house:
            yield house
