"""Any service that tells its figures in JSON: where they stand in it is configured, as JSONPaths."""

import httpx
import jsonpath

from quotaflow.balances import Usage
from quotaflow.settings_upstream import ProviderSettings
from quotaflow.upstream import providers
from quotaflow.upstream.figures import amount_of, figure_micro
from quotaflow.upstream.providers import BadAnswer


class HttpJson:
    """`remaining` where it is configured, else `limit` less `used`."""

    def __init__(self, settings: ProviderSettings) -> None:
        self.name = settings.name
        self._settings = settings
        given = {"used": settings.used, "limit": settings.limit, "remaining": settings.remaining}
        self._paths = {name: jsonpath.compile(path) for name, path in given.items() if path is not None}

    def request(self, secret: str) -> httpx.Request:
        """Ask for the usage of a key."""
        return providers.get(self._settings, secret)

    def usage(self, answer: object) -> Usage:
        """Read the figures, numbers or text that is one; they are rounded down to a micro-unit.

        :raises BadAnswer: a figure is missing or no finite number; used or limit is negative.
        """
        found = {name: self._found(answer, name) for name in self._paths}
        used = amount_of(found["used"], "used") if "used" in found else None
        limit = amount_of(found["limit"], "limit") if "limit" in found else None
        if "remaining" in found:
            return Usage(max(0, figure_micro(found["remaining"], "remaining")), used, limit)
        return Usage(max(0, (limit or 0) - (used or 0)), used, limit)

    def _found(self, answer: object, name: str) -> object:
        # A text would be parsed as JSON once more.
        values = self._paths[name].findall(answer) if isinstance(answer, dict | list) else []
        if len(values) != 1:
            raise BadAnswer(f"{name} is not in the answer: exactly one value must stand at its path")
        return values[0]
