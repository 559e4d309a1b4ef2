"""/api/upstream-keys: keys of other people's services; store them, look, change, remove."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from quotaflow.edges.http import guard
from quotaflow.edges.http.bodies import read, takes
from quotaflow.edges.http.context import Here
from quotaflow.edges.http.shapes import Nothing
from quotaflow.edges.http.upstream_shapes import IMPORT, KeyChange, KeyId, KeyQuery, NewKey, text_of
from quotaflow.edges.http.upstream_views import (
    ImportShown,
    KeyShown,
    RotatedShown,
    import_shown,
    key_shown,
)
from quotaflow.edges.http.views import Listed
from quotaflow.errors import InvalidInput
from quotaflow.store import UpstreamFilter

router = APIRouter(tags=["upstream keys"])


@router.get("/api/upstream-keys")
async def list_keys(here: Here, query: Annotated[KeyQuery, Query()]) -> Listed[KeyShown]:
    """List upstream keys, newest first, each with what it has left at this moment."""
    wanted = UpstreamFilter(query.provider, query.status, query.enabled)
    page = await here.flow.upstream.page(wanted, query.cursor, query.limit)
    return Listed([key_shown(view) for view in page.items], page.next_cursor)


@router.post("/api/upstream-keys", status_code=201, openapi_extra=takes(NewKey))
async def add_key(here: Here, request: Request) -> KeyShown:
    """Store a key and ask its service for the balance, for at most 5 s. Its secret is in no answer."""
    new = await read(request, NewKey)
    added = await here.flow.upstream.add(
        new.provider, new.secret, name=new.name, enabled=new.enabled, actor=guard.operator_of(request).name
    )
    return key_shown(added)


@router.post(guard.IMPORT, openapi_extra=IMPORT)
async def import_keys(here: Here, request: Request) -> ImportShown:
    """Store the keys of a CSV or JSON text, all but those that cannot be. Their balances are asked for afterwards."""
    return import_shown(
        await here.flow.upstream.add_many(await text_of(request), actor=guard.operator_of(request).name)
    )


@router.post("/api/upstream-keys/rotate", openapi_extra=takes(Nothing))
async def rotate_keys(here: Here, request: Request) -> RotatedShown:
    """Encrypt every stored secret under the newest key of upstream.secret_key."""
    await read(request, Nothing)
    return RotatedShown(await here.flow.upstream.rotate(actor=guard.operator_of(request).name))


@router.get("/api/upstream-keys/{key_id}")
async def get_key(here: Here, key_id: KeyId) -> KeyShown:
    """Show an upstream key."""
    return key_shown(await here.flow.upstream.get(key_id))


@router.patch("/api/upstream-keys/{key_id}", openapi_extra=takes(KeyChange))
async def change_key(here: Here, request: Request, key_id: KeyId) -> KeyShown:
    """Change what is given, at once."""
    change = (await read(request, KeyChange)).model_dump(exclude_unset=True)
    if not change:
        raise InvalidInput("give name, secret or enabled", field="body")
    return key_shown(await here.flow.upstream.change(key_id, **change, actor=guard.operator_of(request).name))


@router.delete("/api/upstream-keys/{key_id}", status_code=204, response_class=Response)
async def remove_key(here: Here, request: Request, key_id: KeyId) -> None:
    """Forget an upstream key and its secret; what is under way with it may end."""
    await here.flow.upstream.remove(key_id, actor=guard.operator_of(request).name)
