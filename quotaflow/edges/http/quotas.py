"""/api/quotas: define, change, look at, refill and use quotas.

An id with a slash in it works too: `:path` takes the rest of the address, and the method and the last word say
what is wanted.
"""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from quotaflow.amounts import check_id
from quotaflow.edges.http.bodies import read, takes
from quotaflow.edges.http.context import Here, context_of
from quotaflow.edges.http.guard import operator_of
from quotaflow.edges.http.ratelimit import answer
from quotaflow.edges.http.shapes import (
    CHANGES,
    Acquire,
    Id,
    Key,
    NewOverride,
    NewQuota,
    Nothing,
    Paging,
    QuotaChange,
    Recharge,
)
from quotaflow.edges.http.views import Listed, OverrideShown, QuotaShown, override_shown, quota_shown
from quotaflow.errors import InvalidInput
from quotaflow.model import Quota, foreign_fields, make_quota, needed_fields

router = APIRouter(tags=["quotas"])

_BEFORE, _AFTER = "/api/quotas/", "/acquire"
ACQUIRE = f"{_BEFORE}{{quota_id:path}}{_AFTER}"


@router.get("/api/quotas")
async def list_quotas(here: Here, page: Annotated[Paging, Query()]) -> Listed[QuotaShown]:
    """List quotas by id, each with what it holds at this moment."""
    views, cursor = await here.flow.quotas.page(page.cursor, page.limit)
    return Listed([quota_shown(view) for view in views], cursor)


@router.post("/api/quotas", status_code=201, openapi_extra=takes(NewQuota))
async def create_quota(here: Here, request: Request) -> QuotaShown:
    """Create a quota. It begins full."""
    quota = quota_of(await read(request, NewQuota))
    here.policies.forget(quota.id)
    return quota_shown(await here.flow.quotas.create(quota, actor=operator_of(request).name))


@router.post("/api/quotas/{quota_id:path}/refill", openapi_extra=takes(Nothing))
async def refill_quota(here: Here, request: Request, quota_id: Id) -> QuotaShown:
    """Fill a quota to its capacity at once, a prepaid one to its total."""
    await read(request, Nothing)
    return quota_shown(await here.flow.quotas.refill(quota_id, actor=operator_of(request).name))


@router.post("/api/quotas/{quota_id:path}/recharge", openapi_extra=takes(Recharge))
async def recharge_quota(here: Here, request: Request, quota_id: Id) -> QuotaShown:
    """Add prepaid units, set what remains, or reset it. With a `request_id` repeating it is harmless."""
    wanted = await read(request, Recharge)
    view = await here.flow.quotas.recharge(
        quota_id,
        CHANGES[wanted.operation],
        wanted.amount,
        request_id=wanted.request_id,
        actor=operator_of(request).name,
    )
    return quota_shown(view)


@router.get("/api/quotas/{quota_id:path}/overrides")
async def list_overrides(here: Here, quota_id: Id) -> Listed[OverrideShown]:
    """List the keys that have a capacity and rate of their own."""
    return Listed([override_shown(override) for override in await here.flow.quotas.overrides(quota_id)])


@router.put("/api/quotas/{quota_id:path}/overrides/{key}", openapi_extra=takes(NewOverride))
async def put_override(here: Here, request: Request, quota_id: Id, key: Key) -> OverrideShown:
    """Give one key a capacity and rate of its own, at once."""
    new = await read(request, NewOverride)
    override = await here.flow.quotas.override(
        quota_id, key, capacity=new.capacity, refill_rate=new.refill_rate, actor=operator_of(request).name
    )
    return override_shown(override)


@router.delete("/api/quotas/{quota_id:path}/overrides/{key}", status_code=204, response_class=Response)
async def delete_override(here: Here, request: Request, quota_id: Id, key: Key) -> None:
    """Give a key the quota's own capacity and rate again."""
    await here.flow.quotas.drop_override(quota_id, key, actor=operator_of(request).name)


@router.get("/api/quotas/{quota_id:path}")
async def get_quota(here: Here, quota_id: Id) -> QuotaShown:
    """Show a quota and what it holds at this moment."""
    return quota_shown(await here.flow.quotas.get(quota_id))


@router.patch("/api/quotas/{quota_id:path}", openapi_extra=takes(QuotaChange))
async def change_quota(here: Here, request: Request, quota_id: Id) -> QuotaShown:
    """Change what is given, at once and without a restart. A smaller capacity cuts what is held."""
    change = (await read(request, QuotaChange)).model_dump(exclude_unset=True)
    if not change:
        raise InvalidInput(
            "give at least one of capacity, refill_rate, max_concurrent, total, enabled", field="body"
        )
    view = await here.flow.quotas.change(quota_id, actor=operator_of(request).name, **change)
    here.policies.forget(quota_id)
    return quota_shown(view)


@router.delete("/api/quotas/{quota_id:path}", status_code=204, response_class=Response)
async def delete_quota(here: Here, request: Request, quota_id: Id) -> None:
    """Delete a quota; its traces stay. Tasks that name it are skipped from now on."""
    await here.flow.quotas.remove(quota_id, actor=operator_of(request).name)
    here.policies.forget(quota_id)


def quota_of(new: NewQuota) -> Quota:
    """Make the quota that was asked for.

    :raises InvalidInput: a field that its kind needs is missing, or one that it does not have is there.
    """
    if new.id in (".", ".."):
        raise InvalidInput("id must not be a dot or two: clients drop them from addresses", field="id")
    given = new.model_dump(exclude_unset=True)
    for field in needed_fields(new.kind, given):
        if field not in given:
            raise InvalidInput(f"{field} is missing", field=field)
    if foreign := sorted(foreign_fields(new.kind) & given.keys()):
        raise InvalidInput(f"{foreign[0]} is not for a quota of kind {new.kind}", field=foreign[0])
    return make_quota(**given)


def acquired(path: str) -> str | None:
    """Return the id of the quota that a POST would acquire from; None for every other address."""
    if not (path.startswith(_BEFORE) and path.endswith(_AFTER)):
        return None
    return path[len(_BEFORE) : -len(_AFTER)] or None


async def acquire(request: Request) -> Response:
    """Take units, or be told when there will be enough. Retry only with patience: a resend takes again."""
    here = context_of(request)
    quota_id = check_id(request.path_params["quota_id"])
    wanted = await read(request, Acquire)
    decision = await here.flow.acquire(quota_id, wanted.cost, key=wanted.key)
    return answer(decision, await here.policies.headers(decision))


# This one documents it, and answers other methods; `app.Direct` serves it.
router.add_api_route(
    ACQUIRE,
    acquire,
    methods=["POST"],
    response_model=None,
    openapi_extra={
        **takes(Acquire),
        "parameters": [{"name": "quota_id", "in": "path", "required": True, "schema": {"type": "string"}}],
    },
)
