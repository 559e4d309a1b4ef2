"""What bodies write down themselves, outside quotaflow: one line when they begin, one when they end."""

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NOTES = "CHAOS_NOTES"  # the variable that names the file


class Body(NamedTuple):
    """One execution of a body. Monotonic seconds, which all processes of a machine share; wall clock in seconds."""

    task: str
    run: str
    attempt: int
    scheduled_for: float | None
    pid: int
    word: str  # what it was given
    began: float
    wall: float
    ended: float | None = None  # None: its process died
    how: str = ""


def note(*words: object) -> None:
    """Append a line in one write, which survives our death; locked, as not every kernel appends in one piece."""
    file = os.open(os.environ[NOTES], os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        line = [*words, os.getpid(), f"{time.monotonic():.6f}", f"{time.time():.6f}"]
        os.write(file, (" ".join(map(str, line)) + "\n").encode())
    finally:
        os.close(file)


def read(path: Path) -> list[Body]:
    """Read all bodies, in the order of their beginnings."""
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    ends = {(words[1], words[2], words[4]): words for words in lines if words[0] == "end"}
    return sorted(_bodies(lines, ends), key=lambda body: body.began)


def _bodies(lines: list[list[str]], ends: dict[tuple[str, str, str], list[str]]) -> Iterator[Body]:
    for words in lines:
        if words[0] != "begin":
            continue
        _, task, run, attempt, scheduled_for, word, pid, began, wall = words
        end = ends.get((run, attempt, pid))
        yield Body(
            task,
            run,
            int(attempt),
            None if scheduled_for == "-" else float(scheduled_for),
            int(pid),
            word,
            float(began),
            float(wall),
            float(end[5]) if end else None,
            end[3] if end else "",
        )
