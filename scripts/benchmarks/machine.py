"""What the figures were measured on, and with."""

import os
import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from quotaflow.redis_server.launch import binary_path

PACKAGES = (
    "redis",
    "hiredis",
    "uvloop",
    "SQLAlchemy",
    "asyncpg",
    "aiosqlite",
    "httpx",
    "cryptography",
    "apscheduler",
    "arq",
    "limits",
    "throttled-py",
    "fastapi-limiter",
)


def describe() -> dict[str, object]:
    """Return what a reader needs to judge a figure."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.platform(),
        "valkey": subprocess.run(
            [binary_path(), "--version"], capture_output=True, text=True, check=True
        ).stdout.strip(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def _cpu() -> str:
    """Name the processor; /proc is Linux, elsewhere the platform knows something."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def pin(pid: int, core: int) -> None:
    """Keep a process on one core, where the system can; 0 is this one."""
    set_affinity: Callable[[int, set[int]], None] | None = getattr(
        os, "sched_setaffinity", None
    )  # Linux only
    if set_affinity is not None and (os.cpu_count() or 1) > 1:
        set_affinity(pid, {core})
