"""A cron expression in words: what is said is what our parser understood, in both languages."""

import locale
from concurrent.futures import ThreadPoolExecutor
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from quotaflow.errors import InvalidCron
from quotaflow.schedule.cron import Cron, next_after, parse
from quotaflow.schedule.words import Language, _in_words, _written, in_words

TABLE = [
    ("* * * * *", "Every minute", "每分钟"),
    ("*/5 * * * *", "Every 5 minutes", "每 5 分钟"),
    ("0 * * * *", "Every hour", "每小时"),
    ("30 * * * *", "At 30 minutes past the hour", "在每小时的 30 分"),
    ("0 9 * * *", "At 09:00, every day", "在 09:00，每天"),
    ("0 9 * * MON-FRI", "At 09:00, Monday through Friday", "在 09:00，星期一到星期五"),
    ("0 0 * * 0", "At 00:00, only on Sunday", "在 00:00，仅在星期日"),
    ("0 0 * * 7", "At 00:00, only on Sunday", "在 00:00，仅在星期日"),
    ("0 0 * * FRI-7", "At 00:00, Friday through Sunday", "在 00:00，星期五到星期日"),
    ("0 0 1 1 *", "At 00:00, on day 1 of the month, only in January", "在 00:00，每月的 1 号，仅在一月"),
    ("0 0 L * *", "At 00:00, on the last day of the month", "在 00:00，每月的最后一天"),
    ("15,45 * * * *", "At 15 and 45 minutes past the hour", "在每小时的 15 和 45 分"),
    (
        "*/15 9-17 * * 1-5",
        "Every 15 minutes, between 09:00 and 17:59, Monday through Friday",
        "每 15 分钟，在 09:00 和 17:59 之间，星期一到星期五",
    ),
    (
        "0 12 1,15 * 5",
        "At 12:00, on day 1 and 15 of the month, or on Friday",
        "在 12:00，每月的 1 和 15 号，或星期五",
    ),
    ("*/10 * * * * *", "Every 10 seconds", "每 10 秒"),
    ("* * * * * *", "Every second", "每秒"),
    ("15 30 9 * * MON", "At 09:30:15, only on Monday", "在 09:30:15，仅在星期一"),
    ("0 0 1 */3 *", "At 00:00, on day 1 of the month, every 3 months", "在 00:00，每月的 1 号，每 3 月"),
    (
        "0 0 1 3/3 *",
        "At 00:00, on day 1 of the month, only in March, June, September, and December",
        "在 00:00，每月的 1 号，仅在三月，六月，九月和十二月",
    ),
    ("5/20 * * * *", "At 5, 25, and 45 minutes past the hour", "在每小时的 5，25 和 45 分"),
    ("0 9/4 * * *", "At 09:00, 13:00, 17:00 and 21:00, every day", "在 09:00，13:00，17:00 和 21:00，每天"),
    ("0 0 * * 5/2", "At 00:00, only on Friday and Sunday", "在 00:00，仅在星期五和星期日"),
    (
        "0 0 * * 0/2",
        "At 00:00, only on Tuesday, Thursday, Saturday, and Sunday",
        "在 00:00，仅在星期二，星期四，星期六和星期日",
    ),
    (
        "0-10 9 * * *",
        "Every minute between 09:00 and 09:10, every day",
        "在 09:00 和 09:10 之间的每分钟，每天",
    ),
    ("@daily", "At 00:00, every day", "在 00:00，每天"),
    ("@weekly", "At 00:00, only on Sunday", "在 00:00，仅在星期日"),
    ("0 0 * JUN-AUG *", "At 00:00, every day, June through August", "在 00:00，每天，六月到八月"),
    (
        "0 0 */10 * *",
        "At 00:00, on day 1, 11, 21, and 31 of the month",
        "在 00:00，每月的 1，11，21 和 31 号",
    ),
    (
        "*/7 * * * *",
        "Every 7 minutes, minutes 0 through 56 past the hour",
        "每 7 分钟，在每小时的 0 到 56 分钟",
    ),
    (
        "0 0 13 * 1-3",
        "At 00:00, on day 13 of the month, or on Monday, Tuesday, and Wednesday",
        "在 00:00，每月的 13 号，或星期一，星期二和星期三",
    ),
    ("0 0 1-31 * 5", "At 00:00, every day", "在 00:00，每天"),
    ("0 0 30 2 5", "At 00:00, only on Friday, only in February", "在 00:00，仅在星期五，仅在二月"),
    (
        "0 0 L * 5",
        "At 00:00, on the last day of the month, or on Friday",
        "在 00:00，每月的最后一天，或星期五",
    ),
    (
        "0 9 * * 1-5,0",
        "At 09:00, only on Monday through Friday and Sunday",
        "在 09:00，仅在星期一到星期五和星期日",
    ),
    ("0 0 5-5 * *", "At 00:00, on day 5 of the month", "在 00:00，每月的 5 号"),
    ("30 6 L,15 * *", "30 6 L,15 * *", "30 6 L,15 * *"),
    ("0 0 */2 * 1", "0 0 */2 * 1", "0 0 */2 * 1"),
]


@pytest.mark.parametrize(("cron", "english", "chinese"), TABLE, ids=[row[0] for row in TABLE])
def test_an_expression_is_said_in_both_languages(cron: str, english: str, chinese: str) -> None:
    assert in_words(cron, "en") == english
    assert in_words(cron, "zh") == chinese


def test_what_is_no_expression_is_refused() -> None:
    for text in ("", "0 22-6 * * *", "@reboot", "0 0 * * MON#1"):
        with pytest.raises(InvalidCron):
            in_words(text, "en")


NAMES = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@pytest.mark.parametrize("number", range(8))
def test_a_weekday_has_the_name_that_our_parser_gives_its_number(number: int) -> None:
    assert parse(f"0 0 * * {number}").values == parse(f"0 0 * * {NAMES[number][:3]}").values
    assert in_words(f"0 0 * * {number}", "en") == f"At 00:00, only on {NAMES[number]}"


def terms(low: int, high: int) -> st.SearchStrategy[str]:
    """Write a field: a list of stars, values, ranges and steps."""
    number = st.integers(low, high)
    step = st.one_of(st.just(""), st.integers(1, 30).map(lambda n: f"/{n}"))
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    term = st.one_of(
        st.just("*"),
        number.map(str),
        st.tuples(st.one_of(st.just("*"), number.map(str), span), step).map("".join),
    )
    return st.lists(term, min_size=1, max_size=3).map(",".join)


EXPRESSIONS = st.tuples(
    terms(0, 59), terms(0, 59), terms(0, 23), terms(1, 28), terms(1, 12), terms(0, 7)
).map(" ".join)


def due(cron: Cron) -> list[int]:
    """Return the first 20 moments after the beginning of 2026, in UTC."""
    found = [1_767_225_600_000_000]
    for _ in range(20):
        found.append(next_after(cron, ZoneInfo("UTC"), found[-1]))
    return found


@given(EXPRESSIONS)
def test_what_the_library_is_given_is_due_when_the_expression_is(cron: str) -> None:
    written = _written(parse(cron))
    assume(written is not None)
    assert due(parse(" ".join(written or []))) == due(parse(cron))


@given(EXPRESSIONS, st.sampled_from(["en", "zh"]))
def test_whatever_can_be_read_is_said_or_stays_itself(cron: str, language: Language) -> None:
    said = in_words(cron, language)
    assert said
    if said != parse(cron).expression and language == "zh":
        assert not any(letter.isascii() and letter.isalpha() for letter in said), said


def test_threads_speak_different_languages_at_once_and_the_locale_stays() -> None:
    before = locale.setlocale(locale.LC_ALL)
    _in_words.cache_clear()
    wanted: list[tuple[str, Language]] = [
        (f"{minute} 9 * * MON", language) for minute in range(60) for language in ("en", "zh")
    ]
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda pair: in_words(*pair), wanted))
    for (cron, language), text in zip(wanted, said, strict=True):
        minute = int(cron.split(" ", 1)[0])
        assert text == (
            f"At 09:{minute:02}, only on Monday" if language == "en" else f"在 09:{minute:02}，仅在星期一"
        )
    assert locale.setlocale(locale.LC_ALL) == before
