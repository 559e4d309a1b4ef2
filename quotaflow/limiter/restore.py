"""What recovery writes to Redis, as values: SQL's knowledge becomes items of recover.lua. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from quotaflow.limiter import keys
from quotaflow.limiter.client import Client, reaching
from quotaflow.limiter.fence import Raw
from quotaflow.limiter.quotas import OVERRIDE, definition_args, override_fields
from quotaflow.model import Override, Quota

ITEMS_PER_CALL = 200


@dataclass(frozen=True, slots=True)
class Found:
    """What Redis says of itself: whose it is, and which quotas (name -> id, both encoded) it believes in."""

    store_id: str | None
    names: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Item:
    """One act on one key."""

    key: str
    act: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Counters:
    """What SQL last saw of a quota's counters."""

    allowed: int
    limited: int


@dataclass(frozen=True, slots=True)
class KnownTask:
    """A task's latest traced moment, or when it was registered if it never ran."""

    task_id: str
    cursor_us: int
    paused: bool


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that SQL believes to be running. `fact` is the line that opened it."""

    run_id: str
    fact: str


def quota_items(
    quotas: Iterable[Quota], counters: Mapping[str, Counters], in_redis: Mapping[str, str]
) -> list[Item]:
    """Definitions come from SQL alone: what only Redis has (name -> id, encoded) was deleted and goes."""
    items: list[Item] = []
    known: set[str] = set()
    for quota in quotas:
        quota_id, name, capacity, refill, enabled, version = definition_args(quota)
        known.add(name)
        definition = (
            "name",
            name,
            "capacity",
            capacity,
            "refill_rate",
            refill,
            "enabled",
            enabled,
            "version",
            version,
        )
        items += [
            Item(keys.quota(quota.id), "set", definition),
            Item(keys.QUOTAS, "set", (name, quota_id)),
        ]
        if seen := counters.get(quota.id):
            items.append(Item(keys.quota(quota.id), "max", ("allowed", str(seen.allowed))))
            items.append(Item(keys.quota(quota.id), "max", ("limited", str(seen.limited))))
    for name, quota_id in in_redis.items():
        if name not in known:
            items.append(Item(keys.QUOTAS, "unset", (name,)))
            items += [Item(f"{keys.TAG}:{part}:{quota_id}", "drop") for part in ("quota", "level", "refused")]
    return items


def override_items(quotas: Iterable[Quota], overrides: Iterable[Override]) -> list[Item]:
    """The same for keys with a capacity and rate of their own."""
    return [
        *[Item(keys.quota(quota.id), "clear", (OVERRIDE,)) for quota in quotas],
        *[
            Item(keys.quota(override.quota_id), "set", tuple(chain(*override_fields(override).items())))
            for override in overrides
        ],
    ]


def task_items(tasks: Iterable[KnownTask]) -> list[Item]:
    """Cursors never go back; whether a task is paused is SQL's word."""
    return [
        item
        for task in tasks
        for item in (
            Item(keys.task(task.task_id), "max", ("last_tick", str(task.cursor_us))),
            Item(keys.task(task.task_id), "set", ("paused", "1" if task.paused else "0")),
        )
    ]


def run_items(runs: Iterable[OpenRun], lease_us: int) -> list[Item]:
    """Open runs get a lease again: a daemon that still works on one renews it, otherwise it is closed as lost."""
    return [
        item
        for run in runs
        for item in (
            Item(keys.run(run.run_id), "keep", ("fact", run.fact)),
            Item(keys.RUNNING, "open", (run.run_id, str(lease_us))),
        )
    ]


async def look(plain: Client) -> Found:
    """Read what Redis says of itself."""
    async with reaching(plain):
        return Found(await plain.hget(keys.MARKER, "store_id"), await plain.hgetall(keys.QUOTAS))


async def write(raw: Raw, items: Sequence[Item], store_id: str, run_id: str) -> None:
    """Send the items in calls of 200; the last call writes the marker."""
    for first in range(0, max(1, len(items)), ITEMS_PER_CALL):
        some = items[first : first + ITEMS_PER_CALL]
        is_last = first + ITEMS_PER_CALL >= len(items)
        args = ["1" if is_last else "0", store_id, run_id]
        for item in some:
            args += (item.act, str(len(item.values)), *item.values)
        await raw("recover", [keys.MARKER, *[item.key for item in some]], args)
