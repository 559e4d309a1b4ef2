"""All services at once: keys in, what came of asking about each out. One that cannot be asked harms no other."""

import asyncio
from collections.abc import Callable, Sequence

from quotaflow.balances import Asked, UpstreamKey
from quotaflow.errors import SecretUnavailable
from quotaflow.settings_upstream import Upstream
from quotaflow.timing import Clock
from quotaflow.upstream import providers
from quotaflow.upstream.asking import Ask, Asker
from quotaflow.upstream.vault import Vault

AT_ONCE = 200  # secrets opened before others get their turn: 5 ms


class Services:
    """Asks the services of all providers that the settings name."""

    def __init__(self, settings: Upstream, vault: Vault, clock: Clock) -> None:
        """Make the providers.

        :raises ConfigError: one of a kind that nobody brings, or whose plug-in fails.
        """
        self._providers = providers.load(settings.all_providers)
        self._vault = vault
        self._asker = Asker(
            clock,
            concurrency=settings.concurrency,
            timeout_s=settings.timeout_s,
            attempts=settings.attempts,
        )

    async def ask(self, keys: Sequence[UpstreamKey], told: Callable[[Asked], object]) -> dict[str, Asked]:
        """Ask about all keys; `told` is called with each answer as soon as it is there. Returns them by key id."""
        made: list[Ask | Asked] = []
        for number, key in enumerate(keys, 1):
            made.append(self._made(key))
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        answers = [item for item in made if isinstance(item, Asked)]
        for answer in answers:
            told(answer)
        answers += await self._asker.ask([item for item in made if isinstance(item, Ask)], told)
        return {answer.key_id: answer for answer in answers}

    def _made(self, key: UpstreamKey) -> Ask | Asked:
        provider = self._providers.get(key.provider)
        if provider is None:
            where = "configure it in [[upstream.providers]]"
            return Asked(key.id, None, f'this daemon knows no provider "{key.provider}"; {where}')
        try:
            return Ask(key.id, provider, self._vault.open(key.sealed))
        except SecretUnavailable as error:
            return Asked(key.id, None, str(error))
        except Exception as error:  # noqa: BLE001  one key's trouble; its text may hold the secret
            return Asked(key.id, None, f"the secret cannot be opened ({type(error).__name__})")
