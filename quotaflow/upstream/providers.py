"""Which services there are, and how each is asked. A plug-in brings another kind by an entry point."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Protocol

import httpx

from quotaflow.balances import Usage
from quotaflow.errors import ConfigError
from quotaflow.settings_upstream import ProviderSettings
from quotaflow.upstream.kinds import GROUP, find, where


class BadAnswer(ValueError):
    """A service's answer holds no figures. Its one line never repeats the answer."""


class Provider(Protocol):
    """One service. Neither method does I/O.

    A plug-in is a callable `(ProviderSettings) -> Provider` under the entry point group `quotaflow.providers`,
    named by its kind.
    """

    name: str

    def request(self, secret: str) -> httpx.Request:
        """Make the request that asks for the balance of a key. The secret stands in a header, never in the URL."""
        ...

    def usage(self, answer: object) -> Usage:
        """Read the answer: JSON, its whole numbers as int, others as Decimal.

        :raises BadAnswer: the figures are not in it.
        """
        ...


def load(settings: Mapping[str, ProviderSettings]) -> dict[str, Provider]:
    """Make the providers of the settings, by name.

    :raises ConfigError: a kind that nobody brings, or a plug-in that fails.
    """
    return {name: _made(one) for name, one in settings.items()}


def get(settings: ProviderSettings, secret: str) -> httpx.Request:
    """Make a GET of the provider's URL, the secret in its header."""
    value = settings.header_value.replace("{key}", secret)
    headers = {"Accept": "application/json", "User-Agent": "quotaflow", settings.header: value}
    return httpx.Request("GET", _url(settings.url), headers=headers)


@lru_cache
def _url(text: str) -> httpx.URL:
    """Parse it once, not for each of a thousand keys."""
    return httpx.URL(text)


def _made(settings: ProviderSettings) -> Provider:
    point = find(settings)
    try:
        maker: Callable[[ProviderSettings], Provider] = point.load()
        return maker(settings)
    except Exception as error:
        words = f"its plug-in in {GROUP} failed ({type(error).__name__}); repair it or remove the provider"
        raise ConfigError(f"{where(settings)}: {words}") from error
