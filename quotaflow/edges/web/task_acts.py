"""What a person may do to a task on its pages."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from starlette.datastructures import QueryParams

from quotaflow.control.tasks import TaskView
from quotaflow.edges.http.bodies import parse
from quotaflow.edges.http.context import Context
from quotaflow.edges.http.problems import MalformedJson
from quotaflow.edges.http.shapes import NewRun, TaskChange
from quotaflow.edges.http.tasks import start
from quotaflow.edges.web.forms import Form, Wrong
from quotaflow.rates import NO_RATE
from quotaflow.runs import Word

ADMITTED = (Word.GRANTED, Word.WAITING)
NOT_SHOWN = (Word.TAKEN, Word.EARLY, Word.BACKLOG, Word.MISSED)  # a trigger is never answered so
_RUN_ID = re.compile(r"[0-9a-f-]{30,64}")
_MOMENT = re.compile(r"[0-9]{1,16}")  # microseconds, to the year 2286


@dataclass(frozen=True, slots=True)
class Done:
    """What was done, in English with the task's `name`; `query` of the page that says it."""

    told: str | None = None
    name: str = ""
    query: Mapping[str, object] = field(default_factory=dict)


class Answered(NamedTuple):
    """What a run that was asked for was answered. `at_us`: until when it waits, or when to ask again; None: unknown."""

    run_id: str
    word: Word
    at_us: int | None

    @property
    def is_admitted(self) -> bool:
        """It runs or waits."""
        return self.word in ADMITTED


def answered_in(query: QueryParams) -> Answered | None:
    """Read what the act before this page left in its address."""
    run_id, word, at = (query.get(name, "") for name in ("run", "answer", "at"))
    if not _RUN_ID.fullmatch(run_id) or word not in set(Word).difference(NOT_SHOWN):
        return None
    return Answered(run_id, Word(word), int(at) if _MOMENT.fullmatch(at) else None)


async def _run(here: Context, task_id: str, form: Form, _actor: str) -> Done:
    asked = _without(form, "args", "task").read(NewRun)
    asked.args = _args(form)
    triggered = await start(here, task_id, asked)
    word, number = triggered.answer
    at_us = {Word.WAITING: number, Word.LIMITED: here.clock.wall_us() + number if number >= 0 else None}
    return Done(query={"run": triggered.run_id, "answer": word, "at": at_us.get(word)})


def _args(form: Form) -> list[Any] | dict[str, Any] | None:
    text = form.typed.get("args", "").strip()
    try:
        args = parse(text.encode()) if text else None
    except MalformedJson as error:
        said = str(error).replace("the body is not", "args cannot be read as", 1)
        raise Wrong({"args": said.replace("the body", "args", 1)}) from error
    if args is None or isinstance(args, list | dict):
        return args
    raise Wrong({"args": "args must be a list, or a mapping of names to values"})


async def _cron(here: Context, task_id: str, form: Form, actor: str) -> Done:
    change = form.read(TaskChange, nulls=("cron",))
    view = await here.flow.tasks.set_cron(task_id, change.cron, actor=actor)
    if change.cron is None:
        return _told("The task {name} runs by the expression in its code.", view)
    return _told("The task {name} runs by its new expression.", view)


async def _rate(here: Context, task_id: str, form: Form, actor: str) -> Done:
    change = form.read(TaskChange, nulls=("rate_limit",))
    view = await here.flow.tasks.set_rate(task_id, change.rate_limit, actor=actor)
    if change.rate_limit is None:
        return _told("The task {name} has the rate limit of its code.", view)
    if view.row.rate == NO_RATE:
        return _told("The task {name} has no rate limit now.", view)
    return _told("The task {name} has its new rate limit.", view)


async def _pause(here: Context, task_id: str, _form: Form, actor: str) -> Done:
    view = await here.flow.tasks.pause(task_id, paused=True, actor=actor)
    return _told("The task {name} is paused.", view)


async def _resume(here: Context, task_id: str, _form: Form, actor: str) -> Done:
    view = await here.flow.tasks.pause(task_id, paused=False, actor=actor)
    return _told("The task {name} goes on.", view)


async def _skip(here: Context, task_id: str, _form: Form, actor: str) -> Done:
    view = await here.flow.tasks.skip_next(task_id, actor=actor)
    return _told("The next run of the task {name} is left out.", view)


async def _unskip(here: Context, task_id: str, _form: Form, actor: str) -> Done:
    view = await here.flow.tasks.skip_next(task_id, skip=False, actor=actor)
    return _told("The next run of the task {name} takes place.", view)


def _told(text: str, view: TaskView) -> Done:
    return Done(text, view.row.name)


def _without(form: Form, *names: str) -> Form:
    return Form(form.do, {name: text for name, text in form.typed.items() if name not in names})


Acts = Mapping[str, Callable[[Context, str, Form, str], Awaitable[Done]]]

BUTTONS: Acts = {"run": _run, "pause": _pause, "resume": _resume, "skip": _skip, "unskip": _unskip}
ACTS: Acts = {**BUTTONS, "cron": _cron, "rate": _rate}
