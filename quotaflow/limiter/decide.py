"""Lay out a batch of requests for acquire.lua or acquire_mixed.lua, and read its reply. Pure.

Callers who ask one bucket for the same cost share a request, unless somebody asked that bucket for another cost in
between: arrival order is kept.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, cast

from pydantic_core import from_json

from quotaflow.amounts import MICRO
from quotaflow.limiter import keys
from quotaflow.limiter.scripts import Call
from quotaflow.model import Decision, Reason

Want = tuple[str, str, int]  # quota id, key ("" for none), cost in micro-units
Wants = tuple[Want, ...]  # all or none

_REASONS = {str(reason): reason for reason in Reason}
_GRANTED = Reason.GRANTED


class Shared(NamedTuple):
    """One request, and the callers (by place in the batch) who share it."""

    callers: list[int]
    slot: int  # of its first bucket
    cost: int  # of each caller, on that bucket
    several: str = ""  # the request as the script reads it, when it has more than one bucket


class Layout(NamedTuple):
    """A batch as acquire_mixed reads it. Quotas and buckets by their 1-based index."""

    quotas: dict[str, int]
    buckets: dict[tuple[str, str], int]
    requests: list[Shared]

    def call(self, lane: str, batch_id: int) -> Call:
        """Return the call that asks for it."""
        quotas, script_keys = self.quotas, [keys.MARKER, lane]
        for quota_id in quotas:
            quota, _, refused = bucket_keys(quota_id)
            script_keys += (quota, refused)
        script_keys += [level_key(quota_id, key) for quota_id, key in self.buckets]
        owners = (
            "1" if len(quotas) == 1 else " ".join([str(quotas[quota_id]) for quota_id, _ in self.buckets])
        )
        asked = [several or f"{len(callers)} {slot} {cost}" for callers, slot, cost, several in self.requests]
        return "acquire_mixed", script_keys, [str(batch_id), owners, " ".join(asked)]

    def decisions(self, reply: str) -> list[Decision]:
        """Read the reply: a decision for each caller."""
        names = [quota_id for quota_id, _ in self.buckets]
        _, told, rest = from_json(reply)
        others = {number: other for number, *other in rest}
        found = cast("list[Decision]", [None] * sum(len(callers) for callers, *_ in self.requests))
        for number, ((callers, first, cost, _), (_, left, reset)) in enumerate(
            zip(self.requests, told, strict=True), 1
        ):
            served, word, slot, wait = others.get(number) or (len(callers), _GRANTED, first, -1)
            quota_id, full, reason = names[slot - 1], _seconds(reset), _REASONS[word]
            for rank, caller in enumerate(callers[:served], 1):
                remaining = (left + (served - rank) * cost) / MICRO
                found[caller] = Decision(True, quota_id, remaining, 0.0, full, _GRANTED)
            for caller in callers[served:]:
                found[caller] = Decision(False, quota_id, left / MICRO, _seconds(wait), full, reason)
        return found


class Even(NamedTuple):
    """A batch whose callers ask one quota for the same, each another bucket: what comes where keys are many."""

    quota_id: str
    buckets: Sequence[str]
    cost: int

    def call(self, lane: str, batch_id: int) -> Call:
        """Return the call that asks for it."""
        quota, level, refused = bucket_keys(self.quota_id)
        prefix, script_keys = f"{level}:", [keys.MARKER, lane, quota, refused]
        script_keys += [prefix + key if key else level for key in keys.encode_ids(self.buckets)]
        return "acquire", script_keys, [str(batch_id), str(self.cost)]

    def decisions(self, reply: str) -> list[Decision]:
        """Read the reply: a decision for each caller."""
        _, told, refusals = from_json(reply)
        found: list[Decision] = []
        for alike, left, reset in told:
            granted = True, self.quota_id, left / MICRO, 0.0, _seconds(reset), _GRANTED
            found += [_new(Decision, granted)] * alike
        for number, _, word, _, wait in refusals:
            found[number - 1] = found[number - 1]._replace(
                allowed=False, retry_after=_seconds(wait), reason=_REASONS[word]
            )
        return found


_new = tuple.__new__  # what NamedTuple's own way calls in the end, at a third of the time


def _seconds(microseconds: int) -> float | None:
    """Read a duration of the reply; -1 is never."""
    return microseconds / 1e6 if microseconds >= 0 else None


def lay_out(asks: Sequence[Wants]) -> Layout | Even:
    """Lay out a batch. Callers who ask one bucket for the same share a request."""
    if len(asks) == 1 == len(asks[0]):
        quota_id, key, cost = asks[0][0]
        return Even(quota_id, (key,), cost)
    count = len(asks)
    if sum(map(len, asks)) == count:
        quotas, buckets, costs = zip(*[wants[0] for wants in asks], strict=True)
        if count == len(set(buckets)) == quotas.count(quotas[0]) == costs.count(costs[0]):
            return Even(quotas[0], buckets, costs[0])
    return _lay_out(asks)


def _lay_out(asks: Sequence[Wants]) -> Layout:
    quotas: dict[str, int] = {}
    slots: dict[tuple[str, str], int] = {}
    requests: list[Shared] = []
    newest: dict[int, Shared] = {}  # the last request on each bucket
    for caller, wants in enumerate(asks):
        asked = [(_slot(quotas, slots, quota_id, key), cost) for quota_id, key, cost in wants]
        slot, cost = asked[0]
        same = newest.get(slot)
        if len(asked) == 1 and same is not None and same.cost == cost and not same.several:
            same.callers.append(caller)
            continue
        request = Shared([caller], slot, cost, _several(asked) if len(asked) > 1 else "")
        requests.append(request)
        newest.update(dict.fromkeys([slot for slot, _ in asked], request))
    return Layout(quotas, slots, requests)


def _slot(quotas: dict[str, int], slots: dict[tuple[str, str], int], quota_id: str, key: str) -> int:
    quotas.setdefault(quota_id, len(quotas) + 1)
    return slots.setdefault((quota_id, key), len(slots) + 1)


def _several(asked: Sequence[tuple[int, int]]) -> str:
    return f"0 {len(asked)} {' '.join([f'{slot} {cost}' for slot, cost in asked])}"


@lru_cache(4096)
def bucket_keys(quota_id: str) -> tuple[str, str, str]:
    """Return a quota's keys; every call of a process asks for the same few."""
    return keys.bucket(quota_id)


def level_key(quota_id: str, key: str) -> str:
    """Return the key of one bucket's level."""
    level = bucket_keys(quota_id)[1]
    return f"{level}:{keys.encode_id(key)}" if key else level
