"""The way of scripts to Redis: connections that are taken, used for one call and put back."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from hiredis import pack_command
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from quotaflow.limiter.client import Client
from quotaflow.timing import raise_if_cancelled

MOST_IDLE = 16  # connections kept for the next calls

Connection = Any


class Wire:
    """Connections of one client. Taking one from redis-py's pool would cost more than the call itself."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._idle: list[Connection] = []

    async def take(self) -> Connection:
        """Return a connection, made anew if none is idle. Nothing was sent yet, so it tries until it is cancelled."""
        while not self._idle:
            connection = self._client.connection_pool.make_connection()
            try:
                await connection.connect()
            except (RedisConnectionError, RedisTimeoutError):
                await connection.disconnect(nowait=True)
                raise_if_cancelled()
                await asyncio.sleep(0.02 + random.random() * 0.05)  # noqa: S311  jitter
            except BaseException:  # whoever wanted it has gone
                await connection.disconnect(nowait=True)
                raise
            else:
                return connection
        return self._idle.pop()

    def put(self, connection: Connection) -> None:
        """Give a sound connection back."""
        self._idle.append(connection)

    async def evalsha(
        self, connection: Connection, sha: str, script_keys: Sequence[str], args: Sequence[str]
    ) -> Any:
        """Run a script on a connection and put that back; one that failed or was cut off is closed.

        :raises ResponseError: the server's own refusal.
        """
        # redis-py packs in Python, at half a microsecond a word; its parser library does it in C.
        packed = pack_command(("EVALSHA", sha, str(len(script_keys)), *script_keys, *args))  # type: ignore[arg-type]
        sound = False
        try:
            await connection.send_packed_command(packed, check_health=False)
            reply = await connection.read_response()
            sound = True
        except ResponseError:
            sound = True
            raise
        finally:
            if sound and len(self._idle) < MOST_IDLE:
                self.put(connection)
            else:
                await connection.disconnect(nowait=True)
        return reply

    async def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            await self._idle.pop().disconnect()
