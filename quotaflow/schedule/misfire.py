"""What becomes of moments that passed before anybody could claim them. Pure; moments are microseconds UTC."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from quotaflow.errors import InvalidInput

MAX_CATCHUP = 1_000
_CATCHUP = re.compile(r"catchup\(([1-9][0-9]{0,3})\)")


@dataclass(frozen=True, slots=True)
class Misfire:
    """A policy: of the overdue moments the newest `keep` (1 to 1000) run, all older ones are missed.

    `however_late` is False if even those are missed once they are later than the grace.
    """

    keep: int
    however_late: bool


SKIP = Misfire(keep=1, however_late=False)
COALESCE = Misfire(keep=1, however_late=True)


class Verdict(NamedTuple):
    """Whether one due moment runs; if not, it is missed."""

    scheduled_for_us: int
    runs: bool


def parse_misfire(text: object) -> Misfire:
    """Read `skip`, `coalesce` or `catchup(n)`, n from 1 to 1000.

    :raises InvalidInput: for anything else.
    """
    if text == "skip":
        return SKIP
    if text == "coalesce":
        return COALESCE
    match = _CATCHUP.fullmatch(text) if isinstance(text, str) else None
    if match is None or int(match[1]) > MAX_CATCHUP:
        shown = f"{text!r:.40}"
        raise InvalidInput(
            f"misfire must be skip, coalesce or catchup(1) to catchup({MAX_CATCHUP}), not {shown}",
            field="misfire",
        )
    return Misfire(keep=int(match[1]), however_late=True)


def decide(due: Sequence[int], now_us: int, policy: Misfire, grace_us: int) -> list[Verdict]:
    """Judge the unclaimed moments of one task: oldest first, none later than `now_us`; the order is kept.

    A moment at most `grace_us` late is not overdue for `skip`, so a tick claimed in good time always runs.
    """
    first_kept = len(due) - policy.keep
    return [
        Verdict(moment_us, place >= first_kept and (policy.however_late or now_us - moment_us <= grace_us))
        for place, moment_us in enumerate(due)
    ]
