"""What recovery does about allowances, as values: where each one goes on, and what is written for it. Pure.

Whatever happened, nothing is minted again. Redis fell back behind SQL: SQL's word stands, and a new epoch begins with
an `adjust` row. SQL lacks rows that Redis had done: a new epoch begins with a `gap` row of exactly that amount.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from quotaflow.amounts import MICRO
from quotaflow.ledger import Action, Balance, Holding, LedgerEntry, Request, RequestState
from quotaflow.limiter import keys
from quotaflow.limiter.allowances import Definition
from quotaflow.limiter.orders import parts_text
from quotaflow.limiter.restore import Item
from quotaflow.model import QuotaKind

KEPT_MS = (
    120_000  # of the records of requests that Redis had forgotten: who lost a reply asks within its deadline
)
HELD_MS = 7 * 86_400_000
HOLD_US = 300_000_000  # what a reservation gets that Redis had forgotten
EPOCHS_SINCE_MS = 1_577_836_800_000  # 2020-01-01


@dataclass(frozen=True, slots=True)
class Start:
    """Where an allowance goes on. `row` begins a new epoch; None when Redis and SQL agree."""

    balance: Balance
    row: LedgerEntry | None = None


def where_to_start(
    balance: Balance, held: Holding | None, definition: Definition, event_id: str, now_us: int
) -> Start:
    """Decide where one metered allowance goes on, from where its chain ends in SQL and what Redis says."""
    now = (event_id, now_us)
    in_sql = (balance.epoch, balance.seq)
    in_redis = (held.epoch, held.seq) if held else (0, 0)
    remaining = held.remaining_micro or 0 if held else 0
    if in_sql == (0, 0) and in_redis == (0, 0):
        total = definition.total_micro
        return _begin(balance, first_epoch(definition, now_us), Action.INIT, 0, total, total, now)
    if in_sql == in_redis and remaining == balance.remaining_micro:
        return Start(balance)
    epoch = max(in_sql, in_redis)[0] + 1
    if in_redis > in_sql and held is not None:
        return _begin(balance, epoch, Action.GAP, balance.remaining_micro, remaining, held.total_micro, now)
    if in_redis == in_sql:  # somebody changed a number by hand: the smaller one cannot be too much
        left = min(remaining, balance.remaining_micro)
        return _begin(balance, epoch, Action.GAP, balance.remaining_micro, left, balance.total_micro, now)
    left = balance.remaining_micro
    return _begin(balance, epoch, Action.ADJUST, left, left, balance.total_micro, now)


def first_epoch(definition: Definition, now_us: int) -> int:
    """Return the epoch that a new allowance begins with, as allow.lua does."""
    return now_us // 1_000 - EPOCHS_SINCE_MS if definition.kind == QuotaKind.ALLOWANCE else 1


def _begin(
    balance: Balance,
    epoch: int,
    action: Action,
    before: int,
    after: int,
    total: int | None,
    now: tuple[str, int],
) -> Start:
    row = LedgerEntry(
        event_id=now[0],
        subject=balance.subject,
        action=action,
        before_micro=before,
        change_micro=after - before,
        after_micro=after,
        epoch=epoch,
        seq=1,
        request_id=None,
        actor="recovery",
        created_us=now[1],
        total_micro=total,
    )
    return Start(Balance(balance.subject, after, epoch, 1, now[1], total), row)


def start_items(start: Start, definition: Definition, period_us: int) -> list[Item]:
    """Write an allowance as it goes on."""
    balance = start.balance
    values = {
        "remaining": balance.remaining_micro,
        "total": balance.total_micro or 0,
        "epoch": balance.epoch,
        "seq": balance.seq,
        "period_us": period_us,
    }
    key = keys.allowance(definition.subject)
    return [Item(key, "set", _flat(values)), *definition_items(definition)]


def definition_items(definition: Definition) -> list[Item]:
    """Write what people decided about an allowance."""
    key = keys.allowance(definition.subject)
    values = {
        "kind": definition.kind,
        "expires_at_us": definition.expires_us or 0,
        "active": int(definition.active),
        "version": definition.version,
    }
    items = [
        Item(key, "set", _flat(values)),
        Item(key, "keep", ("seq", "0")),
        Item(key, "keep", ("epoch", "1")),
    ]
    if definition.pace is None:
        return [*items, *[Item(key, "unset", (field,)) for field in ("capacity", "refill_rate", "pace")]]
    capacity, refill = definition.pace
    return [*items, Item(key, "set", _flat({"capacity": capacity, "refill_rate": refill}))]


def request_items(requests: Sequence[Request]) -> list[Item]:
    """Write the records of requests as SQL knows them; what Redis says of these is older."""
    items: list[Item] = []
    for request in requests:
        key = keys.request(request.subject, request.request_id)
        items.append(Item(key, "put", (_record(request), _lifetime(request))))
        if request.state not in (RequestState.CHARGED, RequestState.HELD):
            items.append(Item(keys.RESERVED, "shut", (key,)))
    return items


def hold_items(requests: Sequence[Request]) -> list[Item]:
    """Hold again what is neither settled nor given back, where Redis does not."""
    items: list[Item] = []
    for request in requests:
        key = keys.request(request.subject, request.request_id)
        items.append(Item(key, "add", (_record(request), _lifetime(request))))
        items.append(Item(keys.RESERVED, "open", (key, str(HOLD_US))))
    return items


def _lifetime(request: Request) -> str:
    """Return milliseconds; what is held must be known when its time is up, however late somebody looks."""
    return str(HELD_MS if request.state is RequestState.HELD else KEPT_MS)


def _record(request: Request) -> str:
    left = round((request.remaining or 0.0) * MICRO)
    return f"{request.state} - {left} {parts_text(request.parts)}"


def _flat(values: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(chain(*[(name, str(value)) for name, value in values.items()]))
