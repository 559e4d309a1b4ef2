"""The settings as values: every key with its type, default, range, and the words that say what it must be."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, SecretStr

from quotaflow.errors import InvalidInput
from quotaflow.model import Quota
from quotaflow.rates import parse_rate
from quotaflow.settings_section import Section, check_url, seconds, whole, zone_name
from quotaflow.settings_upstream import Upstream

_ENCODED = " (special characters in a password percent-encoded)"


def _redis_url(url: str) -> str:
    return check_url(url, r"embedded|rediss?://(\S*@)?[^\s/?#@:][^\s@]*|unix://\S*/\S+")


def _database_url(url: str) -> str:
    for scheme, full in (("postgresql://", "postgresql+asyncpg://"), ("sqlite://", "sqlite+aiosqlite://")):
        if url.startswith(scheme):
            url = full + url.removeprefix(scheme)
    return check_url(url, r"|[a-z0-9+]+://\S+")


def _store_url(url: str) -> str:
    return check_url(_database_url(url), r"|postgresql\+asyncpg://\S+|sqlite\+aiosqlite:///\S+")


def _directory(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value).strip() or "\0" in str(value):
        raise ValueError
    str(value).encode()  # it must fit into a URL; UnicodeEncodeError is a ValueError
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError as error:  # "~someone" who does not exist
        raise ValueError from error


def _rate_limit(text: str) -> str:
    try:
        parse_rate(text or None)
    except InvalidInput as error:
        raise ValueError from error
    return text


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _nothing_for_zero(value: int | None) -> int | None:
    return value or None


class Redis(Section):
    """The server that holds the live state. `port`: loopback port of the embedded server, None for none."""

    url: Annotated[str, AfterValidator(_redis_url)] = Field(
        default="embedded",
        repr=False,
        description='"embedded", redis://host:6379/0, rediss://host:6379/0 or unix:///path/to/redis.sock'
        + _ENCODED,
    )
    port: Annotated[int | None, AfterValidator(_nothing_for_zero)] = Field(
        default=None, ge=0, le=65535, description="a port from 1 to 65535, or 0 for none"
    )
    persistence: Literal["require", "warn", "enable"] = "require"
    deadline_s: float = seconds(2.0, 0.05, 60)


class Store(Section):
    """The SQL database of quotaflow itself; see `Settings.store_url`."""

    url: Annotated[str, AfterValidator(_store_url)] = Field(
        default="",
        repr=False,
        description="empty (SQLite: quotaflow.db in data_dir), sqlite+aiosqlite:////path/to/file.db, or"
        " postgresql+asyncpg://user:password@host/database" + _ENCODED,
    )
    deadline_s: float = seconds(5.0, 0.5, 60)


class Tasks(Section):
    """The user's code and the database its sessions open; see `Settings.tasks_database_url`."""

    modules: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*$")], ...], BeforeValidator(_frozen)
    ] = Field(
        default=(), description='module names as one imports them, like ["shop.mail"] (or shop.mail,shop.web)'
    )
    database_url: Annotated[str, AfterValidator(_database_url)] = Field(
        default="",
        repr=False,
        description="empty (SQLite: app.db in data_dir) or a database URL like sqlite:////path/to/app.db or"
        " postgresql://user:password@host/database" + _ENCODED,
    )


class Http(Section):
    """Where the daemon listens; port 0 takes any free one. `allowed_hosts` guards against DNS rebinding."""

    host: str = Field(
        default="127.0.0.1", pattern=r"^[\w.:%-]+$", description="a host name or address, like 127.0.0.1"
    )
    port: int = Field(
        default=8000, ge=0, le=65535, description="a port from 1 to 65535, or 0 for any free one"
    )
    allowed_hosts: Annotated[
        tuple[Annotated[str, Field(pattern=r"^([\w.*-]+|\[[0-9A-Fa-f:.]+\])$")], ...],
        BeforeValidator(_frozen),
    ] = Field(
        default=("127.0.0.1", "localhost", "[::1]"),
        min_length=1,
        description='host names without scheme and port, like ["localhost"] (or localhost,[::1])',
    )


class Scheduler(Section):
    """How moments are found. A tick later than `misfire_grace_s` is missed."""

    timezone: Annotated[str, AfterValidator(zone_name)] = Field(
        default="UTC", description="the name of a time zone, like UTC or Asia/Shanghai"
    )
    misfire_grace_s: float = seconds(60.0, 0, 604_800)


class Runner(Section):
    """How many runs execute and wait at once, and how long they may still take when the daemon stops.

    `time_limit`, `soft_time_limit` and `rate_limit` are for tasks that name none; None, 0 or empty is no limit.
    """

    concurrency: int = whole(50, 1, 10_000, "runs")
    queue_size: int = whole(1000, 1, 1_000_000, "runs")
    waiting_max: int = whole(100_000, 1, 10_000_000, "runs")
    shutdown_grace_s: float = seconds(10.0, 0, 3600)
    time_limit: float = seconds(0.0, 0, 604_800)
    soft_time_limit: float = seconds(0.0, 0, 604_800)
    rate_limit: Annotated[str, AfterValidator(_rate_limit)] = Field(
        default="", description='empty (no limit), or like "10/s", "100/m" or "0.5/h"'
    )


class Journal(Section):
    """How facts reach SQL, and how many may wait; how long, and how many, request ids of callers are remembered."""

    flush_every_s: float = seconds(1.0, 0.01, 60)
    batch: int = whole(500, 1, 10_000, "facts")
    log_queue_cap: int = whole(10_000, 1, 100_000_000, "facts")
    sync_queue_cap: int = whole(10_000, 1, 100_000_000, "quotas and tokens")
    backlog_max: int = whole(1_000_000, 1, 100_000_000, "facts")
    request_ttl_s: float = seconds(3600.0, 120, 604_800)
    request_records_max: int = whole(1_000_000, 1, 100_000_000, "request ids")
    trace_calls_per_s: int = whole(200, 0, 100_000, "calls")


class Retention(Section):
    """How long the ledger, traces, metrics and dead letters are kept, and how they are removed: `batch` at a time."""

    enabled: bool = Field(default=True, description="true or false")
    days: int = whole(180, 1, 36_500, "days")
    every_hours: float = Field(
        default=24.0, gt=0, le=87_600, description="a number of hours above 0, at most 87600"
    )
    batch: int = whole(10_000, 1, 1_000_000, "rows")


class Log(Section):
    """What is reported, and how it looks."""

    format: Literal["auto", "console", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(Section):
    """Everything the daemon and the library are told, read once. `repr` shows no URL and no token."""

    data_dir: Annotated[Path, PlainValidator(_directory)] = Field(description="the path of a directory")
    redis: Redis = Redis()
    store: Store = Store()
    tasks: Tasks = Tasks()
    http: Http = Http()
    scheduler: Scheduler = Scheduler()
    runner: Runner = Runner()
    journal: Journal = Journal()
    retention: Retention = Retention()
    upstream: Upstream = Upstream()
    log: Log = Log()
    quotas: tuple[Quota, ...] = ()
    admin_token: SecretStr | None = None

    @property
    def store_url(self) -> str:
        """SQLAlchemy URL of the store, with an async driver; holds the password."""
        return self.store.url or self._sqlite("quotaflow.db")

    @property
    def tasks_database_url(self) -> str:
        """SQLAlchemy URL of the database that tasks' sessions open, with a driver; holds the password."""
        return self.tasks.database_url or self._sqlite("app.db")

    def _sqlite(self, name: str) -> str:
        return f"sqlite+aiosqlite:///{quote(str(self.data_dir / name))}"
