"""`quotaflow demo` as a process: it works, it counts, and it goes on where a killed one left off."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.support import Background, quotaflow
from tests.servers import ServerDirectory


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a directory; the servers in it end with the test."""
    directory = ServerDirectory("demo")
    yield directory.path
    directory.end()


def counts(out: str, task: str) -> list[int]:
    """Return the numbers of a task's line in the summary: due, ok, failed, limited, skipped, missed, other."""
    line = next(line for line in out.splitlines() if re.match(rf"{task} +\d", line))
    assert line.endswith("✓")
    return [int(number) for number in line.split()[1:-1]]


def test_the_demo_shows_what_happens_and_counts_it(place: Path) -> None:
    ended = quotaflow("demo", "--for", "3", cwd=place)
    assert (ended.returncode, ended.stderr) == (0, "")
    first, *rest = ended.stdout.splitlines()
    assert re.match(r"http://127\.0\.0\.1:\d+ is quotaflow at work; Ctrl-C stops it", first)
    assert any(re.match(r"\d\d:\d\d:\d\d  collect_payments +(ok|failed) ", line) for line in rest)
    due, ok, failed, *others = counts(ended.stdout, "collect_payments")
    assert due == ok + failed >= 2
    assert others == [0, 0, 0, 0]
    assert counts(ended.stdout, "fetch_weather")[0] >= 3
    assert ended.stdout.splitlines()[-1] == "✓ every tick has its trace, and all counts agree"
    assert (place / "quotaflow-data").stat().st_mode & 0o077 == 0
    assert (place / "quotaflow-data" / "upstream-secret-key").stat().st_mode & 0o077 == 0


def test_a_killed_demo_is_taken_up_where_it_was(place: Path) -> None:
    with Background("demo", "--port", "0", cwd=place) as demo:
        demo.wait_for("collect_payments")
        assert demo.stop(signal.SIGKILL) == -signal.SIGKILL
    with Background("demo", "--port", "0", cwd=place, LANG="zh_CN.UTF-8") as again:
        again.wait_for("collect_payments")
        assert again.stop(signal.SIGINT) == 0, again.out
        assert (again.err, again.out.splitlines()[-1]) == ("", "✓ 每次触发都有记录，所有计数一致")
        assert counts(again.out, "measure_disk")[0] >= 1
