"""The way of scripts to Redis: one connection, on which calls are sent as they come and answered in their order.

redis-py makes the connection (address, TLS, password, the first words); after that its own parser library, hiredis,
reads the replies where they arrive. redis-py's way of reading, through a stream and a task that waits on it, took 50 us
more for each call, a third of what a caller who is alone waits.
"""

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from hiredis import Reader, ReplyError, pack_command
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from quotaflow.errors import Unavailable
from quotaflow.limiter.client import Client
from quotaflow.timing import raise_if_cancelled

_MORE = object()  # what the reader returns when a reply is not whole yet


class Lost(Exception):
    """The connection died; nobody knows whether what was sent on it was done."""


class Link(asyncio.Protocol):
    """One connection. Who stops waiting for an answer leaves it to be thrown away when it comes."""

    def __init__(self, connection: Any, patience_s: float, on_end: "Callable[[Link], None]") -> None:
        """Take over what redis-py has connected; it has no public name for its transport.

        :param patience_s: how long an answer may take; then, at the next deadline of a caller, it is given up.
        :param on_end: is called as soon as nothing can be sent on it any more.
        """
        self._patience_s = patience_s
        self._on_end = on_end
        self._connection = connection
        self._transport: asyncio.Transport = connection._writer.transport  # noqa: SLF001
        self._transport.set_protocol(self)
        # Written at once: uvloop would wait for the end of the turn, while Redis could have begun.
        self._transport.set_write_buffer_limits(high=0)
        self._replies = Reader(encoding="utf-8", notEnoughData=_MORE)
        self._asked: deque[tuple[asyncio.Future[Any], float, float]] = deque()  # when, and until when
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None  # one for all calls
        self._timer_s = math.inf  # when it goes off

    def evalsha(
        self, sha: str, script_keys: Sequence[str], args: Sequence[str], now_s: float, until_s: float
    ) -> "asyncio.Future[Any]":
        """Send a call, whose answer is wanted until a moment of the loop's clock.

        The future ends with its reply, ReplyError when the server refuses, TimeoutError, or Lost.
        """
        self._transport.write(pack_command(("EVALSHA", sha, str(len(script_keys)), *script_keys, *args)))  # type: ignore[arg-type]
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._asked.append((answer, now_s, until_s))
        if until_s < self._timer_s:
            self._watch(until_s)
        return answer

    def data_received(self, data: bytes) -> None:
        """Hand each whole reply to whoever asked for it."""
        self._replies.feed(data)
        while (reply := self._replies.gets()) is not _MORE:
            answer, _, _ = self._asked.popleft()
            if answer.done():
                continue
            if isinstance(reply, ReplyError):
                answer.set_exception(reply)
            else:
                answer.set_result(reply)

    def _watch(self, until_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_s = self._loop.call_at(until_s, self._expire), until_s

    def _expire(self) -> None:
        """Tell those whose time is up. When the first of all has waited for too long the connection is given up."""
        self._timer, self._timer_s = None, math.inf
        now_s = self._loop.time()
        if self._asked and now_s - self._asked[0][1] >= self._patience_s:
            self.abort()
        waiting = [(answer, until_s) for answer, _, until_s in self._asked if not answer.done()]
        for answer, until_s in waiting:
            if until_s <= now_s:
                answer.set_exception(TimeoutError())
        later = [until_s for _, until_s in waiting if until_s > now_s]
        if later:
            self._watch(min(later))

    def connection_lost(self, error: Exception | None) -> None:
        """Tell everybody who waits."""
        self._on_end(self)
        self._connection._close()  # noqa: SLF001  it would warn of a connection left open
        if self._timer is not None:
            self._timer.cancel()
        for answer, _, _ in self._asked:
            if not answer.done():
                answer.set_exception(Lost(str(error or "closed")))
        self._asked.clear()

    def abort(self) -> None:
        """Close it at once."""
        self._on_end(self)
        self._transport.abort()


class Wire:
    """The connection of one client, made when it is needed and made anew when it died."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._connecting = asyncio.Lock()
        self.link: Link | None = None

    async def connect(self) -> Link:
        """Return the connection. One is made if there is none; nothing was sent yet, so it tries until cancelled.

        :raises Unavailable: the server is there and refuses.
        """
        async with self._connecting:
            while self.link is None:
                connection = self._client.connection_pool.make_connection()
                try:
                    await connection.connect()
                except (RedisConnectionError, RedisTimeoutError):
                    await connection.disconnect(nowait=True)
                    raise_if_cancelled()
                    await asyncio.sleep(0.02 + random.random() * 0.05)  # noqa: S311  jitter
                except ResponseError as error:  # to its first words: it is busy, or forbids them
                    await connection.disconnect(nowait=True)
                    raise Unavailable(f"Redis refuses a connection: {error}") from error
                except BaseException:  # whoever wanted it has gone
                    await connection.disconnect(nowait=True)
                    raise
                else:
                    self.link = Link(connection, self._client.deadline_s, self._forget)
            return self.link

    def _forget(self, link: Link) -> None:
        if self.link is link:
            self.link = None

    def close(self) -> None:
        """Close it; who still waits for an answer hears Lost."""
        if self.link is not None:
            self.link.abort()
