"""/api/consume: customers present their access tokens here; the guard has read whose they are."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from quotaflow.edges.http.addresses import CONSUME
from quotaflow.edges.http.bodies import read, takes
from quotaflow.edges.http.context import Here, context_of
from quotaflow.edges.http.guard import TOKEN_ID, address_of
from quotaflow.edges.http.problems import problem, retry_after
from quotaflow.edges.http.ratelimit import REFUSED
from quotaflow.edges.http.token_shapes import Consume, OutcomeReport, PathRequestId, without_secrets
from quotaflow.edges.http.token_views import CancelShown, RequestShown, cancel_shown, request_shown
from quotaflow.errors import TokenRefused
from quotaflow.ledger import Charge
from quotaflow.model import Reason

router = APIRouter(tags=["consume"])

# Of the token itself; a shared quota refuses as it does everywhere.
_TOKEN_REFUSED = {
    Reason.EXPIRED: (HTTPStatus.FORBIDDEN, "token_expired", "the access token has expired"),
    Reason.DISABLED: (HTTPStatus.FORBIDDEN, "token_disabled", "the access token is switched off"),
    Reason.EXHAUSTED: (*REFUSED[Reason.EXHAUSTED][:2], "the access token has too few units left"),
    Reason.LIMITED: (*REFUSED[Reason.LIMITED][:2], "the access token is used too often now"),
    Reason.CANCELLED: (*REFUSED[Reason.CANCELLED][:2], "this request id was cancelled"),
}


async def consume(request: Request) -> Response:
    """Take units of the access token, and of shared quotas with it. With a `request_id` repeating it is harmless."""
    wanted = await read(request, Consume)
    tokens = context_of(request).flow.tokens
    try:
        charge = await tokens.consume_id(
            request.scope[TOKEN_ID], wanted.cost, request_id=wanted.request_id, quotas=wanted.quotas
        )
    except TokenRefused:
        _refused(request)
        raise
    return answer(charge)


def answer(charge: Charge) -> Response:
    """Answer a charge: 200, or the problem that a refusal is; both with the same members."""
    said = {
        "allowed": charge.allowed,
        "remaining": charge.remaining,
        "retry_after": charge.retry_after,
        "reason": charge.reason,
        "request_id": charge.request_id,
        "repeated": charge.repeated,
    }
    if charge.allowed:
        return JSONResponse(said)
    if charge.decided_by == charge.subject:
        status, code, detail = _TOKEN_REFUSED[charge.reason]
    else:
        status, code, why = REFUSED[charge.reason]
        detail = f'quota "{charge.decided_by}" {why}'
    headers = retry_after(charge.retry_after) if status == HTTPStatus.TOO_MANY_REQUESTS else {}
    return problem(status, code, detail, headers=headers, **said)


# This one documents it, and answers other methods; `app.Direct` serves it.
router.add_api_route(CONSUME, consume, methods=["POST"], response_model=None, openapi_extra=takes(Consume))


async def _known(here: Here, request: Request) -> str:
    """Return whose access token it is; the guard has read it, here it is looked up.

    :raises TokenRefused: nobody's.
    """
    token_id = str(request.scope[TOKEN_ID])
    try:
        await here.flow.tokens.consume_id(token_id, 0)
    except TokenRefused:
        _refused(request)
        raise
    return token_id


def _refused(request: Request) -> None:
    context_of(request).customers.refused(address_of(request.scope))


Customer = Annotated[str, Depends(_known)]


@router.get(CONSUME + "/{request_id:path}")
async def get_own_request(here: Here, customer: Customer, request_id: PathRequestId) -> RequestShown:
    """Show what became of a request id of one's own."""
    return request_shown(await here.flow.charges.request(customer, request_id))


@router.delete(CONSUME + "/{request_id:path}")
async def cancel_own_request(here: Here, customer: Customer, request_id: PathRequestId) -> CancelShown:
    """Make sure that a request that was not charged never will be: a late command with its id is refused."""
    return cancel_shown(await here.flow.charges.cancel(customer, request_id, only_unseen=True))


@router.post(
    CONSUME + "/{request_id:path}/outcome",
    status_code=202,
    response_class=Response,
    openapi_extra=takes(OutcomeReport),
)
async def report_outcome(here: Here, customer: Customer, request: Request, request_id: PathRequestId) -> None:
    """Say how the work ended that a request paid for; it stands in the ledger within a second or two."""
    told = await read(request, OutcomeReport)
    await here.flow.charges.record(
        customer,
        request_id,
        success=told.success,
        error_type=without_secrets(told.error_type),
        message=without_secrets(told.error_message),
    )
