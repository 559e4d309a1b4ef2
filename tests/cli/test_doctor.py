"""`quotaflow doctor` and `quotaflow db`: they look, and say what to do."""

import json
import sqlite3
from pathlib import Path

import asyncpg
import pytest

from quotaflow.edges.cli.db import Dialect
from quotaflow.edges.cli.doctor import judge_sql
from quotaflow.edges.cli.sql import Peek, peek
from quotaflow.store import Store
from quotaflow.store.ddl import ddl
from quotaflow.store.migrate import HEAD
from tests.cli.conftest import Ask, Owner
from tests.servers import PATIENCE_S, ValkeyProcess


def levels(out: str) -> dict[str, str]:
    return {item["what"].split()[0]: item["level"] for item in json.loads(out)["items"]}


def test_a_doctor_joins_the_running_server(at: Ask, owner: Owner) -> None:
    seen = at("doctor", "-o", "json")
    assert (seen.code, seen.err) == (0, "")
    found = levels(seen.out)
    assert found["data_dir"] == found["appendonly"] == found["durability"] == found["schema"] == "ok"
    assert "what to do" in at("doctor").out


def test_a_doctor_tells_what_a_crash_can_cost_in_either_language(at: Ask) -> None:
    assert "tokens are never re-minted by it" in at("doctor").out
    assert levels(at("doctor", "-o", "json").out)["RPO"] == "ok"
    assert "令牌额度不会因此重新发放" in at("--lang", "zh", "doctor").out


def test_a_doctor_starts_and_makes_nothing(ask: Ask, tmp_path: Path) -> None:
    seen = ask("doctor", "--data-dir", "new")
    assert seen.code == 0
    assert seen.out.count("the first start makes it") == 2
    assert "not running; a daemon starts it" in seen.out
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_others_can_read_is_a_warning(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    seen = ask("doctor", "--data-dir", "open")
    assert seen.code == 0
    assert f"chmod 700 {tmp_path / 'open'}" in seen.out


def test_a_server_that_cannot_be_reached_is_exit_code_3(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUOTAFLOW_REDIS__URL", "redis://127.0.0.1:1")
    seen = ask("doctor", "-o", "json")
    assert (seen.code, levels(seen.out)["Redis"]) == (3, "error")


def test_a_server_that_forgets_is_exit_code_1(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    with ValkeyProcess(appendonly=False) as server:
        monkeypatch.setenv("QUOTAFLOW_REDIS__URL", server.url)
        seen = ask("doctor", "-o", "json")
    assert (seen.code, levels(seen.out)["appendonly"]) == (1, "error")


@pytest.mark.parametrize(
    ("found", "worst"),
    [
        (Peek("SQLite 3.52.0", "wal", HEAD), "ok"),
        (Peek("SQLite 3.40.1", "delete", HEAD), "warn"),
        (Peek("PostgreSQL 18.1", "off", HEAD), "warn"),
        (Peek("PostgreSQL 18.1", "on", None), "ok"),
        (Peek("SQLite 3.52.0", "wal", "9999"), "error"),
    ],
)
def test_sql_is_judged_by_durability_and_schema(found: Peek, worst: str) -> None:
    assert {finding.level for finding in judge_sql(found)} - {"ok"} == {worst} - {"ok"}


@pytest.mark.parametrize(("version", "is_told"), [("3.6.23", False), ("3.51.2", True), ("3.51.3", False)])
def test_versions_in_which_two_writers_lose_a_commit_are_told(version: str, is_told: bool) -> None:
    assert ("two writers" in judge_sql(Peek(f"SQLite {version}", "wal", HEAD))[0].found) is is_told


def test_the_schema_is_made_shown_and_left_to_a_daemon(ask: Ask, at: Ask) -> None:
    assert ask("db", "current", "--data-dir", "d").out == f"none (this program: {HEAD})\n"
    assert ask("db", "upgrade", "--data-dir", "d").out == f"{HEAD}\n"
    assert ask("db", "current", "--data-dir", "d").out == f"{HEAD} (this program: {HEAD})\n"
    refused = at("db", "upgrade")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)


def test_a_store_that_is_none_is_one_line(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "quotaflow.db").write_bytes(b"not a database" * 100)
    seen = ask("db", "current", "--data-dir", "d")
    assert (seen.code, seen.out, len(seen.err.splitlines())) == (3, "", 1)


def test_a_data_directory_that_is_a_file_is_exit_code_1(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    seen = ask("doctor", "--data-dir", "file", "-o", "json")
    assert (seen.code, levels(seen.out)["data_dir"]) == (1, "error")


@pytest.mark.parametrize(
    ("file", "dialect"), [("init.sql", Dialect.SQLITE), ("init-postgresql.sql", Dialect.POSTGRESQL)]
)
def test_the_statements_that_are_kept_are_those_that_are_printed(
    file: str, dialect: Dialect, ask: Ask
) -> None:
    kept = (Path(__file__).parents[2] / "scripts" / file).read_text(encoding="utf-8")
    assert kept == ask("db", "ddl", dialect.value).out, f"quotaflow db ddl {dialect} > scripts/{file}"


async def test_the_printed_statements_make_a_store_for_sqlite(ask: Ask, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "made.db") as connection:
        connection.executescript(ddl("sqlite"))
    connection.close()
    url = f"sqlite+aiosqlite:///{tmp_path}/made.db"
    store = await Store.open(url, deadline_s=PATIENCE_S)
    assert (await store.counts()).traces == {}
    await store.close()
    assert (await peek(url, PATIENCE_S)).revision == HEAD


async def test_the_printed_statements_make_a_store_for_postgresql(postgres: str) -> None:
    before = await peek(postgres, PATIENCE_S)
    assert (before.server.split()[0], before.is_durable, before.revision) == ("PostgreSQL", True, None)
    connection = await asyncpg.connect(postgres.replace("+asyncpg", ""))
    await connection.execute(ddl("postgresql"))
    await connection.close()
    store = await Store.open(postgres, deadline_s=PATIENCE_S)
    assert (await store.counts()).traces == {}
    await store.close()
    assert (await peek(postgres, PATIENCE_S)).revision == HEAD
