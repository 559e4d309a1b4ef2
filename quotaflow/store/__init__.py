"""Definitions, traces, metrics and what recovery needs. `Store` is the door; the rest are its answers."""

from quotaflow.store.paging import Page
from quotaflow.store.reads import StoreCounts, TraceFilter
from quotaflow.store.store import Store
from quotaflow.store.summaries import TaskSummary
from quotaflow.store.tasks import DeclaredTask, TaskRow

__all__ = [
    "DeclaredTask",
    "Page",
    "Store",
    "StoreCounts",
    "TaskRow",
    "TaskSummary",
    "TraceFilter",
]
