"""Recovery of allowances: begin new epochs in SQL where Redis and SQL differ, then say what Redis must be told."""

from collections.abc import Callable, Iterable, Sequence

from quotaflow.control.requests import request_of
from quotaflow.control.token_terms import definition_of
from quotaflow.ids import Ids
from quotaflow.ledger import (
    HOLD_PREFIX,
    AccessToken,
    Action,
    Balance,
    Holding,
    LedgerRow,
    Request,
    RequestState,
)
from quotaflow.limiter import keys
from quotaflow.limiter.allowances import Allowances, Definition
from quotaflow.limiter.quotas import allowance_of, name_entry
from quotaflow.limiter.restore import Item
from quotaflow.limiter.restore_prepaid import (
    Start,
    definition_items,
    hold_items,
    request_items,
    start_items,
    where_to_start,
)
from quotaflow.model import QuotaKind
from quotaflow.store import Store, TokenFilter
from quotaflow.timing import Clock

PAGE = 1000
RECENT_US = 45_000_000  # a call is sent again within its deadline, and cancelled for 30 s more: see Turns
HELD_US = 86_400_000_000  # the longest that a reservation lasts


class PrepaidRecovery:
    """Reads SQL and Redis, writes the rows of new epochs, and finds the items for Redis. Repeating does no harm."""

    def __init__(
        self, store: Store, allowances: Allowances, clock: Clock, ids: Ids, incarnation: Callable[[], int]
    ) -> None:
        self._store = store
        self._allowances = allowances
        self._clock = clock
        self._ids = ids
        self._incarnation = incarnation

    async def items(self) -> list[Item]:
        """Return what Redis must be told. The rows of new epochs are in SQL when this returns."""
        items = await self._quotas()
        cursor: str | None = None
        while True:
            page = await self._store.list_tokens(TokenFilter(with_deleted=True), cursor, limit=PAGE)
            items += await self._allowances_of(
                [(definition_of(token), balance_of(token)) for token in page.items], {}
            )
            cursor = page.next_cursor
            if cursor is None:
                return [*items, *await self._holds()]

    async def _quotas(self) -> list[Item]:
        prepaid = [quota for quota in await self._store.all_quotas() if quota.kind is QuotaKind.ALLOWANCE]
        balances = await self._store.quota_balances()
        periods = await self._store.last_periods([quota.id for quota in prepaid])
        names = [
            Item(keys.QUOTAS, "set", (keys.encode_id(quota.name), name_entry(quota))) for quota in prepaid
        ]
        return names + await self._allowances_of(
            [(allowance_of(quota), balances[quota.id]) for quota in prepaid], periods
        )

    async def _allowances_of(
        self, known: Sequence[tuple[Definition, Balance]], periods: dict[str, int]
    ) -> list[Item]:
        holdings = await self._allowances.holdings([definition.subject for definition, _ in known])
        now_us = self._clock.wall_us()
        items: list[Item] = []
        starts: list[Start] = []
        for definition, balance in known:
            held = holdings.get(definition.subject)
            if definition.kind == "time":
                items += definition_items(definition) if differs(definition, held) else []
                continue
            start = where_to_start(balance, held, definition, self._ids.next(), now_us)
            if start.row is not None or differs(definition, held):
                items += start_items(start, definition, periods.get(definition.subject, now_us))
            if start.row is not None:
                starts.append(start)
                items += request_items(await self._forgotten(balance, held, now_us))
        rows = [start.row for start in starts if start.row is not None]
        await self._store.begin_epochs(rows, self._incarnation())
        return items

    async def _forgotten(self, balance: Balance, held: Holding | None, now_us: int) -> list[Request]:
        """Return the requests that SQL knows better than Redis.

        The young ones, which may be asked again at this moment; of the older ones those that were given back: Redis may
        still believe that they were not. For all others the ledger answers when somebody asks.
        """
        place = (held.epoch, held.seq) if held else (0, 0)
        rows = await self._store.rows_after(balance.subject, *place, created_us=now_us - RECENT_US)
        if held is not None:
            since_us = now_us - HELD_US
            rows += await self._store.rows_after(
                balance.subject, *place, created_us=since_us, action=Action.REFUND
            )
        return await self._requests(rows)

    async def _requests(self, rows: Iterable[LedgerRow]) -> list[Request]:
        wanted = {row.request_id: row.subject for row in rows if row.request_id is not None}
        found: dict[str, list[LedgerRow]] = {}
        for row in await self._store.rows_of_requests(list(wanted)):
            found.setdefault(row.request_id or "", []).append(row)
        requests = [request_of(subject, name, found.get(name, [])) for name, subject in wanted.items()]
        return [request for request in requests if request is not None]

    async def _holds(self) -> list[Item]:
        """Hold again what was reserved and neither settled nor given back; those that Redis knows stay as they are."""
        since = f"{self._clock.wall_us() - HELD_US:014x}"
        rows: dict[str, list[LedgerRow]] = {}
        for row in await self._store.rows_between(since, HOLD_PREFIX):
            rows.setdefault(row.request_id or "", []).append(row)
        requests = [request_of(some[0].subject, request_id, some) for request_id, some in rows.items()]
        return hold_items(
            [request for request in requests if request is not None and request.state is RequestState.HELD]
        )


def balance_of(token: AccessToken) -> Balance:
    """Return where a token's chain ends in SQL."""
    synced_us = token.synced_us or token.created_us
    return Balance(token.id, token.remaining_micro or 0, token.epoch, token.seq, synced_us, token.total_micro)


def differs(definition: Definition, held: Holding | None) -> bool:
    """Say whether Redis has another definition than SQL."""
    return held is None or held.version != definition.version
