"""Why a run did not run or did not end well, and what would help, in words for who has read nothing else. Pure."""

from dataclasses import dataclass, field

from quotaflow.edges.web.render import micro, span, units
from quotaflow.model import FAILURES, Quota, QuotaKind, Reason, Status, Trigger
from quotaflow.records import Trace


@dataclass(frozen=True, slots=True)
class Advice:
    """English texts of the words of the pages; `values` fill each of them."""

    happened: str
    helps: tuple[str, ...] = ()
    values: dict[str, str] = field(default_factory=dict)


def advice_of(trace: Trace, quota: Quota | None, cost_micro: int | None) -> Advice | None:
    """Explain a run; None where there is nothing to explain.

    :param quota: what it is now; None when there is none any more.
    :param cost_micro: what a run asks for, where it is known; a run that was refused was charged nothing.
    """
    if trace.reason is Reason.LIMITED and trace.status is not Status.WAITING:
        return _limited(trace, quota, cost_micro)
    if trace.reason is Reason.IMPOSSIBLE and quota is not None:
        values = {"name": quota.name, "capacity": units(quota.capacity)}
        return Advice(
            "It asks for more units than the quota {name} holds when it is full ({capacity}), so it can never run.",
            ("Raise the capacity on the quota's page, or lower cost in the task's code.",),
            values,
        )
    values = {"name": quota.name if quota else trace.quota_id or "–", "task": trace.task_id}
    found = _BY_REASON.get(trace.reason) if trace.reason else None
    found = found or _BY_STATUS.get(trace.status)
    if found is None and trace.status in FAILURES:
        found = _FAILED
    return Advice(*found, values) if found else None


def _limited(trace: Trace, quota: Quota | None, cost_micro: int | None) -> Advice:
    values = {"name": quota.name if quota else trace.quota_id or "–", "cost": micro(cost_micro)}
    happened = "The quota {name} had fewer units at that moment than the run asks for."
    if cost_micro is not None:
        happened = "A run costs {cost}, and the quota {name} had less than that at that moment."
    helps = [
        "Give a call more time: max_wait=60 in @LimitCallTask lets it wait in line for units."
        if trace.trigger is Trigger.CALL
        else 'Let runs wait for units instead of giving up: on_limit="wait" in the task\'s code.'
    ]
    if quota is not None and quota.kind is QuotaKind.BUCKET:
        values |= {"rate": units(quota.refill_rate), "capacity": units(quota.capacity)}
        if quota.refill_micro_s:
            values["time"] = span((cost_micro or 0) / quota.refill_micro_s)
            if cost_micro:
                helps.insert(0, "It refills by {rate} per second: what a run costs is back in {time}.")
        else:
            helps[:] = ["It never refills by itself: its rate is 0."]
        helps.append("Raise its capacity or its rate, or refill it now, on the quota's page.")
    return Advice(happened, tuple(helps), values)


_Texts = tuple[str, tuple[str, ...]]

_BY_REASON: dict[Reason, _Texts] = {
    Reason.EXHAUSTED: (
        "Too little was left of the prepaid units of the quota {name}.",
        ("Recharge it on the quota's page, or wait until its next period begins, if it has periods.",),
    ),
    Reason.DISABLED: ("The quota {name} was disabled.", ("Enable it on the quota's page.",)),
    Reason.MISSING: (
        "There was no quota called {name}.",
        (
            "Make a quota with this name on the page of quotas, or correct quota_name in the task's code.",
            'A task with on_missing="allow" runs without its quota.',
        ),
    ),
    Reason.BUSY: (
        "As many runs and calls as may be at the same time were under way under the quota {name}.",
        (
            "Raise how many may be at the same time, on the quota's page.",
            'Let runs wait for their turn: on_limit="wait" in the task\'s code.',
        ),
    ),
    Reason.OVERLAP: (
        "As many runs of the task as may be at the same time were still under way.",
        ('Raise max_running in the task\'s code, or let one run wait with overlap="queue(1)".',),
    ),
    Reason.FULL: (
        "Too many runs were waiting already, so this one could not wait too.",
        ("Raise the quota's rate or the task's rate limit, or start the task less often.",),
    ),
    Reason.EXPIRED: (
        "It was not started in time: whoever asked for it said until when it was worth starting.",
        ("Ask with a longer expires, or see what it waited for.",),
    ),
    Reason.PAUSED: ("The task was paused.", ("Resume it on the task's page.",)),
    Reason.SKIP: ("Somebody asked to leave this one run out.", ()),
    Reason.MISFIRE: (
        "No daemon was running, or none was free, when it was due; it was noticed too late to run it.",
        (
            'Keep a daemon running. misfire="coalesce" in the task\'s code makes up for missed runs with one.',
            "The setting scheduler.misfire_grace_s says how late a run may still start.",
        ),
    ),
    Reason.CRASHED: (
        "The daemon that ran it crashed or was killed.",
        ("rerun_lost=True in the task's code runs such a run again on another daemon.",),
    ),
    Reason.SHUTDOWN: (
        "The daemon was stopped, and the run did not end in the time it had left.",
        ("The setting runner.shutdown_grace_s says how long a daemon waits for its runs.",),
    ),
    Reason.SOFT_LIMIT: (
        "It was told that its time was up, and ended by itself.",
        ("Raise soft_time_limit in the task's code if it needs longer.",),
    ),
    Reason.CANCELLED: ("Somebody cancelled it.", ()),
    Reason.RATE: ("It waits for its turn by the rate limit of the task.", ("Change it on the task's page.",)),
    Reason.DELAYED: ("It was asked to start later.", ()),
    Reason.RETRY: ("Its last attempt failed; it is tried again.", ()),
    Reason.LIMITED: ("It waits for units of the quota {name}.", ("Refill it on the quota's page.",)),
}

_BY_STATUS: dict[Status, _Texts] = {
    Status.SOFT_TIMEOUT: (
        "It ran longer than its soft time limit and ended with the error that told it so.",
        ("Raise soft_time_limit in the task's code if it needs longer.",),
    ),
    Status.HARD_TIMEOUT: (
        "It ran longer than its time limit and was stopped.",
        ("Raise time_limit in the task's code if it needs longer.",),
    ),
    Status.STUCK: (
        "It was told to stop and does not end.",
        ('isolation="process" in the task\'s code gives it a process that can be killed.',),
    ),
    Status.DEAD: (
        "Every attempt failed; it is not tried again.",
        ("The errors of its attempts are below. Run the task again on its page when the cause is gone.",),
    ),
}

_FAILED: _Texts = (
    "The task's code raised an error; it is below.",
    ("retry=Retry(...) in the task's code tries a failed run again.",),
)
