"""What requests may carry. Ranges of amounts are checked where amounts are made, in model.py."""

from enum import StrEnum
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from quotaflow.amounts import check_id
from quotaflow.edges.http.bodies import Body
from quotaflow.errors import InvalidInput
from quotaflow.ledger import Change, check_request_id
from quotaflow.model import QuotaKind, Status, Trigger
from quotaflow.secret import OPERATOR_PREFIX, known_of


def request_id_of(text: str) -> str:
    """Check a request id; a secret is none, because request ids are kept.

    :raises InvalidInput: it is none.
    """
    if known_of(text) or known_of(text, OPERATOR_PREFIX):
        raise InvalidInput("request_id must not be an access token", field="request_id")
    return check_request_id(text)


Id = Annotated[str, AfterValidator(check_id)]
TaskId = Annotated[str, AfterValidator(partial(check_id, field="task"))]
Key = Annotated[str, AfterValidator(partial(check_id, field="key"))]
QuotaId = Annotated[str, AfterValidator(partial(check_id, field="quota"))]
RequestId = Annotated[str, AfterValidator(request_id_of)]
Units = Annotated[float, Field(description="units, a finite number of at most 9000000000")]
Cursor = Annotated[str | None, Field(max_length=300, description="next_cursor of the page before")]
Limit = Annotated[int, Field(ge=1, le=1000)]
Moment = Annotated[
    str | None, Field(max_length=64, description="ISO 8601, or how long ago: 90s, 15m, 1h, 7d")
]


class Operation(StrEnum):
    """What a recharge does."""

    ADD = "add"
    SET = "set"
    RESET = "reset"


CHANGES = {Operation.ADD: Change.RECHARGE, Operation.SET: Change.SET, Operation.RESET: Change.RESET}


class Nothing(Body):
    """No body, or an empty object."""


class NewQuota(Body):
    """A quota to create. `id` never changes; `name` is what tasks refer to, by default the id."""

    id: str
    name: str | None = None
    kind: Annotated[QuotaKind, Field(strict=False)] = QuotaKind.BUCKET
    capacity: Units = Field(default=0, description="of a bucket, which needs it")
    refill_rate: Units = Field(default=0, description="of a bucket: units per second; 0 never refills")
    total: Units = Field(default=0, description="of an allowance: prepaid units, which it needs")
    reset_cron: str | None = Field(default=None, description="when an allowance has its total again")
    timezone: str | None = Field(default=None, description="of reset_cron")
    max_concurrent: int | None = Field(default=None, description="of a bucket: runs and calls at once")
    mirrors: str | None = Field(
        default=None, description="of an allowance: the provider whose upstream keys' balance it has"
    )
    enabled: bool = True


class QuotaChange(Body):
    """What to change of a quota, at once and without a restart; the total of an allowance, from its next reset on."""

    capacity: Units = 0
    refill_rate: Units = 0
    total: Units = 0
    reset_cron: str | None = None
    timezone: str | None = None
    max_concurrent: int | None = Field(default=None, description="null: no limit")
    enabled: bool = True


class Recharge(Body):
    """What to do to prepaid units: `add` some, `set` what remains, or `reset` to the total (or to `amount`)."""

    operation: Annotated[Operation, Field(strict=False)]
    amount: Units | None = None
    request_id: RequestId | None = Field(default=None, description="the same one happens once")


class Acquire(Body):
    """Units to take; 0 only looks. `key` names one of the quota's many buckets, each with a level of its own."""

    cost: Units = 1
    key: str | None = None


class CleanupWish(Body):
    """What to remove now: what is older than `days` (default: the settings'), with `force` also when it is off."""

    days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    force: bool = False


class NewOverride(Body):
    """What one key has instead of the quota's own capacity and rate."""

    capacity: Units
    refill_rate: Units = Field(description="units per second; 0 never refills")


class TaskChange(Body):
    """Pause or resume a task, leave out its next tick, or change when and how often it runs on all daemons.

    `cron: null` and `rate_limit: null` go back to the code's; `rate_limit: "0/s"` is no limit.
    """

    paused: bool = False
    skip_next: bool = False
    cron: str | None = None
    rate_limit: str | None = None


class NewRun(Body):
    """What a run is given: arguments, a later start, an end of its worth, time limits in seconds."""

    args: list[Any] | dict[str, Any] | None = Field(default=None, description="by position, or by name")
    countdown: float | None = Field(default=None, description="seconds until it starts")
    eta: str | None = Field(default=None, description="ISO 8601: when it starts")
    expires: float | str | None = Field(
        default=None, description="seconds, or ISO 8601: after that it is not started any more"
    )
    time_limit: float | None = None
    soft_time_limit: float | None = None


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
