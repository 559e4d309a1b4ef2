"""What is typed above the traces: conditions and words, read and written again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotaflow.amounts import check_id
from quotaflow.edges.http.shapes import TraceQuery
from quotaflow.edges.web import querybar
from quotaflow.errors import InvalidInput
from quotaflow.model import Status, Trigger


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("", TraceQuery()),
        ("   ", TraceQuery()),
        ("task:x", TraceQuery(task="x")),
        (
            "task:x status:limited quota:y trigger:cron since:1h until:2025-06-15T12:00:00Z",
            TraceQuery(
                task="x",
                status=Status.LIMITED,
                quota="y",
                trigger=Trigger.CRON,
                since="1h",
                until="2025-06-15T12:00:00Z",
            ),
        ),
        ("  timed   out  ", TraceQuery(text="timed out")),
        ('status:failed "timed  out" again', TraceQuery(status=Status.FAILED, text="timed  out again")),
        ('quota:"a b"', TraceQuery(quota="a b")),
        (r'"a \"quoted\" \\ word"', TraceQuery(text=r'a "quoted" \ word')),
        ('"http://x"', TraceQuery(text="http://x")),
        ("at 12:30", TraceQuery(text="at 12:30")),
        ("task:app:send", TraceQuery(task="app:send")),
        ('""', TraceQuery(text="")),
    ],
)
def test_what_is_typed_is_a_query(text: str, query: TraceQuery) -> None:
    assert querybar.parse(text) == query


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("task:x colour:red", "colour:red"),
        ("http://x", "http://x"),
        ("status:green", "status:green"),
        ("trigger:hand", "trigger:hand"),
        ("since:yesterday", "since:yesterday"),
        ("until:1y", "until:1y"),
        ("task:x task:y", "task:y"),
        ("task:", "task:"),
        ('task:""', 'task:""'),
        ('x "unclosed words', '"unclosed'),
        ('task:"unclosed words', 'task:"unclosed'),
        ('"a"b', '"a"b'),
        ("since:" + "1" * 65 + "s", "since:111"),
        ("x" * 201, "xxx"),
    ],
)
def test_a_word_that_cannot_be_used_is_named(text: str, word: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        querybar.parse(text)
    assert f'"{word}' in str(caught.value)


def is_id(text: str) -> bool:
    try:
        check_id(text)
    except InvalidInput:
        return False
    return True


def maybe(values: st.SearchStrategy[str]) -> st.SearchStrategy[str | None]:
    return st.none() | values


IDS = st.text('ab "\\:.é\u3000', min_size=1, max_size=8).filter(is_id) | st.text(max_size=20).filter(is_id)
MOMENTS = st.sampled_from(["90s", "15m", "7d", "2025-06-15T12:00:00Z", "2025-06-15 12:00", "2025-06-15"])
QUERIES = st.builds(
    TraceQuery,
    task=maybe(IDS),
    quota=maybe(IDS),
    status=st.none() | st.sampled_from(Status),
    trigger=st.none() | st.sampled_from(Trigger),
    since=maybe(MOMENTS),
    until=maybe(MOMENTS),
    text=maybe(st.text('ab "\\:\n', max_size=10) | st.text(max_size=30)),
)


@given(QUERIES)
def test_what_is_written_is_read_as_the_same_query(query: TraceQuery) -> None:
    assert querybar.parse(querybar.format(query)) == query


@given(st.text('task:sinu1h "\\x\n', max_size=30))
def test_whatever_is_typed_is_a_query_or_refused(text: str) -> None:
    try:
        query = querybar.parse(text)
    except InvalidInput:
        return
    assert querybar.parse(querybar.format(query)) == query
