"""Who looks at a page, and how they like to see it: language, time zone, and what they may do."""

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from starlette.requests import Request

from quotaflow.amounts import MICRO
from quotaflow.edges.http.guard import operator_of
from quotaflow.edges.web.words import Words, choose
from quotaflow.errors import InvalidInput
from quotaflow.operators import Operator, Role
from quotaflow.schedule.cron import load_zone

LANGUAGE, ZONE, DONE = "quotaflow_lang", "quotaflow_zone", "quotaflow_done"  # cookies
FORMAT, TODAY = "%Y-%m-%d %H:%M:%S", "%H:%M:%S"


@dataclass(frozen=True, slots=True)
class Reader:
    """One reader. `operator` is None on the page where they sign in; `now_us` is when they looked."""

    words: Words
    zone: tzinfo
    now_us: int
    operator: Operator | None = None

    @property
    def is_admin(self) -> bool:
        """They may change things."""
        return self.operator is not None and self.operator.role is Role.ADMIN

    def moment(self, us: int) -> str:
        """Write a moment in the reader's zone, without the day when that is today."""
        at, now = self._at(us), self._at(self.now_us)
        return at.strftime(TODAY if at.date() == now.date() else FORMAT)

    def moment_utc(self, us: int) -> str:
        """Write a moment in UTC."""
        return datetime.fromtimestamp(us / MICRO, UTC).strftime(FORMAT) + " UTC"

    def _at(self, us: int) -> datetime:
        return datetime.fromtimestamp(us / MICRO, self.zone)


def reader_of(request: Request, now_us: int, *, signed_in: bool = True) -> Reader:
    """Tell who looks."""
    cookies = request.cookies
    words = choose(cookies.get(LANGUAGE), request.headers.get("accept-language", ""))
    operator = operator_of(request) if signed_in else None
    return Reader(words, _zone(cookies.get(ZONE)), now_us, operator)


def _zone(name: str | None) -> ZoneInfo | tzinfo:
    """Return the zone that the page's script found out, UTC before it has."""
    if not name:
        return UTC
    try:
        return load_zone(name)
    except InvalidInput:
        return UTC
