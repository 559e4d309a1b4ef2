"""The token bucket in plain Python integers: slow, obvious, and the measure of the Lua one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

MICRO = 1_000_000
FOREVER = 9_000_000_000_000_000


@dataclass
class Plain:
    """One bucket; all amounts in micro-units, all times in microseconds."""

    capacity: int
    rate: int
    enabled: bool = True
    level: int = -1
    at: int = 0

    def refill(self, now: int) -> None:
        if self.level < 0:
            self.level, self.at = self.capacity, now
        elapsed = now - self.at
        credit = elapsed * self.rate // MICRO
        if elapsed < 0:
            self.at = now
        elif self.level + credit >= self.capacity:
            self.level, self.at = self.capacity, now
        elif self.rate == 0:
            self.at = now
        else:
            self.level += credit
            self.at += -(-credit * MICRO // self.rate)

    def gain_time(self, units: int) -> int:
        if units <= 0:
            return 0
        if self.rate == 0:
            return -1
        return (
            min(-(-units * MICRO // self.rate), FOREVER) if units // self.rate < FOREVER // MICRO else FOREVER
        )

    def wait(self, cost: int, now: int) -> int:
        if cost > self.capacity:
            return -1
        gain = self.gain_time(cost - self.level)
        return gain if gain <= 0 else max(1, gain - (now - self.at))

    def verdict(self, cost: int) -> str:
        if not self.enabled:
            return "disabled"
        if cost > self.capacity:
            return "impossible"
        return "granted" if cost <= self.level else "limited"


Answer = tuple[str, str, int, int, int]  # reason, quota that decided, remaining, retry_after, reset_after


@dataclass
class PlainQuotas:
    """Several buckets under one clock."""

    now: int = 1_750_000_000_000_000
    buckets: dict[str, Plain] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)

    def ask(self, requests: Sequence[Mapping[str, int]]) -> list[Answer]:
        """Decide in order. Only what was taken is written down, and a clock that went back: looking leaves no trace."""
        stored = {name: replace(bucket) for name, bucket in self.buckets.items()}
        asked = {name for request in requests for name in request if name in self.buckets}
        for name in asked:
            self.buckets[name].refill(self.now)
        answers = [self._decide(request) for request in requests]
        for name in asked - self._taken:
            jumped = stored[name].level >= 0 and self.now < stored[name].at
            if not jumped:
                self.buckets[name] = stored[name]
        self._taken = set()
        return answers

    def _decide(self, request: Mapping[str, int]) -> Answer:
        for name in request:
            if name not in self.buckets:
                return ("missing", name, 0, -1, -1)
        rank = {"granted": 0, "limited": 1, "impossible": 2, "disabled": 3}
        ranked = []
        for order, (name, cost) in enumerate(request.items()):
            bucket = self.buckets[name]
            word, wait = bucket.verdict(cost), bucket.wait(cost, self.now)
            tie = (FOREVER if wait < 0 else wait) if word == "limited" else 0
            if word == "granted":
                tie = cost - bucket.level
            ranked.append((rank[word], tie, -order, name, cost, word, wait))
        _, _, _, name, cost, word, wait = max(ranked)
        if word == "granted":
            for each, units in request.items():
                self.buckets[each].level -= units
                self._taken |= {each} if units else set()
        bucket = self.buckets[name]
        wait = -1 if word == "disabled" else bucket.wait(cost, self.now) if word != "granted" else 0
        return (word, name, bucket.level, wait, bucket.wait(bucket.capacity, self.now))
