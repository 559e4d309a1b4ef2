"""What is due in the next 24 hours, as the geometry of a picture: a row for each task, hours of the reader's zone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from unicodedata import east_asian_width

from quotaflow.amounts import MICRO
from quotaflow.control.timeline import Band
from quotaflow.edges.web.reader import Reader

SPAN_US = 24 * 3_600 * MICRO
HOUR_S = 3_600
WIDTH, LABEL, MARGIN, TOP, ROW = 1_000, 180, 18, 22, 20  # units of the picture, about a pixel each
MARK = 2.0  # width of a single moment
LABEL_COLUMNS = 26  # of 11-pixel letters in LABEL; a Chinese character takes two
HOURS_BETWEEN = 2  # labels


class Mark(NamedTuple):
    """A moment (`tick`) or a `band` of them: where it is drawn, and what is said of it."""

    shape: str
    x: float
    width: float
    said: str


class Hour(NamedTuple):
    """A full hour of the reader's clock; some have a label."""

    x: float
    label: str


class Row(NamedTuple):
    """One task: `y` is the top of its row; `label` as much of its name as fits; `said` all of it in words."""

    name: str
    label: str
    y: int
    marks: list[Mark]
    said: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """A picture."""

    rows: list[Row]
    hours: list[Hour]

    width = WIDTH
    label = LABEL
    top = TOP

    @property
    def height(self) -> int:
        """How high it is."""
        return TOP + ROW * len(self.rows)


def timeline_of(names: Mapping[str, str], due: Mapping[str, Sequence[Band]], me: Reader) -> Timeline:
    """Draw the tasks among `names` (names by id) for which something is due, in this order."""
    wanted = [(name, due[task_id]) for task_id, name in names.items() if due.get(task_id)]
    rows = [_row(name, bands, TOP + ROW * number, me) for number, (name, bands) in enumerate(wanted)]
    return Timeline(rows, list(_hours(me)))


def _row(name: str, bands: Sequence[Band], y: int, me: Reader) -> Row:
    whole = Band(bands[0].first_us, bands[-1].last_us, sum(band.times for band in bands))
    return Row(name, _cut(name), y, [_mark(name, band, me) for band in bands], _said(name, whole, me))


def _mark(name: str, band: Band, me: Reader) -> Mark:
    first, last = _x(band.first_us, me.now_us), _x(band.last_us, me.now_us)
    shape = "tick" if band.times == 1 else "band"
    return Mark(shape, first, max(MARK, round(last - first, 1)), _said(name, band, me))


def _said(name: str, band: Band, me: Reader) -> str:
    first, last = me.moment(band.first_us), me.moment(band.last_us)
    if band.times == 1:
        return f"{name}, {first}"
    count = f"{band.times:,}"
    return me.words("{name}: {count} times, {first} – {last}", name=name, count=count, first=first, last=last)


def _x(at_us: int, since_us: int) -> float:
    return round(LABEL + (at_us - since_us) / SPAN_US * (WIDTH - LABEL - MARGIN), 1)


def _hours(me: Reader) -> Iterator[Hour]:
    now = datetime.fromtimestamp(me.now_us / MICRO, me.zone)
    past_s = now.minute * 60 + now.second
    first_s = me.now_us // MICRO - past_s + HOUR_S
    for at_s in range(first_s, (me.now_us + SPAN_US) // MICRO, HOUR_S):
        at = datetime.fromtimestamp(at_s, me.zone)
        yield Hour(_x(at_s * MICRO, me.now_us), "" if at.hour % HOURS_BETWEEN else at.strftime("%H:%M"))


def _cut(name: str) -> str:
    """Return as much of a name as fits beside the picture."""
    columns = 0
    for place, letter in enumerate(name):
        columns += 2 if east_asian_width(letter) in "WF" else 1
        if columns > LABEL_COLUMNS:
            return name[: place - 1] + "…"
    return name
