"""How the pools of upstream keys stand, in figures."""

from collections.abc import Iterable
from typing import Any

from quotaflow.amounts import MICRO
from quotaflow.balances import KeyStatus, LiveKey
from quotaflow.limiter.pools import Pools


async def figures_of(pools: Pools, providers: Iterable[str]) -> dict[str, Any]:
    """Count the keys that are switched on, over all providers and for each; a look at Redis for each provider.

    `lost`: reservations of this process that ended before their use did. `remaining`, `reserved` are in units.

    :raises Unavailable: Redis does not answer.
    """
    found = {name: _figures([*(await pools.live(name)).values()]) for name in providers}
    by_status = {status: sum(one["by_status"][status] for one in found.values()) for status in KeyStatus}
    return {
        "keys": sum(by_status.values()),
        "by_status": by_status,
        "lost": pools.lost,
        "providers": {name: one for name, one in found.items() if any(one["by_status"].values())},
    }


def _figures(keys: list[LiveKey]) -> dict[str, Any]:
    return {
        "by_status": {status: sum(key.status is status for key in keys) for status in KeyStatus},
        "remaining": sum(max(0, key.available_micro or 0) for key in keys) / MICRO,
        "reserved": sum(key.held_micro for key in keys) / MICRO,
    }
