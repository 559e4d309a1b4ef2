"""Ask quotas for units: one script call decides any number of requests, each over one or several quotas."""

from collections.abc import Mapping, Sequence
from typing import Any

from quotaflow.limiter import keys
from quotaflow.limiter.fence import Fence
from quotaflow.model import MICRO, Decision, Reason

Request = Mapping[str, int]  # quota id -> cost in micro-units


def arguments(requests: Sequence[Request]) -> tuple[list[str], list[str], list[str]]:
    """Lay out KEYS and ARGV of acquire.lua, and the quota id behind each slot."""
    slots: dict[str, int] = {}
    script_keys, args = [keys.MARKER], []
    for request in requests:
        args.append(str(len(request)))
        for quota_id, cost in request.items():
            if quota_id not in slots:
                slots[quota_id] = len(slots) + 1
                script_keys.extend(keys.bucket(quota_id))
            args += (str(slots[quota_id]), str(cost))
    return script_keys, args, list(slots)


def decisions(reply: Sequence[Any], slots: Sequence[str]) -> list[Decision]:
    """Read the reply of acquire.lua: five values per request."""
    return [
        Decision(
            allowed=word == Reason.GRANTED,
            quota_id=slots[int(slot) - 1],
            remaining=int(remaining) / MICRO,
            retry_after=_seconds(retry),
            reset_after=_seconds(reset),
            reason=Reason(word),
        )
        for word, slot, remaining, retry, reset in zip(*[iter(reply)] * 5, strict=True)
    ]


def _seconds(microseconds: int) -> float | None:
    return None if int(microseconds) < 0 else int(microseconds) / 1e6


class Limiter:
    """Decides for this process; the state it decides on is shared by all."""

    def __init__(self, fence: Fence) -> None:
        self._fence = fence

    async def acquire(self, requests: Sequence[Request]) -> list[Decision]:
        """Decide requests in order, each all or none.

        :raises Unavailable: Redis cannot answer; whether units were taken is then unknown.
        """
        script_keys, args, slots = arguments(requests)
        return decisions(await self._fence.run("acquire", script_keys, args), slots)
