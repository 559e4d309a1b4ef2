"""What requests may carry. Ranges of amounts are checked where amounts are made, in model.py."""

from functools import partial
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from quotaflow.edges.http.bodies import Body
from quotaflow.model import Status, Trigger, check_id

Id = Annotated[str, AfterValidator(check_id)]
TaskId = Annotated[str, AfterValidator(partial(check_id, field="task"))]
Key = Annotated[str, AfterValidator(partial(check_id, field="key"))]
QuotaId = Annotated[str, AfterValidator(partial(check_id, field="quota"))]
Units = Annotated[float, Field(description="units, a finite number of at most 9000000000")]
Cursor = Annotated[str | None, Field(max_length=300, description="next_cursor of the page before")]
Limit = Annotated[int, Field(ge=1, le=1000)]
Moment = Annotated[
    str | None, Field(max_length=64, description="ISO 8601, or how long ago: 90s, 15m, 1h, 7d")
]


class Nothing(Body):
    """No body, or an empty object."""


class NewQuota(Body):
    """A quota to create. `id` never changes; `name` is what tasks refer to, by default the id."""

    id: str
    name: str | None = None
    capacity: Units
    refill_rate: Units = Field(description="units per second; 0 never refills")
    enabled: bool = True


class QuotaChange(Body):
    """What to change of a quota, at once and without a restart."""

    capacity: Units = 0
    refill_rate: Units = 0
    enabled: bool = True


class Acquire(Body):
    """Units to take; 0 only looks. `key` names one of the quota's many buckets, each with a level of its own."""

    cost: Units = 1
    key: str | None = None


class NewOverride(Body):
    """What one key has instead of the quota's own capacity and rate."""

    capacity: Units
    refill_rate: Units = Field(description="units per second; 0 never refills")


class TaskChange(Body):
    """Pause or resume a task, or run it by another cron expression; `cron: null` goes back to the code's."""

    paused: bool = False
    cron: str | None = None


class Paging(BaseModel):
    """Which page of a list."""

    model_config = ConfigDict(extra="forbid")

    limit: Limit = 100
    cursor: Cursor = None


class TraceQuery(Paging):
    """Which traces; all conditions must hold. `text` stands somewhere in the error, in either case."""

    task: TaskId | None = None
    quota: QuotaId | None = None
    status: Status | None = None
    trigger: Trigger | None = None
    since: Moment = None
    until: Moment = None
    text: str | None = Field(default=None, max_length=200)
