"""Encrypting stored secrets anew, so that an old key may go."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from quotaflow.balances import UpstreamKey
from quotaflow.control.reconciling import by_provider
from quotaflow.control.sealing import Sealer
from quotaflow.limiter.pools import Pools
from quotaflow.operators import By
from quotaflow.store import Store

PORTION = 200  # some 10 ms of encrypting

T = TypeVar("T")


async def rotate(store: Store, pools: Pools, sealer: Sealer, by: By | None) -> int:
    """Encrypt every stored secret under the newest key; returns how many were.

    :raises SecretUnavailable: one cannot be decrypted; nothing was changed.
    """
    turned: list[tuple[UpstreamKey, UpstreamKey]] = []
    for keys in portions(await store.all_upstream_keys()):
        turned += [(key, replace(key, sealed=sealer.reseal(key.sealed))) for key in keys]
        await asyncio.sleep(0)
    count = 0
    for portion in portions([(before, now) for before, now in turned if before.sealed != now.sealed]):
        count += await store.reseal_upstream_keys(
            [(now.id, before.sealed, now.sealed) for before, now in portion], by=by
        )
        for provider, some in by_provider(now for _, now in portion).items():
            await pools.put(provider, some)
    return count


def portions(items: Sequence[T]) -> Iterator[list[T]]:
    """Cut into portions, so that others have their turn in between."""
    rest = iter(items)
    while portion := list(islice(rest, PORTION)):
        yield portion
