"""Plain functions that run in processes of their own."""

import os
import time
from pathlib import Path

from quotaflow import SchedulerTask, SoftTimeLimitExceeded


def checkpoints(path: str) -> None:
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        Path(path).write_text("saved")
        raise


def stubborn(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    while True:
        try:
            time.sleep(60)
        except BaseException:  # noqa: BLE001, S112  that is how stubborn it is
            continue


def declare() -> None:
    """Register them again: a test empties the registry."""
    SchedulerTask(id="checkpoints", name="C", isolation="process", soft_time_limit=1)(checkpoints)
    SchedulerTask(id="stubborn", name="S", isolation="process", soft_time_limit=1, time_limit=6)(stubborn)


declare()
