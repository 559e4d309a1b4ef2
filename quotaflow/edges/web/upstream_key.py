"""/upstream-keys/ID: what is known of one key, and what a person may do to it. Its secret is shown to nobody."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from quotaflow.edges.http.context import Context, context_of
from quotaflow.edges.http.guard import operator_of
from quotaflow.edges.http.upstream_shapes import KeyChange, key_id_of
from quotaflow.edges.http.upstream_views import source_of
from quotaflow.edges.web.changes import changes_of
from quotaflow.edges.web.forms import UNKNOWN, Form, Wrong, form_of, wrong_of
from quotaflow.edges.web.render import here_of, redirect, render
from quotaflow.errors import Conflict, InvalidInput, SecretUnavailable

NEWEST = 20  # changes shown
SECRETS = ("secret", "rows")  # fields that are never shown again
AGAIN = {
    "secret": "type the secret again: it was not kept",
    "rows": "paste the rows again: they were not kept, as they hold secrets",
}
Done = tuple[str, dict[str, str]]  # what was done, in English, and its values


async def show(request: Request) -> Response:
    """Show one key."""
    return await _show(request, Form())


async def change(request: Request) -> Response:
    """Do to a key what the form says."""
    key_id, form = _id(request), await form_of(request)
    act = _ACTS.get(form.do)
    if act is None:
        raise InvalidInput(UNKNOWN)
    try:
        done, values = await act(context_of(request), key_id, form, operator_of(request).name)
    except (Wrong, InvalidInput, Conflict, SecretUnavailable) as error:
        if isinstance(error, SecretUnavailable):
            error = Wrong({"secret": str(error)})
        wrong = wrong_of(error, form.typed.__contains__)
        return await _show(request, without_secrets(form.refused(wrong)))
    return redirect("/upstream-keys" if form.do == "remove" else here_of(request), done, **values)


def without_secrets(form: Form) -> Form:
    """Return a form as it may be shown again: secrets that were typed are gone, and it says so."""
    lost = [name for name in SECRETS if form.typed.get(name)]
    wrong = {**{name: AGAIN[name] for name in lost}, **form.wrong} if form.wrong else form.wrong
    return Form(form.do, {name: text for name, text in form.typed.items() if name not in SECRETS}, wrong)


async def _show(request: Request, form: Form) -> Response:
    here, key_id = context_of(request), _id(request)
    view = await here.flow.upstream.get(key_id)
    return render(
        request, "upstream_key.html", status=form.status, view=view, form=form, source=source_of(view.key),
        mirrors=sorted(here.flow.quotas.mirroring),
        changes=await changes_of(here, NEWEST, "upstream_key", subject=key_id),
    )  # fmt: skip


async def _edit(here: Context, key_id: str, form: Form, actor: str) -> Done:
    given = form.read(KeyChange).model_dump(exclude_unset=True)
    if not given:
        raise Wrong({"name": "name is missing"})
    await here.flow.upstream.change(key_id, **given, actor=actor)
    return "The change is in force.", {}


def _switch(*, enabled: bool) -> Callable[[Context, str, Form, str], Awaitable[Done]]:
    async def switch(here: Context, key_id: str, _form: Form, actor: str) -> Done:
        await here.flow.upstream.change(key_id, enabled=enabled, actor=actor)
        return ("The key is enabled." if enabled else "The key is disabled."), {}

    return switch


async def _remove(here: Context, key_id: str, _form: Form, actor: str) -> Done:
    name = (await here.flow.upstream.get(key_id)).key.name
    await here.flow.upstream.remove(key_id, actor=actor)
    return "The key {name} is forgotten.", {"name": name}


def _id(request: Request) -> str:
    return key_id_of(request.path_params["key_id"])


_ACTS: Mapping[str, Callable[[Context, str, Form, str], Awaitable[Done]]] = {
    "edit": _edit,
    "enable": _switch(enabled=True),
    "disable": _switch(enabled=False),
    "remove": _remove,
}
