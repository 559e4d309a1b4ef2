"""Definitions, traces, metrics and what recovery needs. `Store` is the door; the rest are its answers."""

from quotaflow.store.admin_audit import AuditFilter
from quotaflow.store.audit_fields import UNKNOWN, Fields
from quotaflow.store.cleanups import CleanupRecord, Cut
from quotaflow.store.figures import MinuteFigures, Refusals, Result
from quotaflow.store.ledger_reads import LogFilter
from quotaflow.store.paging import Page
from quotaflow.store.reads import StoreCounts, TraceFilter
from quotaflow.store.retention import Part, Portion
from quotaflow.store.store import Store
from quotaflow.store.summaries import TaskSummary
from quotaflow.store.tasks import DeclaredTask, TaskRow
from quotaflow.store.tokens import TokenFilter
from quotaflow.store.upstream import UpstreamFilter

__all__ = [
    "UNKNOWN",
    "AuditFilter",
    "CleanupRecord",
    "Cut",
    "DeclaredTask",
    "Fields",
    "LogFilter",
    "MinuteFigures",
    "Page",
    "Part",
    "Portion",
    "Refusals",
    "Result",
    "Store",
    "StoreCounts",
    "TaskRow",
    "TaskSummary",
    "TokenFilter",
    "TraceFilter",
    "UpstreamFilter",
]
