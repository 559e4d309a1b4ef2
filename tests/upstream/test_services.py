"""Secrets of many keys are opened and their services asked; what goes wrong with one key stays with it."""

import asyncio
from collections.abc import Sequence

import pytest

from quotaflow.balances import Asked, UpstreamKey
from quotaflow.settings_upstream import ProviderSettings
from quotaflow.settings_upstream import Upstream as Settings
from quotaflow.timing import SystemClock
from quotaflow.upstream.services import AT_ONCE, Services
from quotaflow.upstream.vault import Vault
from tests.upstream.conftest import Upstream
from tests.upstream.test_asking import CANARY, KEY, RIGHT


def key_of(key_id: str, sealed: str) -> UpstreamKey:
    return UpstreamKey(key_id, "t", key_id, sealed, key_id, "...", enabled=True, created_us=0, updated_us=0)


async def ask(keys: Sequence[UpstreamKey], vault: Vault, url: str) -> dict[str, Asked]:
    settings = Settings(attempts=1, providers=(ProviderSettings("t", "tavily", url + "/usage"),))
    return await Services(settings, vault, SystemClock()).ask(keys, lambda _: None)


class Broken(Vault):
    """A vault with a bug that shows at one key."""

    def open(self, sealed: str) -> str:
        if sealed == "env:BUG":
            raise LookupError(CANARY)
        return super().open(sealed)


async def test_a_secret_that_cannot_be_opened_is_its_keys_trouble_alone(upstream: Upstream) -> None:
    keys = [key_of("bug", "env:BUG"), key_of("gone", "env:GONE"), key_of("right", "env:RIGHT")]
    gone = "the variable GONE is not set; set it where the daemon starts"
    assert await ask(keys, Broken([], {"RIGHT": KEY}), upstream.url) == {
        "bug": Asked("bug", None, "the secret cannot be opened (LookupError)"),
        "gone": Asked("gone", None, gone),
        "right": Asked("right", RIGHT),
    }


class Counting(Vault):
    """A vault that knows how many it was asked to open."""

    opened = 0

    def open(self, sealed: str) -> str:
        self.opened += 1
        return super().open(sealed)


@pytest.mark.parametrize(("keys", "seen"), [(AT_ONCE - 1, []), (3 * AT_ONCE, [200, 400, 600])])
async def test_others_get_their_turn_while_many_secrets_are_opened(keys: int, seen: list[int]) -> None:
    vault = Counting([], {})
    looks: list[int] = []

    async def look() -> None:
        while True:
            await asyncio.sleep(0)
            looks.append(vault.opened)

    looking = asyncio.create_task(look())
    await asyncio.sleep(0)  # it has begun
    looks.clear()
    await ask([key_of(str(number), "env:GONE") for number in range(keys)], vault, "http://127.0.0.1:9")
    looking.cancel()
    assert looks == seen
