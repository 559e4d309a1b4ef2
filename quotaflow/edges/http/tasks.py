"""/api/tasks: look at tasks, pause them, change when they run, run them now."""

from fastapi import APIRouter, Request, Response

from quotaflow.control.gate import Triggered
from quotaflow.control.tasks import TaskView
from quotaflow.edges.http.bodies import read, takes
from quotaflow.edges.http.context import Context, Here
from quotaflow.edges.http.problems import problem
from quotaflow.edges.http.ratelimit import answer
from quotaflow.edges.http.shapes import Id, Nothing, TaskChange
from quotaflow.edges.http.views import Listed, TaskShown, TriggerShown, task_shown
from quotaflow.errors import InvalidInput, NotFound
from quotaflow.model import Decision, Reason, Word
from quotaflow.store import TraceFilter

router = APIRouter(tags=["tasks"])


@router.get("/api/tasks")
async def list_tasks(here: Here) -> Listed[TaskShown]:
    """List every task that code ever declared: when it runs next, and how it fared."""
    return Listed([await _shown(here, view) for view in await here.flow.tasks.all()])


@router.post(
    "/api/tasks/{task_id:path}/trigger",
    status_code=202,
    response_model=TriggerShown,
    openapi_extra=takes(Nothing),
)
async def trigger_task(here: Here, request: Request, task_id: Id) -> TriggerShown | Response:
    """Run a task now, under its quota. 202 when it was admitted; what becomes of it is in its trace."""
    await read(request, Nothing)
    triggered = await here.flow.trigger(task_id)
    if triggered.answer.word is Word.GRANTED:
        return TriggerShown(triggered.run_id, task_id)
    return await _refused(here, task_id, triggered)


@router.get("/api/tasks/{task_id:path}")
async def get_task(here: Here, task_id: Id) -> TaskShown:
    """Show a task, its next five runs and how it fared."""
    return await _shown(here, await here.flow.tasks.get(task_id))


@router.patch("/api/tasks/{task_id:path}", openapi_extra=takes(TaskChange))
async def change_task(here: Here, request: Request, task_id: Id) -> TaskShown:
    """Pause or resume a task on all daemons, or change when it runs."""
    change = await read(request, TaskChange)
    if not change.model_fields_set:
        raise InvalidInput("give paused, cron or both", field="body")
    tasks = here.flow.tasks
    if "cron" in change.model_fields_set:  # first: it may be refused, and then nothing was changed
        await tasks.set_cron(task_id, change.cron)
    if "paused" in change.model_fields_set:
        await tasks.pause(task_id, paused=change.paused)
    return await _shown(here, await tasks.get(task_id))


async def _shown(here: Context, view: TaskView) -> TaskShown:
    newest = await here.flow.store.list_traces(TraceFilter(task_id=view.row.id), limit=1)
    return task_shown(view, next(iter(newest.items), None))


async def _refused(here: Context, task_id: str, triggered: Triggered) -> Response:
    """Answer as if the quota had been asked directly; the refusal has a trace of its own."""
    word, number, run_id = triggered.answer.word, triggered.answer.number, triggered.run_id
    if word is Word.PAUSED:
        return problem(409, "task_paused", f'task "{task_id}" is paused', run_id=run_id)
    name = (await here.flow.tasks.get(task_id)).row.quota_name or task_id
    try:
        held = await here.flow.acquire(name, 0)
    except NotFound:
        held = Decision(False, name, 0.0, None, None, Reason.MISSING)
    wait_s = None if word is not Word.LIMITED or number < 0 else number / 1e6
    refused = Decision(False, held.quota_id, held.remaining, wait_s, held.reset_after, Reason(word))
    return answer(refused, await here.policies.headers(refused), run_id=run_id)
