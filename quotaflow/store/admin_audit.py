"""Who changed what: one row for each change by a person, in the transaction of the change. It is kept for ever."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from quotaflow.errors import Conflict, NotFound
from quotaflow.operators import Act, AuditEntry, By, Subject
from quotaflow.store.audit_fields import LEFT, Difference, Fields, different, override_subject
from quotaflow.store.paging import Page
from quotaflow.store.tables import admin_audit
from quotaflow.timing import Clock

RANDOM_BYTES = 4  # two changes in one microsecond are rare, and the primary key refuses what collides

_c = admin_audit.c


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which changes to list; nothing does not filter. `subject_id`: of it, and of what belongs to it: its overrides."""

    kinds: tuple[Subject, ...] = ()
    subject_id: str | None = None
    actor: str | None = None


class AuditWriter:
    """Writes down what people change."""

    def __init__(self, clock: Clock, random_bytes: Callable[[int], bytes]) -> None:
        self._clock = clock
        self._random_bytes = random_bytes

    async def note(
        self,
        connection: AsyncConnection,
        by: By | None,
        kind: Subject,
        changes: Mapping[str, Difference],
        act: Act | None = None,
        *,
        kept: str | None = None,
    ) -> None:
        """Write one entry for each subject of which something changed; nothing when it was not a person.

        :param act: where before and after do not say it.
        :param kept: what taking it back needs and no page shows.
        :raises Conflict: this takes a change back, and the subject is not any more as that change left it.
        """
        if by is None:
            return
        entries = [
            replace(self._entry(by, act, kind, subject_id, found), kept=kept)
            for subject_id, (before, after) in changes.items()
            if (found := different(before, after)) is not None
        ]
        if by.undoes is not None:
            _check_inverse(await get(connection, by.undoes), entries)
        await write(connection, *entries)

    def _entry(
        self, by: By, act: Act | None, kind: Subject, subject_id: str, found: Difference
    ) -> AuditEntry:
        now_us = self._clock.wall_us()
        before, after = found
        return AuditEntry(
            id=f"{now_us:016d}-{self._random_bytes(RANDOM_BYTES).hex()}",
            at_us=now_us,
            actor=by.actor,
            act=act or (Act.CREATE if before is None else Act.REMOVE if after is None else Act.CHANGE),
            kind=kind,
            subject_id=subject_id,
            before=_text(before),
            after=_text(after),
            undoes=by.undoes,
        )


def _text(fields: Fields | None) -> str | None:
    return None if fields is None else json.dumps(fields, ensure_ascii=False)


def _check_inverse(undone: AuditEntry, entries: Sequence[AuditEntry]) -> None:
    """Check that what was just changed leads exactly back.

    :raises Conflict: it does not: somebody has changed the same since.
    """
    back = [(_fields(entry.before), _fields(entry.after)) for entry in entries]
    if back != [(_fields(undone.after), _fields(undone.before))]:
        raise Conflict(f"it is not any more as the change {undone.id} left it")


def _fields(text: str | None) -> object:
    if text is None:
        return None
    return {field: value for field, value in json.loads(text).items() if field != LEFT}


async def write(connection: AsyncConnection, *entries: AuditEntry) -> None:
    """Add entries.

    :raises Conflict: what one of them takes back was taken back already.
    """
    if not entries:
        return
    rows = [dict(zip(_c.keys(), astuple(entry), strict=True)) for entry in entries]
    try:
        await connection.execute(admin_audit.insert(), rows)
    except IntegrityError as error:
        undoes = entries[0].undoes
        if undoes is None:
            raise
        raise Conflict(f"the change {undoes} has been undone already") from error


async def get(connection: AsyncConnection, entry_id: str) -> AuditEntry:
    """Return one entry.

    :raises NotFound: no such change.
    """
    row = (await connection.execute(select(admin_audit).where(_c.id == entry_id))).one_or_none()
    if row is None:
        raise NotFound(f"no change has the id {entry_id!r}")
    return AuditEntry(*row)


async def kept_for(connection: AsyncConnection, by: By | None) -> str | None:
    """Return what was kept with the change that is taken back; None when none is.

    :raises NotFound: no such change.
    """
    return None if by is None or by.undoes is None else (await get(connection, by.undoes)).kept


async def list_entries(
    connection: AsyncConnection, wanted: AuditFilter, cursor: str | None, limit: int
) -> Page[AuditEntry]:
    """Return entries newest first, those before the cursor."""
    statement = select(admin_audit).where(*_conditions(wanted)).order_by(_c.id.desc()).limit(limit + 1)
    if cursor is not None:
        statement = statement.where(_c.id < cursor)
    found = [AuditEntry(*row) for row in await connection.execute(statement)]
    return Page(found[:limit], found[limit - 1].id if len(found) > limit else None)


def _conditions(wanted: AuditFilter) -> Iterator[ColumnElement[bool]]:
    if wanted.subject_id is not None:
        yield _about(wanted.kinds or tuple(Subject), wanted.subject_id)
    elif wanted.kinds:
        yield _c.kind.in_(wanted.kinds)
    if wanted.actor is not None:
        yield _c.actor == wanted.actor


def _about(kinds: Sequence[Subject], subject_id: str) -> ColumnElement[bool]:
    """Match a subject of these kinds, always named: an index begins with the kind. With overrides also its own."""
    exactly = _c.kind.in_(kinds) & (_c.subject_id == subject_id)
    if Subject.OVERRIDE not in kinds:
        return exactly
    prefix = override_subject(subject_id, "")  # by LIKE SQLite would take "foo" for "FOO"
    own = func.substr(_c.subject_id, 1, len(prefix)) == prefix
    return exactly | ((_c.kind == Subject.OVERRIDE) & own)


async def undone_by(connection: AsyncConnection, entry_id: str) -> AuditEntry | None:
    """Return the entry that took this one back, None when none did."""
    row = (await connection.execute(select(admin_audit).where(_c.undoes == entry_id))).one_or_none()
    return None if row is None else AuditEntry(*row)
