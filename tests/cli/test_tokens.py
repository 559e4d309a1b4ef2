"""Access tokens and prepaid quotas by command line; the secret is never an argument."""

import csv
import io
import json
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from quotaflow.edges.cli.export import FileFormat, counting, lines, write
from tests.cli.conftest import Ask, Owner
from tests.cli.test_asking import answered

NEW = ("token", "create", "--ws-id", "ws-1", "--email", "anna@example.com")


def made(at: Ask, *more: str) -> dict[str, Any]:
    """Make a token of 100 units."""
    return answered(at(*NEW, "--type", "count", "--total", "100", "--unlimited", *more, "-o", "json"))


@pytest.fixture
def mine(at: Ask, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Make a token, and put its secret where its owner has it."""
    token = made(at)
    monkeypatch.setenv("QUOTAFLOW_ACCESS_TOKEN", token["secret"])
    return token


def consumed(at: Ask, request_id: str, cost: str = "1") -> dict[str, object]:
    """Consume as a customer."""
    return answered(at("token", "consume", "--cost", cost, "--request-id", request_id, "-o", "json"))


def test_the_secret_is_shown_once_and_clearly(at: Ask) -> None:
    shown = at(*NEW, "--days", "30")
    assert (shown.code, shown.err) == (0, "")
    (secret,) = [line.split()[1] for line in shown.out.splitlines() if line.startswith("secret ")]
    assert len(secret) == 54
    assert "shown only now" in shown.out
    token_id = shown.out.split()[1]
    for command in (("show", token_id), ("list",), ("quota", token_id), ("logs", token_id)):
        assert secret not in at("token", *command).out


def test_a_token_lives_from_create_to_delete(at: Ask, mine: dict[str, Any]) -> None:
    token_id = str(mine["id"])
    assert consumed(at, "r-1", "30")["remaining"] == 70
    assert consumed(at, "r-1", "30")["repeated"] is True
    request = answered(at("token", "request", token_id, "r-1", "-o", "json"))
    assert (request["state"], request["cost"]) == ("charged", 30)
    back = answered(at("token", "refund", token_id, "r-1", "10", "-o", "json"))
    assert (back["amount"], back["remaining_quota"]) == (10, 80)
    for _ in range(2):
        recharged = at("token", "recharge", token_id, "5", "--request-id", "bill", "-o", "json")
        assert answered(recharged)["remaining_quota"] == 85
    reset = at("token", "recharge", token_id, "--operation", "reset", "-o", "json")
    assert answered(reset)["remaining_quota"] == 105
    changed = answered(at("token", "set", token_id, "--per-minute", "5", "--days", "3", "-o", "json"))
    assert changed["rate_limit_per_minute"] == 5
    free = answered(at("token", "set", token_id, "--per-minute", "0", "--unlimited", "-o", "json"))
    assert (free["rate_limit_per_minute"], free["expires_at"]) == (None, None)

    assert answered(at("token", "set", token_id, "--disable", "-o", "json"))["active"] is False
    refused = at("token", "consume")
    assert (refused.code, refused.err) == (
        1,
        "quotaflow: token_disabled: the access token is switched off\n",
    )
    assert answered(at("token", "set", token_id, "--enable", "-o", "json"))["active"] is True
    assert answered(at("token", "expire", token_id, "-o", "json"))["remaining_quota"] == 0
    assert (at("token", "consume").code, at("token", "consume").err.split(": ")[1]) == (1, "token_expired")
    assert at("token", "delete", token_id) == (0, f"deleted: {token_id}\n", "")
    assert at("token", "delete", token_id).code == 2


def test_tokens_are_listed_and_filtered(at: Ask) -> None:
    token_id = made(at, "--burst", "5", "--per-minute", "60")["id"]
    other = made(at)["id"]
    at("token", "set", str(other), "--ws-id", "ws-other", "--disable")

    def listed(*flags: str) -> list[object]:
        items = cast("list[dict[str, object]]", answered(at("token", "list", *flags, "-o", "json"))["items"])
        return [item["id"] for item in items]

    assert {token_id, other} <= set(listed())
    assert listed("--ws-id", "ws-other") == [other]
    assert other not in listed("--active")
    assert other in listed("--inactive")
    at("token", "delete", str(other))
    assert other not in listed()
    assert other in listed("--deleted")
    assert at("token", "list").out.splitlines()[0].split()[:3] == ["id", "token", "workspace"]


@pytest.mark.parametrize(
    ("arguments", "code", "begins"),
    [
        (("token", "show", "nobody"), 2, "not_found: "),
        ((*NEW,), 2, "invalid_input: operation is missing"),
        ((*NEW, "--days", "3", "--unlimited"), 2, "invalid_input: days"),
        ((*NEW, "--unlimited", "--type", "hybrid", "--total", "5"), 2, "invalid_input: a hybrid"),
        (("token", "logs", "tok_" + "0" * 32), 2, "not_found: "),
        (("quota", "create", "x", "--kind", "allowance"), 2, "invalid_input: total is missing"),
        (("quota", "create", "x", "--capacity", "5"), 2, "invalid_input: refill_rate is missing"),
    ],
)
def test_what_the_daemon_refuses_is_one_line(
    at: Ask, arguments: tuple[str, ...], code: int, begins: str
) -> None:
    refused = at(*arguments)
    assert (refused.code, refused.out, len(refused.err.splitlines())) == (code, "", 1)
    assert refused.err.startswith(f"quotaflow: {begins}")


def test_the_secret_may_come_from_standard_input(
    at: Ask, mine: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QUOTAFLOW_ACCESS_TOKEN")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{mine['secret']}\n"))
    assert answered(at("token", "consume", "-o", "json"))["remaining"] == 99
    for wrong in ("", "qf_x", f"{mine['secret'][:-1]}?", "é"):
        monkeypatch.setattr("sys.stdin", io.StringIO(wrong))
        refused = at("token", "consume")
        assert (refused.code, refused.out, len(refused.err.splitlines())) == (2, "", 1)
        assert not wrong or wrong not in refused.err


def test_a_customer_needs_no_admin_token(ask: Ask, mine: dict[str, Any], owner: Owner) -> None:
    assert ask("token", "consume", "--url", owner.url, "-o", "json").code == 0
    stranger = ask("token", "list", "--url", owner.url)
    assert (stranger.code, stranger.err.split(": ")[1]) == (2, "unauthorized")


def test_a_ledger_is_shown_and_exported(at: Ask, mine: dict[str, Any], tmp_path: Path) -> None:
    token_id = str(mine["id"])
    for number in range(3):
        consumed(at, f"r-{number}")
    for _ in range(200):
        items = answered(at("token", "logs", token_id, "-o", "json"))["items"]
        if len(cast("list[object]", items)) == 4:
            break
    table = at("token", "logs", token_id, "--action", "consume", "--limit", "2").out.splitlines()
    assert table[0].split()[:4] == ["at", "(UTC)", "action", "before"]
    assert len(table) == 3

    told = at("token", "export", token_id, "--out", str(tmp_path / "log.csv"))
    assert (told.code, told.out, told.err) == (0, f"4 rows in {tmp_path / 'log.csv'}\n", "")
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["action"] for row in rows] == ["consume"] * 3 + ["init"]
    at("token", "export", token_id, "--format", "jsonl", "--out", str(tmp_path / "log.jsonl"))
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == items
    refused = at("token", "export", "nobody", "--out", str(tmp_path / "none.csv"))
    assert (refused.code, refused.err.split(": ")[1]) == (2, "not_found")
    nowhere = at("token", "export", token_id, "--out", str(tmp_path / "no" / "log.csv"))
    assert (nowhere.code, len(nowhere.err.splitlines())) == (2, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv", "log.jsonl"]


def test_a_prepaid_quota_is_made_recharged_and_exported(at: Ask, tmp_path: Path) -> None:
    schedule = ("--reset-cron", "0 0 1 * *", "--timezone", "Asia/Shanghai")
    create = ("quota", "create", "sms", "--kind", "allowance", "--total", "10", *schedule)
    new = answered(at(*create, "-o", "json"))
    assert (new["kind"], new["remaining"], new["timezone"]) == ("allowance", 10, "Asia/Shanghai")
    assert at("quota", "acquire", "sms", "--cost", "10").code == 0
    refused = at("quota", "acquire", "sms")
    assert (refused.code, refused.err.split(": ")[1]) == (1, "quota_exhausted")
    assert answered(at("quota", "recharge", "sms", "5", "-o", "json"))["remaining"] == 5
    changed = answered(at("quota", "set", "sms", "--total", "20", "--reset-cron", "", "-o", "json"))
    assert (changed["total"], changed["reset_cron"]) == (20, None)
    for _ in range(200):
        if len(at("quota", "logs", "sms").out.splitlines()) == 4:
            break
    out = tmp_path / "sms.csv"
    assert at("quota", "export", "sms", "--out", str(out)).out == f"3 rows in {out}\n"
    assert at("quota", "delete", "sms").code == 0


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_rows_are_counted_as_they_are_even_with_line_ends_in_them(size: int) -> None:
    text = 'a,b\r\n1,"two\nlines\u2028"\r\n2,x\r\n'.encode()
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    assert b"".join(lines(chunks)) == text
    file = io.BytesIO()
    seen: list[int] = []
    assert write(chunks, cast("BinaryIO", file), FileFormat.CSV, seen.append) == 2
    assert (file.getvalue(), seen) == (text, [2])
    assert write([b"{}\n{}", b"\n"], file, FileFormat.JSONL, seen.append) == 2
    assert write([b"a,b\r\n"], file, FileFormat.CSV, seen.append) == 0


def test_a_count_of_rows_is_drawn_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    chunks = [b"{}\n"] * 1200
    for screen, drawn in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr("sys.stderr", screen)
        with counting() as counted:
            assert write(chunks, io.BytesIO(), FileFormat.JSONL, counted) == 1200
        assert ("1,200 rows" in screen.getvalue()) is drawn


def test_on_a_terminal_the_secret_is_asked_for_and_not_shown(
    at: Ask, mine: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QUOTAFLOW_ACCESS_TOKEN")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda *_args, **_more: mine["secret"])
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _text: mine["secret"], raising=False)
    answer = at("token", "consume", "-o", "json")
    assert (answer.code, json.loads(answer.out)["remaining"]) == (0, 99)
    assert mine["secret"] not in answer.out + answer.err


def test_shared_quotas_are_charged_with_a_token(at: Ask, mine: dict[str, Any]) -> None:
    at("quota", "create", "shared_a", "--capacity", "5", "--refill-rate", "0")
    taken = at("token", "consume", "--cost", "2", "--quota", "shared_a", "--quota", "errands", "-o", "json")
    assert answered(taken)["remaining"] == 98
    assert answered(at("quota", "show", "shared_a", "-o", "json"))["remaining"] == 3
    at("quota", "delete", "shared_a")
