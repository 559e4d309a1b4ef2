"""What recovery writes to Redis, as values: SQL's knowledge becomes items of recover.lua. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from quotaflow.limiter import keys
from quotaflow.limiter.claims import pace_text
from quotaflow.limiter.client import Client, reaching
from quotaflow.limiter.fence import Raw
from quotaflow.limiter.quotas import OVERRIDE, SLOTS, definition_args, name_entry, override_fields
from quotaflow.model import Override, Quota
from quotaflow.rates import Pace

ITEMS_PER_CALL = 200


@dataclass(frozen=True, slots=True)
class Found:
    """What Redis says of itself: whose it is, which quotas (name -> id, encoded) and waiting runs it believes in."""

    store_id: str | None
    names: Mapping[str, str]
    due: Sequence[str] = ()


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
    skip_us: int = 0
    pace: Pace | None = None


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """A run that SQL believes to be waiting, and the line that opens it."""

    run_id: str
    due_us: int
    attempt: int
    is_paid: bool
    fact: str


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that SQL believes to be running. `fact` is the line that opened it; `slot_of` the quota it has one of."""

    run_id: str
    task_id: str
    fact: str
    slot_of: str | None = None


def quota_items(
    quotas: Iterable[Quota], counters: Mapping[str, Counters], in_redis: Mapping[str, str]
) -> list[Item]:
    """Definitions come from SQL alone: what only Redis has (name -> id, encoded) was deleted and goes."""
    items: list[Item] = []
    known: set[str] = set()
    for quota in quotas:
        _, name, capacity, refill, enabled, version, most = definition_args(quota)
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
            "waiting",
            "0",
        )
        items += [
            Item(keys.quota(quota.id), "set", definition),
            Item(keys.quota(quota.id), "set", ("max_concurrent", most))
            if quota.max_concurrent
            else Item(keys.quota(quota.id), "unset", ("max_concurrent",)),
            Item(keys.QUOTAS, "set", (name, name_entry(quota))),
        ]
        if seen := counters.get(quota.id):
            items.append(Item(keys.quota(quota.id), "max", ("allowed", str(seen.allowed))))
            items.append(Item(keys.quota(quota.id), "max", ("limited", str(seen.limited))))
    for name, entry in in_redis.items():
        if name not in known:
            items.append(Item(keys.QUOTAS, "unset", (name,)))
            quota_id = entry.removesuffix(f" {SLOTS}")
            parts = ("quota", "level", "refused", "slots:quota")
            items += [Item(f"{keys.TAG}:{part}:{quota_id}", "drop") for part in parts]
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


def pool_items(providers: Iterable[str]) -> list[Item]:
    """What upstream keys have left is not known in a new life of Redis: their services are asked again."""
    return [Item(keys.upstream(provider)[1], "drop") for provider in providers]


def task_items(tasks: Iterable[KnownTask]) -> list[Item]:
    """Cursors never go back; whether a task is paused is SQL's word."""
    return [
        item
        for task in tasks
        for item in (
            Item(keys.task(task.task_id), "max", ("last_tick", str(task.cursor_us))),
            Item(
                keys.task(task.task_id),
                "set",
                ("paused", "1" if task.paused else "0", "skip", str(task.skip_us)),
            ),
            _pace_item(task),
            Item(keys.paced(task.task_id), "drop"),
        )
    ]


def _pace_item(task: KnownTask) -> Item:
    if task.pace is None:
        return Item(keys.task(task.task_id), "unset", ("rate",))
    return Item(keys.task(task.task_id), "set", ("rate", pace_text(task.pace)))


def run_items(runs: Iterable[OpenRun], lease_us: int) -> list[Item]:
    """Open runs get a lease again: a daemon that still works on one renews it, otherwise it is closed as lost."""
    return [item for run in runs for item in _open_again(run, str(lease_us))]


def _open_again(run: OpenRun, lease: str) -> list[Item]:
    """A slot of its task costs nothing where the task has none."""
    slots = [
        keys.task_slots(run.task_id),
        *([keys.quota_slots(run.slot_of)] if run.slot_of is not None else []),
    ]
    return [
        Item(keys.run(run.run_id), "keep", ("fact", run.fact)),
        Item(keys.run(run.run_id), "keep", ("slots", "tq"[: len(slots)])),
        Item(keys.RUNNING, "open", (run.run_id, lease)),
        *[Item(slot, "open", (run.run_id, lease)) for slot in slots],
    ]


def waiting_items(runs: Sequence[WaitingRun], in_redis: Iterable[str]) -> list[Item]:
    """Put runs that wait into `due` again; what only Redis believes to be waiting has run, or ended, since then."""
    known = {run.run_id for run in runs}
    gone = [run_id for run_id in in_redis if run_id not in known]
    return [
        *[Item(keys.run(run_id), "gone", (run_id,)) for run_id in gone],
        *[Item(keys.run(run.run_id), "wait", _waiting_again(run)) for run in runs],
    ]


def _waiting_again(run: WaitingRun) -> tuple[str, ...]:
    return run.run_id, str(run.due_us), str(run.attempt), str(int(run.is_paid)), run.fact


async def look(plain: Client) -> Found:
    """Read what Redis says of itself."""
    async with reaching(plain):
        return Found(
            await plain.hget(keys.MARKER, "store_id"),
            await plain.hgetall(keys.QUOTAS),
            await plain.zrange(keys.DUE, 0, -1),  # at most runner.waiting_max
        )


async def write(raw: Raw, items: Sequence[Item], store_id: str, run_id: str) -> None:
    """Send the items in calls of 200; the last call writes the marker."""
    for first in range(0, max(1, len(items)), ITEMS_PER_CALL):
        some = items[first : first + ITEMS_PER_CALL]
        is_last = first + ITEMS_PER_CALL >= len(items)
        args = ["1" if is_last else "0", store_id, run_id]
        for item in some:
            args += (item.act, str(len(item.values)), *item.values)
        await raw("recover", [keys.MARKER, keys.DUE, keys.RUNNING, *[item.key for item in some]], args)
