"""Which kinds of services there are. Finding them imports none."""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from quotaflow.errors import ConfigError
from quotaflow.log import printable
from quotaflow.settings_upstream import ProviderSettings

GROUP = "quotaflow.providers"
BUILT_IN = {
    kind: EntryPoint(kind, f"quotaflow.upstream.{place}", GROUP)
    for kind, place in (("http_json", "http_json:HttpJson"), ("tavily", "tavily:Tavily"))
}


def find(settings: ProviderSettings) -> EntryPoint:
    """Find who makes providers of a kind; what comes with us is there without being installed.

    :raises ConfigError: nobody does.
    """
    found: Iterable[EntryPoint] = entry_points(group=GROUP, name=settings.kind)
    for point in (BUILT_IN.get(settings.kind), *found):
        if point is not None:
            return point
    raise ConfigError(
        f"{where(settings)}: no entry point in {GROUP} has this name; install its plug-in or correct the kind"
    )


def where(settings: ProviderSettings) -> str:
    """Name a provider in a message."""
    return f'upstream provider "{printable(settings.name)}" of kind "{settings.kind}"'
