"""Allowances as Redis knows them: put into force, changed, given back, looked at."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from quotaflow import facts
from quotaflow.amounts import MAX_PREPAID_UNITS, MICRO
from quotaflow.errors import IdempotencyConflict, InvalidInput, NotFound
from quotaflow.ids import Ids
from quotaflow.ledger import Action, Change, Holding, LedgerRow, Request, RequestState
from quotaflow.limiter import keys
from quotaflow.limiter.client import Client, reaching
from quotaflow.limiter.fence import Fence
from quotaflow.limiter.orders import parts_text, read_parts

PERIOD = "period"  # the change that a reset_cron makes
MIRROR = "mirror"  # the change that a refresh of upstream keys makes
MANY = 500  # allowances asked for in one round trip

_FIELDS = (
    "kind", "total", "remaining", "epoch", "seq", "expires_at_us", "active", "allowed", "limited", "version",
    "period_us",
)  # fmt: skip


FindRows = Callable[[Sequence[str]], Awaitable[list[LedgerRow]]]
_CHANGES = (Action.RECHARGE, Action.SET, Action.RESET, Action.EXPIRE, Action.ADJUST)


class Back(StrEnum):
    """Why units of a request go back."""

    REFUND = "refund"
    SETTLE = "settle"
    RELEASE = "release"
    SWEEP = "sweep"  # release, if its time is up
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Definition:
    """What people decide about an allowance. `pace`: capacity and refill of its own rate, in micro-units."""

    subject: str
    kind: str
    version: int
    total_micro: int = 0
    expires_us: int | None = None
    active: bool = True
    pace: tuple[int, int] | None = None


class Allowances:
    """Changes allowances and looks at them."""

    def __init__(self, fence: Fence, client: Client, ids: Ids, *, request_ttl_s: float) -> None:
        self._fence = fence
        self._client = client
        self._ids = ids
        self._lifetime_ms = str(round(request_ttl_s * 1000))
        self._rows_of_requests: FindRows | None = None

    async def allow(self, definition: Definition, *, actor: str | None = None) -> bool:
        """Put a definition into force; False when a newer one is."""
        script_keys = [keys.MARKER, keys.JOURNAL, keys.allowance(definition.subject)]
        args = [*definition_args(definition), self._ids.next(), _rest(actor=actor)]
        return bool(await self._fence.run("allow", script_keys, args))

    async def change(
        self, subject: str, change: Change | str, amount_micro: int | None, *,
        act_id: str | None = None, actor: str | None = None, moment_us: int = 0, mirror: tuple[str, str] = ("-", "-"),
    ) -> bool:  # fmt: skip
        """Change what an allowance has; False when this act was done before, or its period is not later than the last.

        :raises NotFound: no such allowance. :raises InvalidInput: it is not metered, or would be above 2e9 units.
        :raises IdempotencyConflict: the act's id was used for another one.
        """
        if act_id is not None and await self._is_in_ledger(subject, act_id, amount_micro):
            return False
        event_id = self._ids.next()
        act_id = act_id or event_id
        record = keys.request(subject, f"act {act_id}")  # no request id has a space: customers cannot name it
        script_keys = [keys.MARKER, keys.JOURNAL, keys.REQUESTS, record, keys.allowance(subject)]
        amount = "-" if amount_micro is None else str(amount_micro)
        rest = _rest(request=act_id, actor=actor)
        args = [change, amount, str(moment_us), self._lifetime_ms, event_id, rest, *mirror]
        word, _, _ = await self._fence.run("adjust", script_keys, args)
        match word:
            case "missing":
                raise NotFound(f'no allowance "{subject}"')
            case "unmetered":
                raise InvalidInput(f'"{subject}" counts no units', field="amount")
            case "too_much":
                raise InvalidInput(f"amount would bring it above {MAX_PREPAID_UNITS:,} units", field="amount")
            case "conflict":
                raise IdempotencyConflict(f'the id "{act_id}" was used before for another change')
        return bool(word == "done")

    async def mirror(
        self, subject: str, has_micro: int, *, total_micro: int | None, drawn: str = "-"
    ) -> None:
        """Let an allowance have what something else has, less what was drawn meanwhile.

        :param drawn: what `drawn` told when the other was asked; without it, all that was drawn since the last mirror.
        """
        total = "-" if total_micro is None else str(total_micro)
        await self.change(subject, MIRROR, has_micro, mirror=(total, drawn), actor=MIRROR)

    async def drawn(self, subjects: Sequence[str]) -> dict[str, str]:
        """Note what has been drawn of mirrors, before what they mirror is asked; those not in force are left out."""
        found = {}
        for subject in subjects:
            async with reaching(self._client):
                remaining, mirrored = await self._client.hmget(
                    keys.allowance(subject), "remaining", "mirrored"
                )
            if remaining is not None:
                found[subject] = str(int(mirrored or remaining) - int(remaining))
        return found

    def look_in(self, rows_of_requests: FindRows) -> None:
        """Ask the ledger about ids of changes that Redis has forgotten."""
        self._rows_of_requests = rows_of_requests

    async def _is_in_ledger(self, subject: str, act_id: str, amount_micro: int | None) -> bool:
        if self._rows_of_requests is None:
            return False
        rows = [row for row in await self._rows_of_requests([act_id]) if row.subject == subject]
        changes = [row for row in rows if row.action in _CHANGES]
        if any(row.action is Action.RECHARGE and row.change_micro != amount_micro for row in changes):
            raise IdempotencyConflict(f'the id "{act_id}" was used before for another change')
        return bool(changes)

    async def give_back(
        self, request: Request, back: Back, amounts: Sequence[int], *, actor: str | None = None
    ) -> tuple[str, RequestState]:
        """Give units of a request back: one amount, in micro-units, for each of its parts that is an allowance.

        Returns what happened (done, again, unknown, kept; changed: look at the request again) and its state now.
        """
        allowances = [part.id for part in request.parts if not part.is_bucket]
        record = keys.request(request.subject, request.request_id)
        script_keys = [keys.MARKER, keys.JOURNAL, keys.REQUESTS, keys.RESERVED, record]
        script_keys += [keys.allowance(subject) for subject in allowances]
        known = "0" if request.state is RequestState.UNKNOWN else "1"
        rest = _rest(request=request.request_id, actor=actor)
        args = [back, self._lifetime_ms, self._ids.next(), rest, parts_text(request.parts) or "-", known]
        args += [str(amount) for amount in amounts]
        word, state = await self._fence.run("refund", script_keys, args)
        return str(word), RequestState(state)

    async def request(self, subject: str, request_id: str) -> Request:
        """Look at a request's record; state unknown when there is none."""
        async with reaching(self._client):
            text = await self._client.get(keys.request(subject, request_id))
        return _request(subject, request_id, text)

    async def overdue(self, limit: int = 256) -> list[Request]:
        """List reservations whose time is up, oldest first."""
        async with reaching(self._client):
            seconds, microseconds = await self._client.time()
            now_us = seconds * 1_000_000 + microseconds
            records = await self._client.zrangebyscore(keys.RESERVED, 0, now_us, start=0, num=limit)
            texts = await self._client.mget(records) if records else []
            if gone := [record for record, text in zip(records, texts, strict=True) if text is None]:
                await self._client.zrem(keys.RESERVED, *gone)
        found = []
        for record, text in zip(records, texts, strict=True):
            if text is not None:
                subject, request_id = map(keys.decode_id, record.split(":")[-2:])
                found.append(_request(subject, request_id, text))
        return found

    async def holdings(self, subjects: Sequence[str]) -> dict[str, Holding]:
        """Look at allowances; those not in force are left out."""
        found: dict[str, Holding] = {}
        for first in range(0, len(subjects), MANY):
            some = subjects[first : first + MANY]
            async with reaching(self._client), self._client.pipeline(transaction=False) as pipe:
                for subject in some:
                    pipe.hmget(keys.allowance(subject), _FIELDS)
                rows = await pipe.execute()
            for subject, row in zip(some, rows, strict=True):
                if row[4] is not None:
                    found[subject] = _holding(subject, row)
            await asyncio.sleep(0)
        return found


def definition_args(definition: Definition) -> list[str]:
    """Lay out the definition as the first values of allow.lua."""
    capacity, refill = definition.pace or ("-", "-")
    return [
        str(definition.version),
        definition.kind,
        str(definition.total_micro),
        str(definition.expires_us or 0),
        "1" if definition.active else "0",
        str(capacity),
        str(refill),
    ]


def _rest(**fields: str | None) -> str:
    return "".join([f" {key}={facts.text_of(value)}" for key, value in fields.items() if value is not None])


def _request(subject: str, request_id: str, text: str | None) -> Request:
    if text is None:
        return Request(subject, request_id, RequestState.UNKNOWN)
    state, _, after, parts = text.split(" ", 3)
    remaining = None if after.startswith("-") else int(after) / MICRO
    return Request(subject, request_id, RequestState(state), read_parts(parts), remaining)


def _holding(subject: str, row: Sequence[str | None]) -> Holding:
    kind, total, remaining, epoch, seq, expires, active, allowed, limited, version, period = row
    metered = kind != "time"
    return Holding(
        subject=subject,
        kind=kind or "",
        total_micro=int(total or 0),
        remaining_micro=int(remaining or 0) if metered else None,
        epoch=int(epoch or 1),
        seq=int(seq or 0),
        expires_us=int(expires or 0) or None,
        active=active == "1",
        allowed=int(allowed or 0),
        limited=int(limited or 0),
        version=int(version or 0),
        period_us=int(period or 0),
    )


def full_parts(request: Request) -> list[int]:
    """Return what the request took of each allowance."""
    return [part.cost_micro for part in request.parts if not part.is_bucket]
