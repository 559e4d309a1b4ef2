"""Who changed what, on the pages of what was changed; and taking a change back."""

import json
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from quotaflow.control.changes import can_undo
from quotaflow.edges.http.context import Context, context_of
from quotaflow.edges.http.guard import operator_of
from quotaflow.edges.web.forms import Form
from quotaflow.edges.web.render import redirect
from quotaflow.operators import Act, AuditEntry, Subject
from quotaflow.store import AuditFilter


@dataclass(frozen=True, slots=True)
class ChangeShown:
    """One change, field by field: what it was before and after; None where it was not there."""

    entry: AuditEntry
    fields: list[tuple[str, Any, Any]]
    can_undo: bool


async def changes_of(here: Context, limit: int, *kinds: str, subject: str | None = None) -> list[ChangeShown]:
    """Return the newest changes to what is of these kinds, or to one of them and what belongs to it."""
    wanted = AuditFilter(kinds=tuple(Subject(kind) for kind in kinds), subject_id=subject)
    page = await here.flow.changes.page(wanted, None, limit)
    undone = {entry.undoes for entry in page.items}
    return [shown(entry, is_undone=entry.id in undone) for entry in page.items]


def shown(entry: AuditEntry, *, is_undone: bool = False) -> ChangeShown:
    """Put before and after side by side; what is nothing in both is left out."""
    before, after = (json.loads(text) if text else {} for text in (entry.before, entry.after))
    names = dict.fromkeys([*before, *after])
    fields = [(name, before.get(name), after.get(name)) for name in names]
    fields = [field for field in fields if field[1:] != (None, None)]
    return ChangeShown(entry, fields, can_undo(entry) and not is_undone)


async def undo(request: Request, form: Form, to: str) -> Response:
    """Take a change back.

    :raises Conflict: it has been changed since. :raises InvalidInput: this cannot be taken back.
    """
    here = context_of(request)
    entry = await here.flow.changes.undo(form.typed.get("entry", ""), actor=operator_of(request).name)
    here.policies.forget(entry.subject_id.partition("\n")[0])
    is_gone = entry.kind is Subject.QUOTA and entry.act is Act.REMOVE
    return redirect("/quotas" if is_gone else to, "The change was taken back.")
