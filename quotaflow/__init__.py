"""Scheduled and on-demand work under quotas that hold across every process sharing one Redis."""

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
    from quotaflow.flow import Quotaflow

__all__ = [
    "Decision",
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


def __getattr__(name: str) -> Any:
    """Import `Quotaflow` when it is asked for: processes that only run one function do without half of the house."""
    if name != "Quotaflow":
        raise AttributeError(f"module 'quotaflow' has no attribute {name!r}")
    from quotaflow.flow import Quotaflow  # noqa: PLC0415  see above

    return Quotaflow
