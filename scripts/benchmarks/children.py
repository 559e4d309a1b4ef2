"""Both ends of a measured process. The parent asks on stdin, the child answers on stdout, one JSON line each."""

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

Answer = dict[str, Any]

START_S = 60.0  # opening a daemon with 10,000 tasks on a busy machine takes several seconds
ANSWER_S = 30.0


class Child:
    """The parent's end."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self._name = name
        self.greeting: Answer = {}

    async def ask(self, word: str, deadline_s: float = ANSWER_S) -> Answer:
        """Send a word and return the answer.

        :raises RuntimeError: the child has ended, or does not answer.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(word.encode() + b"\n")
        return await self.hear(deadline_s)

    async def hear(self, deadline_s: float) -> Answer:
        """Return the next line."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(deadline_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise RuntimeError(f"{self._name} did not answer within {deadline_s:g} s") from None
        if not line:
            raise RuntimeError(f"{self._name} ended with code {await self._process.wait()}; see above")
        found: Answer = json.loads(line)
        return found

    async def end(self) -> None:
        """Let it end; kill it when it does not."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def child(module: str, **params: object) -> AsyncIterator[Child]:
    """Run `benchmarks.<module>` until the block ends; enter when it is ready."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"benchmarks.{module}", json.dumps(params)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    started = Child(process, module)
    try:
        started.greeting = await started.hear(START_S)
        yield started
    finally:
        await started.end()


def params() -> Answer:
    """Return what the parent wants of this child."""
    given: Answer = json.loads(sys.argv[1])
    return given


def say(**answer: object) -> None:
    """Answer the parent."""
    print(json.dumps(answer), flush=True)


async def listen(figures: Callable[[], Answer]) -> None:
    """Say that we are ready; answer every line with figures and the CPU time so far; return when stdin ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    say(ready=True)
    while await reader.readline():
        say(cpu_s=time.process_time(), rss_kb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, **figures())


def save(rows: Any, path: str) -> None:
    """Leave an array for the parent."""
    Path(path).write_bytes(rows.tobytes())
