"""/tokens/ID: what one access token has, what was charged to it, and what a person may do to it."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, tzinfo
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from quotaflow.amounts import MICRO
from quotaflow.edges.http.context import Context, context_of
from quotaflow.edges.http.guard import operator_of
from quotaflow.edges.http.shapes import CHANGES, Recharge
from quotaflow.edges.http.token_shapes import LogQuery, NewRefund, TokenChange, token_id_of
from quotaflow.edges.http.tokens import alter, give_back
from quotaflow.edges.web.changes import changes_of
from quotaflow.edges.web.forms import REST, UNKNOWN, Form, Wrong, form_of, wrong_of
from quotaflow.edges.web.queries import ON_A_PAGE, query_of
from quotaflow.edges.web.reader import reader_of
from quotaflow.edges.web.render import address, here_of, micro, redirect, render
from quotaflow.errors import Conflict, InvalidInput, NotFound
from quotaflow.ledger import AccessToken, Action, Change, LedgerRow
from quotaflow.store import LogFilter

NEWEST = 20  # changes shown
DAY, MONTH = "24h", "30d"
Done = tuple[str, dict[str, str]]  # what was done, in English, and its values


class Span(NamedTuple):
    """So many equal parts of so many microseconds, up to now."""

    parts: int
    width_us: int


SPANS = {DAY: Span(48, 1_800 * MICRO), MONTH: Span(30, 86_400 * MICRO)}


async def show(request: Request) -> Response:
    """Show one token, a deleted one too."""
    return await _show(request, Form())


async def change(request: Request) -> Response:
    """Do to a token what the form says."""
    here, token_id, form = context_of(request), _id(request), await form_of(request)
    act = _ACTS.get(form.do)
    if act is None:
        raise InvalidInput(UNKNOWN)
    zoned = in_zone(form, reader_of(request, here.clock.wall_us()).zone)
    try:
        done, values = await act(here, token_id, zoned, operator_of(request).name)
    except (Wrong, InvalidInput, Conflict) as error:
        wrong = wrong_of(error, lambda name: form.do in _TYPED and name in form.typed)
        return await _show(request, form.refused(wrong))
    return redirect("/tokens" if form.do == "remove" else here_of(request), done, **values)


async def _show(request: Request, form: Form) -> Response:
    here, token_id, asked = context_of(request), _id(request), request.query_params
    view = await here.flow.tokens.get(token_id)
    query = query_of(request, LogQuery, "action", "cursor")
    span = asked.get("span") if asked.get("span") in SPANS else DAY
    page = await here.flow.tokens.logs(LogFilter(token_id, query.action), query.cursor, ON_A_PAGE)
    following = None
    if page.next_cursor:
        following = address("tokens", token_id, span=span, action=query.action, cursor=page.next_cursor)
    return render(
        request, "token.html", status=form.status, view=view, form=form, state_of=state_of, span=span,
        spent=await _spent(here, token_id, SPANS[span or DAY]), log=page.items, next=following,
        refunded=await _refunded(here, token_id, page.items), action=query.action, actions=[*Action],
        once=f"page-{secrets.token_hex(8)}",  # sent twice it recharges once
        changes=await changes_of(here, NEWEST, "token", subject=token_id),
    )  # fmt: skip


def state_of(token: AccessToken, now_us: int) -> str:
    """Say in a word whether a token may be used."""
    if token.deleted_us is not None:
        return "deleted"
    if not token.active:
        return "off"
    return "expired" if token.expires_us is not None and token.expires_us <= now_us else "active"


def in_zone(form: Form, zone: tzinfo) -> Form:
    """Take a date without a zone as the reader's, and not as UTC; the shape refuses what is no date."""
    try:
        date = datetime.fromisoformat(form.typed.get("specific_date", "").strip())
    except ValueError:
        return form
    if date.tzinfo is not None:
        return form
    return Form(form.do, {**form.typed, "specific_date": date.replace(tzinfo=zone).isoformat()})


async def _spent(here: Context, token_id: str, span: Span) -> dict[str, list[Any]]:
    """Return what was charged, by whole half hours or days, so that a look a moment later draws the same."""
    until_us = (here.clock.wall_us() // span.width_us + 1) * span.width_us
    since_us = until_us - span.parts * span.width_us
    sums = await here.flow.store.spent(token_id, since_us, until_us, span.parts)
    return {
        "times": [(since_us + part * span.width_us) // MICRO for part in range(span.parts)],
        "units": [each / MICRO for each in sums],
    }


async def _refunded(here: Context, token_id: str, rows: list[LedgerRow]) -> set[str | None]:
    """Return the requests among these rows of which something went back: that happens once."""
    ids = [row.request_id for row in rows if row.action is Action.CONSUME and row.request_id is not None]
    known = await here.flow.store.rows_of_requests(ids)
    return {row.request_id for row in known if row.subject == token_id and row.action is Action.REFUND}


async def _recharge(here: Context, token_id: str, form: Form, actor: str) -> Done:
    wanted = form.read(Recharge)
    given = {"request_id": wanted.request_id, "actor": actor}
    await here.flow.tokens.recharge(token_id, CHANGES[wanted.operation], wanted.amount, **given)
    return "The token is recharged.", {}


async def _edit(here: Context, token_id: str, form: Form, actor: str) -> Done:
    typed = form.since((await here.flow.tokens.get(token_id)).token.version)
    missing = [name for name in ("ws_id", "email") if not typed.typed.get(name, name).strip()]
    if missing:
        raise Wrong({name: f"{name} is missing" for name in missing})
    wanted = typed.read(TokenChange, nulls=("rate_limit_per_minute", "rate_limit_burst"))
    await alter(here, token_id, wanted, actor)
    return "The change is in force.", {}


async def _prolong(here: Context, token_id: str, form: Form, actor: str) -> Done:
    await alter(here, token_id, form.read(TokenChange), actor)
    return "The change is in force.", {}


def _switch(*, active: bool) -> Callable[[Context, str, Form, str], Awaitable[Done]]:
    async def switch(here: Context, token_id: str, _form: Form, actor: str) -> Done:
        await here.flow.tokens.change(token_id, active=active, actor=actor)
        return ("The token is switched on." if active else "The token is switched off."), {}

    return switch


async def _expire(here: Context, token_id: str, _form: Form, actor: str) -> Done:
    await here.flow.tokens.recharge(token_id, Change.EXPIRE, None, actor=actor)
    return "The token has expired.", {}


async def _refund(here: Context, token_id: str, form: Form, actor: str) -> Done:
    asked = Form(form.do, {"token_id": token_id, "request_id": form.typed.get("request_id", "")})
    try:
        given = await give_back(here, asked.read(NewRefund), actor)
    except NotFound as error:
        raise Wrong({REST: str(error)}) from error
    if given.repeated:
        return "This was given back before; nothing has changed.", {}
    return "{amount} units went back to the token.", {"amount": micro(round(given.amount * MICRO))}


async def _remove(here: Context, token_id: str, _form: Form, actor: str) -> Done:
    await here.flow.tokens.remove(token_id, actor=actor)
    return "The token is deleted: it is refused from now on.", {}


def _id(request: Request) -> str:
    return token_id_of(request.path_params["token_id"])


_TYPED = ("recharge", "edit", "prolong")  # forms with fields to type into
_ACTS: Mapping[str, Callable[[Context, str, Form, str], Awaitable[Done]]] = {
    "recharge": _recharge,
    "edit": _edit,
    "prolong": _prolong,
    "on": _switch(active=True),
    "off": _switch(active=False),
    "expire": _expire,
    "refund": _refund,
    "remove": _remove,
}
