"""/operators: who may look after this installation, with a token of their own each."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quotaflow.edges.http.context import context_of
from quotaflow.edges.http.guard import operator_of
from quotaflow.edges.http.operators import NewOperator
from quotaflow.edges.web.changes import changes_of
from quotaflow.edges.web.forms import UNKNOWN, Form, Wrong, form_of, wrong_of
from quotaflow.edges.web.queries import ON_A_PAGE
from quotaflow.edges.web.render import address, redirect, render
from quotaflow.errors import Conflict, InvalidInput
from quotaflow.operators import Operator

NEWEST = 20  # changes shown


async def show(request: Request) -> Response:
    """List operators: those who may come in first, newest first."""
    return await _show(request, Form())


async def change(request: Request) -> Response:
    """Do what the form says."""
    form = await form_of(request)
    act = _ACTS.get(form.do)
    if act is None:
        raise InvalidInput(UNKNOWN)
    return await act(request, form)


async def _create(request: Request, form: Form) -> Response:
    """Make an operator. The answer has its token, which is nowhere else: it cannot be a redirect."""
    try:
        new = form.read(NewOperator)
        actor = operator_of(request).name
        made, secret = await context_of(request).flow.operators.create(new.name, new.role, actor)
    except Conflict as error:  # of the name
        return await _show(request, form.refused({"name": str(error)}))
    except (Wrong, InvalidInput) as error:
        return await _show(request, form.refused(wrong_of(error, form.typed.__contains__)))
    return await _show(request, Form(), made, secret)


async def _revoke(request: Request, form: Form) -> Response:
    actor = operator_of(request).name
    await context_of(request).flow.operators.revoke(form.typed.get("operator", ""), actor)
    return redirect("/operators", "The token is refused from now on, and its browsers are signed out.")


async def _show(
    request: Request, form: Form, made: Operator | None = None, secret: str | None = None
) -> Response:
    here = context_of(request)
    known = sorted(await here.flow.operators.all(), key=lambda operator: operator.revoked_us is not None)
    start = _start(request.query_params.get("from", ""))
    end = start + ON_A_PAGE
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form.wrong else HTTPStatus.CREATED if made else HTTPStatus.OK
    return render(
        request, "operators.html", status=status, operators=known[start:end], form=form, made=made, secret=secret,
        next=address("operators", **{"from": end}) if len(known) > end else None,
        changes=await changes_of(here, NEWEST, "operator"),
    )  # fmt: skip


def _start(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < len(str(1 << 62)) else 0


_ACTS: Mapping[str, Callable[[Request, Form], Awaitable[Response]]] = {
    "create": _create,
    "revoke": _revoke,
}

routes = [
    Route("/operators", show, methods=["GET"]),
    Route("/operators", change, methods=["POST"]),
]
