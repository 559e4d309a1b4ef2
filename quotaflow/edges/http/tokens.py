"""/api/tokens: make access tokens, change them, recharge them; /api/refund: give back what one was charged."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from quotaflow.amounts import amount_micro, check_id
from quotaflow.control.charges import Refund
from quotaflow.control.tokens import TokenView
from quotaflow.edges.http.bodies import read, takes
from quotaflow.edges.http.context import Context, Here
from quotaflow.edges.http.guard import operator_of
from quotaflow.edges.http.shapes import CHANGES, Nothing, Recharge
from quotaflow.edges.http.token_shapes import (
    NewRefund,
    NewToken,
    PathRequestId,
    TokenChange,
    TokenId,
    TokenQuery,
    terms_of,
    validity_of,
)
from quotaflow.edges.http.token_views import (
    CancelShown,
    RefundShown,
    RequestShown,
    TokenMade,
    TokenQuotaShown,
    TokenShown,
    cancel_shown,
    refund_shown,
    request_shown,
    token_made,
    token_quota_shown,
    token_shown,
)
from quotaflow.edges.http.views import Listed
from quotaflow.errors import InvalidInput
from quotaflow.ledger import TOKEN_PREFIX, Change
from quotaflow.store import TokenFilter

router = APIRouter(tags=["tokens"])


@router.get("/api/tokens")
async def list_tokens(here: Here, query: Annotated[TokenQuery, Query()]) -> Listed[TokenShown]:
    """List access tokens, newest first, each with what it has at this moment."""
    wanted = TokenFilter(query.ws_id, query.email, query.quota_type, query.active, query.deleted)
    page = await here.flow.tokens.page(wanted, query.cursor, query.limit)
    return Listed([token_shown(view) for view in page.items], page.next_cursor)


@router.post("/api/tokens", status_code=201, openapi_extra=takes(NewToken))
async def create_token(here: Here, request: Request, response: Response) -> TokenMade:
    """Make an access token. Its `secret` is in this answer only."""
    view, secret = await make(here, await read(request, NewToken), operator_of(request).name)
    response.headers["Cache-Control"] = "no-store"
    return token_made(view, secret)


async def make(here: Context, new: NewToken, actor: str) -> tuple[TokenView, str]:
    """Make a token; the second value is its secret.

    :raises InvalidInput: naming the field.
    """
    validity = validity_of(new, here.clock.wall_us())
    assert validity is not None  # noqa: S101  `operation` is there
    return await here.flow.tokens.create(**terms_of(new), validity=validity, actor=actor)


@router.get("/api/tokens/{token_id}")
async def get_token(here: Here, token_id: TokenId) -> TokenShown:
    """Show an access token, a deleted one too."""
    return token_shown(await here.flow.tokens.get(token_id))


@router.patch("/api/tokens/{token_id}", openapi_extra=takes(TokenChange))
async def change_token(here: Here, request: Request, token_id: TokenId) -> TokenShown:
    """Change what is given, at once. Units are changed by recharging."""
    wanted = await read(request, TokenChange)
    if not wanted.model_fields_set:
        raise InvalidInput(f"give at least one of {', '.join(TokenChange.model_fields)}", field="body")
    return token_shown(await alter(here, token_id, wanted, operator_of(request).name))


async def alter(here: Context, token_id: str, wanted: TokenChange, actor: str) -> TokenView:
    """Change what is given of a token.

    :raises NotFound: no such token. :raises InvalidInput: naming the field.
    """
    terms = terms_of(wanted)
    if "rate_limit_per_minute" in terms and terms["rate_limit_per_minute"] is None:
        terms.setdefault("rate_limit_burst", None)  # it means nothing without the rate
    validity = validity_of(wanted, here.clock.wall_us())
    return await here.flow.tokens.change(token_id, validity=validity, actor=actor, **terms)


@router.delete("/api/tokens/{token_id}", status_code=204, response_class=Response)
async def delete_token(here: Here, request: Request, token_id: TokenId) -> None:
    """Delete an access token: it is refused from now on, its ledger stays."""
    await here.flow.tokens.remove(token_id, actor=operator_of(request).name)


@router.get("/api/tokens/{token_id}/quota")
async def get_token_quota(here: Here, token_id: TokenId) -> TokenQuotaShown:
    """Show what an access token has at this moment."""
    return token_quota_shown(await here.flow.tokens.get(token_id))


@router.post("/api/tokens/{token_id}/recharge", openapi_extra=takes(Recharge))
async def recharge_token(here: Here, request: Request, token_id: TokenId) -> TokenShown:
    """Add units, set what remains, or reset it. With a `request_id` repeating it is harmless."""
    wanted = await read(request, Recharge)
    view = await here.flow.tokens.recharge(
        token_id,
        CHANGES[wanted.operation],
        wanted.amount,
        request_id=wanted.request_id,
        actor=operator_of(request).name,
    )
    return token_shown(view)


@router.post("/api/tokens/{token_id}/expire", openapi_extra=takes(Nothing))
async def expire_token(here: Here, request: Request, token_id: TokenId) -> TokenShown:
    """End an access token now: nothing remains."""
    await read(request, Nothing)
    return token_shown(
        await here.flow.tokens.recharge(token_id, Change.EXPIRE, None, actor=operator_of(request).name)
    )


@router.get("/api/tokens/{token_id}/requests/{request_id:path}")
async def get_request(here: Here, token_id: TokenId, request_id: PathRequestId) -> RequestShown:
    """Show what became of a request id of this token."""
    await here.flow.tokens.get(token_id)
    return request_shown(await here.flow.charges.request(token_id, request_id))


@router.delete("/api/tokens/{token_id}/requests/{request_id:path}")
async def cancel_request(
    here: Here, request: Request, token_id: TokenId, request_id: PathRequestId
) -> CancelShown:
    """Make sure that a request charges nothing: what it was charged goes back, and a late command is refused."""
    return cancel_shown(await here.flow.tokens.cancel(token_id, request_id, actor=operator_of(request).name))


@router.post("/api/refund", openapi_extra=takes(NewRefund))
async def refund(here: Here, request: Request) -> RefundShown:
    """Give back what a request was charged, or part of it, once."""
    given = await give_back(here, await read(request, NewRefund), operator_of(request).name)
    return refund_shown(given, await _remaining(here, given.request.subject))


async def give_back(here: Context, wanted: NewRefund, actor: str) -> Refund:
    """Give back what a request was charged.

    :raises NotFound: no such charge. :raises InvalidInput: naming the field. :raises Conflict: it is settled already.
    """
    subject = check_id(wanted.token_id, field="token_id")
    if wanted.amount is not None:
        amount_micro(wanted.amount, field="amount", minimum=1)  # nothing given back would use up the one time
    return await here.flow.tokens.refund(subject, wanted.request_id, wanted.amount, actor=actor)


async def _remaining(here: Context, subject: str) -> float | None:
    if subject.startswith(TOKEN_PREFIX):
        return token_quota_shown(await here.flow.tokens.get(subject)).remaining_quota
    level = (await here.flow.quotas.get(subject)).level
    return level.remaining if level else None
