"""A proxy between us and a server on a unix socket that loses replies: it cuts the connection instead of answering."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path


class LossyProxy:
    """Passes everything on, except that a script's reply is lost, with its connection, with a certain chance."""

    def __init__(self, target: Path, here: Path, chance: float, seed: int) -> None:
        self.target = target
        self.here = here
        self.chance = chance
        self._random = random.Random(seed)  # noqa: S311  a seed makes it repeatable
        self.lost = 0
        self.connections: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references

    @property
    def url(self) -> str:
        """What a client takes."""
        return f"unix://{self.here}"

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one more connection."""
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self.connections.add(task)
        task.add_done_callback(self.connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:

        with contextlib.suppress(OSError, asyncio.CancelledError):
            behind_reader, behind_writer = await asyncio.open_unix_connection(str(self.target))
            with contextlib.closing(behind_writer):
                while command := await reader.read(1 << 20):
                    behind_writer.write(command)
                    reply = await behind_reader.read(1 << 20)
                    if b"EVALSHA" in command and self._random.random() < self.chance:
                        self.lost += 1
                        break
                    writer.write(reply)
                    await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def lossy(proxy: LossyProxy) -> AsyncIterator[LossyProxy]:
    """Run a proxy."""
    server = await asyncio.start_unix_server(proxy.accept, str(proxy.here))
    try:
        yield proxy
    finally:
        server.close()
        for connection in list(proxy.connections):
            connection.cancel()
        await asyncio.gather(*proxy.connections, return_exceptions=True)
