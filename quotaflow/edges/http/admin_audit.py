"""/api/admin-audit: what people changed, before and after; and taking it back."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field

from quotaflow.control.changes import can_undo
from quotaflow.edges.http.bodies import read, takes
from quotaflow.edges.http.context import Here
from quotaflow.edges.http.guard import operator_of
from quotaflow.edges.http.shapes import Nothing, Paging
from quotaflow.edges.http.views import Listed
from quotaflow.operators import AuditEntry, Subject
from quotaflow.store import AuditFilter
from quotaflow.timing import iso

router = APIRouter(tags=["changes"])


class ChangeQuery(Paging):
    """Which changes; all conditions must hold. `subject`: an id; of a quota its overrides are listed too."""

    kind: Subject | None = None
    subject: str | None = Field(default=None, max_length=257)
    actor: str | None = Field(default=None, max_length=128)


@dataclass(frozen=True, slots=True)
class EntryShown:
    """One change. `before` and `after` hold what of the subject changed; null where it did not exist.

    `subject` of an override: the quota's id, a line break, the key. `undoes`: the change that this one took back.
    `can_undo`: it is of a kind that can be taken back, as long as the subject was not changed since.
    """

    id: str
    at: str
    actor: str
    act: str
    kind: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    undoes: str | None
    can_undo: bool


@router.get("/api/admin-audit")
async def list_changes(here: Here, query: Annotated[ChangeQuery, Query()]) -> Listed[EntryShown]:
    """List what people changed, newest first."""
    kinds = () if query.kind is None else (query.kind,)
    wanted = AuditFilter(kinds, query.subject, query.actor)
    page = await here.flow.changes.page(wanted, query.cursor, query.limit)
    return Listed([entry_shown(entry) for entry in page.items], page.next_cursor)


@router.post("/api/admin-audit/{entry_id}/undo", openapi_extra=takes(Nothing))
async def undo_change(here: Here, request: Request, entry_id: str) -> EntryShown:
    """Take a change back, if nobody has changed the same since. The answer is the change that did it."""
    await read(request, Nothing)
    entry = await here.flow.changes.undo(entry_id, actor=operator_of(request).name)
    if entry.kind is Subject.QUOTA:
        here.policies.forget(entry.subject_id)
    return entry_shown(entry)


def entry_shown(entry: AuditEntry) -> EntryShown:
    """Show a change."""
    return EntryShown(
        id=entry.id,
        at=iso(entry.at_us),
        actor=entry.actor,
        act=entry.act,
        kind=entry.kind,
        subject=entry.subject_id,
        before=None if entry.before is None else json.loads(entry.before),
        after=None if entry.after is None else json.loads(entry.after),
        undoes=entry.undoes,
        can_undo=can_undo(entry),
    )
