"""/tokens: every access token with what it has left; making one: its secret is in that answer, and never again."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quotaflow.edges.http.context import context_of
from quotaflow.edges.http.guard import operator_of
from quotaflow.edges.http.token_shapes import NewToken, TokenQuery
from quotaflow.edges.http.tokens import make
from quotaflow.edges.web import token_page
from quotaflow.edges.web.changes import changes_of
from quotaflow.edges.web.forms import Form, Wrong, form_of, wrong_of
from quotaflow.edges.web.queries import ON_A_PAGE, query_of
from quotaflow.edges.web.reader import reader_of
from quotaflow.edges.web.render import address, render
from quotaflow.edges.web.token_page import in_zone, state_of
from quotaflow.errors import Conflict, InvalidInput
from quotaflow.store import TokenFilter

NEWEST = 20  # changes shown
CONDITIONS = ("ws_id", "email", "quota_type", "active", "deleted")


async def show_all(request: Request) -> Response:
    """List tokens, newest first."""
    return await _list(request, Form())


async def create(request: Request) -> Response:
    """Make a token and show its secret: in this answer, and in no other."""
    here, form = context_of(request), await form_of(request)
    reader = reader_of(request, here.clock.wall_us())
    try:
        new = in_zone(form, reader.zone).read(NewToken)
        view, secret = await make(here, new, operator_of(request).name)
    except (Wrong, InvalidInput, Conflict) as error:
        return await _list(request, form.refused(wrong_of(error, form.typed.__contains__)))
    return render(
        request, "token_made.html", status=HTTPStatus.CREATED, reader=reader, token=view.token, secret=secret
    )


async def _list(request: Request, form: Form) -> Response:
    here = context_of(request)
    query = query_of(request, TokenQuery, *CONDITIONS, "cursor")
    wanted = TokenFilter(query.ws_id, query.email, query.quota_type, query.active, query.deleted)
    page = await here.flow.tokens.page(wanted, query.cursor, ON_A_PAGE)
    asked = {name: request.query_params.get(name) or None for name in CONDITIONS}
    following = address("tokens", **asked, cursor=page.next_cursor) if page.next_cursor else None
    return render(
        request, "tokens.html", status=form.status, views=page.items, next=following, asked=asked, form=form,
        state_of=state_of, changes=await changes_of(here, NEWEST, "token"),
    )  # fmt: skip


routes = [
    Route("/tokens", show_all, methods=["GET"]),
    Route("/tokens", create, methods=["POST"]),
    Route("/tokens/{token_id}", token_page.show, methods=["GET"]),
    Route("/tokens/{token_id}", token_page.change, methods=["POST"]),
]
