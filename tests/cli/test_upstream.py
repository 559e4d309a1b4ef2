"""Upstream keys by command line; an API key is never an argument."""

import io
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from quotaflow.edges.cli.events import drawing, events
from quotaflow.examples.upstream_service import key_of
from quotaflow.upstream.vault import new_key
from tests.cli.conftest import Ask
from tests.cli.support import Background, environment
from tests.cli.test_asking import answer_once, answered
from tests.servers import ServerDirectory

CONFIG = """
data_dir = "{home}/data"
[http]
port = 0
[upstream]
attempts = 1
[[upstream.providers]]
name = "tavily"
kind = "tavily"
url = "{url}/usage"
[[upstream.providers]]
name = "maps/eu"
kind = "tavily"
url = "{url}/usage"
"""

Type = Callable[[str], None]


class Office(NamedTuple):
    """A running daemon, and the service that it asks."""

    home: Path
    url: str


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    """Run a service with ten keys, and a daemon that knows it."""
    directory = ServerDirectory("upstream")
    command = [sys.executable, "-m", "quotaflow.examples.upstream_service", "--keys", "10"]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        url = service.stdout.readline().strip()
        home = directory.path
        (home / "config.toml").write_text(CONFIG.format(home=home, url=url))
        keys = {"QUOTAFLOW_UPSTREAM__SECRET_KEY": new_key(), "CANARY_KEY": key_of(0)}
        with Background("run", cwd=home, **keys) as daemon:
            daemon.wait_ready()
            yield Office(home, url)
            assert daemon.stop() == 0
            assert "Traceback" not in daemon.err
            assert "tvly-demo" not in daemon.err + daemon.out
        service.terminate()
    directory.end()


@pytest.fixture
def at(ask: Ask, office: Office) -> Ask:
    """Ask that daemon."""
    return lambda *arguments: ask("upstream", *arguments, "--config", str(office.home / "config.toml"))


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Type:
    """Put text on standard input."""

    def type_(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    return type_


@pytest.fixture
def empty(at: Ask) -> None:
    """Remove every key."""
    for item in listed(at):
        assert at("remove", item["id"]).code == 0


def listed(at: Ask, *flags: str) -> list[dict[str, Any]]:
    items: Any = answered(at("list", *flags, "-o", "json"))["items"]
    return list(items)


def stored(at: Ask, typed: Type, number: int, *more: str, provider: str = "tavily") -> dict[str, Any]:
    """Store the service's key of this number."""
    typed(f"{key_of(number)}\n")
    return answered(at("add", provider, "--secret", "-", *more, "-o", "json"))


def behave(office: Office, number: int, mode: str) -> None:
    """Have the service treat a key so."""
    orders = {"key": key_of(number), "mode": mode}
    assert httpx.post(f"{office.url}/_control", json=orders).status_code == 200


@pytest.mark.usefixtures("empty")
def test_a_key_lives_from_add_to_remove(at: Ask, typed: Type) -> None:
    made = answered(at("add", "tavily", "--name", "main", "--secret", "env:CANARY_KEY", "-o", "json"))
    assert (made["source"], made["remaining"], made["status"]) == ("env:CANARY_KEY", 1000.0, "active")
    assert answered(at("show", "tavily/main", "-o", "json")) == made
    assert str(made["id"]) in at("show", str(made["id"])).out
    changed = answered(at("change", "tavily/main", "--name", "second", "--disable", "-o", "json"))
    assert (changed["name"], changed["enabled"]) == ("second", False)
    typed(key_of(1))
    other = answered(at("change", "tavily/second", "--secret", "-", "--enable", "-o", "json"))
    assert (other["source"], other["remaining"], other["enabled"]) == ("encrypted", 1000.0, True)
    assert at("remove", "tavily/second") == (0, "removed: tavily/second\n", "")
    assert listed(at) == []


@pytest.mark.usefixtures("empty")
def test_a_provider_and_a_name_may_have_slashes_in_them(at: Ask, typed: Type) -> None:
    made = stored(at, typed, 0, "--name", "a/b", provider="maps/eu")
    stored(at, typed, 1, "--name", "b", provider="maps/eu")
    assert answered(at("show", "maps/eu/a/b", "-o", "json"))["id"] == made["id"]
    for missing in ("maps/eu/nobody", "/b", "0123"):
        refused = at("show", missing)
        assert (refused.code, refused.out, len(refused.err.splitlines())) == (2, "", 1)


@pytest.mark.usefixtures("empty")
def test_keys_are_listed_by_provider_and_status(at: Ask, typed: Type) -> None:
    stored(at, typed, 0, "--name", "one")
    stored(at, typed, 1, "--name", "two", provider="maps/eu")
    typed("tvly-nobody-has-this-one")
    assert at("add", "tavily", "--name", "three", "--secret", "-").code == 0
    assert [key["name"] for key in listed(at)] == ["three", "two", "one"]
    assert [key["name"] for key in listed(at, "--provider", "maps/eu")] == ["two"]
    assert [key["name"] for key in listed(at, "--status", "invalid")] == ["three"]
    assert at("list", "--status", "broken").code == 2
    head, *rows = at("list").out.splitlines()
    assert head.split()[:5] == ["id", "provider", "name", "key", "status"]
    assert rows[2].split()[1:7] == ["tavily", "one", f"tvly-...{key_of(0)[-4:]}", "active", "1000", "0"]


def test_an_api_key_as_an_argument_is_refused_and_not_repeated(at: Ask, typed: Type) -> None:
    for command in (("add", "tavily"), ("change", "tavily/main")):
        refused = at(*command, "--secret", key_of(5))
        assert (refused.code, refused.out, len(refused.err.splitlines())) == (2, "", 1)
        assert "--secret takes env:NAME, file:/path or -" in refused.err
        assert key_of(5) not in refused.err
    typed("")
    silent = at("add", "tavily")
    assert (silent.code, silent.out, len(silent.err.splitlines())) == (2, "", 1)
    assert "no terminal" in silent.err


@pytest.mark.usefixtures("empty")
def test_on_a_terminal_the_api_key_is_asked_for_and_not_shown(
    at: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _text: key_of(2), raising=False)
    monkeypatch.setattr("getpass.getpass", lambda *_args, **_more: key_of(2))
    added = at("add", "tavily", "-o", "json")
    assert (added.code, json.loads(added.out)["remaining"]) == (0, 1000.0)
    assert key_of(2) not in added.out + added.err


@pytest.mark.parametrize(
    ("arguments", "said", "code", "begins"),
    [
        (("add", "nobody", "--secret", "-"), "tvly-something", 2, "invalid_input: provider is not known"),
        (("add", "tavily", "--secret", "-"), "", 2, "invalid_input: secret must be"),
        (("add", "tavily", "--secret", "env:NOT_THERE"), "", 2, "secret_unavailable: the variable"),
        (("change", "0123", "--name", "x"), "", 2, "not_found: "),
        (("refresh", "--provider", "nobody"), "", 2, "not_found: there is no such provider"),
        (("import", "-"), "name\nx\n", 2, "invalid_input: the first line must name"),
        (("import", "/nowhere/keys.csv"), "", 2, "/nowhere/keys.csv cannot be read: No such file"),
    ],
)
def test_what_is_refused_is_one_line(
    at: Ask, typed: Type, arguments: tuple[str, ...], said: str, code: int, begins: str
) -> None:
    typed(said)
    refused = at(*arguments)
    assert (refused.code, refused.out, len(refused.err.splitlines())) == (code, "", 1)
    assert refused.err.startswith(f"quotaflow: {begins}")


@pytest.mark.usefixtures("empty")
def test_an_import_prints_each_row_that_failed(at: Ask, typed: Type, tmp_path: Path) -> None:
    file = tmp_path / "keys.csv"
    file.write_text(f"provider,secret,name\ntavily,{key_of(3)},three\nnobody,{key_of(4)},four\n")
    told = at("import", str(file))
    assert (told.code, told.err) == (1, "")
    assert told.out.splitlines() == [
        "row  error",
        "2    provider is not known; known are tavily, maps/eu",
        "1 keys stored, 1 rows not",
    ]
    typed(json.dumps([{"provider": "maps/eu", "secret": key_of(4), "name": "four"}]))
    assert answered(at("import", "-", "-o", "json")) == {"success": 1, "failed": 0, "errors": []}
    assert [key["name"] for key in listed(at)] == ["four", "three"]


@pytest.mark.usefixtures("empty")
def test_a_refresh_says_what_it_brought_and_fails_when_a_key_did(
    at: Ask, typed: Type, office: Office
) -> None:
    stored(at, typed, 6, "--name", "good")
    stored(at, typed, 7, "--name", "bad")
    stored(at, typed, 8, "--name", "far", provider="maps/eu")
    behave(office, 7, "revoked")
    told = at("refresh")
    assert (told.code, told.err) == (1, "")
    head, row, sentence = told.out.splitlines()
    assert (head.split(), row.split()[:3]) == (["provider", "name", "error"], ["tavily", "bad", "401"])
    assert sentence.startswith("2 of 3 keys in ")
    assert sentence.endswith(" s, 1 failed")
    report = json.loads(at("refresh", "-o", "json").out)
    assert (report["success"], report["failed"], report["errors"][0]["name"]) == (2, 1, "bad")
    of_one = at("refresh", "--provider", "maps/eu")
    assert (of_one.code, of_one.out[:9]) == (0, "1 of 1 ke")


def test_secrets_under_the_newest_key_are_not_encrypted_anew(at: Ask, typed: Type) -> None:
    stored(at, typed, 9)
    assert answered(at("rotate", "-o", "json")) == {"rotated": 0}


def test_a_key_to_encrypt_with_is_made_without_a_daemon(ask: Ask) -> None:
    made = ask("upstream", "new-key")
    assert (made.code, len(made.out), made.err) == (0, 45, "")
    assert made.out != ask("upstream", "new-key").out


def test_a_refresh_is_drawn_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for screen, drawn in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr("sys.stderr", screen)
        with drawing() as draw:
            draw(3, 7)
        assert ("keys" in screen.getvalue()) is drawn


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_events_are_read_as_they_come(size: int) -> None:
    text = b':\n\nevent: progress\ndata: {"done": 1}\n\n:\n\nevent: report\ndata: {"a": ": "}\n\n'
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    assert list(events(chunks)) == [("progress", '{"done": 1}'), ("report", '{"a": ": "}')]


@pytest.mark.parametrize(
    ("body", "code", "told"),
    [
        (
            b'event: error\ndata: {"status": 503, "code": "unavailable", "detail": "x"}\n\n',
            3,
            "unavailable: x",
        ),
        (
            b'event: progress\ndata: {"done": 1, "total_keys": 2}\n\n',
            3,
            "the daemon stopped before the refresh",
        ),
        (b"", 3, "the daemon stopped before the refresh"),
    ],
)
def test_a_refresh_that_is_cut_short_is_one_line(ask: Ask, body: bytes, code: int, told: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + body
        stopping = threading.Thread(target=answer_once, args=(listening, answer))
        stopping.start()
        told_of = ask("upstream", "refresh", "--url", url)
        stopping.join()
    assert (told_of.code, told_of.out, len(told_of.err.splitlines())) == (code, "", 1)
    assert told_of.err.startswith(f"quotaflow: {told}")
