"""What settings refuse, and in which words."""

import os
import re
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotaflow import settings as door
from quotaflow.errors import ConfigError
from quotaflow.settings import load

SECRET = "hunter2-canary"
NAMES = sorted(
    {*door._NAMES, *door._SEED_NAMES, door._SEED_INTERVAL, door.ADMIN_TOKEN, "QUOTAFLOW_X", "XDG_STATE_HOME"}
)
TEXTS = st.binary().map(os.fsdecode)  # what an environment can hold, also what is no UTF-8
QUOTA = '[[quotas]]\nid = "a"\ncapacity = 10\nrefill_rate = 1\n'
MIRROR = '[[quotas]]\nid = "a"\nkind = "allowance"\nmirrors = "tavily"\n'
PREPAID = '[[quotas]]\nid = "a"\nkind = "allowance"\ntotal = 5\n'


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(text: str) -> Path:
    path = Path("config.toml")
    path.write_text(text, encoding="utf-8")
    return path


def refused(text: str = "", /, environ: dict[str, str] | None = None, **flags: object) -> list[str]:
    """Return the lines of the refusal, the file's name left out."""
    with pytest.raises(ConfigError) as caught:
        load(written(text), environ=environ or {}, **flags)
    assert caught.value.__cause__ is caught.value.__context__ is None
    return [line.removeprefix("config.toml: ") for line in str(caught.value).split("\n")]


def test_a_named_file_must_exist() -> None:
    with pytest.raises(ConfigError, match=r"^gone\.toml: there is no such file; create it or name another$"):
        load(Path("gone.toml"), environ={})


def test_a_file_that_cannot_be_read_is_a_problem_like_any_other() -> None:
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)[^\n]*\nenvironment: unknown"):
        load(Path(), environ={"QUOTAFLOW_X": "1"})


def test_text_that_is_not_toml_is_refused_with_its_place() -> None:
    assert refused("a = \n") == ["it is not TOML: Invalid value (at line 1, column 5); correct that line"]
    assert refused("a = " + "[" * 9999)[0].startswith("it is not TOML: ")


def test_a_file_in_another_encoding_is_refused() -> None:
    written("").write_bytes("# Kontingent für Käse".encode("latin-1"))
    with pytest.raises(ConfigError, match="it is not UTF-8 text; save it as UTF-8"):
        load(environ={})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[runner]\nconcurency = 5", 'unknown key "runner.concurency" — did you mean "runner.concurrency"?'),
        ("[runer]\nconcurrency = 5", 'unknown key "runer" — did you mean "runner"?'),
        ("concurrency = 5", 'unknown key "concurrency" — did you mean "runner.concurrency"?'),
        ("[zzz]", 'unknown key "zzz" — remove it'),
        ("[runner]\nzzz = 1", 'unknown key "runner.zzz" — remove it'),
        ('"a\\nb\\u001b[1m" = 1', 'unknown key "a\\nb\\x1b[1m" — remove it'),
        ("redis = 5", "redis must be a section; write [redis] and its keys below it"),
        (
            f'admin_token = "{SECRET}"',
            "a secret does not belong here; set QUOTAFLOW_ADMIN_TOKEN in the environment",
        ),
        ("data_dir = 5", "data_dir must be the path of a directory"),
        ('data_dir = " "', "data_dir must be the path of a directory"),
        ('data_dir = "~nobody-of-that-name/x"', "data_dir must be the path of a directory"),
        ("[http]\nport = 65536", "http.port must be a port from 1 to 65535, or 0 for any free one"),
        ("[journal]\nbatch = 0", "journal.batch must be a whole number of facts from 1 to 10000"),
        ('[log]\nformat = "xml"', 'log.format must be one of "auto", "console", "json"'),
        ('[redis]\npersistence = ""', 'redis.persistence must be one of "require", "warn", "enable"'),
        ("[[quotas]]", "quotas[0].id is missing; add it"),
        ("quotas = 5", "quotas must be blocks; write [[quotas]] and the keys of one quota below it"),
        ("quotas = [5]", "quotas must be blocks; write [[quotas]] and the keys of one quota below it"),
        (QUOTA + "capactiy = 1", 'unknown key "quotas[0].capactiy" — did you mean "quotas[0].capacity"?'),
        (QUOTA + "enabled = 1", "quotas[0].enabled must be true or false"),
        (QUOTA + "name = 1", "quotas[0].name must be text, not int"),
        (QUOTA + 'kind = "pool"', 'quotas[0].kind must be one of "bucket", "allowance"'),
        (QUOTA + "kind = []", 'quotas[0].kind must be one of "bucket", "allowance"'),
        (QUOTA + "total = 5", 'quotas[0].total is not for a quota of kind "bucket"; remove it'),
        (
            QUOTA + 'reset_cron = "@daily"',
            'quotas[0].reset_cron is not for a quota of kind "bucket"; remove it',
        ),
        *(
            (QUOTA + f"max_concurrent = {value}", "quotas[0].max_concurrent must be between 1 and 1,000,000")
            for value in (0, -1, 1_000_001)
        ),
        (QUOTA + 'max_concurrent = "5"', "quotas[0].max_concurrent must be a whole number, not str"),
        (QUOTA + "max_concurrent = true", "quotas[0].max_concurrent must be a whole number, not bool"),
        (
            PREPAID + "max_concurrent = 5",
            'quotas[0].max_concurrent is not for a quota of kind "allowance"; remove it',
        ),
        (PREPAID + "capacity = 5", 'quotas[0].capacity is not for a quota of kind "allowance"; remove it'),
        ('[[quotas]]\nid = "a"\nkind = "allowance"', "quotas[0].total is missing; add it"),
        (PREPAID + 'mirrors = "tavily"', "quotas[0].total is not for a quota that mirrors a provider"),
        (
            MIRROR + 'reset_cron = "0 0 1 * *"',
            "quotas[0].reset_cron is not for a quota that mirrors a provider",
        ),
        (MIRROR + 'name = ""', "quotas[0].name must not be empty nor begin or end with space"),
        (MIRROR.replace("tavily", ""), "quotas[0].mirrors must not be empty nor begin or end with space"),
        (MIRROR.replace('"tavily"', "5"), "quotas[0].mirrors must be text, not int"),
        (QUOTA + 'mirrors = "tavily"', 'quotas[0].mirrors is not for a quota of kind "bucket"; remove it'),
        (PREPAID + "reset_cron = 5", 'quotas[0].reset_cron must be a cron expression, like "0 0 1 * *"'),
        (
            PREPAID + 'timezone = "Mars"',
            "quotas[0].timezone must be the name of a time zone, like UTC or Asia/Shanghai",
        ),
        (
            PREPAID + "timezone = 5",
            "quotas[0].timezone must be the name of a time zone, like UTC or Asia/Shanghai",
        ),
        (PREPAID.replace("5", "0"), "quotas[0].total must be at least 0.000001 units"),
        (QUOTA + QUOTA, 'quotas[0] and quotas[1] share the id "a"; rename one of them'),
        (
            QUOTA + QUOTA.replace('"a"', '"b"\nname = "a"'),
            'quotas[0] and quotas[1] share the name "a"; rename one of them',
        ),
    ],
)
def test_each_problem_of_the_file_has_its_line(text: str, line: str) -> None:
    assert line in refused(text)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("runner.concurrency", value) for value in ("true", '"5"', "5.0", "-1", "[1]", "1e999", "9" * 99)),
        *(("redis.deadline_s", value) for value in ("true", '"1"', "nan", "inf", "-inf", "0", "9" * 999)),
        *(("redis.port", value) for value in ("true", "-1", '"6379"', "65536")),
        *(
            ("redis.url", f'"{url}"')
            for url in ("", "redis://", "redis://:x@", "http://h", "redis://h:x", "Redis://h")
        ),
        *(
            ("redis.url", f'"{url}"')
            for url in ("unix://", "redis://h\\u0000", "redis://h:0", "redis://a b", "redis://[x")
        ),
        *(
            ("store.url", f'"{url}"')
            for url in ("mysql://h/db", "sqlite:x.db", "postgres://h", "postgresql://")
        ),
        *(("tasks.database_url", f'"{url}"') for url in ("app.db", "sqlite://", "sqlite:///%00")),
        *(("tasks.modules", value) for value in ('"shop"', '["a/b.py"]', '["a."]', "[1]", '["a-b"]', '[""]')),
        *(("http.allowed_hosts", value) for value in ("[]", '["http://x"]', '["x:80"]', '[" "]', '"x"')),
        *(("http.host", value) for value in ('""', '"a b"', "1", '"http://x"')),
        *(
            ("scheduler.timezone", f'"{name}"')
            for name in ("", "Europe", "../UTC", "utc", "a\\u0000b", "x" * 999)
        ),
    ],
)
def test_a_wrong_value_is_refused_under_its_key_alone(key: str, value: str) -> None:
    section, name = key.split(".")
    (line,) = refused(f"[{section}]\n{name} = {value}")
    assert line.startswith(f"{key} must be ")


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "true", '"1"', "9e9999", "9000000001"])
def test_an_impossible_amount_is_refused_under_its_quota(value: str) -> None:
    lines = refused(f'[[quotas]]\nid = "a"\ncapacity = {value}\nrefill_rate = {value}')
    assert [line.split(" must ")[0] for line in lines] == ["quotas[0].capacity", "quotas[0].refill_rate"]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("QUOTAFLOW_RUNER__CONCURRENCY", "1", 'did you mean "QUOTAFLOW_RUNNER__CONCURRENCY"?'),
        ("QUOTAFLOW_ADMIN_TOKN", SECRET, 'did you mean "QUOTAFLOW_ADMIN_TOKEN"?'),
        ("QUOTAFLOW_QUOTAS", "[]", 'environment: unknown key "QUOTAFLOW_QUOTAS" — remove it'),
        ("QUOTAFLOW_DATA_DIR", "", "QUOTAFLOW_DATA_DIR must be the path of a directory"),
        ("QUOTAFLOW_DATA_DIR", "\udc80", "QUOTAFLOW_DATA_DIR must be the path of a directory"),
        (
            "QUOTAFLOW_RUNNER__QUEUE_SIZE",
            "",
            "QUOTAFLOW_RUNNER__QUEUE_SIZE must be a whole number of runs from 1",
        ),
        ("QUOTAFLOW_RUNNER__QUEUE_SIZE", "True", "QUOTAFLOW_RUNNER__QUEUE_SIZE must be a whole number"),
        (
            "QUOTAFLOW_REDIS__DEADLINE_S",
            "nan",
            "QUOTAFLOW_REDIS__DEADLINE_S must be a number of seconds from 0.05",
        ),
        ("QUOTAFLOW_TASKS__MODULES", "a/b.py", "QUOTAFLOW_TASKS__MODULES must be module names"),
        ("QUOTA_SYNC_BATCH_SIZE", "many", "QUOTA_SYNC_BATCH_SIZE must be a whole number of facts"),
        (
            "QUOTA_SYNC_INTERVAL_MS",
            "5s",
            "QUOTA_SYNC_INTERVAL_MS divided by 1000 must be a number of seconds",
        ),
        ("QUOTA_SYNC_INTERVAL_MS", "1", "QUOTA_SYNC_INTERVAL_MS divided by 1000 must be a number of seconds"),
        ("QUOTAFLOW_ADMIN_TOKEN", "x" * 15, "QUOTAFLOW_ADMIN_TOKEN must be at least 16 ASCII characters"),
        (
            "QUOTAFLOW_ADMIN_TOKEN",
            "x" * 15 + " ",
            "QUOTAFLOW_ADMIN_TOKEN must be at least 16 ASCII characters",
        ),
    ],
)
def test_each_problem_of_the_environment_has_its_line(name: str, text: str, line: str) -> None:
    (found,) = refused(environ={name: text})
    assert line in found


def test_without_a_home_directory_one_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    assert refused() == [
        "data_dir (from XDG_STATE_HOME, else the home directory) must be the path of a directory"
    ]


def test_an_unknown_or_wrong_flag_is_refused() -> None:
    assert refused(http__prt=1, http__port="80") == [
        'flags: unknown key "http.prt" — did you mean "http.port"?',
        "flag http.port must be a port from 1 to 65535, or 0 for any free one",
    ]


def test_tasks_never_get_the_file_of_the_store(tmp_path: Path) -> None:
    environ = {"QUOTAFLOW_TASKS__DATABASE_URL": f"sqlite:///{tmp_path}/a/../quotaflow.db?x=1"}
    line = (
        "QUOTAFLOW_TASKS__DATABASE_URL: store and tasks cannot share one SQLite file;"
        " name another, or leave it empty"
    )
    assert refused(environ=environ, data_dir=tmp_path) == [line]
    environ["QUOTAFLOW_STORE__URL"] = "postgresql://h/db"
    assert load(environ=environ, data_dir=tmp_path).tasks_database_url.startswith("sqlite+aiosqlite:///")


def test_a_port_without_the_embedded_server_is_refused() -> None:
    (line,) = refused('[redis]\nport = 6379\nurl = "redis://h"')
    assert line == 'redis.port needs redis.url = "embedded"; remove it, or write the port into the URL'


def test_all_problems_are_told_at_once() -> None:
    text = (
        '[redis]\nport = 1\nurl = "unix:///s"\n[runner]\nzzz = 1\n[[quotas]]\nid = ""\ncapacity = 0\nname = 1'
    )
    lines = refused(text, {"QUOTAFLOW_X": "", "QUOTAFLOW_HTTP__PORT": "x"}, http__port=-1, log__level="loud")
    assert len(lines) == len(set(lines)) == 10


def test_no_secret_is_ever_repeated() -> None:
    url = f"mysql://root:{SECRET}@[h/db"
    names = ("REDIS__URL", "STORE__URL", "TASKS__DATABASE_URL", "HTTP__PORT", "LOG__LEVEL", "TASKS__MODULES")
    environ = {f"QUOTAFLOW_{name}": url for name in names} | {"QUOTAFLOW_ADMIN_TOKEN": SECRET}
    lines = refused(f'admin_token = "{SECRET}"\n[store]\nurl = "{url}"\nurll = "{url}"', environ)
    assert len(lines) == 3 + len(environ)
    assert SECRET not in "".join(lines)


def outcome(environ: dict[str, str], flags: dict[str, Any]) -> str:
    """Return "" or the refusal; anything else raised is a bug."""
    try:
        load(environ=environ, **flags)
    except ConfigError as error:
        return str(error)
    return ""


@hypothesis.settings(deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), TEXTS | st.integers().map(str) | st.floats().map(str)))
def test_whatever_the_environment_holds_a_refusal_names_it(environ: dict[str, str]) -> None:
    lines = outcome(environ, {}).splitlines()
    assert len(lines) <= len(environ)
    assert all(any(name in line for name in environ) for line in lines)


@hypothesis.settings(deadline=None)
@given(
    st.sampled_from(door._KEYS),
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.lists(TEXTS | st.integers()),
)
def test_whatever_a_flag_holds_a_refusal_names_it(key: str, value: object) -> None:
    refusal = outcome({}, {key.replace(".", "__"): value})
    assert not refusal or re.fullmatch(f"flag {key} [^\n]+", refusal)
