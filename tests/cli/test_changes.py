"""What people changed by command line, and undoing it."""

import json
from typing import Any

from tests.cli.conftest import Ask
from tests.cli.test_asking import answered


def newest(at: Ask, *flags: str) -> dict[str, Any]:
    items: Any = answered(at("changes", "list", *flags, "-o", "json"))["items"]
    return dict(items[0])


def test_a_change_is_listed_and_undone(at: Ask) -> None:
    assert at("quota", "create", "changing", "--capacity", "5", "--refill-rate", "0").code == 0
    assert at("quota", "set", "changing", "--capacity", "7").code == 0
    entry = newest(at, "--kind", "quota", "--subject", "changing")
    said = (entry["actor"], entry["act"], entry["before"], entry["after"])
    assert said == ("admin", "change", {"capacity": 5.0}, {"capacity": 7.0})
    listed = at("changes", "list", "--subject", "changing")
    assert (listed.code, "capacity 5" in listed.out, "capacity 7" in listed.out) == (0, True, True)
    undone = answered(at("changes", "undo", str(entry["id"]), "-o", "json"))
    assert (undone["undoes"], undone["after"]) == (entry["id"], {"capacity": 5.0})
    assert answered(at("quota", "show", "changing", "-o", "json"))["capacity"] == 5
    assert newest(at, "--subject", "changing") == undone
    assert at("quota", "delete", "changing").code == 0  # others count what this daemon has


def test_what_cannot_be_undone_is_one_line(at: Ask) -> None:
    assert at("quota", "create", "refilled", "--capacity", "5", "--refill-rate", "0").code == 0
    entry = newest(at, "--subject", "refilled")
    assert at("changes", "undo", str(entry["id"])).code == 0
    again = at("changes", "undo", str(entry["id"]))
    assert (again.code, again.out, len(again.err.splitlines())) == (2, "", 1)
    assert again.err.startswith("quotaflow: conflict: this has been undone already, by ")
    assert at("changes", "undo", "nothing").code == 2


def test_only_the_kind_that_was_asked_for_is_listed(at: Ask) -> None:
    assert at("task", "pause", "errand/1").code == 0
    assert at("task", "resume", "errand/1").code == 0
    items = json.loads(at("changes", "list", "--kind", "task", "--limit", "2", "-o", "json").out)["items"]
    assert [(item["kind"], item["after"]) for item in items] == [
        ("task", {"paused": False}),
        ("task", {"paused": True}),
    ]


def test_the_columns_are_there_in_chinese(at: Ask) -> None:
    assert at("task", "pause", "errand/1").code == 0
    assert at("task", "resume", "errand/1").code == 0
    assert "操作者" in at("--lang", "zh", "changes", "list").out
