"""Connections to Redis: one attempt each, bounded in time, and checked to be the server that we think it is."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from quotaflow.errors import Unavailable
from quotaflow.timing import raise_if_cancelled

# redis-py types every reply as bytes, str or None, whatever the connection decodes; ours decode, and each reply is
# given its type where it is read.
Client = Any
OnRunId = Callable[[str], None]


def connect(
    url: str, *, deadline_s: float, on_run_id: OnRunId | None = None, max_connections: int = 64
) -> Client:
    """Make a client. Nothing is sent twice: redis-py would otherwise retry a charge whose reply was lost.

    Whoever uses it keeps the deadline, by `reaching` or on its own: with a socket timeout redis-py sends inside
    asyncio.wait_for, which on Python 3.11 can swallow a cancellation (cpython 86296), and costs a task for each send.

    `on_run_id` hears the server's run id each time a connection is made, before its first command: a server that
    was restarted, or replaced by its replica, has another one.
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": None,
        "socket_connect_timeout": deadline_s,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "max_connections": max_connections,
        "timeout": deadline_s,  # for a free connection
        "health_check_interval": 0,
        "protocol": 2,
    }
    if on_run_id is not None:
        options["redis_connect_func"] = _checker(on_run_id)
    client: Client = Redis.from_pool(
        BlockingConnectionPool.from_url(url, **options)
    )  # closing one closes both
    client.deadline_s = deadline_s
    return client


def _checker(on_run_id: OnRunId) -> Callable[[AbstractConnection], Awaitable[None]]:
    async def greet(connection: AbstractConnection) -> None:
        await connection.on_connect()
        await connection.send_command("INFO", "server")
        on_run_id(run_id_of(str(await connection.read_response())))

    return greet


def run_id_of(info: str) -> str:
    """Read `run_id` out of an INFO answer."""
    for line in info.splitlines():
        if line.startswith("run_id:"):
            return line.removeprefix("run_id:").strip()
    return ""


@asynccontextmanager
async def reaching(client: Client) -> AsyncIterator[Client]:
    """Use a client within its deadline, and give redis-py's errors our name.

    :raises Unavailable: Redis cannot be reached, does not answer in time, or refuses.
    """
    try:
        async with asyncio.timeout(client.deadline_s):
            yield client
    except TimeoutError:
        raise Unavailable(f"Redis did not answer within {client.deadline_s:g} s") from None
    except RedisError as error:
        raise_if_cancelled()
        raise Unavailable(f"Redis cannot be reached: {error}") from error
