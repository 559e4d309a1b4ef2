"""/quotas: every quota with its level, and what a person may do to it. /quotas/ID: its history, and why it refused."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quotaflow.amounts import MICRO, check_id
from quotaflow.control.forecasts import points_of, runs_out
from quotaflow.control.quotas import QuotaView
from quotaflow.edges.http.context import Context, context_of
from quotaflow.edges.http.guard import operator_of
from quotaflow.edges.http.shapes import CHANGES, NewOverride, NewQuota, QuotaChange, Recharge
from quotaflow.edges.web.changes import changes_of, undo
from quotaflow.edges.web.forms import Form, Wrong, form_of, wrong_of
from quotaflow.edges.web.render import address, redirect, render
from quotaflow.errors import Conflict, InvalidInput
from quotaflow.model import QuotaKind, make_quota
from quotaflow.store import MinuteFigures

ON_A_PAGE = 50
DAY_US = 86_400 * MICRO
NEWEST = 20  # refusals and changes shown
PER = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}  # what a person may give a rate per
Done = tuple[str, dict[str, str]]  # what was done, in English, and its values


async def show_all(request: Request) -> Response:
    """List quotas, those whose id or name holds the text searched for."""
    return await _list(request, Form())


async def change_all(request: Request) -> Response:
    """Make a quota, or undo a change."""
    here, form = context_of(request), await form_of(request)
    try:
        if form.do == "undo":
            return await undo(request, form, "/quotas")
        new = _new_quota(form)
        view = await here.flow.quotas.create(new, actor=operator_of(request).name)
    except (Wrong, InvalidInput, Conflict) as error:
        return await _list(request, _refused(form, error))
    return redirect(address("quotas", view.quota.id), "The quota {name} is in force.", name=view.quota.name)


async def show(request: Request) -> Response:
    """Show one quota."""
    return await _show(request, Form())


async def change(request: Request) -> Response:
    """Do to a quota what the form says."""
    form, quota_id = await form_of(request), _id(request)
    try:
        if form.do == "undo":
            return await undo(request, form, address("quotas", quota_id))
        act = _ACTS.get(form.do, _unknown)
        done, values = await act(context_of(request), quota_id, form, operator_of(request).name)
    except (Wrong, InvalidInput, Conflict) as error:
        return await _show(request, _refused(form, error))
    to = "/quotas" if form.do == "remove" else address("quotas", quota_id)
    return redirect(to, done, **values)


async def _list(request: Request, form: Form) -> Response:
    here, query = context_of(request), request.query_params
    text = query.get("q", "").strip()
    views, cursor = await here.flow.quotas.page(query.get("cursor"), ON_A_PAGE, text=text or None)
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form.wrong else HTTPStatus.OK
    following = address("quotas", q=text or None, cursor=cursor) if cursor else None
    return render(
        request, "quotas.html", status=status, views=views, q=text, next=following, form=form,
        providers=[("", "–"), *((name, name) for name in here.flow.settings.upstream.all_providers)],
        changes=await changes_of(here, NEWEST, "quota", "override"),
    )  # fmt: skip


async def _show(request: Request, form: Form) -> Response:
    here, quota_id = context_of(request), _id(request)
    view = await here.flow.quotas.get(quota_id)
    now_us = here.clock.wall_us()
    minutes = await here.flow.store.minutes(now_us - DAY_US, now_us, quota_id)
    is_bucket = view.quota.kind is QuotaKind.BUCKET
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form.wrong else HTTPStatus.OK
    return render(
        request, "quota.html", status=status, view=view, form=form, now_us=now_us,
        level=_levels(minutes), decisions=_decisions(minutes), ends_us=_ends_us(view, minutes, now_us),
        refusals=await here.flow.store.refusals(quota_id, now_us - DAY_US, NEWEST),
        refused=sum(minute.limited for minute in minutes),
        overrides=await here.flow.quotas.overrides(quota_id) if is_bucket else [],
        tasks=[row for row in await here.flow.store.list_tasks() if row.quota_name == view.quota.name],
        changes=await changes_of(here, NEWEST, "quota", "override", subject=quota_id),
        rate=_rate_of(view.quota.refill_rate),
    )  # fmt: skip


def _refused(form: Form, error: Wrong | InvalidInput | Conflict) -> Form:
    wrong = {
        "rate" if name == "refill_rate" else name: text
        for name, text in wrong_of(error, [*form.typed, "refill_rate"].__contains__).items()
    }
    return form.refused(wrong)


def _ends_us(view: QuotaView, minutes: list[MinuteFigures], now_us: int) -> int | None:
    """Return when it is used up at the pace of the last hour."""
    if view.level is None:
        return None
    return runs_out(points_of(minutes, now_us), view.level.remaining, now_us, view.quota.kind)


def _levels(minutes: list[MinuteFigures]) -> dict[str, Any]:
    known = [minute for minute in minutes if minute.remaining is not None]
    return {
        "times": [minute.minute_us // MICRO for minute in known],
        "remaining": [minute.remaining for minute in known],
    }


def _decisions(minutes: list[MinuteFigures]) -> dict[str, list[int]]:
    return {
        "times": [minute.minute_us // MICRO for minute in minutes],
        "allowed": [minute.allowed for minute in minutes],
        "limited": [minute.limited for minute in minutes],
    }


def _new_quota(form: Form) -> Any:
    kind = QuotaKind(form.do) if form.do in set(QuotaKind) else QuotaKind.BUCKET
    rated = _rated(form) if kind is QuotaKind.BUCKET else form
    given = rated.read(NewQuota).model_dump(exclude_unset=True) | {"kind": kind}
    needed = ("id", "capacity", "refill_rate") if kind is QuotaKind.BUCKET else ("id", "total")
    missing = [name for name in needed if name not in given and not (name == "total" and "mirrors" in given)]
    if missing:
        shown = {"refill_rate": "rate"}
        raise Wrong({shown.get(name, name): f"{name} is missing" for name in missing})
    if given["id"] in (".", ".."):
        raise Wrong({"id": "id must not be a dot or two: clients drop them from addresses"})
    return make_quota(**given)


def _rated(form: Form) -> Form:
    """Put `rate` and `per` together to units per second."""
    typed = dict(form.typed)
    rate, per = typed.pop("rate", "").strip(), typed.pop("per", "s")
    if rate:
        try:
            typed["refill_rate"] = str(float(rate.replace(",", "")) / PER[per])
        except (ValueError, KeyError):
            raise Wrong({"rate": "rate must be a number"}) from None
    return Form(form.do, typed)


def _rate_of(per_s: float) -> tuple[float, str]:
    """Return a rate as a person would give it: the first unit in which it is a whole number, or per second."""
    for per, seconds in PER.items():
        count = round(per_s * seconds, 6)
        if count and count == int(count):
            return count, per
    return per_s, "s"


async def _edit(here: Context, quota_id: str, form: Form, actor: str) -> Done:
    kind = (await here.flow.quotas.get(quota_id)).quota.kind
    is_bucket = kind is QuotaKind.BUCKET
    nulls = ("max_concurrent",) if is_bucket else ("reset_cron", "timezone")
    change = (_rated(form) if is_bucket else form).read(QuotaChange, nulls=nulls)
    given = change.model_dump(exclude_unset=True)
    await here.flow.quotas.change(quota_id, actor=actor, **given)
    here.policies.forget(quota_id)
    return "The change is in force.", {}


def _switch(*, enabled: bool) -> Callable[[Context, str, Form, str], Awaitable[Done]]:
    async def switch(here: Context, quota_id: str, _form: Form, actor: str) -> Done:
        await here.flow.quotas.change(quota_id, enabled=enabled, actor=actor)
        return ("The quota is enabled." if enabled else "The quota is disabled."), {}

    return switch


async def _refill(here: Context, quota_id: str, _form: Form, actor: str) -> Done:
    await here.flow.quotas.refill(quota_id, actor=actor)
    return "The quota is full again.", {}


async def _recharge(here: Context, quota_id: str, form: Form, actor: str) -> Done:
    wanted = form.read(Recharge)
    await here.flow.quotas.recharge(quota_id, CHANGES[wanted.operation], wanted.amount, actor=actor)
    return "The quota is recharged.", {}


async def _override(here: Context, quota_id: str, form: Form, actor: str) -> Done:
    rated = _rated(form)
    key = rated.typed.get("key", "").strip()
    if not key:
        raise Wrong({"key": "key is missing"})
    new = Form(form.do, {name: text for name, text in rated.typed.items() if name != "key"}).read(NewOverride)
    await here.flow.quotas.override(
        quota_id, key, capacity=new.capacity, refill_rate=new.refill_rate, actor=actor
    )
    return "The key {key} has a capacity and a rate of its own.", {"key": key}


async def _drop_override(here: Context, quota_id: str, form: Form, actor: str) -> Done:
    key = form.typed.get("key", "")
    await here.flow.quotas.drop_override(quota_id, key, actor=actor)
    return "The key {key} has the quota's own capacity and rate again.", {"key": key}


async def _remove(here: Context, quota_id: str, _form: Form, actor: str) -> Done:
    here.policies.forget(quota_id)
    await here.flow.quotas.remove(quota_id, actor=actor)
    return "The quota {name} is deleted.", {"name": quota_id}


async def _unknown(_here: Context, _quota_id: str, _form: Form, _actor: str) -> Done:
    raise InvalidInput("the form asks for something that is not known here")


def _id(request: Request) -> str:
    return check_id(request.path_params["quota_id"])


_ACTS: Mapping[str, Callable[[Context, str, Form, str], Awaitable[Done]]] = {
    "edit": _edit,
    "enable": _switch(enabled=True),
    "disable": _switch(enabled=False),
    "refill": _refill,
    "recharge": _recharge,
    "override": _override,
    "drop_override": _drop_override,
    "remove": _remove,
}

routes = [
    Route("/quotas", show_all, methods=["GET"]),
    Route("/quotas", change_all, methods=["POST"]),
    Route("/quotas/{quota_id:path}", show, methods=["GET"]),
    Route("/quotas/{quota_id:path}", change, methods=["POST"]),
]
