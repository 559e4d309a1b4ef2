"""/quotas: every quota with its level, and what a person may do to it. /quotas/ID: its history, and why it refused."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quotaflow.amounts import MICRO, check_id
from quotaflow.control.forecasts import has_pace, points_of, runs_out
from quotaflow.control.quotas import QuotaView
from quotaflow.edges.http.context import Context, context_of
from quotaflow.edges.http.guard import operator_of
from quotaflow.edges.http.quotas import quota_of
from quotaflow.edges.http.shapes import CHANGES, NewOverride, NewQuota, QuotaChange, Recharge
from quotaflow.edges.web.changes import changes_of, undo
from quotaflow.edges.web.forms import UNKNOWN, Form, Wrong, form_of, ungrouped, wrong_of
from quotaflow.edges.web.queries import ON_A_PAGE
from quotaflow.edges.web.refill import PERIODS_S
from quotaflow.edges.web.render import address, redirect, render, units
from quotaflow.errors import Conflict, InvalidInput
from quotaflow.model import Quota, QuotaKind, needed_fields
from quotaflow.store import MinuteFigures

DAY_S = 86_400
DAY_US = DAY_S * MICRO
NEAR = 1e-3  # of a rate: kept so near it is what was asked for
NEWEST = 20  # refusals and changes shown
Done = tuple[str, dict[str, str]]  # what was done, in English, and its values


async def show_all(request: Request) -> Response:
    """List quotas, those whose id or name holds the text searched for."""
    return await _list(request, Form())


async def change_all(request: Request) -> Response:
    """Make a quota, or undo a change."""
    here, form = context_of(request), await form_of(request)
    if form.do not in {*QuotaKind, "undo"}:
        raise InvalidInput(UNKNOWN)
    try:
        if form.do == "undo":
            return await undo(request, form, "/quotas")
        new = _new_quota(form)
        view = await here.flow.quotas.create(new, actor=operator_of(request).name)
    except (Wrong, InvalidInput, Conflict) as error:
        return await _list(request, _refused(form, error))
    here.policies.forget(view.quota.id)
    told, values = _kept(view.quota, form)
    return redirect(address("quotas", view.quota.id), told, **values)


async def show(request: Request) -> Response:
    """Show one quota."""
    return await _show(request, Form())


async def change(request: Request) -> Response:
    """Do to a quota what the form says."""
    form, quota_id = await form_of(request), _id(request)
    act = _ACTS.get(form.do)
    if act is None and form.do != "undo":
        raise InvalidInput(UNKNOWN)
    try:
        if act is None:
            return await undo(request, form, address("quotas", quota_id))
        done, values = await act(context_of(request), quota_id, form, operator_of(request).name)
    except (Wrong, InvalidInput, Conflict) as error:
        return await _show(request, _refused(form, error))
    to = "/quotas" if form.do == "remove" else address("quotas", quota_id)
    return redirect(to, done, **values)


async def _list(request: Request, form: Form) -> Response:
    here, query = context_of(request), request.query_params
    text = query.get("q", "").strip()
    views, cursor = await here.flow.quotas.page(query.get("cursor"), ON_A_PAGE, text=text or None)
    following = address("quotas", q=text or None, cursor=cursor) if cursor else None
    return render(
        request, "quotas.html", status=form.status, views=views, q=text, next=following, form=form,
        providers=[("", "–"), *((name, name) for name in here.flow.settings.upstream.all_providers)],
        changes=await changes_of(here, NEWEST, "quota", "override"),
    )  # fmt: skip


async def _show(request: Request, form: Form) -> Response:
    here, quota_id = context_of(request), _id(request)
    view = await here.flow.quotas.get(quota_id)
    now_us = here.clock.wall_us()
    minutes = await here.flow.store.minutes(now_us - DAY_US, now_us, quota_id)
    is_bucket = view.quota.kind is QuotaKind.BUCKET
    return render(
        request, "quota.html", status=form.status, view=view, form=form, now_us=now_us,
        level=_levels(minutes), decisions=_decisions(minutes), ends_us=_ends_us(view, minutes, now_us),
        is_known=has_pace(points_of(minutes, now_us), now_us),
        refusals=await here.flow.store.refusals(quota_id, now_us - DAY_US, NEWEST),
        refused=sum(minute.limited for minute in minutes),
        overrides=await here.flow.quotas.overrides(quota_id) if is_bucket else [],
        tasks=[row for row in await here.flow.store.list_tasks() if row.quota_name == view.quota.name],
        changes=await changes_of(here, NEWEST, "quota", "override", subject=quota_id),
        once=f"page-{secrets.token_hex(8)}",  # sent twice it recharges once
    )  # fmt: skip


def _refused(form: Form, error: Wrong | InvalidInput | Conflict) -> Form:
    wrong = {
        name.replace("refill_rate", "rate"): text.replace("refill_rate", "rate", 1)
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


def _new_quota(form: Form) -> Quota:
    kind = QuotaKind(form.do)
    given = {name for name, text in form.typed.items() if text.strip()}
    needed = ("id", "capacity", "rate") if kind is QuotaKind.BUCKET else ("id", *needed_fields(kind, given))
    wrong = {name: f"{name} is missing" for name in needed if name not in given}
    try:
        read = (_rated(form) if kind is QuotaKind.BUCKET else form).read(NewQuota)
    except Wrong as error:
        raise Wrong(
            {**wrong, **{name: text for name, text in error.fields.items() if name not in wrong}}
        ) from error
    if wrong:
        raise Wrong(wrong)
    return quota_of(read.model_copy(update={"kind": kind}))


def _rated(form: Form) -> Form:
    """Put `rate` and `per` together to units per second."""
    typed = dict(form.typed)
    rate, per = ungrouped(typed.pop("rate", "").strip()), typed.pop("per", "s")
    if rate:
        try:
            rate.encode("ascii")  # float() would read the digits of every script, the other fields do not
            typed["refill_rate"] = repr(float(rate) / PERIODS_S[per])
        except (ValueError, KeyError):
            raise Wrong({"rate": "rate must be a number"}) from None
    return Form(form.do, typed)


def _kept(quota: Quota, form: Form) -> tuple[str, dict[str, str]]:
    """Say that a quota is in force, and as which rate the one asked for is kept when that is not the same."""
    asked = float(_rated(form).typed.get("refill_rate", quota.refill_rate))
    if abs(asked - quota.refill_rate) <= asked * NEAR:
        return "The quota {name} is in force.", {"name": quota.name}
    told = (
        "The quota {name} is in force; its rate is kept to the millionth: {rate} units a second, {day} a day."
    )
    return told, {
        "name": quota.name,
        "rate": units(quota.refill_rate),
        "day": units(quota.refill_rate * DAY_S),
    }


async def _edit(here: Context, quota_id: str, form: Form, actor: str) -> Done:
    quota = (await here.flow.quotas.get(quota_id)).quota
    is_bucket = quota.kind is QuotaKind.BUCKET
    nulls = ("max_concurrent",) if is_bucket else ("reset_cron", "timezone")
    typed = form.since(quota.version)
    change = (_rated(typed) if is_bucket else typed).read(QuotaChange, nulls=nulls)
    view = await here.flow.quotas.change(quota_id, actor=actor, **change.model_dump(exclude_unset=True))
    here.policies.forget(quota_id)
    return _kept(view.quota, typed)


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
    await here.flow.quotas.recharge(
        quota_id, CHANGES[wanted.operation], wanted.amount, request_id=wanted.request_id, actor=actor
    )
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
    await here.flow.quotas.remove(quota_id, actor=actor)
    here.policies.forget(quota_id)
    return "The quota {name} is deleted.", {"name": quota_id}


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
