"""The blocks [[quotas]] of config.toml -> quotas; every problem of every block at once, one line each."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from quotaflow.errors import InvalidInput
from quotaflow.log import printable
from quotaflow.model import KIND_FIELDS, Quota, QuotaKind, foreign_fields, make_quota, needed_fields
from quotaflow.settings_section import is_zone

# What stands in for a bad field of a quota, so that its other fields are checked too.
_QUOTA_SOUND: dict[str, Any] = {"id": "x", "name": None, "enabled": True, "kind": QuotaKind.BUCKET}
_KIND_SOUND: dict[str, Any] = {
    "capacity": 1, "refill_rate": 0, "total": 1, "reset_cron": None, "timezone": None,
    "max_concurrent": None, "mirrors": None,
}  # fmt: skip


def quotas_of(tables: object, file: str, problems: list[str]) -> tuple[Quota, ...]:
    """Return the quotas of `[[quotas]]`, and add a line for every problem."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        problems.append(f"{file}: quotas must be blocks; write [[quotas]] and the keys of one quota below it")
        return ()
    made: dict[str, Quota] = {}
    for number, table in enumerate(tables):
        path = f"quotas[{number}]"
        if found := [f"{file}: {problem}" for problem in _quota_problems(table, path)]:
            problems += found
        else:
            made[path] = make_quota(**table | {"kind": QuotaKind(table.get("kind", "bucket"))})
    problems += [f"{file}: {problem}" for problem in _duplicates(made)]
    return tuple(made.values())


def _quota_problems(table: dict[str, Any], path: str) -> Iterator[str]:
    kind = _kind(table.get("kind", "bucket"))
    if kind is None:
        yield f'{path}.kind must be one of "bucket", "allowance"'
        return
    known = (*_QUOTA_SOUND, *chain(*KIND_FIELDS[kind]))
    for key in sorted(foreign_fields(kind) & table.keys()):
        yield f'{path}.{key} is not for a quota of kind "{kind}"; remove it'
    others = [key for key in table if key not in (*_QUOTA_SOUND, *_KIND_SOUND)]
    yield from (unknown(key, known, f"{path}.") for key in others)
    needed = ("id", *needed_fields(kind, table))
    yield from (f"{path}.{key} is missing; add it" for key in needed if key not in table)
    sound = {key: value for key, value in (_QUOTA_SOUND | _KIND_SOUND).items() if key in known}
    fields = sound | {key: value for key, value in table.items() if key in known} | {"kind": kind}
    for key, words in _mistyped(fields):
        yield f"{path}.{key} must be {words}"
        fields[key] = sound[key]
    if "mirrors" in fields and "mirrors" in table:
        sound |= {"mirrors": "x", "total": None}
        fields["total"] = table.get("total")
    while error := _refusal(fields):
        yield f"{path}.{error}"
        fields[str(error.field)] = sound[str(error.field)]


def _kind(value: object) -> QuotaKind | None:
    return next((kind for kind in QuotaKind if kind == value), None)


def _mistyped(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield fields that are not of their type; a cron expression is read when the daemon starts."""
    if not isinstance(fields["enabled"], bool):
        yield "enabled", "true or false"
    if not isinstance(fields.get("reset_cron"), str | None):
        yield "reset_cron", 'a cron expression, like "0 0 1 * *"'
    if not is_zone(fields.get("timezone") or "UTC"):
        yield "timezone", "the name of a time zone, like UTC or Asia/Shanghai"


def _refusal(fields: dict[str, Any]) -> InvalidInput | None:
    try:
        make_quota(**fields)
    except InvalidInput as error:
        return error
    return None


def _duplicates(quotas: Mapping[str, Quota]) -> Iterator[str]:
    firsts: dict[tuple[str, str], str] = {}
    for path, quota in quotas.items():
        for field, value in (("id", quota.id), ("name", quota.name)):
            first = firsts.setdefault((field, value), path)
            if first != path:
                yield f'{first} and {path} share the {field} "{printable(value)}"; rename one of them'
                break  # equal ids mostly bring equal names: one line is enough


def unknown(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Say which known name comes nearest; the prefix that all share does not count as likeness."""
    near = difflib.get_close_matches(name, known, n=1)
    advice = f'did you mean "{prefix}{near[0]}"?' if near else "remove it"
    return f'unknown key "{prefix}{printable(name)}" — {advice}'
