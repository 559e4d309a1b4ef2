"""Scheduled and on-demand work under quotas that hold across every process sharing one Redis."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from quotaflow.errors import NotOpen, NoUpstreamKey, QuotaExceeded, QuotaflowError, Unavailable
from quotaflow.ledger import QuotaType, Validity
from quotaflow.model import Decision
from quotaflow.runner.decorators import LimitCallTask, LimitTask, SchedulerTask
from quotaflow.runner.injection import TaskContext
from quotaflow.runner.limits import SoftTimeLimitExceeded
from quotaflow.runner.processes import ProcessDied
from quotaflow.runner.retry import Retry

if TYPE_CHECKING:
    from quotaflow.control.lending import LentKey
    from quotaflow.flow import Quotaflow

__all__ = [
    "Decision",
    "LentKey",
    "LimitCallTask",
    "LimitTask",
    "NoUpstreamKey",
    "NotOpen",
    "ProcessDied",
    "QuotaExceeded",
    "QuotaType",
    "Quotaflow",
    "QuotaflowError",
    "Retry",
    "SchedulerTask",
    "SoftTimeLimitExceeded",
    "TaskContext",
    "Unavailable",
    "Validity",
]


_LATER = {"Quotaflow": "quotaflow.flow", "LentKey": "quotaflow.control.lending"}


def __getattr__(name: str) -> Any:
    """Import some names when they are asked for: who only runs one function does without half of the house."""
    if name not in _LATER:
        raise AttributeError(f"module 'quotaflow' has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)
