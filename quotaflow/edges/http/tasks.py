"""/api/tasks: look at tasks, pause them, change when they run, run them now."""

from fastapi import APIRouter, Request, Response

from quotaflow.control.gate import Triggered
from quotaflow.control.tasks import TaskView
from quotaflow.edges.http.bodies import read, takes
from quotaflow.edges.http.context import Context, Here
from quotaflow.edges.http.guard import operator_of
from quotaflow.edges.http.moments import moment_of
from quotaflow.edges.http.problems import problem
from quotaflow.edges.http.ratelimit import answer
from quotaflow.edges.http.shapes import Id, NewRun, TaskChange
from quotaflow.edges.http.views import Listed, TaskShown, TriggerShown, task_shown
from quotaflow.errors import InvalidInput, NotFound
from quotaflow.model import Decision, Reason, Status
from quotaflow.rates import parse_rate
from quotaflow.runs import Word
from quotaflow.store import TraceFilter
from quotaflow.timing import iso

router = APIRouter(tags=["tasks"])

# Refusals that are not its quota's.
TURNED_AWAY = {
    Word.PAUSED: (409, "task_paused", "is paused"),
    Word.OVERLAP: (409, "task_overlap", "has as many runs as it may have at once"),
    Word.BUSY: (429, "quota_busy", "has a quota under which as many run as may at once"),
    Word.FULL: (503, "waiting_full", "cannot wait: runner.waiting_max runs do already"),
}


@router.get("/api/tasks")
async def list_tasks(here: Here) -> Listed[TaskShown]:
    """List every task that code ever declared: when it runs next, and how it fared."""
    return Listed([await _shown(here, view) for view in await here.flow.tasks.all()])


@router.post(
    "/api/tasks/{task_id:path}/trigger",
    status_code=202,
    response_model=TriggerShown,
    openapi_extra=takes(NewRun),
)
async def trigger_task(here: Here, request: Request, task_id: Id) -> TriggerShown | Response:
    """Run a task under its quota, now or later. 202 when it was admitted; what becomes of it is in its trace."""
    triggered = await start(here, task_id, await read(request, NewRun))
    word, number = triggered.answer
    if word is Word.GRANTED:
        return TriggerShown(triggered.run_id, task_id, Status.RUNNING)
    if word is Word.WAITING:
        return TriggerShown(triggered.run_id, task_id, Status.WAITING, iso(number))
    return await _refused(here, task_id, triggered)


@router.get("/api/tasks/{task_id:path}")
async def get_task(here: Here, task_id: Id) -> TaskShown:
    """Show a task, its next five runs and how it fared."""
    return await _shown(here, await here.flow.tasks.get(task_id))


@router.patch("/api/tasks/{task_id:path}", openapi_extra=takes(TaskChange))
async def change_task(here: Here, request: Request, task_id: Id) -> TaskShown:
    """Pause or resume a task, leave out its next tick, change when and how often it runs; on all daemons."""
    change = await read(request, TaskChange)
    if not change.model_fields_set:
        raise InvalidInput("give paused, skip_next, cron or rate_limit", field="body")
    tasks, actor = here.flow.tasks, operator_of(request).name
    if "rate_limit" in change.model_fields_set:
        parse_rate(change.rate_limit)  # what may be refused comes first: then nothing was changed
    if "cron" in change.model_fields_set:
        await tasks.set_cron(task_id, change.cron, actor=actor)
    if "rate_limit" in change.model_fields_set:
        await tasks.set_rate(task_id, change.rate_limit, actor=actor)
    if "skip_next" in change.model_fields_set:
        await tasks.skip_next(task_id, skip=change.skip_next, actor=actor)
    if "paused" in change.model_fields_set:
        await tasks.pause(task_id, paused=change.paused, actor=actor)
    return await _shown(here, await tasks.get(task_id))


async def start(here: Context, task_id: str, asked: NewRun) -> Triggered:
    """Run a task as a request asks for; the process does not stop before it was answered."""
    expires = moment_of(asked.expires, "expires") if isinstance(asked.expires, str) else asked.expires
    with here.vitals.granting():
        return await here.flow.trigger(
            task_id,
            asked.args,
            countdown=asked.countdown,
            eta=moment_of(asked.eta, "eta"),
            expires=expires,
            time_limit=asked.time_limit,
            soft_time_limit=asked.soft_time_limit,
        )


async def _shown(here: Context, view: TaskView) -> TaskShown:
    newest = await here.flow.store.list_traces(TraceFilter(task_id=view.row.id), limit=1)
    return task_shown(view, next(iter(newest.items), None))


async def _refused(here: Context, task_id: str, triggered: Triggered) -> Response:
    """Answer as if the quota had been asked directly; the refusal has a trace of its own."""
    word, number, run_id = triggered.answer.word, triggered.answer.number, triggered.run_id
    if word in TURNED_AWAY:
        status, code, why = TURNED_AWAY[word]
        return problem(status, code, f'task "{task_id}" {why}', run_id=run_id)
    name = (await here.flow.tasks.get(task_id)).row.quota_name or task_id
    try:
        held = await here.flow.acquire(name, 0)
    except NotFound:
        held = Decision(False, name, 0.0, None, None, Reason.MISSING)
    wait_s = None if word is not Word.LIMITED or number < 0 else number / 1e6
    refused = Decision(False, held.quota_id, held.remaining, wait_s, held.reset_after, Reason(word))
    return answer(refused, await here.policies.headers(refused), run_id=run_id)
