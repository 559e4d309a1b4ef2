"""Connections to Redis: one attempt each, bounded in time, and checked to be the server that we think it is."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from quotaflow.errors import Unavailable

# redis-py types every reply as bytes, str or None, whatever the connection decodes; ours decode, and each reply is
# given its type where it is read.
Client = Any
OnRunId = Callable[[str], None]


def connect(
    url: str, *, deadline_s: float, on_run_id: OnRunId | None = None, max_connections: int = 64
) -> Client:
    """Make a client. Nothing is sent twice: redis-py would otherwise retry a charge whose reply was lost.

    `on_run_id` hears the server's run id each time a connection is made, before its first command: a server that
    was restarted, or replaced by its replica, has another one.
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": deadline_s,
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
    return Redis.from_pool(
        BlockingConnectionPool.from_url(url, **options)
    )  # closing the client closes the pool


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


@contextmanager
def reaching() -> Iterator[None]:
    """Give redis-py's errors our name.

    :raises Unavailable: Redis cannot be reached, or refuses.
    """
    try:
        yield
    except RedisError as error:
        raise Unavailable(f"Redis cannot be reached: {error}") from error
