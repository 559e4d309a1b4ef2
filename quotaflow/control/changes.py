"""What people changed, and taking it back."""

import json

from quotaflow.amounts import amount_micro
from quotaflow.control.quotas import QuotaDesk
from quotaflow.control.tasks import TaskDesk
from quotaflow.errors import Conflict, InvalidInput, NotFound
from quotaflow.model import Override, Quota, QuotaKind, make_quota
from quotaflow.operators import Act, AuditEntry, By, Subject
from quotaflow.store import AuditFilter, Fields, Page, Store
from quotaflow.timing import us_of

UNDOABLE_KINDS = (Subject.QUOTA, Subject.OVERRIDE, Subject.TASK)
UNDOABLE_ACTS = (Act.CREATE, Act.CHANGE, Act.REMOVE)
LATER_MAX = 1_000  # changes that are looked through for the one that stands in the way
PACE = ("capacity", "refill_rate")
NOT_OWN = ("kind", "overrides", "remaining")  # of a removed quota: what is no field of its definition


def can_undo(entry: AuditEntry) -> bool:
    """Say whether a change is of a kind that can be taken back: definitions of quotas, overrides and tasks.

    Whether the subject is still as the change left it turns out when it is tried.
    """
    return entry.kind in UNDOABLE_KINDS and entry.act in UNDOABLE_ACTS


class ChangeDesk:
    """Shows what people changed, and takes it back."""

    def __init__(self, store: Store, quotas: QuotaDesk, tasks: TaskDesk) -> None:
        self._store = store
        self._quotas = quotas
        self._tasks = tasks

    async def page(self, wanted: AuditFilter, cursor: str | None, limit: int) -> Page[AuditEntry]:
        """Return a page of changes, newest first."""
        return await self._store.list_audit(wanted, cursor, limit=limit)

    async def undo(self, entry_id: str, actor: str) -> AuditEntry:
        """Take a change back and return the entry of that, which can be undone in its turn.

        :raises NotFound: no such change. :raises InvalidInput: it is of a kind that cannot be undone.
        :raises Conflict: it was undone before, or the subject is not any more as the change left it.
        """
        entry = await self._store.get_audit_entry(entry_id)
        if not can_undo(entry):
            what = str(entry.kind).replace("_", " ")
            raise InvalidInput(f"this cannot be undone: {entry.act} of {what}", field="id")
        if undone := await self._store.undone_by(entry_id):
            raise Conflict(f"this has been undone already, by {undone.id}")
        try:
            await self._take_back(entry, By(actor, entry_id))
        except (NotFound, Conflict) as error:
            raise await self._in_the_way(entry, error) from error
        undone = await self._store.undone_by(entry_id)
        assert undone is not None  # noqa: S101  it was written with the change
        return undone

    async def _take_back(self, entry: AuditEntry, by: By) -> None:
        """Put what was before in place of what is. The store refuses it unless that leads exactly back."""
        fields = None if entry.before is None else json.loads(entry.before)
        match entry.kind:
            case Subject.QUOTA:
                await self._put_quota(entry, fields, by)
            case Subject.OVERRIDE:
                await self._put_override(entry, fields, by)
            case Subject.TASK:
                await self._put_task(entry.subject_id, fields or {}, by)

    async def _put_quota(self, entry: AuditEntry, fields: Fields | None, by: By) -> None:
        if fields is None:
            await self._quotas.remove(entry.subject_id, actor=by)
        elif entry.act is Act.REMOVE:
            await self._quotas.create(*_quota_of(fields), remaining=fields.get("remaining"), actor=by)
        else:
            await self._quotas.change(entry.subject_id, actor=by, **fields)

    async def _put_override(self, entry: AuditEntry, fields: Fields | None, by: By) -> None:
        quota_id, _, key = entry.subject_id.partition("\n")
        known = {each.key: each for each in await self._quotas.overrides(quota_id)}.get(key)
        now = {} if known is None else {"capacity": known.capacity, "refill_rate": known.refill_rate}
        left = json.loads(entry.after or "{}")
        if any(left[field] != now.get(field) for field in PACE if field in left):
            raise Conflict("it is not any more as the change left it")  # before Redis is told to drop it
        if fields is None:
            await self._quotas.drop_override(quota_id, key, actor=by)
        else:
            await self._quotas.override(quota_id, key, **{**now, **_only(PACE, fields)}, actor=by)

    async def _put_task(self, task_id: str, fields: Fields, by: By) -> None:
        for field, value in fields.items():  # one: each act on a task changes one thing
            match field:
                case "paused":
                    await self._tasks.pause(task_id, paused=value, actor=by)
                case "skip_at":
                    await self._tasks.skip(task_id, None if value is None else us_of(value), actor=by)
                case "cron":
                    await self._tasks.set_cron(task_id, value, actor=by)
                case "rate_limit":
                    await self._tasks.set_rate(task_id, value, actor=by)

    async def _in_the_way(self, entry: AuditEntry, error: Exception) -> Conflict:
        """Say why it cannot be undone: the newest change that has to be undone before, if a person made it."""
        kinds = (Subject.QUOTA, Subject.OVERRIDE) if entry.kind is Subject.QUOTA else (entry.kind,)
        wanted = AuditFilter(kinds, entry.subject_id)
        page = await self._store.list_audit(wanted, limit=LATER_MAX)
        for other in page.items:
            if other.id > entry.id and _touch(entry, other):
                return Conflict(f"it has been changed since: undo {other.id} first")
        return Conflict(f"this cannot be undone any more: {error}")


def _touch(entry: AuditEntry, other: AuditEntry) -> bool:
    """Say whether two changes of one subject are about the same."""
    if not can_undo(other):
        return False
    if entry.act is not Act.CHANGE or other.act is not Act.CHANGE:
        return True
    return bool(json.loads(entry.after or "{}").keys() & json.loads(other.after or "{}").keys())


def _quota_of(fields: Fields) -> tuple[Quota, list[Override]]:
    """Make the quota that was removed, and its overrides."""
    own = {field: value for field, value in fields.items() if field not in NOT_OWN}
    quota = make_quota(kind=QuotaKind(fields["kind"]), **own)
    keys = [
        Override(quota.id, key, *(amount_micro(pace[field], field=field) for field in PACE))
        for key, pace in fields.get("overrides", {}).items()
    ]
    return quota, keys


def _only(names: tuple[str, ...], fields: Fields) -> Fields:
    return {field: value for field, value in fields.items() if field in names}
