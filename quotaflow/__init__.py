"""Scheduled and on-demand work under quotas that hold across every process sharing one Redis."""

from quotaflow.errors import NotOpen, QuotaExceeded, QuotaflowError, Unavailable
from quotaflow.flow import Quotaflow
from quotaflow.ledger import QuotaType, Validity
from quotaflow.model import Decision
from quotaflow.runner.decorators import LimitCallTask, LimitTask, SchedulerTask
from quotaflow.runner.injection import TaskContext
from quotaflow.runner.limits import SoftTimeLimitExceeded
from quotaflow.runner.retry import Retry

__all__ = [
    "Decision",
    "LimitCallTask",
    "LimitTask",
    "NotOpen",
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
