"""A process of workers that spend what upstream keys have left, until nothing is; it tells how its calls ended."""

import asyncio
import json
import random
import sys
from collections import Counter
from pathlib import Path

import httpx

from quotaflow import NoUpstreamKey, Quotaflow
from quotaflow.settings import load
from quotaflow.store import UpstreamFilter

PROVIDER = "tavily"
TIMEOUT_S = 0.3
LATER_S = 0.1  # at most, from reserving to calling: so some of what is reserved is not charged yet
DEAREST = 3  # units that a call reserves at most
REFRESHES = (
    0.02  # of the calls come after a refresh that nobody needed: many are under way while others spend
)


class Spender:
    """One worker. It ends when nothing was left, nothing was reserved by anybody, and `is_healthy` is set."""

    def __init__(
        self, qf: Quotaflow, client: httpx.AsyncClient, seed: str, is_healthy: asyncio.Event
    ) -> None:
        self._qf = qf
        self._client = client
        self._rng = random.Random(seed)  # noqa: S311  the same calls each time
        self._is_healthy = is_healthy
        self.ends: Counter[str] = Counter()

    async def run(self) -> None:
        """Spend."""
        dearest, was_last = DEAREST, False
        while True:
            try:
                self.ends[await self._end_of_call(dearest)] += 1
                dearest, was_last = DEAREST, False
            except NoUpstreamKey as error:
                if dearest == 1 and was_last and error.retry_after is None:
                    return
                dearest = 1
                was_last = self._is_healthy.is_set() and not await self._is_reserved()
                await self._refresh_anew()

    async def _end_of_call(self, dearest: int) -> str:
        if self._rng.random() < REFRESHES:
            await self._qf.upstream.refresh(PROVIDER)
        try:
            await self._call(dearest)
        except httpx.HTTPStatusError as error:
            return str(error.response.status_code)
        except httpx.HTTPError as error:
            return type(error).__name__
        return "ok"

    async def _call(self, dearest: int) -> None:
        """Reserve some units, spend as many or less, and say so; after a failure nobody knows."""
        cost = self._rng.randint(1, dearest)
        async with self._qf.upstream.key(PROVIDER, cost=cost) as key:
            really = self._rng.randint(1, cost)
            await asyncio.sleep(self._rng.random() * LATER_S)
            headers = {"Authorization": f"Bearer {key.secret}"}
            answer = await self._client.post(f"/search?cost={really}", headers=headers)
            answer.raise_for_status()
            key.settle(really)

    async def _is_reserved(self) -> bool:
        page = await self._qf.upstream.page(UpstreamFilter(PROVIDER), None, 100)
        return any(key.live and key.live.held_micro for key in page.items)

    async def _refresh_anew(self) -> None:
        """Refresh twice: the first one may be another's that has begun before."""
        await self._qf.upstream.refresh(PROVIDER)
        await self._qf.upstream.refresh(PROVIDER)


async def main(config: str, data_dir: str, service: str, secret_key: str, workers: str) -> None:
    """Open, say so, spend from the first line on; the second one says that no key fails any more."""
    environ = {"QUOTAFLOW_UPSTREAM__SECRET_KEY": secret_key}
    settings = load(Path(config), environ=environ, data_dir=data_dir)
    is_healthy = asyncio.Event()
    async with (
        Quotaflow.open(settings, role="daemon") as qf,
        httpx.AsyncClient(base_url=service, timeout=TIMEOUT_S) as client,
    ):
        spenders = [
            Spender(qf, client, f"{Path(data_dir).name} {number}", is_healthy)
            for number in range(int(workers))
        ]
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        async with asyncio.TaskGroup() as group:
            for spender in spenders:
                group.create_task(spender.run())
            await asyncio.to_thread(sys.stdin.readline)
            is_healthy.set()
        print(json.dumps(sum((spender.ends for spender in spenders), Counter())), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:6]))
