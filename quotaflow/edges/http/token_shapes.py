"""What requests about access tokens and prepaid units may carry."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from quotaflow.amounts import check_id
from quotaflow.edges.http.bodies import Body
from quotaflow.edges.http.moments import read_moment
from quotaflow.edges.http.shapes import Cursor, Limit, Moment, Paging, RequestId, Units, request_id_of
from quotaflow.errors import InvalidInput, NotFound
from quotaflow.ledger import Action, QuotaType, Validity

QUOTAS_MAX = 32  # shared quotas charged with a token at once

_TOKEN_ID = re.compile(r"tok_[0-9a-f]{32}").fullmatch
_SECRET = re.compile(r"qf_(?:op_)?[0-9A-Za-z]{40,}")


def token_id_of(text: str) -> str:
    """Check the id of a token in an address.

    :raises NotFound: it is none.
    """
    if not _TOKEN_ID(text):
        raise NotFound("no token has this id")  # it may be a secret: it is not repeated
    return text


def _quotas(value: Any) -> Mapping[str, float] | list[str]:
    if not isinstance(value, list | dict) or not all(isinstance(name, str) for name in value):
        raise InvalidInput("quotas must be a list of names, or an object of names and costs", field="quotas")
    if len(value) > QUOTAS_MAX:
        raise InvalidInput(f"quotas must name at most {QUOTAS_MAX}", field="quotas")
    return value


def without_secrets(text: str | None) -> str | None:
    """Blank access tokens that stand in what a customer reports."""
    return text and _SECRET.sub("***", text)


TokenId = Annotated[str, AfterValidator(token_id_of)]
PathRequestId = Annotated[str, AfterValidator(request_id_of)]
Type = Annotated[QuotaType, Field(strict=False)]
Quotas = Annotated[
    Any,
    AfterValidator(_quotas),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "string"}},
                {"type": "object", "additionalProperties": {"type": "number"}},
            ]
        }
    ),
]
Date = Annotated[str | None, Field(max_length=64, description="ISO 8601: a date, or a moment")]
Report = Annotated[str | None, Field(max_length=10_000)]


class Term(StrEnum):
    """How the end of a token is said: so many `days` more, a `specific_date`, or none."""

    ADD = "add"
    SET = "set"
    UNLIMITED = "unlimited"


Until = Annotated[Term, Field(strict=False)]


class NewToken(Body):
    """An access token to make. The units are of types count and hybrid; its own rate counts requests."""

    ws_id: str
    email: str
    operation: Until
    days: int | None = None
    specific_date: Date = None
    quota_type: Type = QuotaType.TIME
    total_quota: Units | None = None
    rate_limit_per_minute: int | None = None
    rate_limit_burst: int | None = None


class TokenChange(Body):
    """What to change of a token, at once; `rate_limit_per_minute: null` removes its rate."""

    ws_id: str = ""
    email: str = ""
    quota_type: Type = QuotaType.TIME
    active: bool = True
    operation: Until | None = None
    days: int | None = None
    specific_date: Date = None
    total_quota: Units = Field(default=0, description="when it becomes a type that counts units")
    rate_limit_per_minute: int | None = None
    rate_limit_burst: int | None = None


def validity_of(terms: NewToken | TokenChange, now_us: int) -> Validity | None:
    """Return until when a token is to be valid; None when nothing is said about it.

    :raises InvalidInput: naming the field.
    """
    for field, value, of in (
        ("days", terms.days, Term.ADD),
        ("specific_date", terms.specific_date, Term.SET),
    ):
        if value is not None and terms.operation != of:
            raise InvalidInput(f"{field} is for operation {of}", field=field)
    if terms.operation is None:
        return None
    date = terms.specific_date
    until_us = None if date is None else read_moment(date, now_us, field="specific_date")
    return Validity(terms.operation, terms.days, until_us)


def terms_of(terms: NewToken | TokenChange) -> dict[str, Any]:
    """Return the given terms but those that say until when."""
    is_new = isinstance(terms, NewToken)
    return terms.model_dump(exclude={"operation", "days", "specific_date"}, exclude_unset=not is_new)


class Consume(Body):
    """Units to take of the token, and of shared quotas with it, all or none; 0 only looks."""

    cost: Units = 1
    request_id: RequestId | None = Field(default=None, description="the same one charges once")
    quotas: Quotas = ()


class OutcomeReport(Body):
    """How the work ended that a request paid for."""

    success: bool
    error_type: Report = None
    error_message: Report = None


class NewRefund(Body):
    """What to give back of a charge, once; without an amount all of it."""

    token_id: str = Field(description="of a token, or of a prepaid quota")
    request_id: RequestId
    amount: Units | None = None


class TokenQuery(Paging):
    """Which tokens; all conditions must hold. Deleted ones only with `deleted`."""

    ws_id: Annotated[str, AfterValidator(lambda text: check_id(text, field="ws_id"))] | None = None
    email: str | None = Field(default=None, max_length=320)
    quota_type: QuotaType | None = None
    active: bool | None = None
    deleted: bool = False


class ExportFormat(StrEnum):
    """How rows are written."""

    CSV = "csv"
    JSONL = "jsonl"


class LogConditions(BaseModel):
    """Which rows; all conditions must hold: since <= created_at < until."""

    model_config = ConfigDict(extra="forbid")

    action: Action | None = None
    since: Moment = None
    until: Moment = None


class LogQuery(LogConditions):
    """Which page of which rows."""

    request_id: str | None = Field(default=None, max_length=128)
    limit: Limit = 100
    cursor: Cursor = None


class LogExport(LogConditions):
    """Which rows, and how they are written."""

    format: ExportFormat = ExportFormat.CSV
