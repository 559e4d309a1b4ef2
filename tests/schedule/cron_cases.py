"""What the cron tests compare with: every second or minute of a window, looked at one by one."""

from bisect import bisect_left
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim
from hypothesis import strategies as st

# A moment, the wall readings it is the first to reach, and what the wall clock then shows.
Step = tuple[int, tuple[datetime, ...], datetime]

HOUR, DAY = 3_600, 86_400
NEAR = 3 * HOUR  # around a shift
FROM_S = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())
UNTIL_S = int(datetime(2030, 1, 1, tzinfo=UTC).timestamp())

ZONES = (
    "UTC",
    "Asia/Shanghai",
    "Asia/Kathmandu",  # +05:45
    "Europe/Berlin",
    "Europe/Dublin",  # summer is its standard time
    "America/New_York",
    "America/Sao_Paulo",  # changed at midnight, until 2019
    "America/Santiago",  # midnight
    "America/St_Johns",  # -03:30
    "Asia/Beirut",  # midnight
    "Asia/Gaza",  # rules that follow the moon
    "Africa/Cairo",  # midnight, since 2023
    "Africa/Casablanca",  # back for Ramadan
    "Australia/Lord_Howe",  # by 30 minutes
    "Antarctica/Troll",  # by 2 hours
    "Pacific/Chatham",  # +12:45
)

RHYTHMS = (
    "* * * * *",
    "*/7 * * * *",
    "*/30 * * * *",
    "0 * * * *",
    "30 * * * *",
    "15,45 * * * *",
    "0 */2 * * *",
    "20 */3 * * *",
    "45 */5 1-20 * *",
    "*/15 0-3 * * *",
    "*/20 2 * * *",
    "* 0 * * *",
    "*/10 23,0 * * SAT,SUN",
    "5 * * * SUN",
    "50 */4 */2 * 1-5",
    "0 * L * *",
)
FIXED = (
    "0 0 * * *",
    "30 0 * * *",
    "0 1 * * *",
    "30 1 * * *",
    "0 2 * * *",
    "15 2 * * *",
    "30 2 * * *",
    "0 3 * * *",
    "0,10,20,30,40,50 1-3 * * *",
    "0-59 0-3 * * *",
    "10/25 0-23/2 * * *",
    "59 23 * * *",
    "0 0 * * SUN",
    "30 1-2 25-31 3,10 *",
    "1 1 1,15 * SAT",
    "30 0,1,2 */2 * *",
)
CALENDAR = (
    "0 0 1 1 *",
    "0 0 L * *",
    "30 6 L,15 * *",
    "0 12 29 2 *",
    "0 9 31 * *",
    "0 0 13 * 5",
    "0 0 */10 * */2",
    "0 8 1-7 * 1",
    "0 8 1-7 * */7",
    "5 4 30 2,3 MON",
    "0 0 * FEB-APR,12 *",
    "*/20 * 29 2 */7",
    "* * 1 JAN-DEC/5 *",
    "0 9-17/2 * * 1-5",
    "7 7 7 7 7",
    "10/7 5/9 10/9 2/3 2/2",
)
WITH_SECONDS = ("*/10 * * * * *", "0 30 2 * * *", "5,35 45-59/7 1 * * *", "* 0-59 0-23 * * *")
# cronsim steps by whole hours, and by dates whose midnight may not exist: 27 March 2021 began at 01:00 in
# Gaza, which it takes for hour 0.
CRONSIM_WRONG = (
    ("Australia/Lord_Howe", "30 * * * *"),  # leaves out the half hour that follows a shift
    ("Australia/Lord_Howe", "0 */2 * * *"),  # the same, and then a shift of phase
    ("Australia/Lord_Howe", "20 */3 * * *"),
    ("Australia/Lord_Howe", "*/20 2 * * *"),
    ("Asia/Gaza", "*/10 23,0 * * SAT,SUN"),
)


@st.composite
def expressions(draw: st.DrawFn) -> str:
    """Draw valid expressions of 5 fields; some dates come years apart."""

    def term(low: int, high: int) -> str:
        first, last = sorted(draw(st.tuples(*[st.integers(low, high)] * 2)))
        step = draw(st.integers(1, 20))
        forms = [f"{first}", f"{first}/{step}", "*", f"*/{step}"]
        if first < last:
            forms += [f"{first}-{last}", f"{first}-{last}/{step}"]
        return draw(st.sampled_from(forms))

    def several(low: int, high: int) -> str:
        return ",".join(term(low, high) for _ in range(draw(st.integers(1, 2))))

    day = draw(st.sampled_from(["*", "*", "L", "L,10"])) if draw(st.booleans()) else several(1, 28)
    month, weekday = (several(low, high) if draw(st.booleans()) else "*" for low, high in ((1, 12), (0, 7)))
    return f"{several(0, 59)} {several(0, 23)} {day} {month} {weekday}"


@cache
def shifts(zone: str) -> tuple[int, ...]:
    """Every second of 2020-2030 at which the zone's clock is moved."""
    tz = ZoneInfo(zone)

    def offset(at_s: int) -> timedelta | None:
        return datetime.fromtimestamp(at_s, tz).utcoffset()

    found = []
    for day_s in range(FROM_S, UNTIL_S, DAY):
        before = offset(day_s)
        if offset(day_s + DAY) != before:
            found.append(day_s + bisect_left(range(DAY), True, key=lambda s: offset(day_s + s) != before))
    return tuple(found)


def steps(zone: str, start_s: int, end_s: int, step_s: int = 60) -> list[Step]:
    """Look at the wall clock at every step of [start, end); the start must not be in a repeated hour."""
    tz, step = ZoneInfo(zone), timedelta(seconds=step_s)
    seen = []
    newest = datetime.fromtimestamp(start_s - step_s, tz).replace(tzinfo=None)
    for at_s in range(start_s, end_s, step_s):
        wall = datetime.fromtimestamp(at_s, tz).replace(tzinfo=None)
        first = []
        while newest < wall:
            newest += step
            first.append(newest)
        seen.append((at_s, tuple(first), wall))
    return seen


def matcher(expression: str) -> Callable[[datetime], bool]:
    """Whether a wall reading matches, by the fields as cronsim reads them."""
    sim = CronSim(expression, datetime(2020, 1, 1))  # noqa: DTZ001  wall time has no zone

    def match(wall: datetime) -> bool:
        at_time = wall.minute in sim.minutes and wall.hour in sim.hours and wall.second in sim.seconds
        return at_time and wall.month in sim.months and sim.match_day(wall.date())

    return match


def by_cronsim(
    expression: str, zone: str, start_s: int, end_s: int | None = None, count: int = 0
) -> list[int]:
    """Ask cronsim for [start, end), or for the first few from the start."""
    sim = CronSim(expression, datetime.fromtimestamp(start_s - 1, ZoneInfo(zone)))
    due = (int(moment.timestamp()) for moment in sim)
    return list(takewhile(lambda at_s: at_s < end_s, due) if end_s else islice(due, count))


def moments(expression: str, seen: list[Step]) -> list[int]:
    """Pick the steps at which the expression is due, by the definition of the two kinds."""
    match = matcher(expression)
    minute, hour = expression.split()[-5:-3]
    if minute.startswith("*") or hour.startswith("*"):
        return [at_s for at_s, _, wall in seen if match(wall)]
    return [at_s for at_s, first, _ in seen if any(map(match, first))]


MOVED_CLOCKS = (
    # New York: 2026-03-08 02:00 becomes 03:00; 2026-11-01 02:00 becomes 01:00.
    ("30 1 * * *", "America/New_York", "2026-11-01 00:00", ["01 01:30-0400", "02 01:30-0500"]),
    ("30 2 * * *", "America/New_York", "2026-03-08 00:00", ["08 03:00-0400", "09 02:30-0400"]),
    ("0 30 2 * * *", "America/New_York", "2026-03-08 00:00", ["08 03:00-0400", "09 02:30-0400"]),
    ("0,30 2 * * *", "America/New_York", "2026-03-08 00:00", ["08 03:00-0400", "09 02:00-0400"]),
    ("30 2,3 * * *", "America/New_York", "2026-03-08 00:00", ["08 03:00-0400", "08 03:30-0400"]),
    ("*/30 2 * * *", "America/New_York", "2026-03-08 00:00", ["09 02:00-0400", "09 02:30-0400"]),
    (
        "*/30 * * * *",
        "America/New_York",
        "2026-11-01 01:00",
        ["01 01:30-0400", "01 01:00-0500", "01 01:30-0500", "01 02:00-0500"],
    ),
    (
        "*/30 * * * *",
        "America/New_York",
        "2026-03-08 01:00",
        ["08 01:30-0500", "08 03:00-0400", "08 03:30-0400"],
    ),
    # Lord Howe moves by half an hour: 2026-10-04 02:00 becomes 02:30; 2026-04-05 02:00 becomes 01:30.
    ("15 2 * * *", "Australia/Lord_Howe", "2026-10-04 00:00", ["04 02:30+1100", "05 02:15+1100"]),
    ("45 1 * * *", "Australia/Lord_Howe", "2026-04-05 00:00", ["05 01:45+1100", "06 01:45+1030"]),
    (
        "*/15 * * * *",
        "Australia/Lord_Howe",
        "2026-04-05 01:30",
        ["05 01:45+1100", "05 01:30+1030", "05 01:45+1030"],
    ),
    # Apia had no 30 December 2011.
    ("0 9 * * *", "Pacific/Apia", "2011-12-29 08:00", ["29 09:00-1000", "31 00:00+1400"]),
    ("0 */12 * * *", "Pacific/Apia", "2011-12-29 11:00", ["29 12:00-1000", "31 00:00+1400"]),
    # Sao Paulo: 2018-11-04 began at 01:00; 2018-02-17 had its last hour twice.
    ("0 0 * * *", "America/Sao_Paulo", "2018-11-03 12:00", ["04 01:00-0200", "05 00:00-0200"]),
    ("30 23 * * *", "America/Sao_Paulo", "2018-02-17 12:00", ["17 23:30-0200", "18 23:30-0300"]),
    # Troll moves by two hours: 2026-03-29 01:00 becomes 03:00.
    ("0 1,2,3 * * *", "Antarctica/Troll", "2026-03-29 00:00", ["29 03:00+0200", "30 01:00+0200"]),
)

# Days of January 2026, whose 1st is a Thursday.
DAY_RULE: tuple[tuple[str, list[int]], ...] = (
    ("0 0 13 * 5", [2, 9, 13, 16, 23, 30]),  # either: the 13th, and Fridays
    ("0 0 13 * 1-7/4", [2, 5, 9, 12, 13, 16, 19, 23, 26, 30]),
    ("0 0 */13 * 5", []),  # both: the 1st, 14th and 27th, if a Friday
    ("0 0 */15 * 4", [1]),
    ("0 0 1-7 * */5", [2, 4]),  # both: Friday or Sunday in the first week
    ("0 0 13 * 5,*", list(range(1, 32))),  # a star further on does not count: either
    ("0 0 13,* * 5", list(range(1, 32))),
    ("0 0 13 * *,5", [13]),  # it does here: both
    ("0 0 *,13 * 5", [2, 9, 16, 23, 30]),
    ("0 0 1-31 * 5", list(range(1, 32))),
    ("0 0 13 * 0-7", list(range(1, 32))),
    ("0 0 L * *", [31]),
    ("0 0 L * 5", [2, 9, 16, 23, 30, 31]),
    ("0 0 L,30 * */5", [30]),
    ("0 0 30 1,2 6", [3, 10, 17, 24, 30, 31]),
)

REFUSED = (
    ("61 * * * *", 'cron "61 * * * *": minute 61 is not in 0-59'),
    ("* 24 * * *", "hour 24 is not in 0-23"),
    ("0 0 0 * *", "day of month 0 is not in 1-31"),
    ("0 0 32 * *", "day of month 32 is not in 1-31"),
    ("0 0 * 13 *", "month 13 is not in 1-12 or JAN-DEC"),
    ("0 0 * 0 *", "month 0 is not in"),
    ("0 0 * foo *", "month FOO is not in"),
    ("0 0 * mon *", "month MON is not in"),
    ("0 0 * * 8", "weekday 8 is not in 0-7 or SUN-SAT"),
    ("60 0 0 * * *", "second 60 is not in 0-59"),
    ("0 0 jan * *", "day of month JAN is not in"),
    ("*/0 * * * *", "minute */0 has step 0"),
    ("5-9/00 * * * *", "minute 5-9/00 has step 0"),
    ("* 22-2 * * *", "hour 22-2 runs backwards"),
    ("0 0 * * fri-sun", "weekday FRI-SUN runs backwards"),
    ("1,,2 * * * *", 'minute "" cannot be read'),
    ("*/ * * * *", 'minute "*/" cannot be read'),
    ("*-5 * * * *", 'minute "*-5" cannot be read'),
    ("-5 * * * *", 'minute "-5" cannot be read'),
    ("1-2-3 * * * *", 'minute "1-2-3" cannot be read'),
    ("5/2/2 * * * *", 'minute "5/2/2" cannot be read'),
    ("1.5 * * * *", 'minute "1.5" cannot be read'),
    ("0x5 * * * *", "minute 0X5 is not in"),
    ("H * * * *", "minute H is not in"),
    ("H(0-9) * * * *", 'minute "H(0-9)" cannot be read'),
    ("R * * * *", "minute R is not in"),
    ("L * * * *", "minute L is not in"),
    ("0 0 ? * *", 'day of month "?" cannot be read'),
    ("0 0 15W * *", "day of month 15W is not in"),
    ("0 0 1-L * *", "day of month L is not in"),
    ("0 0 L-3 * *", "day of month L is not in"),
    ("0 0 * * L5", "weekday L5 is not in"),
    ("0 0 * * 1#2", 'weekday "1#2" cannot be read'),
    ("0 0 30 2 *", "day of month 30 does not exist in month 2"),
    ("0 0 31 4,jun,9-9,11 *", "day of month 31 does not exist in month 4,JUN,9-9,11"),
    ("0 0 30-31 2 */2", "day of month 30-31 does not exist in month 2"),
    ("", "write 5 fields"),
    ("* * * *", "write 5 fields"),
    ("0 0 1 1 * 2026 *", "write 5 fields"),
    ("@reboot", "unknown name; there are @yearly"),
    ("@every 5m", "unknown name"),
    ("* * * * *\n", "only printable ASCII"),
    ("* * *\n* *", "only printable ASCII"),
    ("* * * * *\x00", "only printable ASCII"),
    ("\x00", "only printable ASCII"),
    ("٥ * * * *", "only printable ASCII"),
    ("*\u00a0* * * *", "only printable ASCII"),
    ("* * * * * " * 1_000, "at most 1000 characters, not 10000"),
    ("5" * 1_000, "write 5 fields"),
    ("9" * 900 + " * * * *", "is not in 0-59"),
    (None, "must be text, not NoneType"),
    (5, "must be text, not int"),
    (["*"], "must be text, not list"),
)
