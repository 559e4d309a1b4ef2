"""A function that cannot be a task is refused at import, with the place and the reason."""

import functools
import importlib
import inspect
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from quotaflow.errors import RegistrationError
from quotaflow.model import TaskKind
from quotaflow.runner.registry import Registry
from tests.runner.decorating import (
    Decorate,
    called,
    every_decorator,
    job,
    limited,
    plain_job,
    refusal,
    scheduled,
    with_a_cost,
    with_limits,
)


@with_limits
def test_a_scheduled_function_is_given_back_as_it_is(decorate: Decorate) -> None:
    assert decorate()(job) is job


@pytest.mark.parametrize("function", [job, plain_job])
def test_a_limited_call_keeps_name_signature_and_kind(function: Callable[..., Any]) -> None:
    wrapped = called()(function)
    assert inspect.signature(wrapped) == inspect.signature(function)
    assert (wrapped.__name__, wrapped.__doc__) == (function.__name__, function.__doc__)
    assert inspect.iscoroutinefunction(wrapped) == inspect.iscoroutinefunction(function)


def test_the_registry_knows_what_the_decorator_said(registry: Registry) -> None:
    limited(
        id="id1",
        name="名",
        quota_name="api",
        cron="@hourly",
        timezone="Asia/Shanghai",
        description="d",
        cost=2.5,
        misfire="coalesce",
        on_missing="allow",
        soft_time_limit=5,
        time_limit=7.5,
    )(job)
    called(id="id2", max_wait=3)(job)
    task, call = registry
    assert (task.id, task.name, task.kind, task.function) == ("id1", "名", TaskKind.LIMIT, job)
    assert (task.cron, task.timezone, task.description) == ("@hourly", "Asia/Shanghai", "d")
    assert (task.quota_name, task.cost_micro, task.allow_missing) == ("api", 2_500_000, True)
    assert (task.misfire, task.soft_time_limit, task.time_limit) == ("coalesce", 5, 7.5)
    assert task.path == "tests.runner.decorating:job"
    assert (call.kind, call.max_wait, call.allow_missing) == (TaskKind.CALL, 3, False)


def test_an_id_used_twice_names_both_places(registry: Registry) -> None:
    def first() -> None: ...

    def second() -> None: ...

    scheduled()(first)
    with pytest.raises(RegistrationError, match='task id "t" is used twice') as caught:
        limited()(second)
    for function in (first, second):
        place = f"{__file__}:{function.__code__.co_firstlineno}"
        assert f"{__name__}:{function.__qualname__} ({place})" in str(caught.value)
    assert [task.function for task in registry] == [first]


def test_a_module_imported_again_replaces_its_tasks(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reloaded_tasks.py").write_text(
        "from quotaflow import SchedulerTask\n"
        "@SchedulerTask(id='t', name='T', cron='@daily')\n"
        "def job() -> None: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("reloaded_tasks")
    earlier = module.job
    importlib.reload(module)
    assert module.job is not earlier
    assert [task.function for task in registry] == [module.job]


@with_a_cost
@pytest.mark.parametrize(
    "cost", [float("nan"), float("inf"), float("-inf"), True, "1", None, -1, 1e-7, 1.0000001, 9e9 + 1]
)
def test_a_cost_that_is_none_is_refused(decorate: Decorate, cost: object, registry: Registry) -> None:
    assert refusal(decorate(cost=cost)).startswith("cost must be ")
    assert not len(registry)


@with_a_cost
@pytest.mark.parametrize(
    ("cost", "micro"), [(0, 0), (1e-6, 1), (0.1, 100_000), (3, 3_000_000), (Decimal("1.5"), 1_500_000)]
)
def test_a_cost_is_kept_to_the_millionth(
    decorate: Decorate, cost: object, micro: int, registry: Registry
) -> None:
    decorate(cost=cost)(job)
    assert [task.cost_micro for task in registry] == [micro]


@with_limits
@pytest.mark.parametrize("field", ["soft_time_limit", "time_limit"])
@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf"), True, "5"])
def test_a_time_limit_is_a_positive_number(
    decorate: Decorate, field: str, limit: object, registry: Registry
) -> None:
    assert refusal(decorate(**{field: limit})) == f'"t": {field} must be a number of seconds above 0, or None'
    assert not len(registry)


@pytest.mark.parametrize("max_wait", [-1, float("nan"), float("inf"), True, "5", None])
def test_a_longest_wait_is_a_number_from_0(max_wait: object) -> None:
    assert refusal(called(max_wait=max_wait)) == '"t": max_wait must be a number of seconds, 0 or more'


@with_limits
def test_a_soft_limit_above_the_hard_one_is_refused(decorate: Decorate, registry: Registry) -> None:
    why = refusal(decorate(soft_time_limit=60, time_limit=50))
    assert why == '"t": soft_time_limit must be less than or equal to time_limit (60 > 50)'
    decorate(soft_time_limit=60, time_limit=60)(job)
    assert len(registry) == 1


@with_limits
def test_a_soft_limit_on_a_plain_def_is_refused_with_the_way_out(decorate: Decorate) -> None:
    why = refusal(decorate(soft_time_limit=5), plain_job)
    way_out = 'use time_limit, or isolation="process"'
    assert why == f'"t": a plain def in a thread cannot be interrupted softly; {way_out}'


@every_decorator
def test_an_unknown_argument_is_named(decorate: Decorate) -> None:
    with pytest.raises(TypeError, match="'crom'"):
        decorate(crom="@daily")


@with_a_cost
def test_a_misspelt_word_for_a_missing_quota_is_refused(decorate: Decorate) -> None:
    assert refusal(decorate(on_missing="alow")) == 'on_missing must be "skip" or "allow", not \'alow\''


@every_decorator
@pytest.mark.parametrize("wrong", ["", " t", "t ", "a\nb", "é" * 65, "\ud800", 7, None])
def test_an_id_that_cannot_be_stored_is_refused(decorate: Decorate, wrong: object) -> None:
    assert refusal(decorate(id=wrong)).startswith("id must ")


@with_a_cost
@pytest.mark.parametrize("wrong", ["", " q", "a\tb", "é" * 65, 7])
def test_a_quota_name_that_no_quota_can_have_is_refused(decorate: Decorate, wrong: object) -> None:
    assert refusal(decorate(quota_name=wrong)).startswith("quota_name must ")


def test_ids_that_look_the_same_are_the_same(registry: Registry) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert composed != decomposed
    limited(id=decomposed, quota_name=decomposed)(job)
    assert [(task.id, task.quota_name) for task in registry] == [(composed, composed)]
    with pytest.raises(RegistrationError, match="used twice"):
        limited(id=composed)(plain_job)


@every_decorator
def test_a_generator_is_refused_and_not_registered(decorate: Decorate, registry: Registry) -> None:
    def numbers() -> Iterator[int]:
        yield 1

    async def more_numbers() -> AsyncIterator[int]:
        yield 1

    for function in (numbers, more_numbers):
        assert refusal(decorate(), function).startswith(
            '"t": a generator does its work after it has returned'
        )
    assert not len(registry)


class Callable_:  # noqa: N801
    def __call__(self) -> None: ...


@every_decorator
@pytest.mark.parametrize("thing", [functools.partial(job), Callable_(), print])
def test_something_else_that_can_be_called_is_refused(decorate: Decorate, thing: Any) -> None:
    with pytest.raises(RegistrationError, match="is not a function; decorate a `def` or an `async def`"):
        decorate()(thing)


def test_a_decorated_function_may_be_wrapped_before(registry: Registry) -> None:
    @functools.wraps(job)
    async def wrapper() -> None: ...

    scheduled()(wrapper)
    (task,) = registry
    assert task.where == f"{job.__code__.co_filename}:{job.__code__.co_firstlineno}"
    assert task.function is wrapper
