"""Python processes of ours, talked to by lines, gone when the test is."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def python(module: str, *args: str) -> AsyncIterator[Process]:
    """Run a module and wait until it says `ready`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *args, stdin=PIPE, stdout=PIPE
    )
    try:
        assert await line(process) == "ready"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(process: Process, deadline_s: float = 60) -> str:
    """Read one line."""
    assert process.stdout is not None
    async with asyncio.timeout(deadline_s):
        return (await process.stdout.readline()).decode().strip()


def tell(process: Process, text: str) -> None:
    """Send one line."""
    assert process.stdin is not None
    process.stdin.write(text.encode() + b"\n")


async def kill(process: Process) -> None:
    """End it as a crash would."""
    process.send_signal(signal.SIGKILL)
    await process.wait()


async def stop(process: Process) -> None:
    """Let it end in order."""
    tell(process, "")
    async with asyncio.timeout(30):
        await process.communicate()
    assert process.returncode == 0
