"""One chain of the ledger, checked row by row. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from quotaflow.amounts import MICRO
from quotaflow.ledger import Action, LedgerRow, checksum_of

OPENS_EPOCH = (Action.INIT, Action.ADJUST, Action.GAP)
RETAKEN = "orphan-"  # begins the request id of a row that takes again what an orphan took


class Difference(NamedTuple):
    """Something that should not be.

    `what`: sum | negative | edited | missing | fork | broken | orphan | balance | redis; `detail` has its numbers.
    """

    subject: str
    what: str
    detail: str


class Claim(NamedTuple):
    """What somebody says an allowance had after a row of its chain."""

    epoch: int
    seq: int
    remaining_micro: int


@dataclass(slots=True)
class Chain:
    """What is known of one subject's chain so far. Claims are met by its rows, or left over at its end.

    `cut`: retention has removed rows, so that a chain may begin late.
    """

    subject: str
    cut: bool
    claims: dict[str, Claim]  # by who says so
    last: LedgerRow | None = None
    orphans: set[str] = field(default_factory=set)
    retaken: set[str] = field(default_factory=set)

    def feed(self, row: LedgerRow) -> Iterator[Difference]:
        """Check the next row."""
        yield from self._check_row(row)
        if row.action is Action.ORPHAN:
            self.orphans.update({row.event_id} if row.change_micro < 0 else set())
            return
        if row.request_id is not None and row.request_id.startswith(RETAKEN):
            self.retaken.add(row.request_id.removeprefix(RETAKEN))
        yield from self._check_link(row)
        yield from self.meet(row)
        self.last = row

    def meet(self, row: LedgerRow) -> Iterator[Difference]:
        """Check the claims about this row."""
        for who, claim in list(self.claims.items()):
            if (claim.epoch, claim.seq) == (row.epoch, row.seq):
                del self.claims[who]
                if claim.remaining_micro != row.after_micro:
                    left, says = row.after_micro / MICRO, claim.remaining_micro / MICRO
                    yield Difference(self.subject, who, f"{_at(row)} left {left:g}, {who} says {says:g}")

    def end(self) -> Iterator[Difference]:
        """Check what must be true at the end of the chain."""
        for event_id in sorted(self.orphans - self.retaken):
            yield Difference(self.subject, "orphan", f"what {event_id} took was not taken again")

    def _check_row(self, row: LedgerRow) -> Iterator[Difference]:
        if row.before_micro + row.change_micro != row.after_micro:
            yield Difference(self.subject, "sum", f"{_at(row)}: before and change do not make after")
        if row.after_micro < 0:
            yield Difference(
                self.subject, "negative", f"{_at(row)}: {row.after_micro / MICRO:g} units are left"
            )
        if checksum_of(row) != row.checksum:
            yield Difference(self.subject, "edited", f"{_at(row)}: the checksum does not fit the row")

    def _check_link(self, row: LedgerRow) -> Iterator[Difference]:
        last, opens = self.last, row.seq == 1 and row.action in OPENS_EPOCH
        if last is None:
            if not opens and not self.cut:
                yield Difference(self.subject, "missing", f"{_at(row)} is the first row there is")
        elif (row.epoch, row.seq) == (last.epoch, last.seq):
            yield Difference(self.subject, "fork", f"{_at(row)}: {last.event_id} and {row.event_id}")
        elif not (row.seq == last.seq + 1 if row.epoch == last.epoch else opens):
            yield Difference(self.subject, "missing", f"rows between {_at(last)} and {_at(row)}")
        elif (
            row.before_micro != last.after_micro and row.action is not Action.INIT
        ):  # deleted, and made again
            left, found = last.after_micro / MICRO, row.before_micro / MICRO
            yield Difference(self.subject, "broken", f"{_at(last)} left {left:g}, {_at(row)} found {found:g}")


def _at(row: LedgerRow) -> str:
    return f"epoch {row.epoch} seq {row.seq}"
