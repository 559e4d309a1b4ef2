"""What the limiter promises, row by row. Each row is a story of one or two quotas.

A step is: seconds that pass, what is asked (cost of "a", or a mapping), the reason, and then what the deciding quota
says: units remaining, seconds until a retry, seconds until full. None is never.
"""

from collections.abc import Mapping
from typing import NamedTuple

Ask = float | Mapping[str, float]


class Step(NamedTuple):
    after_s: float
    ask: Ask
    reason: str
    remaining: float
    retry_s: float | None
    reset_s: float | None


class Row(NamedTuple):
    name: str
    quotas: Mapping[str, tuple[float, float]]  # name -> capacity, refill per second
    steps: tuple[Step, ...]


OK, NO, HUGE, OFF, GONE = "granted", "limited", "impossible", "disabled", "missing"
TEN = {"a": (10.0, 1.0)}


def row(name: str, quotas: Mapping[str, tuple[float, float]], *steps: tuple[object, ...]) -> Row:
    return Row(name, quotas, tuple(Step(*step) for step in steps))  # type: ignore[arg-type]


# fmt: off
TABLE = (
    # a full bucket
    row("a new bucket is full", TEN, (0, 1, OK, 9, 0, 1)),
    row("all of it can go at once", TEN, (0, 10, OK, 0, 0, 10)),
    row("a fraction of a unit is a cost", TEN, (0, 0.25, OK, 9.75, 0, 0.25)),
    row("the smallest cost is a millionth", TEN, (0, 0.000001, OK, 9.999999, 0, 0.000001)),
    row("it never holds more than its capacity", TEN, (0, 1, OK, 9, 0, 1), (3600, 1, OK, 9, 0, 1)),
    # looking
    row("cost 0 takes nothing", TEN, (0, 0, OK, 10, 0, 0), (0, 0, OK, 10, 0, 0)),
    row("cost 0 looks at an empty one", TEN, (0, 10, OK, 0, 0, 10), (0, 0, OK, 0, 0, 10)),
    row("cost 0 sees the refill", TEN, (0, 10, OK, 0, 0, 10), (4, 0, OK, 4, 0, 6)),
    # refusals
    row("one too many is refused", TEN, (0, 10, OK, 0, 0, 10), (0, 1, NO, 0, 1, 10)),
    row("a refusal takes nothing", TEN, (0, 9, OK, 1, 0, 9), (0, 2, NO, 1, 1, 9), (0, 1, OK, 0, 0, 10)),
    row("the wait is for what is lacking", TEN, (0, 7, OK, 3, 0, 7), (0, 5, NO, 3, 2, 7)),
    row("after the wait it is granted", TEN, (0, 10, OK, 0, 0, 10), (0, 3, NO, 0, 3, 10), (3, 3, OK, 0, 0, 10)),
    row("a moment early is refused", {"a": (1.0, 0.001)}, (0, 1, OK, 0, 0, 1000), (999.9, 1, NO, 0.9999, 0.1, 0.1)),
    row("a refusal blocks no cheaper request", TEN, (0, 8, OK, 2, 0, 8), (0, 3, NO, 2, 1, 8), (0, 2, OK, 0, 0, 10)),
    # more than there can be
    row("more than the capacity is impossible", TEN, (0, 10.000001, HUGE, 10, None, 0)),
    row("impossible takes nothing", TEN, (0, 11, HUGE, 10, None, 0), (0, 10, OK, 0, 0, 10)),
    row("exactly the capacity is possible", TEN, (0, 1, OK, 9, 0, 1), (0, 10, NO, 9, 1, 1)),
    # without refill
    row("rate 0 never comes back", {"a": (3.0, 0.0)}, (0, 3, OK, 0, 0, None), (86400, 1, NO, 0, None, None)),
    row("rate 0 keeps what it has", {"a": (3.0, 0.0)}, (0, 1, OK, 2, 0, None), (86400, 2, OK, 0, 0, None)),
    # slow rates
    row("six a minute", {"a": (20.0, 0.1)}, (0, 20, OK, 0, 0, 200), (0, 1, NO, 0, 10, 200), (10, 1, OK, 0, 0, 200)),
    row("100 an hour", {"a": (10.0, 0.03)}, (0, 10, OK, 0, 0, 333.333334), (33, 1, NO, 0.99, 0.333334, 300.333334)),
    row("a millionth a second", {"a": (1.0, 0.000001)}, (0, 1, OK, 0, 0, 1_000_000), (1, 0.000001, OK, 0, 0, 1_000_000)),
    row("half a millionth's worth stays in the making", {"a": (1.0, 0.000001)}, (0, 1, OK, 0, 0, 1e6), (0.5, 0, OK, 0, 0, 999_999.5), (0.5, 0.000001, OK, 0, 0, 1e6)),
    # fast rates and large amounts
    row("5,000 a second", {"a": (5000.0, 5000.0)}, (0, 5000, OK, 0, 0, 1), (0.5, 2500, OK, 0, 0, 1), (0, 5000, NO, 0, 1, 1)),
    row("the largest bucket", {"a": (9e9, 0.0)}, (0, 9e9, OK, 0, 0, None), (0, 0.000001, NO, 0, None, None)),
    row("the largest rate", {"a": (9e9, 9e9)}, (0, 9e9, OK, 0, 0, 1), (0.5, 4.5e9, OK, 0, 0, 1)),
    row("the largest bucket at the slowest rate", {"a": (9e9, 0.000001)}, (0, 9e9, OK, 0, 0, 9e9), (0, 9e9, NO, 0, 9e9, 9e9)),
    # a rate that is no whole number of micro-units per microsecond
    row("1.9 a second", {"a": (10.0, 1.9)}, (0, 10, OK, 0, 0, 5.263158), (1, 1.9, OK, 0, 0, 5.263158)),
    row("a third a second", {"a": (1.0, 0.333333)}, (0, 1, OK, 0, 0, 3.000003), (3, 0.999999, OK, 0, 0, 3.000003)),
    # a clock that goes back
    row("a clock that goes back earns nothing", TEN, (0, 10, OK, 0, 0, 10), (-3600, 1, NO, 0, 1, 10)),
    row("and it costs no refill either", TEN, (0, 10, OK, 0, 0, 10), (-3600, 1, NO, 0, 1, 10), (1, 1, OK, 0, 0, 10)),
    # several at once, all or none
    row("both have enough", {"a": (5.0, 1.0), "b": (9.0, 1.0)}, (0, {"a": 2, "b": 1}, OK, 3, 0, 2)),
    row("the emptier one speaks", {"a": (9.0, 1.0), "b": (5.0, 1.0)}, (0, {"a": 1, "b": 1}, OK, 4, 0, 1)),
    row("one refuses, none is charged", {"a": (5.0, 1.0), "b": (1.0, 1.0)}, (0, {"b": 1}, OK, 0, 0, 1), (0, {"a": 1, "b": 1}, NO, 0, 1, 1), (0, {"a": 5}, OK, 0, 0, 5)),
    row("the longer wait speaks", {"a": (1.0, 1.0), "b": (1.0, 0.1)}, (0, {"a": 1, "b": 1}, OK, 0, 0, 1), (0, {"a": 1, "b": 1}, NO, 0, 10, 10)),
    row("impossible speaks before a wait", {"a": (1.0, 0.1), "b": (2.0, 1.0)}, (0, {"a": 1}, OK, 0, 0, 10), (0, {"a": 1, "b": 3}, HUGE, 2, None, 0)),
    row("a quota that is not there", TEN, (0, {"a": 1, "nope": 1}, GONE, 0, None, None), (0, 10, OK, 0, 0, 10)),
)
# fmt: on
