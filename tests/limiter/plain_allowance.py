"""Prepaid allowances in plain Python integers: slow, obvious, and the measure of the Lua ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from quotaflow.amounts import MAX_PREPAID_UNITS
from quotaflow.ledger import Part
from tests.limiter.plain import FOREVER, MICRO, Plain

RANK = ("granted", "limited", "exhausted", "impossible", "expired", "disabled", "missing")
ENDS = {
    "refund": "refunded",
    "settle": "settled",
    "release": "released",
    "sweep": "released",
    "cancel": "cancelled",
}

Told = tuple[
    str, str, int, int, bool
]  # word, who decided, what is left there (-1: not metered), wait, repeated


@dataclass
class PlainAllowance:
    """One allowance; amounts in micro-units, times in microseconds."""

    total: int
    metered: bool = True
    pace: Plain | None = None
    expires: int = 0
    active: bool = True
    remaining: int = -1

    def __post_init__(self) -> None:
        self.remaining = self.total

    def says(self, cost: int, now: int) -> str:
        if not self.active:
            return "disabled"
        if self.expires and now >= self.expires:
            return "expired"
        if self.metered and cost > self.remaining:
            return "exhausted"
        if self.pace and cost and self.pace.level < MICRO:
            return "limited"
        return "granted"


@dataclass
class Record:
    """What is remembered of a request id."""

    state: str
    parts: tuple[Part, ...]
    after: int
    due: int = 0


@dataclass
class PlainAllowances:
    """Allowances and buckets under one clock."""

    now: int
    allowances: dict[str, PlainAllowance] = field(default_factory=dict)
    buckets: dict[str, Plain] = field(default_factory=dict)
    records: dict[tuple[str, str], Record] = field(default_factory=dict)
    acts: dict[tuple[str, str], str] = field(default_factory=dict)
    posted: int = 0  # ledger facts so far, beside those with which allowances begin

    def tick(self, pause: int) -> None:
        self.now += pause
        paces = [each.pace for each in self.allowances.values() if each.pace]
        for bucket in [*self.buckets.values(), *paces]:
            bucket.refill(self.now)

    def charge(self, parts: tuple[Part, ...], request_id: str, hold: int) -> Told:
        first = parts[0].id
        record = self.records.get((first, request_id))
        if record is not None and record.state == "cancelled":
            return ("cancelled", first, record.after, 0, True)
        if record is not None:
            same = record.parts == parts
            return (
                ("granted", first, record.after, 0, True)
                if same
                else ("conflict", first, self.left(parts[0]), 0, False)
            )
        judged = [(part, *self._judge(part)) for part in parts]
        worst, word, wait = max(judged, key=lambda it: (RANK.index(it[1]), FOREVER if it[2] < 0 else it[2]))
        if word != "granted":
            return (word, worst.id, self.left(worst), wait, False)
        for part in parts:
            self._take(part)
        after = self.left(parts[0])
        if any(part.cost_micro for part in parts):
            state, due = ("held", self.now + hold) if hold else ("charged", 0)
            self.records[first, request_id] = Record(state, parts, after, due)
        return ("granted", first, after, 0, False)

    def _judge(self, part: Part) -> tuple[str, int]:
        if part.is_bucket:
            bucket = self.buckets[part.id]
            word, pace, asked = bucket.verdict(part.cost_micro), bucket, part.cost_micro
        elif part.id not in self.allowances:
            return "missing", -1
        else:
            it = self.allowances[part.id]
            word, pace, asked = it.says(part.cost_micro, self.now), it.pace or Plain(0, 0), MICRO
        if word == "limited":
            return word, pace.wait(asked, self.now)
        return word, 0 if word == "granted" else -1

    def _take(self, part: Part) -> None:
        if part.is_bucket:
            self.buckets[part.id].level -= part.cost_micro
        elif part.cost_micro:
            it = self.allowances[part.id]
            if it.pace:
                it.pace.level -= MICRO
            if it.metered:
                it.remaining -= part.cost_micro
                self.posted += 1

    def left(self, part: Part) -> int:
        if part.is_bucket:
            return self.buckets[part.id].level
        it = self.allowances.get(part.id)
        if it is None:
            return 0
        return it.remaining if it.metered else -1

    def give_back(self, act: str, subject: str, request_id: str, amounts: Sequence[int]) -> tuple[str, str]:
        record = self.records.get((subject, request_id))
        if record is None:
            if act != "cancel":
                return "unknown", "unknown"
            self.records[subject, request_id] = Record("cancelled", (), 0)
            return "done", "cancelled"
        if record.state not in ("charged", "held"):
            return "again", record.state
        if act == "sweep" and not 0 < record.due <= self.now:
            return "kept", record.state
        paid = [part for part in record.parts if not part.is_bucket]
        for part, amount in zip(paid, amounts, strict=True):
            it = self.allowances[part.id]
            back = min(amount, MAX_PREPAID_UNITS * MICRO - it.remaining)
            if it.metered and (back or act == "settle"):
                it.remaining += back
                self.posted += 1
        record.state = ENDS[act]
        return "done", record.state

    def change(self, subject: str, act: str, amount: int | None, act_id: str) -> str:
        said = f"{act} {amount}"
        if (subject, act_id) in self.acts:
            return "again" if self.acts[subject, act_id] == said else "conflict"
        it = self.allowances[subject]
        if not it.metered and act != "expire":
            return "unmetered"
        total, remaining = it.total, it.remaining
        match act:
            case "recharge":
                total, remaining = total + (amount or 0), remaining + (amount or 0)
            case "set":
                total, remaining = max(total, amount or 0), amount or 0
            case "reset":
                total = remaining = total if amount is None else amount
            case "adjust":
                remaining -= min(remaining, amount or 0)
            case "expire":
                remaining, it.expires = 0, self.now
        if max(total, remaining) > MAX_PREPAID_UNITS * MICRO:
            return "too much"
        it.total, it.remaining = total, remaining
        self.posted += it.metered
        self.acts[subject, act_id] = said
        return "done"
