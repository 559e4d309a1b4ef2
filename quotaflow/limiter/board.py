"""How far the refresh of upstream keys is, or what the last one brought: for every process to see."""

import json
from dataclasses import asdict
from typing import Any

from quotaflow.balances import KeyTrouble, Progress, RefreshReport
from quotaflow.limiter import keys
from quotaflow.limiter.client import Client, reaching

KEPT_S = 86_400
STALE_S = 10  # of one that goes on: it is written ten times a second, unless its process has died


class RefreshBoard:
    """One string in Redis."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def write(self, progress: Progress) -> None:
        """Show how far it is.

        :raises Unavailable: Redis does not answer.
        """
        kept_s = STALE_S if progress.report is None else KEPT_S
        async with reaching(self._client):
            await self._client.set(keys.REFRESH, json.dumps(asdict(progress)), ex=kept_s)

    async def read(self) -> Progress | None:
        """Return the refresh that goes on, or the last one of the day.

        :raises Unavailable: Redis does not answer.
        """
        async with reaching(self._client):
            text = await self._client.get(keys.REFRESH)
        return None if text is None else _progress(json.loads(text))


def _progress(fields: dict[str, Any]) -> Progress:
    report = fields.pop("report")
    if report is not None:
        troubles = tuple(KeyTrouble(**trouble) for trouble in report.pop("errors"))
        report = RefreshReport(**report, errors=troubles)
    return Progress(**fields, report=report)
