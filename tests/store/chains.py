"""Tokens, prepaid quotas and chains of ledger rows for tests of the store."""

from typing import Any

from quotaflow.amounts import MICRO
from quotaflow.ledger import AccessToken, Action, Balance, LedgerEntry, LedgerRow, QuotaType
from quotaflow.model import QuotaKind, make_quota
from quotaflow.store import LogFilter, Store
from tests.store.rows import START_US


async def add_token(store: Store, name: str = "tok_a", **changes: Any) -> AccessToken:
    """Add a token of 10 units."""
    fields: dict[str, Any] = {
        "id": name,
        "token_hash": f"hash of {name}",
        "prefix": "qf_abc",
        "ws_id": "w",
        "email": "a@example.com",
        "quota_type": QuotaType.COUNT,
        "expires_us": None,
        "rate_limit_per_minute": None,
        "rate_limit_burst": None,
        "active": True,
        "version": 1,
        "created_us": START_US,
        "updated_us": START_US,
        "total_micro": 10 * MICRO,
        "remaining_micro": 10 * MICRO,
    }
    token = AccessToken(**(fields | changes))
    await store.insert_token(token)
    return token


async def add_quota(store: Store, name: str = "budget") -> None:
    await store.insert_quota(make_quota(id=name, total=10, kind=QuotaKind.ALLOWANCE))


def chain(subject: str = "tok_a", *changes: int, epoch: int = 1) -> list[LedgerEntry]:
    """Make a chain that begins with 10 units and changes by so many; each charge has a request id of its own."""
    rows: list[LedgerEntry] = []
    after = 0
    for seq, change in enumerate((10, *changes), 1):
        before, after = after, after + change
        action = Action.INIT if seq == 1 else Action.CONSUME if change < 0 else Action.REFUND
        rows.append(
            LedgerEntry(
                event_id=f"{epoch}-{subject}-{seq:03}",
                subject=subject,
                action=action,
                before_micro=before * MICRO,
                change_micro=change * MICRO,
                after_micro=after * MICRO,
                epoch=epoch,
                seq=seq,
                request_id=None if seq == 1 else f"r{seq}",
                actor=None,
                created_us=START_US + seq,
                total_micro=10 * MICRO if seq == 1 else None,
            )
        )
    return rows


async def logs(store: Store, subject: str = "tok_a") -> list[LedgerRow]:
    """Return the rows of a subject, oldest first."""
    return (await store.list_logs(LogFilter(subject))).items[::-1]


async def shown(store: Store, subject: str = "tok_a") -> tuple[int, int, int, int]:
    """Return what a token or a quota shows: remaining, total, epoch, seq."""
    if subject.startswith("tok_"):
        token = await store.get_token(subject)
        return token.remaining_micro or 0, token.total_micro or 0, token.epoch, token.seq
    balance: Balance = (await store.quota_balances())[subject]
    return balance.remaining_micro, balance.total_micro or 0, balance.epoch, balance.seq
