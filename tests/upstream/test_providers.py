"""Requests and figures: what is asked, and what an answer becomes."""

import json
import math
import tomllib
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from quotaflow.amounts import MAX_MICRO, MICRO
from quotaflow.balances import Usage
from quotaflow.errors import ConfigError
from quotaflow.settings_upstream import ProviderSettings, Upstream
from quotaflow.upstream.kinds import BUILT_IN, GROUP
from quotaflow.upstream.providers import BadAnswer, Provider, load

CANARY = "tvly-canary-0123456789-abcdefghijklmn"
NOTHING: list[object] = [{}, [], None, 5, "x", {"account": []}]


def http_json(**paths: str) -> Provider:
    return load({"s": ProviderSettings("s", "http_json", "https://h/usage?a=1", **paths)})["s"]  # type: ignore[arg-type]


def tavily() -> Provider:
    return load(Upstream().all_providers)["tavily"]


def parsed(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


def test_a_request_is_a_get_with_the_secret_in_its_header_alone() -> None:
    request = tavily().request(CANARY)
    assert (request.method, str(request.url)) == ("GET", "https://api.tavily.com/usage")
    assert request.headers["Authorization"] == f"Bearer {CANARY}"
    assert CANARY not in repr(request) + repr(request.headers)


def test_a_header_of_the_services_own_is_used() -> None:
    settings = ProviderSettings("s", "http_json", "https://h/u", "X-Key", "v1 {key}!", remaining="$.left")
    request = load({"s": settings})["s"].request(CANARY)
    assert request.headers["x-key"] == f"v1 {CANARY}!"
    assert "Authorization" not in request.headers


@pytest.mark.parametrize(
    ("account", "key", "usage"),
    [
        ({"plan_usage": 400, "plan_limit": 1000}, {"usage": 3, "limit": None}, (600, 400, 1000)),
        ({"plan_usage": 400, "plan_limit": 1000}, {}, (600, 400, 1000)),
        ({"plan_usage": 400, "plan_limit": 1000}, {"usage": 3, "limit": 50}, (47, 400, 1000)),
        ({"plan_usage": 980, "plan_limit": 1000}, {"usage": 3, "limit": 50}, (20, 980, 1000)),
        ({"plan_usage": 980, "plan_limit": 1000}, {"usage": 60, "limit": 50}, (0, 980, 1000)),
        ({"plan_usage": 1200, "plan_limit": 1000}, None, (0, 1200, 1000)),
    ],
)
def test_the_smaller_remainder_of_plan_and_key_counts(account: Any, key: Any, usage: tuple[int, ...]) -> None:
    assert tavily().usage({"account": account, "key": key}) == Usage(*(units * MICRO for units in usage))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"account": {"plan_usage": 1, "plan_limit": 0}}, "^plan_limit is zero$"),
        ({"account": {"plan_usage": 1, "plan_limit": None}}, "^plan_limit is zero$"),
        *((answer, "^plan_limit is zero$") for answer in NOTHING),
        ({"account": {"plan_limit": 1}}, "^plan_usage is not a number$"),
        ({"account": {"plan_limit": "many", "plan_usage": 1}}, "^plan_limit is not a number$"),
        ({"account": {"plan_limit": 1, "plan_usage": -1}}, "^plan_usage is negative$"),
        ({"account": {"plan_limit": 1, "plan_usage": True}}, "^plan_usage is not a number$"),
        ({"account": {"plan_limit": 1, "plan_usage": 0}, "key": {"limit": 5}}, "^key.usage is not a number$"),
    ],
)
def test_an_answer_of_tavily_without_its_figures_is_refused(answer: object, words: str) -> None:
    with pytest.raises(BadAnswer, match=words):
        tavily().usage(answer)


@pytest.mark.parametrize("path", ["$.account.used", "account.used", "$['account']['used']"])
def test_every_way_to_write_a_path_is_taken(path: str) -> None:
    answer = {"account": {"used": 4}, "data": [{"x": 10}]}
    assert http_json(used=path, limit="data[0].x").usage(answer) == Usage(6 * MICRO, 4 * MICRO, 10 * MICRO)


def test_remaining_decides_where_it_is_told() -> None:
    assert http_json(remaining="left").usage({"left": "2.5"}) == Usage(2_500_000)
    assert http_json(remaining="left").usage({"left": -3}) == Usage(0)
    provider = http_json(remaining="left", limit="of", used="used")
    assert provider.usage({"left": 1, "of": 9, "used": 2}) == Usage(MICRO, 2 * MICRO, 9 * MICRO)


def test_more_used_than_allowed_leaves_nothing() -> None:
    assert http_json(used="u", limit="l").usage({"u": 12, "l": 10}) == Usage(0, 12 * MICRO, 10 * MICRO)


@pytest.mark.parametrize(
    ("value", "micro"),
    [
        ("0.1", 100_000),
        ("0.0000019999999999999999999999999999999999999999", 1),
        ("1.9999999999999999999999999999999999999", 1_999_999),
        ("-0.0", 0),
        ("1e-999999", 0),
        ("9000000000", MAX_MICRO),
        ("1e999999", MAX_MICRO),
        ("9" * 400, MAX_MICRO),
        ('"12.5"', 12_500_000),
        ('"1e3"', 1000 * MICRO),
    ],
)
def test_numbers_are_exact_rounded_down_and_capped(value: str, micro: int) -> None:
    assert http_json(used="u", limit="l").usage(parsed(f'{{"u": {value}, "l": 0}}')).used_micro == micro


@pytest.mark.parametrize(
    ("value", "words"),
    [
        *((value, "used is not a number") for value in ("true", "null", "[]", "{}", '""', '"1_000"', '"٣"')),
        *((value, "used is not a number") for value in ('" 1"', '"NaN"', '"0x1"', '"1,5"', f'"{"9" * 50}"')),
        *((value, "used is not a") for value in ("NaN", "Infinity", "-Infinity")),
        *((value, "used is negative") for value in ("-1", "-1e-30", '"-5"', "-1e999999")),
    ],
)
def test_what_is_no_amount_is_refused(value: str, words: str) -> None:
    with pytest.raises(BadAnswer, match=f"^{words}"):
        http_json(used="u", limit="l").usage(parsed(f'{{"u": {value}, "l": 5}}'))


@pytest.mark.parametrize("answer", [{}, [], None, 7, '{"u": 5, "l": 5}', {"l": 5}, {"u": {}}])
def test_a_figure_that_is_not_there_is_named_and_the_answer_not_repeated(answer: object) -> None:
    with pytest.raises(
        BadAnswer, match=r"^(used|limit) is not (in the answer: exactly one|a number)"
    ) as caught:
        http_json(used="u", limit="l").usage(answer)
    assert "5" not in str(caught.value)


NUMBERS = (
    st.integers(-(10**30), 10**30)
    | st.decimals(-(10**12), 10**12, allow_nan=False)
    | st.floats(-1e12, 1e12)
    | st.sampled_from([math.nan, math.inf, -math.inf])
)


@hypothesis.given(NUMBERS, st.booleans())
def test_any_number_becomes_its_micro_units_or_is_refused(value: Any, as_text: bool) -> None:
    given = f"{value:f}" if as_text and isinstance(value, Decimal) else value
    too_long = isinstance(given, str) and len(given) > 40
    if too_long or not math.isfinite(value) or math.floor(Fraction(str(value)) * MICRO) < 0:
        with pytest.raises(BadAnswer):
            http_json(used="x", limit="x").usage({"x": given})
    else:
        usage = http_json(remaining="x", used="x").usage({"x": given})
        exact = math.floor(Fraction(str(value)) * MICRO)
        assert usage.used_micro == usage.remaining_micro == min(exact, MAX_MICRO)


def test_what_comes_with_us_is_named_as_a_plug_in_would_be() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["entry-points"][GROUP] == {
        kind: point.value for kind, point in BUILT_IN.items()
    }


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a distribution with three plug-ins: one works, one fails when made, one cannot be imported."""
    (tmp_path / "upstream_plug_in.py").write_text(
        "from quotaflow.upstream.tavily import Tavily\n"
        "def mine(settings):\n    provider = Tavily(settings)\n    provider.options = settings.options\n"
        "    return provider\n"
        f"def fails(settings):\n    raise RuntimeError({CANARY!r})\n"
    )
    info = tmp_path / "upstream_plug_in-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: upstream-plug-in\nVersion: 1\n")
    names = "mine = upstream_plug_in:mine\nfails = upstream_plug_in:fails\ngone = upstream_plug_in:gone\n"
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{names}tavily = upstream_plug_in:fails\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("plug_in")
def test_a_plug_in_is_found_by_its_kind_and_gets_its_options() -> None:
    made = load(
        {"m": ProviderSettings("m", "mine", options={"a": [1]}), "t": ProviderSettings("t", "tavily")}
    )
    assert made["m"].options == {"a": [1]}  # type: ignore[attr-defined]
    assert {name: one.name for name, one in made.items()} == {"m": "m", "t": "t"}


@pytest.mark.usefixtures("plug_in")
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("fails", "plug-in in quotaflow.providers failed .RuntimeError."),
        ("gone", "plug-in in quotaflow.providers failed .AttributeError."),
        ("other", "no entry point in quotaflow.providers has this name"),
    ],
)
def test_a_plug_in_that_is_missing_or_fails_is_named(kind: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f'^upstream provider "p" of kind "{kind}": .*{words}') as caught:
        load({"p": ProviderSettings("p", kind)})
    assert "\n" not in str(caught.value)
    assert CANARY not in str(caught.value)
