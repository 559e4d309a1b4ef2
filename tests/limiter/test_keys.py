"""No two ids ever share a key."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotaflow.amounts import check_id
from quotaflow.errors import InvalidInput
from quotaflow.limiter import keys

any_id = st.text(min_size=1, max_size=40)


@given(any_id, any_id)
def test_two_ids_share_a_key_only_if_they_are_the_same(one: str, other: str) -> None:
    assert (keys.encode_id(one) == keys.encode_id(other)) == (one == other)


@given(any_id)
def test_an_encoded_id_cannot_leave_its_place(text: str) -> None:
    assert all(char.isascii() and (char.isalnum() or char in "_.-%") for char in keys.encode_id(text))


@pytest.mark.parametrize(
    "bad", ["", " a", "a\n", "a\0b", "\x1b[31m", "x" * 129, "é" * 65, "\ud800", 7, None, True]
)
def test_what_cannot_be_an_id_is_refused(bad: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_id(bad)
    assert caught.value.field == "id"


@pytest.mark.parametrize("odd", ["a:b", "{p0}", "100%", "*", "a/b", "获取股票", "a b"])
def test_odd_ids_are_kept(odd: str) -> None:
    assert check_id(odd) == odd


def test_ids_that_look_the_same_are_the_same() -> None:
    assert check_id(unicodedata.normalize("NFD", "é")) == check_id("é")
