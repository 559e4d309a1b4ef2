"""Commands that ask a running daemon: over its socket, without a token."""

import contextlib
import json
import socket
import threading

import pytest

from quotaflow.edges.cli.client import Daemon, route
from tests.cli.conftest import TOKEN, Answer, Ask, Owner
from tests.cli.errands import EVIL


def answered(answer: Answer) -> dict[str, object]:
    """Return the JSON of a command that went well."""
    assert (answer.code, answer.err) == (0, "")
    found: dict[str, object] = json.loads(answer.out)
    return found


def test_how_many_may_be_under_way_is_set_and_removed(at: Ask) -> None:
    create = ("quota", "create", "few", "--capacity", "3", "--refill-rate", "0", "--max-concurrent", "4")
    made = answered(at(*create, "-o", "json"))
    assert (made["max_concurrent"], made["running"]) == (4, 0)
    change = ("quota", "set", "few", "-o", "json", "--max-concurrent")
    assert answered(at(*change, "5"))["max_concurrent"] == 5
    assert answered(at(*change, "0"))["max_concurrent"] is None
    assert at(*change, "-1").code == 2
    assert at("quota", "delete", "few").code == 0


def test_a_quota_lives_from_create_to_delete(at: Ask) -> None:
    made = answered(at("quota", "create", "mail", "--capacity", "3", "--refill-rate", "0", "-o", "json"))
    assert (made["id"], made["name"], made["remaining"]) == ("mail", "mail", 3)
    assert answered(at("quota", "acquire", "mail", "--cost", "3", "-o", "json"))["allowed"] is True

    refused = at("quota", "acquire", "mail")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == 'quotaflow: quota_exceeded: quota "mail" has too few units now\n'

    assert answered(at("quota", "refill", "mail", "-o", "json"))["remaining"] == 3
    assert answered(at("quota", "set", "mail", "--capacity", "2.5", "-o", "json"))["remaining"] == 2.5
    assert answered(at("quota", "set", "mail", "--disable", "-o", "json"))["enabled"] is False
    disabled = at("quota", "acquire", "mail")
    assert (disabled.code, disabled.err.split(": ")[1]) == (1, "quota_disabled")

    assert answered(at("quota", "set", "mail", "--enable", "-o", "json"))["enabled"] is True
    own = answered(
        at("quota", "override", "mail", "vip", "--capacity", "9", "--refill-rate", "0", "-o", "json")
    )
    assert own["capacity"] == 9
    assert (
        answered(at("quota", "acquire", "mail", "--key", "vip", "--cost", "9", "-o", "json"))["remaining"]
        == 0
    )
    assert at("quota", "overrides", "mail").out.split() == ["key", "capacity", "refill/s", "vip", "9", "0"]
    assert at("quota", "reset", "mail", "vip") == (0, "as the quota again: vip\n", "")

    assert at("quota", "delete", "mail") == (0, "deleted: mail\n", "")
    assert at("quota", "show", "mail").code == 2


def test_a_list_is_a_table_for_people_and_bare_json_for_programs(at: Ask) -> None:
    table = at("quota", "list")
    assert table.out.splitlines()[0].split() == [
        *("id", "name", "remaining", "capacity", "refill/s", "enabled", "allowed", "limited")
    ]
    items = answered(at("quota", "list", "-o", "json"))["items"]
    assert isinstance(items, list)
    assert [item["id"] for item in items] == ["errands"]
    assert all(
        line.split()[0] == item["id"] for line, item in zip(table.out.splitlines()[1:], items, strict=True)
    )


@pytest.mark.parametrize(
    ("arguments", "code", "begins"),
    [
        (("quota", "show", "nobody"), 2, "quotaflow: not_found: "),
        (("quota", "create", "errands", "--capacity", "1", "--refill-rate", "1"), 2, "quotaflow: conflict: "),
        (("quota", "create", "x", "--capacity", "0", "--refill-rate", "1"), 2, "quotaflow: invalid_input: "),
        (("quota", "acquire", "errands", "--cost", "5000"), 2, "quotaflow: impossible: "),
        (("quota", "acquire", "errands", "--cost", "nan"), 2, "quotaflow: "),
        (("task", "cron", "errand/1", "61 * * * *"), 2, "quotaflow: invalid_cron: "),
        (("task", "trigger", "nobody"), 2, "quotaflow: not_found: "),
        (("trace", "list", "--status", "fine"), 2, "quotaflow: invalid_input: "),
        (("trace", "show", "nobody"), 2, "quotaflow: not_found: "),
    ],
)
def test_what_the_daemon_refuses_is_one_line_and_an_exit_code(
    at: Ask, arguments: tuple[str, ...], code: int, begins: str
) -> None:
    refused = at(*arguments)
    assert (refused.code, refused.out) == (code, "")
    assert refused.err.startswith(begins)
    assert len(refused.err.splitlines()) == 1


def test_a_task_is_paused_resumed_rescheduled_and_run_now(at: Ask) -> None:
    assert answered(at("task", "pause", "errand/1", "-o", "json"))["paused"] is True
    assert answered(at("task", "resume", "errand/1", "-o", "json"))["paused"] is False
    assert answered(at("task", "cron", "errand/1", "@yearly", "-o", "json"))["cron_override"] == "@yearly"
    assert answered(at("task", "cron", "errand/1", "-o", "json"))["cron_override"] is None
    run_id = str(answered(at("task", "trigger", "errand/1", "-o", "json"))["run_id"])
    assert ended(at, run_id)["status"] == "ok"
    assert "[red]An errand[/red]" in at("task", "list").out
    assert "[red]An errand[/red]" in at("task", "show", "errand/1").out


def ended(at: Ask, run_id: str) -> dict[str, object]:
    """Return the trace of a run, once it has ended; a trace reaches SQL within a second."""
    for _ in range(200):
        found = at("trace", "show", run_id, "-o", "json")
        if found.code == 0 and json.loads(found.out)["finished_at"]:
            return answered(found)
    raise TimeoutError(run_id)


def test_nothing_in_a_trace_reaches_the_terminal_as_it_is(at: Ask) -> None:
    run_id = str(answered(at("task", "trigger", "broken", "-o", "json"))["run_id"])
    assert ended(at, run_id)["error"] == EVIL
    shown = at("trace", "list", "--task", "broken", "--limit", "1")
    assert r"\x1b[2J[bold]gone[/bold]\nsecond line" in shown.out
    assert len(shown.out.splitlines()) == 2
    counted = at("trace", "summary").out.splitlines()
    assert next(line for line in counted if line.startswith("broken")).split()[3] != "0"


def test_tail_shows_each_run_once_when_it_has_ended(
    at: Ask, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon(owner.home / "data")
    run_ids: list[str] = []
    looks_after_its_end: list[bool] = []

    def nap(_seconds: float) -> None:
        if not run_ids:
            run_ids.append(daemon.ask("POST", route("tasks", "errand/1", "trigger"))["run_id"])
        newest = daemon.ask("GET", "/api/traces")["items"][:1]
        if [(run["run_id"], bool(run["finished_at"])) for run in newest] == [(run_ids[0], True)]:
            looks_after_its_end.append(True)
        if len(looks_after_its_end) > 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("quotaflow.edges.cli.trace.time.sleep", nap)
    with contextlib.closing(daemon):
        shown = at("trace", "tail")
    assert (shown.code, shown.err) == (0, "")
    assert [line.split()[:2] for line in shown.out.splitlines()] == [[run_ids[0], "errand/1"]]


def test_stats_show_what_the_daemon_knows(at: Ask) -> None:
    figures = answered(at("stats", "-o", "json"))
    assert {"log_queue_len", "sync_queue_len", "instances", "quotas"} <= figures.keys()
    assert "log_queue_len" in at("stats").out


def test_without_a_daemon_it_is_one_line_and_exit_code_3(ask: Ask) -> None:
    alone = ask("quota", "list", "--data-dir", "nowhere")
    assert (alone.code, alone.out, len(alone.err.splitlines())) == (3, "", 1)
    assert "quotaflow run" in alone.err


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 3, "{url} is no quotaflow daemon"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>", 1, "502: <html>"),
        (b"", 3, "no daemon answers at {url} (RemoteProtocolError: "),
    ],
)
def test_somebody_else_at_the_url_is_no_daemon(ask: Ask, answer: bytes, code: int, told: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        stranger = threading.Thread(target=answer_once, args=(listening, answer))
        stranger.start()
        other = ask("quota", "list", "--url", url)
        stranger.join()
    assert (other.code, len(other.err.splitlines())) == (code, 1)
    assert other.err.startswith("quotaflow: " + told.format(url=url))


def answer_once(listening: socket.socket, answer: bytes) -> None:
    client = listening.accept()[0]
    with client:
        client.recv(65536)
        client.sendall(answer)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):  # closed with something unread, it would reset what it has just sent
            pass


def test_a_list_of_several_pages_is_one_list(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {None: (["a", "b"], "b"), "b": (["c"], None)}

    def ask_page(_method: str, _path: str, *, query: dict[str, str] | None = None) -> dict[str, object]:
        items, following = pages[query["cursor"] if query else None]
        return {"items": items, "next_cursor": following}

    with contextlib.closing(Daemon(owner.home / "data")) as daemon:
        monkeypatch.setattr(daemon, "ask", ask_page)
        assert daemon.ask_all("/api/quotas") == {"items": ["a", "b", "c"], "next_cursor": None}


def test_a_url_needs_the_token_and_takes_it_from_the_environment(
    ask: Ask, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = ask("quota", "list", "--url", owner.url)
    assert (stranger.code, stranger.err.split(": ")[1]) == (2, "unauthorized")
    monkeypatch.setenv("QUOTAFLOW_ADMIN_TOKEN", TOKEN)
    assert ask("quota", "list", "--url", owner.url).code == 0
