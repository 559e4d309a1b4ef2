"""mypy sees through the decorators: what is right passes, and what is wrong is found, line by line."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ACCEPTED = Path(__file__).with_name("accepted.py")

# Every statement here is a mistake that must be found.
REFUSED = """\
SchedulerTask(id="a", cron="@daily")
SchedulerTask(id="a", name="A", cron=5)
SchedulerTask(id="a", name="A", retry=3)
SchedulerTask(id="a", name="A", overlap="wait")
LimitTask(id="a", name="A", quota_name="api", rate_limit=["10/s"])
SchedulerTask(id="a", name="A", cron="@daily", timelimit=5)
SchedulerTask(id="a", name="A", cron="@daily", soft_time_limit="5")
SchedulerTask("a", "A", "@daily")
LimitTask(id="a", name="A")
LimitTask(id="a", name="A", quota_name="api", cost="1")
LimitTask(id="a", name="A", quota_name="api", on_missing="alow")
LimitCallTask(id="a", name="A", quota_name="api", max_wait=None)
LimitCallTask(id="a", name="A", quota_name="api", cron="@daily")
SchedulerTask(id="a", name="A", cron="@daily")(5)
daily_report()
plain_report(5)
fetch_nothing(1)
get_quote(600519)
get_quote("600519", 3)
get_quote("600519", day=3)
text: str = get_plain_quote("600519")
get_quote("600519") + 1
Client().quote(600519)
"""


def lines_with_errors(path: Path) -> set[int]:
    """Ask mypy; what it knows of other files it keeps beside them, as it does whenever it is asked."""
    command = [sys.executable, "-m", "mypy", "--strict", "--output", "json", str(path)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not said.stderr, said.stderr
    found = [json.loads(line) for line in said.stdout.splitlines()]
    assert {Path(error["file"]).name for error in found} <= {path.name}
    return {error["line"] for error in found if error["severity"] == "error"}


def test_what_is_right_is_accepted_and_every_mistake_is_found(tmp_path: Path) -> None:
    """One file with both: the accepted sample, then the mistakes, one a line."""
    sample = tmp_path / "sample.py"
    right = ACCEPTED.read_text(encoding="utf-8") + "\n\n"
    sample.write_text(right + REFUSED, encoding="utf-8")
    first = len(right.splitlines()) + 1
    mistakes = set(range(first, first + len(REFUSED.splitlines())))
    assert lines_with_errors(sample) == mistakes
