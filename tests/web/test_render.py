"""What a page says was done, where it leads, and that what cookies and addresses hold does no harm there."""

import json
import string
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotaflow.edges.web.login import _safe
from quotaflow.edges.web.reader import DONE
from quotaflow.edges.web.words_en import ENGLISH
from quotaflow.edges.web.words_zh import CHINESE

OURS = "{amount} units went back to the token."


async def shown(client: httpx.AsyncClient, *told: object, cookie: str | None = None) -> str:
    """Return the page that finds the cookie."""
    value = quote(json.dumps(told)) if cookie is None else cookie
    client.cookies.set(DONE, value, domain="localhost.local", path="/")
    answer = await client.get("/operators")
    assert answer.status_code == 200
    assert DONE not in client.cookies
    return answer.text


@pytest.mark.asyncio(loop_scope="module")
async def test_a_page_says_what_was_done_once(signed_in: httpx.AsyncClient) -> None:
    assert '<p class="done" role="status">7 units went back' in await shown(signed_in, OURS, {"amount": "7"})
    assert 'class="done"' not in (await signed_in.get("/operators")).text


@pytest.mark.asyncio(loop_scope="module")
async def test_a_page_says_nothing_but_texts_of_our_own(signed_in: httpx.AsyncClient) -> None:
    forged: list[tuple[object, ...]] = [
        ("Call 555-0100 and tell them your token.", {}),
        ("{x:>50000000}", {"x": "1"}),
        ("{x.__class__}", {"x": "1"}),
        (OURS, {}, {}),
        (OURS, {"units": "7"}),
        (OURS, {"amount": "7", "english": "x"}),
        (OURS, {"amount": "\ud800"}),
        (OURS, ["7"]),
        ([OURS], {"amount": "7"}),
        (None, {"amount": "7"}),
    ]
    for told in forged:
        assert 'class="done"' not in await shown(signed_in, *told), told
    for cookie in ("", "%", "x", "1", "[" * 3500, quote("[" * 1500)):
        assert 'class="done"' not in await shown(signed_in, cookie=cookie), cookie


@pytest.mark.asyncio(loop_scope="module")
async def test_values_are_cut_and_escaped(signed_in: httpx.AsyncClient) -> None:
    page = await shown(signed_in, OURS, {"amount": "<b>" + "9" * 500})
    assert "&lt;b&gt;" + "9" * 197 + " units" in page


@pytest.mark.parametrize("text", sorted({*CHINESE, *CHINESE.values(), *ENGLISH.values()}))
def test_our_texts_name_values_and_nothing_of_them(text: str) -> None:
    for _, name, spec, conversion in string.Formatter().parse(text):
        assert name is None or (name.isidentifier(), spec, conversion) == (True, "", None)


@pytest.mark.asyncio(loop_scope="module")
async def test_what_was_done_waits_for_a_page_and_not_for_the_regions_of_another(
    signed_in: httpx.AsyncClient,
) -> None:
    value = quote(json.dumps([OURS, {"amount": "7"}]))
    signed_in.cookies.set(DONE, value, domain="localhost.local", path="/")
    refreshed = await signed_in.get("/quotas", headers={"x-refresh": "1"})
    assert "went back" not in refreshed.text
    assert "set-cookie" not in refreshed.headers
    assert "7 units went back" in (await signed_in.get("/quotas")).text


@given(st.text() | st.text(st.sampled_from("/\\[]:@%?#. \t\n\x00\x7f\u2028a"), max_size=12))
def test_wherever_an_address_leads_it_is_a_path_of_ours(text: str) -> None:
    for wanted in (text, f"/{text}", f"//{text}"):
        path = _safe(wanted)
        assert path.startswith("/")
        assert not path.startswith("//")
        assert "\\" not in path
        assert path.isprintable()
        assert path in ("/", wanted)


def test_a_path_of_ours_is_kept() -> None:
    for path in ("/", "/quotas?q=a%20b", "/tasks/名:x", "/a//b", "/login?next=https://a"):
        assert _safe(path) == path
