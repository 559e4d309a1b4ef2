"""Lay out charges of prepaid allowances for consume.lua and read its reply. Pure."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from quotaflow import facts
from quotaflow.amounts import MICRO
from quotaflow.errors import Backlog, IdempotencyConflict, QuotaflowError, RequestRecordsFull
from quotaflow.ledger import Charge, Part
from quotaflow.limiter import keys
from quotaflow.limiter.decide import bucket_keys
from quotaflow.model import Reason

_REASONS = {str(reason): reason for reason in Reason}
_new = tuple.__new__  # what NamedTuple's own way calls in the end, at a third of the time
_BUCKET = "~"  # outside the alphabet of encoded ids


class Order(NamedTuple):
    """One caller's request. Its first part, an allowance, is who asks: the request id is one of its own.

    `lifetime_ms`: how long the answer is remembered; `hold_us`: when a reservation is given back, 0 for a charge.
    `is_ours`: the request id was made here, so nobody else can ask for it again.
    """

    parts: tuple[Part, ...]
    request_id: str
    event_id: str
    lifetime_ms: int
    hold_us: int = 0
    is_ours: bool = True

    @property
    def subject(self) -> str:
        """Whose request id it is."""
        return self.parts[0].id


class ChargeLayout(NamedTuple):
    """A batch as the script reads it. Places count the allowances, then the buckets, from 1."""

    allowances: dict[str, int]
    buckets: dict[str, int]
    orders: Sequence[Order]

    def script_keys(self) -> list[str]:
        """Return KEYS."""
        found = [keys.MARKER, keys.JOURNAL, keys.REQUESTS, keys.RESERVED]
        for subject in self.allowances:
            encoded = keys.encode_id(subject)
            found += (f"{keys.TAG}:allowance:{encoded}", f"{keys.TAG}:refused:{encoded}")
        for quota_id in self.buckets:
            found += bucket_keys(quota_id)
        return found + [keys.request(order.parts[0].id, order.request_id) for order in self.orders]

    def args(self, backlog_max: str, requests_max: str) -> list[str]:
        """Return ARGV."""
        found = [backlog_max, requests_max, str(len(self.allowances)), str(len(self.buckets))]
        for order in self.orders:
            asked = " ".join([f"{self._place(part)} {part.cost_micro}" for part in order.parts])
            found += (
                order.event_id,
                f"{order.lifetime_ms} {order.hold_us} {asked}",
                parts_text(order.parts),
                f" request={facts.text_of(order.request_id)}{_asker(order)}",
            )
        return found

    def _place(self, part: Part) -> int:
        if part.is_bucket:
            return len(self.allowances) + self.buckets[part.id]
        return self.allowances[part.id]

    def charges(self, reply: str) -> list[Charge | QuotaflowError]:
        """Read the reply: an answer for each order, or the error to raise instead."""
        names = [*self.allowances, *self.buckets]
        words = iter(reply.split(" "))
        return [
            _answer(order, word, names[int(place) - 1], int(left), int(retry), again == "1")
            for order, word, place, left, retry, again in zip(
                self.orders, words, words, words, words, words, strict=True
            )
        ]


def _answer(
    order: Order, word: str, decided_by: str, left: int, retry: int, again: bool
) -> Charge | QuotaflowError:
    remaining = None if left < 0 else left / MICRO
    if word == "granted":
        subject = order.parts[0].id
        return _new(
            Charge, (True, subject, decided_by, remaining, 0.0, Reason.GRANTED, order.request_id, again)
        )
    if word in _ERRORS:
        return _error(word, order.request_id)
    wait = retry / 1e6 if retry > 0 else None
    return Charge(
        False, order.parts[0].id, decided_by, remaining, wait, _REASONS[word], order.request_id, again
    )


def _asker(order: Order) -> str:
    """Say who asked, where others are charged for him: the request id is one of his."""
    return f" actor={facts.text_of(order.subject)}" if len(order.parts) > 1 else ""


_ERRORS = ("conflict", "backlog", "full")


def _error(word: str, request_id: str) -> QuotaflowError:
    if word == "conflict":
        return IdempotencyConflict(f'the request id "{request_id}" was used before with other arguments')
    if word == "backlog":
        return Backlog("SQL is too far behind the journal; nothing is charged until it has caught up")
    return RequestRecordsFull(
        "too many request ids are remembered; try again when some have expired", retry_after=60
    )


def lay_out_charges(orders: Sequence[Order]) -> ChargeLayout:
    """Lay out a batch."""
    allowances: dict[str, int] = {}
    buckets: dict[str, int] = {}
    for order in orders:
        for part in order.parts:
            places = buckets if part.is_bucket else allowances
            if part.id not in places:
                places[part.id] = len(places) + 1
    return ChargeLayout(allowances, buckets, orders)


def parts_text(parts: Iterable[Part]) -> str:
    """Write what was asked of whom, as the record keeps it."""
    return ",".join(
        [f"{_BUCKET if part.is_bucket else ''}{keys.encode_id(part.id)}={part.cost_micro}" for part in parts]
    )


def read_parts(text: str) -> tuple[Part, ...]:
    """Read what `parts_text` wrote; `-` stands for none."""
    found = []
    for item in text.split(",") if text != "-" else []:
        name, _, cost = item.rpartition("=")
        found.append(Part(keys.decode_id(name.removeprefix(_BUCKET)), int(cost), name.startswith(_BUCKET)))
    return tuple(found)
