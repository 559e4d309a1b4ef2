"""What limiter tests stand on."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from quotaflow.limiter.client import connect
from tests.servers import ValkeyProcess


@pytest.fixture
async def valkey_client(valkey: ValkeyProcess) -> AsyncIterator["Redis[Any]"]:
    """Give a connection to an empty real server."""
    client = connect(valkey.url, deadline_s=5)
    yield client
    await client.aclose()
