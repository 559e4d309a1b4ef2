"""Keys of a text: every row is a key or says why not, and no message repeats a secret."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotaflow.errors import InvalidInput
from quotaflow.upstream.importing import MOST_ROWS, ImportRow, rows_of

CANARY = "tvly-canary-0123456789"


def test_csv_and_json_say_the_same() -> None:
    table = "provider,name,secret,enabled\ntavily,main,env:A,\ntavily, ,env:B,no\n"
    objects = [
        {"provider": "tavily", "name": "main", "secret": "env:A"},
        {"provider": "tavily", "secret": "env:B", "enabled": False},
    ]
    expected = [
        ImportRow(1, "tavily", "env:A", "main"),
        ImportRow(2, "tavily", "env:B", None, enabled=False),
    ]
    for text in (
        table,
        "\ufeff" + table.replace("\n", "\r\n"),
        json.dumps(objects),
        json.dumps({"items": objects}),
    ):
        assert rows_of(text) == expected


def test_names_with_commas_quotes_and_other_alphabets_are_kept() -> None:
    (row,) = rows_of('secret, Provider ,NAME\nenv:A,tavily,"主, ""the"" key"\n')
    assert row == ImportRow(1, "tavily", "env:A", '主, "the" key')


@pytest.mark.parametrize(
    ("item", "error"),
    [
        ({"provider": "tavily"}, "secret is missing"),
        ({"secret": CANARY}, "provider is missing"),
        ({"provider": "tavily", "secret": 5}, "secret must be text"),
        ({"provider": "tavily", "secret": CANARY, "enabled": "perhaps"}, "enabled must be true or false"),
        ({"provider": "tavily", "secret": CANARY, CANARY: 1}, "it has a field that is none of"),
        ([CANARY], "it is not an object"),
        (CANARY, "it is not an object"),
    ],
)
def test_a_row_that_cannot_be_a_key_says_why_without_its_secret(item: object, error: str) -> None:
    good, bad = rows_of(json.dumps([{"provider": "tavily", "secret": CANARY}, item]))
    assert good.error is None
    assert bad.error is not None
    assert bad.error.startswith(error)
    assert CANARY not in repr(good) + repr(bad)


@pytest.mark.parametrize(
    "text",
    [
        "",
        CANARY,
        f"name,value\nx,{CANARY}",
        f'[{{"secret": "{CANARY}"',
        f'{{"keys": ["{CANARY}"]}}',
        f'provider,secret\n"tavily,{CANARY}',
        f"provider;secret\ntavily;{CANARY}",
        "[" * 100_000,
    ],
)
def test_a_text_that_cannot_be_read_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        rows_of(text)
    assert CANARY not in str(caught.value)
    assert caught.value.field == "rows"


def test_more_columns_than_the_header_are_that_rows_trouble() -> None:
    good, bad = rows_of(f"provider,secret\ntavily,env:A\ntavily,{CANARY},more\n")
    assert (good.error, bad.error) == (None, "it has more columns than the first line")


def test_there_is_a_most() -> None:
    text = "provider,secret\n" + "tavily,env:A\n" * MOST_ROWS
    assert len(rows_of(text)) == MOST_ROWS
    with pytest.raises(InvalidInput, match="at most 10,000"):
        rows_of(text + "tavily,env:A\n")


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        rows = rows_of(text)
    except InvalidInput:
        return
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
