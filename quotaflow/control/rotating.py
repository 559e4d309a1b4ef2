"""Encrypting stored secrets anew, so that an old key may go."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TypeVar

from quotaflow.control.sealing import Sealer
from quotaflow.limiter.pools import Pools, Resealed
from quotaflow.store import Store

PORTION = 200  # some 10 ms of encrypting

T = TypeVar("T")


async def rotate(store: Store, pools: Pools, sealer: Sealer) -> int:
    """Encrypt every stored secret under the newest key; returns how many were.

    :raises SecretUnavailable: one cannot be decrypted; nothing was changed.
    """
    turned: dict[str, list[Resealed]] = {}
    for portion in portions(await store.all_upstream_keys()):
        for key in portion:
            if (sealed := sealer.reseal(key.sealed)) != key.sealed:
                turned.setdefault(key.provider, []).append(Resealed(key.id, key.sealed, sealed))
        await asyncio.sleep(0)
    count = 0
    for provider, some in turned.items():
        for changed in portions(some):
            count += await store.reseal_upstream_keys(changed)
            await pools.reseal(provider, changed)
    return count


def portions(items: Sequence[T]) -> Iterator[list[T]]:
    """Cut into portions, so that others have their turn in between."""
    rest = iter(items)
    while portion := list(islice(rest, PORTION)):
        yield portion
