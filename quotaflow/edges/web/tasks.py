"""/tasks: what runs when, and how it went. /tasks/ID: one task, to be run, paused and rescheduled."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quotaflow.amounts import MICRO, check_id
from quotaflow.control.tasks import TaskView
from quotaflow.edges.http.context import Context, context_of
from quotaflow.edges.http.guard import operator_of
from quotaflow.edges.http.shapes import TaskChange, TraceQuery
from quotaflow.edges.web import querybar
from quotaflow.edges.web.changes import changes_of, undo
from quotaflow.edges.web.forms import UNKNOWN, Form, Wrong, form_of, wrong_of
from quotaflow.edges.web.queries import ON_A_PAGE
from quotaflow.edges.web.reader import FORMAT, Reader, reader_of
from quotaflow.edges.web.render import address, redirect, render
from quotaflow.edges.web.task_acts import ACTS, BUTTONS, Acts, Done, answered_in
from quotaflow.edges.web.timeline import SPAN_US, timeline_of
from quotaflow.edges.web.words import ZH
from quotaflow.errors import Conflict, InvalidInput
from quotaflow.model import TaskKind
from quotaflow.schedule.cron import load_zone
from quotaflow.schedule.words import in_words
from quotaflow.store import Result, TaskRow

RESULTS = 20
RESULTS_LISTED = 10
CHANGES = 20
MOMENTS = 5


@dataclass(frozen=True, slots=True)
class TaskShown:
    """A task with what its pages say of it. `results`: its last ones, oldest first; `said`: how many ended how.

    `words`: its expression in words; None where there is none in force. `quota_id`: None while there is no such quota.
    `runs`: where all its runs are.
    """

    view: TaskView
    words: str | None
    results: Sequence[Result]
    said: str
    runs: str
    quota_id: str | None

    @property
    def cron(self) -> str | None:
        """The expression that is in force, or would be if the code still declared it."""
        return self.view.row.cron_override or self.view.row.cron

    @property
    def can_run(self) -> bool:
        """It can be run, paused and rescheduled: code declares it, and not only to be called."""
        return self.view.row.enabled and self.view.row.kind is not TaskKind.CALL

    @property
    def skips_next(self) -> bool:
        """Somebody asked to leave its next run out."""
        return bool(self.view.next_us) and self.view.row.skip_us == self.view.next_us[0]


@dataclass(frozen=True, slots=True)
class Preview:
    """What an expression means that is not in force yet."""

    words: str
    moments: list[tuple[int, str]]


async def show_all(request: Request) -> Response:
    """List tasks, those whose id or name holds the text searched for."""
    return await _list(request, Form())


async def change_all(request: Request) -> Response:
    """Do to one of the listed tasks what its button says."""
    form = await form_of(request)
    try:
        task_id = check_id(form.typed.get("task", ""), field="task")
        done = await _do(request, BUTTONS, task_id, form)
    except (Wrong, InvalidInput, Conflict) as error:
        return await _list(request, form.refused(wrong_of(error, lambda _: False)))
    if done.query:
        return redirect(address("tasks", task_id, **done.query))
    return redirect(_list_address(request.query_params), done.told, name=done.name)


async def show(request: Request) -> Response:
    """Show one task."""
    return await _show(request, Form())


async def change(request: Request) -> Response:
    """Do to a task what the form says."""
    form, task_id = await form_of(request), _id(request)
    try:
        if form.do == "undo":
            return await undo(request, form, address("tasks", task_id))
        if form.do == "cron" and "look" in form.typed:
            return await _look(request, task_id, form)
        done = await _do(request, ACTS, task_id, form)
    except (Wrong, InvalidInput, Conflict) as error:
        return await _show(request, form.refused(wrong_of(error, form.typed.__contains__)))
    return redirect(address("tasks", task_id, **done.query), done.told, name=done.name)


async def _do(request: Request, acts: Acts, task_id: str, form: Form) -> Done:
    act = acts.get(form.do)
    if act is None:
        raise InvalidInput(UNKNOWN)
    return await act(context_of(request), task_id, form, operator_of(request).name)


async def _look(request: Request, task_id: str, form: Form) -> Response:
    """Say what an expression would mean, before it is in force."""
    here, me = context_of(request), _reader(request)
    plain = Form(form.do, {name: text for name, text in form.typed.items() if name != "look"})
    cron = plain.read(TaskChange, nulls=("cron",)).cron
    row = await here.flow.store.get_task(task_id)
    moments = await here.flow.tasks.due_by(task_id, cron, moments=MOMENTS)
    words = _words(cron or row.cron or "", me)
    return await _show(request, form, Preview(words, _in_zone(row, moments)))


async def _list(request: Request, form: Form) -> Response:
    here, query, me = context_of(request), request.query_params, _reader(request)
    text = query.get("q", "").strip()
    views, cursor = await here.flow.tasks.page(query.get("cursor"), ON_A_PAGE, text=text or None)
    rows = [view.row for view in views]
    due = here.flow.tasks.due(rows, me.now_us, me.now_us + SPAN_US)
    names = {row.id: row.name for row in rows}
    following = address("tasks", q=text or None, cursor=cursor) if cursor else None
    return render(
        request, "tasks.html", status=form.status, reader=me, form=form, q=text, next=following,
        tasks=await _shown(here, views, me, RESULTS_LISTED), timeline=timeline_of(names, due, me),
        at=_list_address(query),
    )  # fmt: skip


async def _show(request: Request, form: Form, preview: Preview | None = None) -> Response:
    here, task_id, me = context_of(request), _id(request), _reader(request)
    view = await here.flow.tasks.get(task_id, moments=MOMENTS)
    (task,) = await _shown(here, [view], me, RESULTS)
    return render(
        request, "task.html", status=form.status, reader=me, form=form, task=task, preview=preview,
        answered=answered_in(request.query_params), moments=_in_zone(view.row, view.next_us),
        changes=await changes_of(here, CHANGES, "task", subject=task_id),
    )  # fmt: skip


async def _shown(here: Context, views: Sequence[TaskView], me: Reader, count: int) -> list[TaskShown]:
    results = await here.flow.store.last_results([view.row.id for view in views], count)
    ids = await _quota_ids(here, views)
    return [
        TaskShown(
            view=view,
            words=_words_of(view.row, me),
            results=results[view.row.id][::-1],
            said=_said(results[view.row.id], me),
            runs=address("traces", q=querybar.format(TraceQuery(task=view.row.id))),
            quota_id=ids.get(view.row.quota_name or ""),
        )
        for view in views
    ]


def _said(results: Sequence[Result], me: Reader) -> str:
    counts = Counter(result.status for result in results)
    return ", ".join(f"{me.words(status)} {count}" for status, count in counts.items())


async def _quota_ids(here: Context, views: Sequence[TaskView]) -> Mapping[str, str]:
    names = sorted({view.row.quota_name for view in views if view.row.quota_name is not None})
    return await here.flow.store.quota_ids(names)


def _words_of(row: TaskRow, me: Reader) -> str | None:
    """Say a schedule in words; one that code does not declare any more may be in a dialect of long ago."""
    cron = row.cron_override or row.cron
    return _words(cron, me) if cron is not None and row.enabled else None


def _words(cron: str, me: Reader) -> str:
    return in_words(cron, "zh" if me.words.language == ZH else "en")


def _in_zone(row: TaskRow, moments: Sequence[int]) -> list[tuple[int, str]]:
    """Return moments, each with what a clock in the task's zone shows."""
    zone = load_zone(row.timezone or "UTC")
    return [(moment, datetime.fromtimestamp(moment / MICRO, zone).strftime(FORMAT)) for moment in moments]


def _list_address(query: QueryParams) -> str:
    return address("tasks", q=query.get("q") or None, cursor=query.get("cursor"))


def _reader(request: Request) -> Reader:
    return reader_of(request, context_of(request).clock.wall_us())


def _id(request: Request) -> str:
    return check_id(request.path_params["task_id"], field="task")


routes = [
    Route("/tasks", show_all, methods=["GET"]),
    Route("/tasks", change_all, methods=["POST"]),
    Route("/tasks/{task_id:path}", show, methods=["GET"]),
    Route("/tasks/{task_id:path}", change, methods=["POST"]),
]
