"""Lay out a batch of requests for acquire.lua and read its reply. Pure.

Callers who ask one bucket for the same cost share a request, unless somebody asked that bucket for another cost in
between: arrival order is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import cast

from quotaflow.limiter import keys
from quotaflow.model import MICRO, Decision, Reason

Want = tuple[str, str, int]  # quota id, key ("" for none), cost in micro-units
Wants = tuple[Want, ...]  # all or none

_REASONS = {str(reason): reason for reason in Reason}


@dataclass(slots=True)
class Shared:
    """One request, and the callers (by place in the batch) who share it."""

    callers: list[int]
    costs: list[tuple[int, int]]  # bucket, cost


@dataclass(slots=True)
class Layout:
    """A batch as the script reads it."""

    quotas: dict[str, int] = field(default_factory=dict)
    buckets: dict[tuple[str, str], int] = field(default_factory=dict)
    requests: list[Shared] = field(default_factory=list)

    def add(self, caller: int, wants: Wants, last: dict[int, Shared]) -> None:
        """Place one caller's request; `last` is the newest request on each bucket."""
        costs = [(self._bucket(quota_id, key), cost) for quota_id, key, cost in wants]
        if len(costs) == 1:
            same = last.get(costs[0][0])
            if same is not None and same.costs == costs:
                same.callers.append(caller)
                return
        request = Shared([caller], costs)
        self.requests.append(request)
        for bucket, _ in costs:
            last[bucket] = request

    def _bucket(self, quota_id: str, key: str) -> int:
        place = (quota_id, key)
        number = self.buckets.get(place)
        if number is None:
            if quota_id not in self.quotas:
                self.quotas[quota_id] = len(self.quotas) + 1
            number = self.buckets[place] = len(self.buckets) + 1
        return number

    def script_keys(self, lane: str) -> list[str]:
        """Return KEYS."""
        found = [keys.MARKER, lane]
        for quota_id in self.quotas:
            quota_key, _, refused_key = bucket_keys(quota_id)
            found += (quota_key, refused_key)
        found += [level_key(quota_id, key) for quota_id, key in self.buckets]
        return found

    def args(self, batch_id: str) -> list[str]:
        """Return ARGV."""
        found = [batch_id, str(len(self.quotas))]
        for quota_id, key in self.buckets:
            found += (str(self.quotas[quota_id]), encode_key(key))
        for request in self.requests:
            found += (str(len(request.callers)), str(len(request.costs)))
            for bucket, cost in request.costs:
                found += (str(bucket), str(cost))
        return found

    def decisions(self, reply: str, count: int) -> list[Decision]:
        """Read the reply: a decision for each of the `count` callers."""
        names = [quota_id for quota_id, _ in self.buckets]
        found = cast("list[Decision]", [None] * count)  # every place is filled below
        for request, (granted, word, bucket, level, retry, reset) in zip(
            self.requests, zip(*[iter(reply.split(" "))] * 6, strict=True), strict=True
        ):
            quota_id, left, full = names[int(bucket) - 1], int(level), _seconds(reset)
            served, cost = int(granted), request.costs[0][1]
            for rank, caller in enumerate(request.callers):
                if rank < served:
                    remaining = (left + (served - 1 - rank) * cost) / MICRO
                    found[caller] = Decision(True, quota_id, remaining, 0.0, full, Reason.GRANTED)
                else:
                    found[caller] = Decision(
                        False, quota_id, left / MICRO, _seconds(retry), full, _REASONS[word]
                    )
        return found


def lay_out(asks: Sequence[Wants]) -> Layout:
    """Lay out a batch."""
    layout, last = Layout(), dict[int, Shared]()
    for caller, wants in enumerate(asks):
        layout.add(caller, wants, last)
    return layout


@lru_cache(4096)
def bucket_keys(quota_id: str) -> tuple[str, str, str]:
    """Return a quota's keys; every call of a process asks for the same few."""
    return keys.bucket(quota_id)


def level_key(quota_id: str, key: str) -> str:
    """Return the key of one bucket's level."""
    level = bucket_keys(quota_id)[1]
    return f"{level}:{encode_key(key)}" if key else level


def encode_key(key: str) -> str:
    """Percent-encode a bucket's key; most need nothing."""
    return key if key.isascii() and key.isalnum() else keys.encode_id(key)


def _seconds(microseconds: str) -> float | None:
    return None if microseconds == "-1" else int(microseconds) / 1e6
