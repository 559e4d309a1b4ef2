"""config.toml, then the environment, then flags -> one frozen Settings; all problems at once, one line each.

The values themselves stand in settings_values.py.
"""

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin
from urllib.parse import unquote

from pydantic import SecretStr, ValidationError

from quotaflow.errors import ConfigError
from quotaflow.log import printable
from quotaflow.model import Quota
from quotaflow.settings_quotas import quotas_of, unknown
from quotaflow.settings_section import Section
from quotaflow.settings_upstream import ProviderSettings, Upstream, providers_of
from quotaflow.settings_values import (
    Http,
    Journal,
    Log,
    Redis,
    Retention,
    Runner,
    Scheduler,
    Settings,
    Store,
    Tasks,
)

__all__ = [
    "Http",
    "Journal",
    "Log",
    "ProviderSettings",
    "Redis",
    "Retention",
    "Runner",
    "Scheduler",
    "Settings",
    "Store",
    "Tasks",
    "Upstream",
    "load",
]

DEFAULT_PATH = Path("config.toml")
ADMIN_TOKEN = "QUOTAFLOW_ADMIN_TOKEN"  # noqa: S105  the variable's name
ACCESS_TOKEN = "QUOTAFLOW_ACCESS_TOKEN"  # noqa: S105  the same; it is the command line's
UPSTREAM_SECRET_KEY = "QUOTAFLOW_UPSTREAM__SECRET_KEY"  # noqa: S105  the same; it encrypts upstream keys
MIN_ADMIN_TOKEN = 16  # characters

_SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
_SECRETS = {"admin_token": ADMIN_TOKEN, "upstream.secret_key": UPSTREAM_SECRET_KEY}  # the environment's alone
_PROVIDERS = "upstream.providers"  # blocks: the file's alone
_KEYS = (
    "data_dir",
    *(
        key
        for name, section in _SECTIONS.items()
        for key in (f"{name}.{field}" for field in section.model_fields)
        if key not in (*_SECRETS, _PROVIDERS)
    ),
)
_PREFIX = "QUOTAFLOW_"
_NAMES = {_PREFIX + key.replace(".", "__").upper(): key for key in (*_KEYS, "upstream.secret_key")}
_ENV_KEYS = [name.removeprefix(_PREFIX) for name in (*_NAMES, ADMIN_TOKEN, ACCESS_TOKEN)]
_FILE_NAMES = (*_KEYS, *_SECTIONS, "quotas")
_SEED_NAMES = {
    "QUOTA_SYNC_BATCH_SIZE": "journal.batch",
    "QUOTA_LOG_QUEUE_SIZE": "journal.log_queue_cap",
    "QUOTA_SYNC_QUEUE_SIZE": "journal.sync_queue_cap",
    "QUOTA_CLEANUP_ENABLED": "retention.enabled",
    "QUOTA_CLEANUP_RETENTION_DAYS": "retention.days",
    "QUOTA_CLEANUP_INTERVAL_HOURS": "retention.every_hours",
    "QUOTA_CLEANUP_BATCH_SIZE": "retention.batch",
}
_SEED_INTERVAL = "QUOTA_SYNC_INTERVAL_MS"


class _Given(NamedTuple):
    """One value somebody gave: its key, the words for where it stands, and whether it is text to convert."""

    key: str
    where: str
    value: object
    is_text: bool = False


def load(path: Path | None = None, *, environ: Mapping[str, str] = os.environ, **flags: object) -> Settings:
    """Read the settings: the file, overridden by `environ`, overridden by `flags`.

    :param path: None means ./config.toml, which may be absent; a file that is named must be there.
    :param flags: `data_dir=...`, or section and key joined as in `http__port=0`; None means not given.
    :raises ConfigError: a line for every problem: what, where, what to do. It never repeats a value.
    """
    problems: list[str] = []
    file = printable(str(path or DEFAULT_PATH))
    document = _document(path, file, problems)
    quotas = quotas_of(document.pop("quotas", []), file, problems)
    providers = providers_of(_popped(document, _PROVIDERS), file, problems)
    given = [
        *_from_file(document, file, problems),
        *_from_environ(environ, problems),
        *_from_flags(flags, problems),
    ]
    if not any(item.key == "data_dir" for item in given):
        given.append(_default_data_dir(environ))
    values = _values(given, problems) | {_PROVIDERS: providers}
    settings = _settings(values, quotas, _admin_token(environ, problems))
    problems += _conflicts(settings, {item.key: item.where for item in given})
    if problems:
        raise ConfigError("\n".join(problems))
    return settings


def _document(path: Path | None, file: str, problems: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads((path or DEFAULT_PATH).read_text("utf-8-sig"))
    except FileNotFoundError:
        if path is not None:
            problems.append(f"{file}: there is no such file; create it or name another")
    except OSError as error:
        problems.append(f"{file}: it cannot be read ({error.strerror}); name a file that can")
    except UnicodeDecodeError:
        problems.append(f"{file}: it is not UTF-8 text; save it as UTF-8")
    except (ValueError, RecursionError) as error:
        problems.append(f"{file}: it is not TOML: {printable(str(error))}; correct that line")
    return {}


def _from_file(document: dict[str, Any], file: str, problems: list[str]) -> Iterator[_Given]:
    for key, value in _flat(document):
        if key in _KEYS:
            yield _Given(key, f"{file}: {key}", value)
        elif key in _SECTIONS:
            problems.append(f"{file}: {key} must be a section; write [{key}] and its keys below it")
        elif key in _SECRETS:
            problems.append(f"{file}: a secret does not belong here; set {_SECRETS[key]} in the environment")
        else:
            known = (*_KEYS, _PROVIDERS) if "." in key else _FILE_NAMES
            problems.append(f"{file}: {unknown(key, known)}")


def _popped(document: dict[str, Any], key: str) -> object:
    """Take the blocks of a section out of the document; none when there are none."""
    name, _, blocks = key.partition(".")
    section = document.get(name)
    return section.pop(blocks, []) if isinstance(section, dict) else []


def _flat(document: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in document.items():
        if name in _SECTIONS and isinstance(value, dict):
            yield from ((f"{name}.{key}", inner) for key, inner in value.items())
        else:
            yield name, value


def _from_environ(environ: Mapping[str, str], problems: list[str]) -> Iterator[_Given]:
    """Yield the seed's names first: the later of two for one key wins."""
    for name, key in _SEED_NAMES.items():
        if name in environ:
            yield _Given(key, name, environ[name], is_text=True)
    if _SEED_INTERVAL in environ:
        seconds = _thousandth(environ[_SEED_INTERVAL])
        yield _Given("journal.flush_every_s", f"{_SEED_INTERVAL} divided by 1000", seconds, is_text=True)
    for name in sorted(environ):
        if name in _NAMES:
            yield _Given(_NAMES[name], name, environ[name], is_text=True)
        elif name.startswith(_PREFIX) and name not in (ADMIN_TOKEN, ACCESS_TOKEN):
            problems.append(f"environment: {unknown(name.removeprefix(_PREFIX), _ENV_KEYS, _PREFIX)}")


def _thousandth(text: str) -> str:
    try:
        return str(float(text) / 1000)
    except ValueError:
        return text  # no number: refused with all the others


def _from_flags(flags: Mapping[str, object], problems: list[str]) -> Iterator[_Given]:
    for name, value in flags.items():
        key = name.replace("__", ".")
        if key not in _KEYS:
            problems.append(f"flags: {unknown(key, _KEYS)}")
        elif value is not None:
            yield _Given(key, f"flag {key}", value)


def _default_data_dir(environ: Mapping[str, str]) -> _Given:
    state = environ.get("XDG_STATE_HOME", "")
    base = state if Path(state).is_absolute() else "~/.local/state"  # a relative one is to be ignored
    return _Given("data_dir", "data_dir (from XDG_STATE_HOME, else the home directory)", f"{base}/quotaflow")


def _values(given: Iterable[_Given], problems: list[str]) -> dict[str, object]:
    values = {}
    for item in given:
        try:
            values[item.key] = _convert(item)
        except ValidationError:
            problems.append(f"{item.where} must be {_must_be(item.key)}")
    return values


def _convert(item: _Given) -> object:
    section, _, name = item.key.rpartition(".")
    model, value = _SECTIONS.get(section, Settings), item.value
    if not item.is_text:
        return getattr(model.model_validate({name: value}), name)
    if get_origin(model.model_fields[name].annotation) is tuple:
        parts = [part.strip() for part in str(value).split(",")]
        return getattr(model.model_validate({name: [part for part in parts if part]}), name)
    return getattr(model.model_validate_strings({name: value}), name)


def _must_be(key: str) -> str:
    section, _, name = key.rpartition(".")
    field = _SECTIONS.get(section, Settings).model_fields[name]
    return field.description or "one of " + ", ".join(f'"{choice}"' for choice in get_args(field.annotation))


def _settings(
    values: dict[str, object], quotas: tuple[Quota, ...], admin_token: SecretStr | None
) -> Settings:
    sections: dict[str, Any] = {"data_dir": "/"}  # a stand-in where data_dir was refused
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        (sections.setdefault(section, {}) if section else sections)[name] = value
    return Settings(**sections, quotas=quotas, admin_token=admin_token)


def _conflicts(settings: Settings, where: Mapping[str, str]) -> Iterator[str]:
    if settings.redis.port is not None and settings.redis.url != "embedded":
        yield f'{where["redis.port"]} needs redis.url = "embedded"; remove it, or write the port into the URL'
    runner = settings.runner
    if 0 < runner.time_limit < runner.soft_time_limit:
        yield f"{where['runner.soft_time_limit']} must be less than or equal to runner.time_limit"
    store, tasks = settings.store_url, settings.tasks_database_url
    if _sqlite_file(store) is not None and _sqlite_file(tasks) == _sqlite_file(store):
        culprit = where.get("tasks.database_url") or where["store.url"]
        yield f"{culprit}: store and tasks cannot share one SQLite file; name another, or leave it empty"


def _sqlite_file(url: str) -> Path | None:
    scheme, _, rest = url.partition(":///")
    file = unquote(rest.partition("?")[0]).removeprefix("file:")
    return Path(file).resolve() if scheme.startswith("sqlite") else None


def _admin_token(environ: Mapping[str, str], problems: list[str]) -> SecretStr | None:
    token = environ.get(ADMIN_TOKEN)
    if token is None:
        return None
    if len(token) < MIN_ADMIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        problems.append(
            f"{ADMIN_TOKEN} must be at least {MIN_ADMIN_TOKEN} ASCII characters without spaces;"
            " make one with: openssl rand -hex 32"
        )
    return SecretStr(token)
