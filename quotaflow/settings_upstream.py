"""The section [upstream], and the blocks [[upstream.providers]] -> providers; every problem at once, one line each."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr

from quotaflow.amounts import check_id
from quotaflow.errors import InvalidInput
from quotaflow.log import printable
from quotaflow.settings_quotas import unknown
from quotaflow.settings_section import Section, check_url, is_zone, seconds, whole

TAVILY_URL = "https://api.tavily.com/usage"
MAX_USAGE_DELAY_S = 86_400

_MONTHLY = "0 0 1 * *"
_PATH_KEYS = ("used", "limit", "remaining")
_FERNET_KEY = re.compile(r"[A-Za-z0-9_-]{43}=").fullmatch  # 32 bytes in the URL's base 64
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch  # a token of RFC 9110, 5.6.2
_KIND = re.compile(r"[a-z0-9_.-]+").fullmatch


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """A service whose keys are mirrored, and how to ask it for its figures.

    `used`, `limit`, `remaining`: JSONPaths into its answer. `reset_cron`: when its keys have their limit again, None
    for never; of `timezone`, None for scheduler.timezone. `usage_delay_s`: how long a spent unit may take to show in
    its figures, 0 to 86400. `options`: for the provider of a plug-in, as they stand.
    """

    name: str
    kind: str
    url: str = ""
    header: str = "Authorization"
    header_value: str = "Bearer {key}"
    used: str | None = None
    limit: str | None = None
    remaining: str | None = None
    reset_cron: str | None = None
    timezone: str | None = None
    usage_delay_s: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)


_TAVILY = ProviderSettings("tavily", "tavily", TAVILY_URL, reset_cron=_MONTHLY)
_DEFAULTS: dict[str, dict[str, str]] = {"tavily": {"url": TAVILY_URL, "reset_cron": _MONTHLY}}
_FOREIGN = {"tavily": {*_PATH_KEYS, "options"}, "http_json": {"options"}}  # what a kind has no use for


def _fernet_keys(given: SecretStr) -> SecretStr:
    text = given.get_secret_value()
    if text and not all(_FERNET_KEY(key.strip()) for key in text.split(",")):
        raise ValueError
    return given


class Upstream(Section):
    """Mirrored balances of other people's API keys: how they are asked for, and the services there are.

    `refresh_cron`: when all are asked again; whoever acts on it reads it. `secret_key`: see `secret_keys`.
    """

    concurrency: int = whole(50, 1, 1000, "requests")
    timeout_s: float = seconds(30.0, 0.05, 600)
    attempts: int = whole(3, 1, 10, "tries")
    refresh_cron: str = Field(
        default="7 * * * *", description='a cron expression, like "7 * * * *", or empty for never'
    )
    secret_key: Annotated[SecretStr, AfterValidator(_fernet_keys)] = Field(
        default=SecretStr(""),
        repr=False,
        description="one or several Fernet keys separated by commas, newest first;"
        " make one with: quotaflow upstream new-key",
    )
    providers: tuple[ProviderSettings, ...] = ()

    @property
    def secret_keys(self) -> tuple[str, ...]:
        """Fernet keys, newest first: the first encrypts, all decrypt."""
        text = self.secret_key.get_secret_value()
        return tuple(key.strip() for key in text.split(",")) if text else ()

    @property
    def all_providers(self) -> Mapping[str, ProviderSettings]:
        """Providers by name. `tavily` is among them without being configured."""
        return MappingProxyType({one.name: one for one in (_TAVILY, *self.providers)})


def providers_of(tables: object, file: str, problems: list[str]) -> tuple[ProviderSettings, ...]:
    """Return the providers of `[[upstream.providers]]`, and add a line for every problem."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        problems.append(
            f"{file}: upstream.providers must be blocks;"
            " write [[upstream.providers]] and the keys of one provider below it"
        )
        return ()
    made: dict[str, ProviderSettings] = {}
    for number, table in enumerate(tables):
        path = f"upstream.providers[{number}]"
        if found := [f"{file}: {problem}" for problem in _provider_problems(table, path)]:
            problems += found
        else:
            made[path] = _provider(table)
    problems += [f"{file}: {problem}" for problem in _duplicates(made)]
    return tuple(made.values())


def _provider(table: dict[str, Any]) -> ProviderSettings:
    fields = _DEFAULTS.get(table["kind"], {}) | table
    fields["name"] = check_id(table["name"])
    fields["reset_cron"] = fields.get("reset_cron") or None
    fields["usage_delay_s"] = float(fields.get("usage_delay_s", 0))
    return ProviderSettings(**fields)


def _provider_problems(table: dict[str, Any], path: str) -> Iterator[str]:
    kind = table.get("kind")
    if kind is not None and not (isinstance(kind, str) and _KIND(kind)):
        yield f'{path}.kind must be "tavily", "http_json", or the kind of a plug-in (a-z, 0-9, _, . and -)'
        return
    foreign = _FOREIGN.get(kind or "", set())
    known = ("name", "kind", *(key for key in _CHECKS if key not in foreign))
    yield from (unknown(key, known, f"{path}.") for key in table if key not in ("name", "kind", *_CHECKS))
    for key in sorted(foreign & table.keys()):
        yield f'{path}.{key} is not for a provider of kind "{kind}"; remove it'
    yield from (f"{path}.{key} is missing; add it" for key in _missing(table, kind))
    if "name" in table and (refusal := _name_refusal(table["name"])):
        yield f"{path}.{refusal}"
    for key in (key for key in known if key in table and key in _CHECKS):
        is_right, words = _CHECKS[key]
        if not is_right(table[key]):
            yield f"{path}.{key} must be {words}"


def _missing(table: dict[str, Any], kind: str | None) -> list[str]:
    needed = ["name", "kind"]
    if kind == "http_json":
        needed += ["url"] if "remaining" in table else ["url", "used", "limit"]
    return [key for key in needed if key not in table]


def _name_refusal(name: object) -> str:
    try:
        check_id(name, field="name")
    except InvalidInput as error:
        return str(error)
    return ""


def _is_url(value: object) -> bool:
    """Refuse what could hold a secret: user and password, and the place where one would be put in."""
    try:
        return (
            isinstance(value, str)
            and value.isascii()
            and "{key}" not in value
            and bool(check_url(value, r"https?://[^\s/?#@:\\][^\s/?#@\\]*([/?#]\S*)?"))
        )
    except ValueError:
        return False


def _is_header_value(value: object) -> bool:
    if not isinstance(value, str) or value.count("{key}") != 1:
        return False
    return value.isascii() and value.isprintable() and value == value.strip()


def _is_path(value: object) -> bool:
    import jsonpath  # noqa: PLC0415  0.1 s that settings without such a provider do without

    try:
        path = jsonpath.compile(value) if isinstance(value, str) and value.strip() else None
    except (jsonpath.JSONPathError, ValueError, RecursionError):
        return False
    return isinstance(path, jsonpath.JSONPath) and path.singular_query()


def _is_delay(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value <= MAX_USAGE_DELAY_S  # false of nan too


_URL_WORDS = (
    "an address like https://api.example.com/usage, without user, password and {key}:"
    " a secret never stands in a URL"
)
_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "url": (_is_url, _URL_WORDS),
    "header": (lambda value: isinstance(value, str) and bool(_HEADER(value)), "the name of an HTTP header"),
    "header_value": (_is_header_value, 'ASCII text that holds {key} once, like "Bearer {key}"'),
    **dict.fromkeys(_PATH_KEYS, (_is_path, "a JSONPath to one value, like $.account.used")),
    "reset_cron": (lambda value: isinstance(value, str), f'a cron expression, like "{_MONTHLY}"'),
    "timezone": (is_zone, "the name of a time zone, like UTC or Asia/Shanghai"),
    "usage_delay_s": (_is_delay, f"a number of seconds from 0 to {MAX_USAGE_DELAY_S}"),
    "options": (lambda value: isinstance(value, dict), "a table"),
}


def _duplicates(providers: Mapping[str, ProviderSettings]) -> Iterator[str]:
    firsts: dict[str, str] = {}
    for path, provider in providers.items():
        first = firsts.setdefault(provider.name, path)
        if first != path:
            yield f'{first} and {path} share the name "{printable(provider.name)}"; rename one of them'
