"""The embedded server: started by whoever comes first, joined by the others, owned by nobody but itself.

The server process holds `redis.lock`. So the lock says whether a server lives, whatever became of the process
that started it, and two servers never share one append-only file.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from quotaflow.errors import ConfigError, Unavailable
from quotaflow.redis_server.launch import last_words, launch
from quotaflow.redis_server.locks import FileLock
from quotaflow.redis_server.place import Place

# A server cannot tell that it is ready, one must ask; an empty one takes about 50 ms.
ASK_EVERY_S = 0.01


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A server that answered. `started`: this call started it; otherwise it was running already."""

    place: Place
    socket: Path
    started: bool

    @property
    def url(self) -> str:
        """The address that a Redis client takes."""
        return f"unix://{quote(str(self.socket))}"

    async def shutdown(self, *, deadline_s: float = 10.0) -> None:
        """Stop the server with everything on disk; returns when it is gone, at once when it was gone before.

        Call it inside `server_guard`, after seeing there that no other instance is left.

        :raises Unavailable: it refuses (its disk fails), or still runs after `deadline_s` seconds.
        """
        lock = FileLock(self.place.lock)
        try:
            async with asyncio.timeout(deadline_s):
                # NOSAVE speaks of snapshots; the append-only file is written and synced in any case.
                refusal = await _ask(self.socket, b"SHUTDOWN NOSAVE")
                if refusal:
                    raise Unavailable(f"the embedded server does not stop: {refusal} (see {self.place.log})")
                await lock.wait()
        except TimeoutError:
            raise Unavailable(f"{_name(lock)} did not stop within {deadline_s:g} s") from None
        finally:
            lock.release()


async def open_embedded(
    data_dir: Path, *, port: int | None = None, deadline_s: float = 10.0
) -> EmbeddedServer:
    """Join the server of `data_dir`, or start it when none runs; returns when it answers.

    Nothing that happens to this process stops the server. `port` adds a loopback port if this call starts it.
    Call it and register the instance inside one `server_guard`, or the last one out may stop it in between.

    :raises ConfigError: the server cannot start: no binary, a directory that cannot be used, a damaged
        append-only file (which is for a person to mend).
    :raises Unavailable: no answer within `deadline_s` seconds; a server that still loads goes on loading.
    """
    place = Place.at(data_dir)
    lock = FileLock(place.lock)
    started = False
    answer = ""
    try:
        async with asyncio.timeout(deadline_s):
            while True:
                if lock.try_acquire():
                    _start(place, lock, port, again=started)
                    started = True
                answer = await _ask(place.socket(), b"PING")
                if answer == "+PONG":
                    return EmbeddedServer(place, place.socket(), started)
                await asyncio.sleep(ASK_EVERY_S)
    except TimeoutError:
        said = answer.removeprefix("-") or f"no answer at {place.socket()}"
        raise Unavailable(f"{_name(lock)} is not ready after {deadline_s:g} s: {said}") from None


@contextlib.asynccontextmanager
async def server_guard(data_dir: Path, *, deadline_s: float = 10.0) -> AsyncIterator[None]:
    """Keep starting, joining and stopping apart: between processes, and between tasks of one.

    :raises Unavailable: another has held it for `deadline_s` seconds.
    """
    lock = FileLock(Place.at(data_dir).guard)
    try:
        async with asyncio.timeout(deadline_s):
            await lock.wait()
    except TimeoutError:
        raise Unavailable(
            f"process {lock.holder()} has been opening or closing {data_dir} for over {deadline_s:g} s"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _start(place: Place, lock: FileLock, port: int | None, *, again: bool) -> None:
    """Start the server, once: a lock that is free again means that it died."""
    try:
        if again:
            raise ConfigError(last_words(place))
        launch(place, lock, port=port, environ=os.environ)
    finally:
        lock.release()


async def _ask(socket: Path, command: bytes) -> str:
    """Send one command and return the first line of the answer; empty when nobody listens, or hangs up."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket))
    except OSError:
        return ""
    try:
        writer.write(command + b"\r\n")
        return (await reader.readline()).decode(errors="replace").strip()
    except OSError:
        return ""
    finally:
        writer.close()


def _name(lock: FileLock) -> str:
    return f"the embedded server (process {lock.holder()})"
