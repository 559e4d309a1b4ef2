"""Lay out a batch of requests for acquire.lua and read its reply. Pure.

Callers who ask one bucket for the same cost share a request, unless somebody asked that bucket for another cost in
between: arrival order is kept.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, cast

from quotaflow.amounts import MICRO
from quotaflow.limiter import keys
from quotaflow.model import Decision, Reason

Want = tuple[str, str, int]  # quota id, key ("" for none), cost in micro-units
Wants = tuple[Want, ...]  # all or none

_REASONS = {str(reason): reason for reason in Reason}


class Shared(NamedTuple):
    """One request, and the callers (by place in the batch) who share it."""

    callers: list[int]
    slot: int  # of its first bucket
    cost: int  # of each caller, on that bucket
    several: str = ""  # the request as the script reads it, when it has more than one bucket


class Layout(NamedTuple):
    """A batch as the script reads it. Quotas and buckets by their 1-based index."""

    quotas: dict[str, int]
    buckets: dict[tuple[str, str], int]
    requests: list[Shared]

    def script_keys(self, lane: str) -> list[str]:
        """Return KEYS."""
        found = [keys.MARKER, lane]
        for quota_id in self.quotas:
            quota_key, _, refused_key = bucket_keys(quota_id)
            found += (quota_key, refused_key)
        if len(self.quotas) > 1:
            return found + [level_key(quota_id, key) for quota_id, key in self.buckets]
        level = bucket_keys(quota_id)[1]
        return found + [f"{level}:{keys.encode_id(key)}" if key else level for _, key in self.buckets]

    def args(self, batch_id: str) -> list[str]:
        """Return ARGV."""
        quotas = self.quotas
        owners = (
            "1" if len(quotas) == 1 else " ".join([str(quotas[quota_id]) for quota_id, _ in self.buckets])
        )
        return [batch_id, owners, self._same_of_all() or self._asked()]

    def _same_of_all(self) -> str:
        """Return the cost, if one caller asks each bucket for the same; else nothing."""
        costs = {several or cost if len(callers) == 1 else "" for callers, _, cost, several in self.requests}
        cost = costs.pop()
        same = not costs and isinstance(cost, int) and len(self.requests) == len(self.buckets)
        return str(cost) if same else ""

    def _asked(self) -> str:
        return " ".join(
            [several or f"{len(callers)} {slot} {cost}" for callers, slot, cost, several in self.requests]
        )

    def decisions(self, reply: str, count: int) -> list[Decision]:
        """Read the reply: a decision for each of the `count` callers."""
        names = [quota_id for quota_id, _ in self.buckets]
        found = cast("list[Decision]", [None] * count)  # every place is filled below
        words = iter(reply.split(" "))
        for (callers, _, cost, _), granted, word, bucket, level, retry, reset in zip(
            self.requests, words, words, words, words, words, words, strict=True
        ):
            quota_id, left = names[int(bucket) - 1], int(level)
            full = None if reset == "-1" else int(reset) / 1e6
            if granted == "1" and len(callers) == 1:  # nearly every one
                found[callers[0]] = _new(Decision, (True, quota_id, left / MICRO, 0.0, full, Reason.GRANTED))
                continue
            served = int(granted)
            for rank, caller in enumerate(callers, 1):
                if rank <= served:
                    remaining = (left + (served - rank) * cost) / MICRO
                    found[caller] = _new(Decision, (True, quota_id, remaining, 0.0, full, Reason.GRANTED))
                else:
                    wait = None if retry == "-1" else int(retry) / 1e6
                    found[caller] = _new(
                        Decision, (False, quota_id, left / MICRO, wait, full, _REASONS[word])
                    )
        return found


_new = tuple.__new__  # what NamedTuple's own way calls in the end, at a third of the time


def lay_out(asks: Sequence[Wants]) -> Layout:
    """Lay out a batch."""
    quotas: dict[str, int] = {}
    buckets: dict[tuple[str, str], int] = {}
    requests: list[Shared] = []
    newest: dict[int, Shared] = {}  # the last request on each bucket
    for caller, wants in enumerate(asks):
        several = len(wants) > 1
        slots = []
        for quota_id, key, cost in wants:
            place = (quota_id, key)
            slot = buckets.get(place)
            if slot is None:
                if quota_id not in quotas:
                    quotas[quota_id] = len(quotas) + 1
                slot = buckets[place] = len(buckets) + 1
            elif not several:
                same = newest[slot]
                if same.cost == cost and not same.several:
                    same.callers.append(caller)
                    break
            slots.append(slot)
        else:
            text = _several(slots, wants) if several else ""
            request = _new(Shared, ([caller], slots[0], wants[0][2], text))
            requests.append(request)
            for slot in slots:
                newest[slot] = request
    return Layout(quotas, buckets, requests)


def _several(slots: Sequence[int], wants: Wants) -> str:
    costs = [f"{slot} {cost}" for slot, (_, _, cost) in zip(slots, wants, strict=True)]
    return f"0 {len(slots)} {' '.join(costs)}"


@lru_cache(4096)
def bucket_keys(quota_id: str) -> tuple[str, str, str]:
    """Return a quota's keys; every call of a process asks for the same few."""
    return keys.bucket(quota_id)


def level_key(quota_id: str, key: str) -> str:
    """Return the key of one bucket's level."""
    level = bucket_keys(quota_id)[1]
    return f"{level}:{keys.encode_id(key)}" if key else level
