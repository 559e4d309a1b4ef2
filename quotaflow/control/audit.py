"""Does the ledger tell the truth? Its chains, its sums, and what tokens, quotas and Redis say beside it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from quotaflow.amounts import MICRO
from quotaflow.control.chain import Chain, Claim, Difference
from quotaflow.control.prepaid_recovery import balance_of
from quotaflow.ledger import Action, Balance, Holding, LedgerRow
from quotaflow.store import Store, TokenFilter
from quotaflow.timing import Clock

PAGE = 5_000
CATCH_UP_S = 30.0  # how long SQL may take to reach what Redis said
LOOK_EVERY_S = 0.2

REDIS = "redis"
BALANCE = "balance"

Look = Callable[[Sequence[str]], Awaitable[Mapping[str, Holding]]]


@dataclass(slots=True)
class Audit:
    """What an audit found, and how much it looked at. Amounts in units."""

    subjects: int = 0
    rows: int = 0
    charged: float = 0.0
    granted: float = 0.0
    differences: list[Difference] = field(default_factory=list)


class Auditor:
    """Audits one store and the Redis beside it. It only reads, also under load."""

    def __init__(self, store: Store, look: Look, clock: Clock) -> None:
        self._store = store
        self._look = look
        self._clock = clock

    async def run(self, progress: Callable[[int], object] = lambda _: None) -> Audit:
        """Check everything; `progress` is told the rows so far.

        :raises Unavailable: Redis or SQL cannot be asked.
        """
        audit = Audit()
        chains = await self._expected(audit)
        audit.subjects = len(chains)
        behind: list[Chain] = []
        chain: Chain | None = None
        async for row in self._rows():
            if chain is None or chain.subject != row.subject:
                behind += self._end(audit, chain)
                chain = chains.pop(row.subject, None) or Chain(row.subject, True, {})
            audit.differences += chain.feed(row)
            count(audit, row)
            progress(audit.rows)
        behind += self._end(audit, chain)
        for unseen in chains.values():  # nothing is written of these
            behind += self._end(audit, unseen)
        await self._catch_up(audit, behind)
        return audit

    async def _expected(self, audit: Audit) -> dict[str, Chain]:
        """Read what must be in the ledger. What is said now is there already, or, of Redis, will be soon."""
        balances, made_us = await self._balances()
        holdings = await self._look(list(balances))
        cut_us = await self._store.ledger_cut_us()
        chains = {}
        for subject, balance in balances.items():
            is_cut = made_us.get(subject, 0) < cut_us  # nothing of a younger one can have been removed
            chains[subject] = Chain(subject, is_cut, {})
            if balance.seq:
                chains[subject].claims[BALANCE] = Claim(balance.epoch, balance.seq, balance.remaining_micro)
            held = holdings.get(subject)
            if held is not None and held.remaining_micro is not None:
                chains[subject].claims[REDIS] = Claim(held.epoch, held.seq, held.remaining_micro)
            elif held is None and balance.seq:
                audit.differences.append(Difference(subject, REDIS, "Redis does not have it"))
        return chains

    async def _balances(self) -> tuple[dict[str, Balance], dict[str, int]]:
        """Return what is there, and when the tokens were made."""
        balances = await self._store.quota_balances()
        made_us: dict[str, int] = {}
        cursor: str | None = None
        while True:
            page = await self._store.list_tokens(TokenFilter(with_deleted=True), cursor, limit=PAGE)
            balances |= {token.id: balance_of(token) for token in page.items if token.quota_type.is_metered}
            made_us |= {token.id: token.created_us for token in page.items}
            cursor = page.next_cursor
            if cursor is None:
                return balances, made_us

    async def _rows(self) -> AsyncIterator[LedgerRow]:
        place = ("", 0, 0, "")
        while rows := await self._store.chain_page(place, limit=PAGE):
            for row in rows:
                yield row
            place = (rows[-1].subject, rows[-1].epoch, rows[-1].seq, rows[-1].event_id)

    def _end(self, audit: Audit, chain: Chain | None) -> list[Chain]:
        """End a chain; returns it if SQL may only be behind Redis."""
        if chain is None:
            return []
        audit.differences += chain.end()
        claim = chain.claims.pop(BALANCE, None)
        if claim is not None:
            detail = f"the row epoch {claim.epoch} seq {claim.seq} was written and is not there"
            audit.differences.append(Difference(chain.subject, "missing", detail))
        return [chain] if chain.claims else []

    async def _catch_up(self, audit: Audit, behind: list[Chain]) -> None:
        end_s = self._clock.mono_s() + CATCH_UP_S
        while behind and self._clock.mono_s() < end_s:
            for chain in behind:
                last = chain.last
                place = (last.epoch, last.seq) if last else (0, 0)
                for row in await self._store.rows_after(chain.subject, *place):
                    audit.differences += chain.feed(row)
                    count(audit, row)
            behind = [chain for chain in behind if chain.claims]
            if behind:
                await self._clock.sleep(LOOK_EVERY_S)
        for chain in behind:
            claim = chain.claims[REDIS]
            detail = f"Redis is at epoch {claim.epoch} seq {claim.seq}, which SQL does not have"
            audit.differences.append(Difference(chain.subject, REDIS, detail))


def count(audit: Audit, row: LedgerRow) -> None:
    """Add a row to the sums."""
    audit.rows += 1
    if row.action is Action.CONSUME:
        audit.charged -= row.change_micro / MICRO
    elif row.action is not Action.ORPHAN:
        audit.granted += row.change_micro / MICRO
