"""The figures in Prometheus' text format, version 0.0.4."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]
Samples = Sequence[tuple[Labels, float]]


class Family(NamedTuple):
    """One metric: its samples by labels. A counter only grows while its quota exists; a gauge goes both ways."""

    name: str
    kind: str
    help: str
    samples: Samples


def render(
    figures: Mapping[str, Any], work: Mapping[str, Mapping[str, float]], upstream: Mapping[str, Any]
) -> str:
    """Write all families; `figures`, `work` and `upstream` are those of /api/stats."""
    families = (*_families(figures, work), *_upstream(upstream))
    return "".join(line for family in families for line in _lines(family))


def _families(figures: Mapping[str, Any], work: Mapping[str, Mapping[str, float]]) -> Iterator[Family]:
    quotas: dict[str, Any] = figures["quotas"]
    decided = [
        ({"quota": quota, "result": result}, values[result])
        for quota, values in quotas.items()
        for result in ("allowed", "limited")
    ]
    held = [({"quota": quota}, values["remaining"]) for quota, values in quotas.items()]
    runs = [({"status": status}, count) for status, count in figures["traces"].items()]
    yield Family("quotaflow_decisions_total", "counter", "Decisions by quota and result.", decided)
    yield Family("quotaflow_remaining_units", "gauge", "Units that a quota holds now.", held)
    yield Family("quotaflow_runs", "gauge", "Recorded runs by status.", runs)
    blocks: Samples = [({}, work["loop"]["blocks"])]
    yield Family("quotaflow_loop_blocks_total", "counter", "Blocks of the event loop over 1 s.", blocks)
    for name, help_, value in _gauges(figures, work):
        yield Family(f"quotaflow_{name}", "gauge", help_, [({}, value)])


def _gauges(
    figures: Mapping[str, Any], work: Mapping[str, Mapping[str, float]]
) -> Iterator[tuple[str, str, float]]:
    runner = work["runner"]
    yield "journal_backlog", "Facts that are not in SQL yet.", figures["log_queue_len"]
    yield "journal_lag_seconds", "Age of the oldest fact that is not in SQL yet.", figures["flush_lag_s"]
    yield "sync_queue", "Quotas whose level is newer than their snapshot in SQL.", figures["sync_queue_len"]
    yield "runner_queue", "Admitted runs that wait for a worker.", runner["queue_len"]
    yield "runner_queue_capacity", "How many may wait.", runner["queue_cap"]
    yield "runner_running", "Runs that execute now.", runner["running"]
    yield "runner_stuck", "Runs that were cancelled and do not end; each has a new worker.", runner["stuck"]
    yield "waiting_runs", "Runs of all daemons that wait in Redis.", figures["waiting_runs"]
    yield "loop_longest_block_seconds", "The longest of those blocks.", work["loop"]["longest_s"]
    yield "waiting_calls", "Calls that wait for units.", figures["waiting_calls"]
    yield "untraced_calls", "Calls counted without a trace of their own.", figures["untraced"]
    yield "dead_letters", "Facts that could not be stored.", figures["dead_letters"]
    yield "double_claims", "Ticks that fired twice after Redis had lost data.", figures["double_claims"]
    yield "instances", "Processes that share this Redis.", len(figures["instances"])


def _upstream(upstream: Mapping[str, Any]) -> Iterator[Family]:
    providers: dict[str, Any] = upstream["providers"]
    keys = [
        ({"provider": name, "status": status}, count)
        for name, one in providers.items()
        for status, count in one["by_status"].items()
    ]
    remaining = [({"provider": name}, one["remaining"]) for name, one in providers.items()]
    reserved = [({"provider": name}, one["reserved"]) for name, one in providers.items()]
    lost: Samples = [({}, upstream["lost"])]
    yield Family("quotaflow_upstream_keys", "gauge", "Upstream keys that are switched on, by status.", keys)
    yield Family("quotaflow_upstream_remaining_units", "gauge", "What they have left.", remaining)
    yield Family("quotaflow_upstream_reserved_units", "gauge", "What is reserved of them now.", reserved)
    yield Family("quotaflow_upstream_lost_total", "counter", "Reservations that ended too early.", lost)


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n"
    for labels, value in family.samples:
        inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
        yield f"{family.name}{{{inside}}} {value!r}\n" if inside else f"{family.name} {value!r}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
