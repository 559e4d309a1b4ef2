"""Tavily: GET /usage tells of the account's plan, and of the key's own limit where it has one."""

from collections.abc import Mapping
from typing import Any

import httpx

from quotaflow.balances import Usage
from quotaflow.settings_upstream import ProviderSettings
from quotaflow.upstream import providers
from quotaflow.upstream.figures import amount_of
from quotaflow.upstream.providers import BadAnswer


class Tavily:
    """Its credits are units."""

    def __init__(self, settings: ProviderSettings) -> None:
        self.name = settings.name
        self._settings = settings

    def request(self, secret: str) -> httpx.Request:
        """Ask for the usage of a key."""
        return providers.get(self._settings, secret)

    def usage(self, answer: object) -> Usage:
        """Read {account: {plan_usage, plan_limit}, key: {usage, limit}}: the smaller of both remainders counts.

        :raises BadAnswer: the plan's figures are missing, or its limit is zero.
        """
        account = _part(answer, "account")
        limit = amount_of(account.get("plan_limit") or 0, "plan_limit")
        if limit == 0:
            raise BadAnswer("plan_limit is zero")
        used = amount_of(account.get("plan_usage"), "plan_usage")
        remaining = max(0, limit - used)
        key = _part(answer, "key")
        if key.get("limit") is not None:
            left = amount_of(key["limit"], "key.limit") - amount_of(key.get("usage"), "key.usage")
            remaining = min(remaining, max(0, left))
        return Usage(remaining, used, limit)


def _part(answer: object, name: str) -> Mapping[str, Any]:
    part = answer.get(name) if isinstance(answer, dict) else None
    return part if isinstance(part, dict) else {}
