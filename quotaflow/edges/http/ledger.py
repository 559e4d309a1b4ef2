"""/api/ledger: whether the ledger tells the truth."""

from dataclasses import dataclass

from fastapi import APIRouter

from quotaflow.control.audit import Audit
from quotaflow.edges.http.context import Here

router = APIRouter(tags=["ledger"])

SHOWN = 1_000  # differences; their number is exact


@dataclass(frozen=True, slots=True)
class DifferenceShown:
    """Something that should not be."""

    subject: str
    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class AuditShown:
    """What an audit found: `found` differences, of which at most 1,000 are listed. Amounts in units."""

    subjects: int
    rows: int
    charged: float
    granted: float
    found: int
    differences: list[DifferenceShown]


@router.post("/api/ledger/verify")
async def verify(here: Here) -> AuditShown:
    """Check every chain, every sum, and Redis against SQL. A million rows take about 20 seconds."""
    return audit_shown(await here.flow.audit())


def audit_shown(audit: Audit) -> AuditShown:
    """Show an audit."""
    some = [DifferenceShown(*difference) for difference in audit.differences[:SHOWN]]
    return AuditShown(audit.subjects, audit.rows, audit.charged, audit.granted, len(audit.differences), some)
