"""Settings: where a value comes from, and what it becomes. What is refused: test_settings_refused.py."""

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from quotaflow import settings as door
from quotaflow.settings import Settings, load

SAMPLE = Path(__file__).parent.parent / "config.toml"
SECRET = "hunter2-canary"
QUOTA = '[[quotas]]\nid = "a"\ncapacity = 10\nrefill_rate = 1\n'


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(text: str) -> Path:
    path = Path("config.toml")
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_everything_has_its_default(tmp_path: Path) -> None:
    settings = load(environ={"XDG_STATE_HOME": str(tmp_path)})
    assert settings == Settings(data_dir=tmp_path / "quotaflow")
    assert settings.store_url == f"sqlite+aiosqlite:///{tmp_path}/quotaflow/quotaflow.db"
    assert settings.tasks_database_url == f"sqlite+aiosqlite:///{tmp_path}/quotaflow/app.db"
    assert settings.admin_token is None


def test_an_empty_file_says_the_same_as_none() -> None:
    expected = load(environ={})
    assert load(written(""), environ={}) == expected


@pytest.mark.parametrize("environ", [{}, {"XDG_STATE_HOME": "not/absolute"}])
def test_without_a_state_directory_the_home_directory_is_used(environ: dict[str, str]) -> None:
    assert load(environ=environ).data_dir == Path.home() / ".local/state/quotaflow"


def test_a_byte_order_mark_does_not_matter() -> None:
    assert load(written("\ufeff[http]\nport = 1\n"), environ={}).http.port == 1


def test_flags_win_over_the_environment_and_that_over_the_file() -> None:
    text = "[runner]\nconcurrency = 1\nqueue_size = 1\nshutdown_grace_s = 1"
    environ = {"QUOTAFLOW_RUNNER__CONCURRENCY": "2", "QUOTAFLOW_RUNNER__QUEUE_SIZE": "2"}
    runner = load(written(text), environ=environ, runner__concurrency=3).runner
    assert (runner.concurrency, runner.queue_size, runner.shutdown_grace_s) == (3, 2, 1.0)


def test_a_flag_of_none_was_not_given(tmp_path: Path) -> None:
    assert load(environ={"QUOTAFLOW_HTTP__PORT": "7"}, http__port=None, data_dir=tmp_path).http.port == 7


def test_the_seed_names_are_honoured_and_lose_against_ours() -> None:
    environ = {
        "QUOTA_SYNC_BATCH_SIZE": "7",
        "QUOTA_SYNC_INTERVAL_MS": "2500",
        "QUOTA_LOG_QUEUE_SIZE": "8",
        "QUOTA_SYNC_QUEUE_SIZE": "9",
        "QUOTAFLOW_JOURNAL__SYNC_QUEUE_CAP": "10",
    }
    journal = load(written("[journal]\nbatch = 1"), environ=environ).journal
    assert (journal.batch, journal.flush_every_s) == (7, 2.5)
    assert (journal.log_queue_cap, journal.sync_queue_cap) == (8, 10)


def test_the_seed_names_of_the_cleaner_are_honoured() -> None:
    environ = {
        "QUOTA_CLEANUP_ENABLED": "false",
        "QUOTA_CLEANUP_RETENTION_DAYS": "30",
        "QUOTA_CLEANUP_INTERVAL_HOURS": "0.5",
        "QUOTA_CLEANUP_BATCH_SIZE": "500",
    }
    retention = load(written("[retention]\ndays = 7"), environ=environ).retention
    assert (retention.enabled, retention.days) == (False, 30)
    assert (retention.every_hours, retention.batch) == (0.5, 500)


def test_text_from_the_environment_is_converted() -> None:
    environ = {
        "QUOTAFLOW_DATA_DIR": "~/flow",
        "QUOTAFLOW_REDIS__PORT": "6390",
        "QUOTAFLOW_REDIS__DEADLINE_S": "0.5",
        "QUOTAFLOW_STORE__DEADLINE_S": "7",
        "QUOTAFLOW_TASKS__MODULES": "shop.tasks, shop.mail",
    }
    settings = load(environ=environ)
    assert settings.data_dir == Path.home() / "flow"
    assert (settings.redis.port, settings.redis.deadline_s, settings.store.deadline_s) == (6390, 0.5, 7)
    assert settings.tasks.modules == ("shop.tasks", "shop.mail")


def test_a_relative_data_directory_begins_here(tmp_path: Path) -> None:
    assert load(written('data_dir = "x"'), environ={}).data_dir == tmp_path / "x"


def test_a_data_directory_may_have_any_name_in_the_url(tmp_path: Path) -> None:
    assert load(environ={}, data_dir=tmp_path / "a?b%20").store_url.endswith("/a%3Fb%2520/quotaflow.db")


def test_zero_opens_no_port_of_the_embedded_server() -> None:
    assert load(written("[redis]\nport = 6390"), environ={"QUOTAFLOW_REDIS__PORT": "0"}).redis.port is None


@pytest.mark.parametrize(
    ("url", "becomes"),
    [
        ("postgresql://u:p@h/db", "postgresql+asyncpg://u:p@h/db"),
        ("postgresql+asyncpg:///db?host=/tmp/s", "postgresql+asyncpg:///db?host=/tmp/s"),
    ],
)
def test_a_postgresql_url_gets_the_async_driver(url: str, becomes: str) -> None:
    settings = load(environ={"QUOTAFLOW_STORE__URL": url, "QUOTAFLOW_TASKS__DATABASE_URL": url})
    assert (settings.store_url, settings.tasks_database_url) == (becomes, becomes)


@pytest.mark.parametrize(
    "url", ["embedded", "redis://h", "redis://:p%40@[::1]:1/2", "rediss://u:p@h:2", "unix:///run/redis.sock"]
)
def test_every_form_of_redis_address_is_taken(url: str) -> None:
    assert load(environ={"QUOTAFLOW_REDIS__URL": url}).redis.url == url


def test_quotas_are_made_by_the_model() -> None:
    first, second = load(
        written(QUOTA + '[[quotas]]\nid = "b"\nname = "B"\ncapacity = 0.5\nrefill_rate = 0\nenabled = false'),
        environ={},
    ).quotas
    assert (first.id, first.name, first.capacity, first.refill_rate, first.enabled) == ("a", "a", 10, 1, True)
    assert (second.id, second.name, second.capacity, second.enabled) == ("b", "B", 0.5, False)


def test_a_prepaid_quota_has_a_total_instead() -> None:
    text = '[[quotas]]\nid = "a"\nkind = "allowance"\ntotal = 2.5\ntimezone = "Asia/Shanghai"'
    (quota,) = load(written(text), environ={}).quotas
    assert (quota.kind, quota.capacity, quota.refill_rate) == ("allowance", 2.5, 0)
    assert (quota.reset_cron, quota.timezone) == (None, "Asia/Shanghai")


def test_a_quota_may_say_how_many_are_under_way_at_once() -> None:
    first, second = load(
        written(QUOTA + "max_concurrent = 5\n" + QUOTA.replace('"a"', '"b"')), environ={}
    ).quotas
    assert (first.max_concurrent, second.max_concurrent) == (5, None)


def test_the_access_token_of_the_command_line_is_no_setting() -> None:
    settings = load(environ={"QUOTAFLOW_ACCESS_TOKEN": SECRET})
    assert SECRET not in repr(settings.model_dump())


def test_the_text_of_settings_shows_no_secret() -> None:
    url, token = f"postgresql://u:{SECRET}@h/db", SECRET * 2
    environ = {f"QUOTAFLOW_{name}": url for name in ("STORE__URL", "TASKS__DATABASE_URL")}
    environ |= {"QUOTAFLOW_ADMIN_TOKEN": token, "QUOTAFLOW_REDIS__URL": f"redis://:{SECRET}@h"}
    settings = load(environ=environ)
    assert settings.admin_token is not None
    assert settings.admin_token.get_secret_value() == token
    assert SECRET not in f"{settings!r} {settings} {settings.redis}"


def test_settings_are_frozen() -> None:
    settings = load(environ={})
    for part, name in ((settings, "data_dir"), (settings.runner, "concurrency"), (settings, "runner")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, name, getattr(part, name))


def test_the_sample_file_holds_every_key_at_its_default() -> None:
    text = re.sub(r"^#(?=\S)", "", SAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {key for key, _ in door._flat(tomllib.loads(text))} == set(door._KEYS)
    assert load(written(text), environ={}) == load(SAMPLE, environ={}) == load(Path("/dev/null"), environ={})


def test_the_sample_file_tells_every_range() -> None:
    """The words beside each key hold the bounds that the code enforces."""
    sections = re.split(r"^\[(\w+)\]\n", SAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = dict(zip(sections[1::2], sections[2::2], strict=True))
    checked = 0
    for key in door._KEYS:
        section, _, name = key.rpartition(".")
        if bounds := re.search(r"from (\S+) to ([\d.]+)", door._must_be(key)):
            words = rf"{bounds[1]} to {bounds[2]}\b(?:[^\n]*\n# )*[^\n]*\n#{name} = "
            assert re.search(words, text[section]), key
            checked += 1
    assert checked == 24


def test_the_quotas_shown_in_the_sample_file_can_be_used() -> None:
    shown = re.findall(r"^#   (\S.*)$", SAMPLE.read_text(encoding="utf-8"), re.MULTILINE)
    start = shown.index("[[quotas]]")
    quota, prepaid, mirror = load(written("\n".join(shown[start:])), environ={}).quotas
    assert (mirror.id, mirror.mirrors) == ("searches", "tavily")
    assert quota.max_concurrent == 5
    assert (quota.id, quota.name, quota.capacity, quota.refill_rate) == (
        "external_api",
        "External API",
        10,
        2,
    )
    assert (prepaid.kind, prepaid.capacity, prepaid.reset_cron) == ("allowance", 1000, "0 0 1 * *")
