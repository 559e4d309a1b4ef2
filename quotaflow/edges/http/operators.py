"""/api/operators: who may look after the installation; /api/whoami: who asks."""

import re
from dataclasses import asdict, dataclass, field
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, Field

from quotaflow.edges.http.bodies import Body, read, takes
from quotaflow.edges.http.context import Here
from quotaflow.edges.http.guard import operator_of
from quotaflow.edges.http.views import Listed
from quotaflow.errors import NotFound
from quotaflow.operators import Operator, Role
from quotaflow.timing import iso, iso_or_none

router = APIRouter(tags=["operators"])

_OPERATOR_ID = re.compile(r"op_[0-9a-f]{32}").fullmatch


def _operator_id(text: str) -> str:
    if not _OPERATOR_ID(text):
        raise NotFound("no operator has this id")  # it may be a secret: it is not repeated
    return text


OperatorId = Annotated[str, AfterValidator(_operator_id)]


class NewOperator(Body):
    """An operator to make: an admin may do everything, a viewer looks at everything and changes nothing."""

    name: str
    role: Annotated[Role, Field(strict=False)]


@dataclass(frozen=True, slots=True)
class OperatorShown:
    """An operator. `prefix`: the first characters of its token."""

    id: str
    name: str
    role: str
    prefix: str
    created_at: str
    revoked_at: str | None


@dataclass(frozen=True)
class OperatorMade(OperatorShown):
    """An operator that was just made: its token is shown this once and kept nowhere."""

    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WhoShown:
    """Who asks. Who has the admin token, or reaches the socket in the data directory, is called admin."""

    name: str
    role: str


@router.get("/api/operators")
async def list_operators(here: Here) -> Listed[OperatorShown]:
    """List operators, newest first, revoked ones too."""
    return Listed([operator_shown(operator) for operator in await here.flow.operators.all()])


@router.post("/api/operators", status_code=201, openapi_extra=takes(NewOperator))
async def create_operator(here: Here, request: Request) -> OperatorMade:
    """Make an operator. Its `secret` is in this answer only."""
    new = await read(request, NewOperator)
    operator, secret = await here.flow.operators.create(new.name, new.role, operator_of(request).name)
    return OperatorMade(**asdict(operator_shown(operator)), secret=secret)


@router.delete("/api/operators/{operator_id}", status_code=204, response_class=Response)
async def revoke_operator(here: Here, request: Request, operator_id: OperatorId) -> None:
    """Refuse an operator's token, and sign its browsers out."""
    await here.flow.operators.revoke(operator_id, operator_of(request).name)


@router.get("/api/whoami")
async def whoami(request: Request) -> WhoShown:
    """Say who asks."""
    operator = operator_of(request)
    return WhoShown(operator.name, operator.role)


def operator_shown(operator: Operator) -> OperatorShown:
    """Show an operator."""
    return OperatorShown(
        id=operator.id,
        name=operator.name,
        role=operator.role,
        prefix=operator.prefix,
        created_at=iso(operator.created_us),
        revoked_at=iso_or_none(operator.revoked_us),
    )
