"""/upstream-keys: the keys of other people's services, what they have left, and asking the services for it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quotaflow.balances import ImportReport, KeyStatus
from quotaflow.edges.http.context import Context, context_of
from quotaflow.edges.http.guard import operator_of
from quotaflow.edges.http.upstream_shapes import KeyQuery, NewKey, RefreshWish
from quotaflow.edges.web import upstream_key
from quotaflow.edges.web.changes import changes_of
from quotaflow.edges.web.forms import UNKNOWN, Form, Wrong, form_of, wrong_of
from quotaflow.edges.web.queries import ON_A_PAGE, query_of
from quotaflow.edges.web.render import address, redirect, render
from quotaflow.edges.web.upstream_key import without_secrets
from quotaflow.errors import Conflict, InvalidInput, SecretUnavailable, Unavailable
from quotaflow.store import UpstreamFilter

NEWEST = 20  # changes shown
PATH = "/upstream-keys"
CONDITIONS = ("provider", "status", "enabled")
SEEN_S = 1.0  # how long whoever starts a refresh waits until it is seen to go on


async def show_all(request: Request) -> Response:
    """List keys, newest first, and how the pools of all providers stand."""
    return await _list(request, Form())


async def change_all(request: Request) -> Response:
    """Add a key or many, or begin to refresh."""
    form = await form_of(request)
    act = _ACTS.get(form.do)
    if act is None:
        raise InvalidInput(UNKNOWN)
    try:
        return await act(request, form)
    except (Wrong, InvalidInput, Conflict, SecretUnavailable) as error:
        if isinstance(error, SecretUnavailable):
            error = Wrong({"secret": str(error)})
        wrong = wrong_of(error, form.typed.__contains__)
        return await _list(request, without_secrets(form.refused(wrong)))


async def _list(request: Request, form: Form, imported: ImportReport | None = None) -> Response:
    here = context_of(request)
    query = query_of(request, KeyQuery, *CONDITIONS, "cursor")
    wanted = UpstreamFilter(query.provider, query.status, query.enabled)
    page = await here.flow.upstream.page(wanted, query.cursor, ON_A_PAGE)
    asked = {name: request.query_params.get(name) or None for name in CONDITIONS}
    following = address("upstream-keys", **asked, cursor=page.next_cursor) if page.next_cursor else None
    refused = form.wrong or (imported is not None and imported.failed)
    status = HTTPStatus.UNPROCESSABLE_ENTITY if refused else HTTPStatus.OK
    return render(
        request, "upstream_keys.html", status=status, views=page.items, next=following, asked=asked, form=form,
        imported=imported, pools=await _pools(here), mirrors=sorted(here.flow.quotas.mirroring),
        progress=await here.flow.upstream.progress(),
        providers=[(name, name) for name in here.flow.settings.upstream.all_providers],
        can_encrypt=bool(here.flow.settings.upstream.secret_keys), statuses=[*KeyStatus],
        changes=await changes_of(here, NEWEST, "upstream_key"),
    )  # fmt: skip


async def _pools(here: Context) -> Mapping[str, Any] | None:
    """Return the figures by provider; None while Redis cannot be asked."""
    try:
        return dict((await here.flow.upstream_statistics())["providers"])
    except Unavailable:
        return None


async def _add(request: Request, form: Form) -> Response:
    new = form.read(NewKey)
    view = await context_of(request).flow.upstream.add(
        new.provider, new.secret, name=new.name, enabled=new.enabled, actor=operator_of(request).name
    )
    done = "The key {name} is stored."
    return redirect(address("upstream-keys", view.key.id), done, name=view.key.name)


async def _import(request: Request, form: Form) -> Response:
    """Store many; the rows that cannot be are told at once, as no other page knows them."""
    text = form.typed.get("rows", "")
    if not text.strip():
        raise Wrong({"rows": "rows is missing"})
    report = await context_of(request).flow.upstream.add_many(text, actor=operator_of(request).name)
    if report.failed:
        return await _list(request, without_secrets(form), report)
    done = "Keys stored: {count}. Their services are being asked what they have left."
    return redirect(PATH, done, count=str(report.success))


async def _refresh(request: Request, form: Form) -> Response:
    """Begin, and answer as soon as it is seen to go on or is over; leaving early does not end it."""
    upstream, provider = context_of(request).flow.upstream, form.read(RefreshWish).provider
    await upstream.expect(provider)
    with suppress(TimeoutError):  # another one is ahead of it
        async with asyncio.timeout(SEEN_S):
            await anext(aiter(upstream.refreshing(provider)))
    return redirect(PATH, "The services are being asked what the keys have left.")


_ACTS: Mapping[str, Callable[[Request, Form], Awaitable[Response]]] = {
    "add": _add,
    "import": _import,
    "refresh": _refresh,
}

routes = [
    Route(PATH, show_all, methods=["GET"]),
    Route(PATH, change_all, methods=["POST"]),
    Route(PATH + "/{key_id}", upstream_key.show, methods=["GET"]),
    Route(PATH + "/{key_id}", upstream_key.change, methods=["POST"]),
]
