"""A house whose upstream keys are those of a stand-in service, for tests of /api/upstream-keys."""

import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from quotaflow import Quotaflow
from quotaflow.edges.http.app import create_app
from quotaflow.examples.upstream_service import Account, UpstreamService
from quotaflow.secret import hash_of
from quotaflow.settings import ProviderSettings, Settings
from quotaflow.upstream.vault import new_key
from tests.http.house import TOKEN, House, asking, settings_for
from tests.servers import ValkeyProcess

PATH = "/api/upstream-keys"
_numbers = itertools.count()


def settings_at(
    valkey: ValkeyProcess, directory: Path, url: str, secret_key: str | None = None, **more: Any
) -> Settings:
    """Make settings with two providers, tavily and other, that both ask the service at `url`."""
    settings = settings_for(valkey, directory)
    providers = tuple(ProviderSettings(name, "tavily", f"{url}/usage") for name in ("tavily", "other"))
    key = SecretStr(new_key() if secret_key is None else secret_key)
    update = {"providers": providers, "secret_key": key, "attempts": 1, **more}
    return settings.model_copy(update={"upstream": settings.upstream.model_copy(update=update)})


@dataclass(frozen=True)
class UpstreamHouse(House):
    """A house, and the service that its upstream keys are of."""

    service: UpstreamService = field(default_factory=lambda: UpstreamService({}))

    def account(self, limit: int = 100, used: int = 0) -> str:
        """Open an account at the service and return its API key."""
        secret = f"tvly-canary-{next(_numbers):020d}"
        self.service.accounts[secret] = Account(limit, used)
        return secret

    async def add(self, secret: str | None = None, **more: Any) -> dict[str, Any]:
        """Store a key over HTTP; without a secret that of a new account."""
        body = {"provider": "tavily", "secret": secret or self.account(), **more}
        answer = await self.client.post(PATH, json=body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def clear(self) -> None:
        """Remove every key."""
        for item in (await self.client.get(PATH, params={"limit": 1000})).json()["items"]:
            assert (await self.client.delete(f"{PATH}/{item['id']}")).status_code == 204


@contextlib.asynccontextmanager
async def upstream_house(valkey: ValkeyProcess, directory: Path, **more: Any) -> AsyncIterator[UpstreamHouse]:
    """Open everything beside a service, as a daemon does."""
    service = UpstreamService({})
    async with (
        service.listening() as url,
        Quotaflow.open(settings_at(valkey, directory, url, **more), role="daemon") as qf,
    ):
        qf.operators.set_admin(hash_of(TOKEN))
        inside = create_app(qf, trusted=True)
        outside = create_app(qf, trusted=False)
        async with asking(inside) as client, asking(outside) as stranger:
            with valkey.client() as redis:
                yield UpstreamHouse(qf, redis, client, stranger, service)


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Read Server-Sent Events."""
    blocks = [block.split("\n") for block in text.split("\n\n") if block and not block.startswith(":")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]
