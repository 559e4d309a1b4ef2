"""The section [upstream]: what it becomes, and what is refused in which words."""

import re
import tomllib
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from quotaflow.errors import ConfigError
from quotaflow.settings import ProviderSettings, Upstream, load
from quotaflow.upstream.vault import new_key

FERNET = "b" * 43 + "="
CANARY = "hunter2-canary"
NAME = "QUOTAFLOW_UPSTREAM__SECRET_KEY"
SERVICE = {
    "name": '"s"',
    "kind": '"http_json"',
    "url": '"https://h/usage"',
    "used": '"$.u"',
    "limit": '"$.l"',
}


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def block(**keys: str | None) -> str:
    """Write a block: SERVICE with these keys, in TOML, without those that are None."""
    lines = [f"{key} = {value}" for key, value in (SERVICE | keys).items() if value is not None]
    return "\n".join(["[[upstream.providers]]", *lines, ""])


def loaded(text: str = "", **environ: str) -> Upstream:
    Path("config.toml").write_text(text, encoding="utf-8")
    return load(environ=environ).upstream


def refused(text: str = "", **environ: str) -> list[str]:
    """Return the lines of the refusal, file and path left out."""
    with pytest.raises(ConfigError) as caught:
        loaded(text, **environ)
    return [
        line.removeprefix("config.toml: ").removeprefix("upstream.providers[0].")
        for line in str(caught.value).split("\n")
    ]


def test_without_configuration_there_is_tavily() -> None:
    settings = loaded()
    assert (settings.concurrency, settings.timeout_s, settings.attempts) == (50, 30.0, 3)
    assert (settings.refresh_cron, settings.secret_keys, settings.providers) == ("7 * * * *", (), ())
    (tavily,) = settings.all_providers.values()
    assert (tavily.kind, tavily.url) == ("tavily", "https://api.tavily.com/usage")
    assert (tavily.header, tavily.header_value) == ("Authorization", "Bearer {key}")
    assert (tavily.reset_cron, tavily.timezone, tavily.usage_delay_s) == ("0 0 1 * *", None, 0.0)


def test_a_block_becomes_a_provider_beside_tavily() -> None:
    settings = loaded(
        block(usage_delay_s="60", header='"X-Key"', header_value='"{key}"', timezone='"Asia/Shanghai"')
    )
    service = ProviderSettings(
        "s",
        "http_json",
        "https://h/usage",
        "X-Key",
        "{key}",
        "$.u",
        "$.l",
        timezone="Asia/Shanghai",
        usage_delay_s=60,
    )
    assert settings.providers == (service,)
    assert list(settings.all_providers) == ["tavily", "s"]


def test_tavily_can_be_redefined_and_be_there_twice() -> None:
    second = '[[upstream.providers]]\nname = "again"\nkind = "tavily"\n'
    text = (
        '[[upstream.providers]]\nname = "tavily"\nkind = "tavily"\nurl = "http://h:1/u"\nreset_cron = ""\n'
        + second
    )
    both = loaded(text).all_providers
    assert (both["tavily"].url, both["tavily"].reset_cron) == ("http://h:1/u", None)
    assert (both["again"].url, both["again"].reset_cron) == ("https://api.tavily.com/usage", "0 0 1 * *")


def test_a_plug_in_gets_what_stands_in_its_block() -> None:
    text = '[[upstream.providers]]\nname = "p"\nkind = "my.plug-in_2"\noptions = {a = [1, {b = "c"}]}\n'
    (provider,) = loaded(text).providers
    assert (provider.kind, provider.url, provider.options) == ("my.plug-in_2", "", {"a": [1, {"b": "c"}]})
    assert hash(provider) == hash(provider)


def test_remaining_is_enough() -> None:
    (provider,) = loaded(block(used=None, limit=None, remaining='"data[0].left"')).providers
    assert (provider.used, provider.limit, provider.remaining) == (None, None, "data[0].left")


def test_keys_come_newest_first_and_never_show() -> None:
    keys = [new_key(), new_key()]
    settings = loaded(**{NAME: f"{keys[0]}, {keys[1]}"})
    assert settings.secret_keys == tuple(keys)
    assert not any(key in f"{settings!r} {settings} {settings.model_dump()}" for key in keys)


@pytest.mark.parametrize("text", [CANARY, ",", f"{FERNET},", f"{FERNET},{CANARY}", FERNET[:-1], " "])
def test_what_is_no_fernet_key_is_refused_without_repeating_it(text: str) -> None:
    words = "one or several Fernet keys separated by commas, newest first"
    assert refused(**{NAME: text}) == [f"{NAME} must be {words}; make one with: quotaflow upstream new-key"]


def test_the_secret_key_stands_in_the_environment_alone() -> None:
    line = f"a secret does not belong here; set {NAME} in the environment"
    assert refused(f'[upstream]\nsecret_key = "{new_key()}"') == [line]
    Path("config.toml").unlink()
    with pytest.raises(ConfigError, match=r"^flags: unknown key"):
        load(environ={}, upstream__secret_key=new_key())


def test_providers_stand_in_the_file_alone() -> None:
    assert refused(QUOTAFLOW_UPSTREAM__PROVIDERS="[]")[0].startswith("environment: unknown key")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "[upstream]\nconcurrency = 0",
            "upstream.concurrency must be a whole number of requests from 1 to 1000",
        ),
        ("[upstream]\ntimeout_s = 601", "upstream.timeout_s must be a number of seconds from 0.05 to 600"),
        ("[upstream]\nattempts = 11", "upstream.attempts must be a whole number of tries from 1 to 10"),
        (
            "[upstream]\nrefresh_cron = 5",
            'upstream.refresh_cron must be a cron expression, like "7 * * * *", or empty for never',
        ),
        ("[upstream]\nprovidrs = []", 'unknown key "upstream.providrs" — did you mean "upstream.providers"?'),
        *(
            (
                f"[upstream]\nproviders = {value}",
                "upstream.providers must be blocks; write [[upstream.providers]] and the keys of one provider below it",
            )
            for value in ("5", "[5]", "{}")
        ),
        ("upstream = 5", "upstream must be a section; write [upstream] and its keys below it"),
        (block(name=None), "name is missing; add it"),
        (block(kind=None), "kind is missing; add it"),
        (block(url=None), "url is missing; add it"),
        (block(used=None), "used is missing; add it"),
        (block(limit=None), "limit is missing; add it"),
        (
            block(uesd='"x"'),
            'unknown key "upstream.providers[0].uesd" — did you mean "upstream.providers[0].used"?',
        ),
        (block(options="{}"), 'options is not for a provider of kind "http_json"; remove it'),
        (block(kind='"tavily"'), 'used is not for a provider of kind "tavily"; remove it'),
        *(
            (
                block(kind=kind),
                'kind must be "tavily", "http_json", or the kind of a plug-in (a-z, 0-9, _, . and -)',
            )
            for kind in ('"Tavily"', '""', "5", "[]", '"a b"', '"a\\n"')
        ),
        (block(name="5"), "name must be text, not int"),
        (block(name='" "'), "name must not be empty nor begin or end with space"),
        (
            block() + block(),
            'upstream.providers[0] and upstream.providers[1] share the name "s"; rename one of them',
        ),
    ],
)
def test_each_problem_has_its_line(text: str, line: str) -> None:
    assert line in refused(text)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        *(
            ("url", f'"{url}"', "an address like https://")
            for url in (
                "", "h/usage", "ftp://h", "https://", "https:///u", "https://:1/", "https://h:x", "https://h:0",
                f"https://u:{CANARY}@h/", f"https://{CANARY}@h/", "https://h/{key}", "https://h/?k={key}",
                "https://h/a b", "https://h\\\\@x/", "https://[x", "https://hé/", "https://h/\\u0000",
            )
        ),
        ("url", "5", "an address like https://"),
        *(("header", value, "the name of an HTTP header") for value in ('""', '"a b"', '"a:"', '"a\\n"', "5")),
        *(
            ("header_value", value, "ASCII text that holds {key} once")
            for value in ('""', '"Bearer"', '"{key}{key}"', '"é{key}"', '"{key}\\n"', '" {key}"', "5")
        ),
        *(
            ("used", value, "a JSONPath to one value")
            for value in ('""', '" "', '"$.a["', '"$..a"', '"$.a[*]"', '"$.a[?@.b]"', '"a | b"', "5", '"$[1:2]"')
        ),
        *(("usage_delay_s", value, "a number of seconds from 0 to 86400") for value in ("-1", "86401", "nan", "true")),
        ("usage_delay_s", '"5"', "a number of seconds from 0 to 86400"),
        ("reset_cron", "5", "a cron expression"),
        *(("timezone", value, "the name of a time zone") for value in ('"Mars"', "5", '""')),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_under_its_key_alone(key: str, value: str, words: str) -> None:
    (line,) = refused(block(**{key: value}))
    assert line.startswith(f"{key} must be {words}")
    assert CANARY not in line


def test_all_problems_of_all_blocks_are_told_at_once() -> None:
    text = block(url='""', used='"["', name=None) + block(kind="5") + block(limit=None, header='""', zzz="1")
    assert len(set(refused(text, QUOTAFLOW_UPSTREAM__ATTEMPTS="0"))) == 8


@hypothesis.given(
    st.text(st.characters(codec="utf-8"), max_size=12)
    | st.text("$.[]()'\"*?@#~^|&<>=!0123456789abc -:,/\\", max_size=12)
)
def test_any_text_is_a_path_or_no_path(path: str) -> None:
    """A refusal, never an error of the parser."""
    quoted = '"' + "".join(f"\\U{ord(char):08x}" for char in path) + '"'
    assert tomllib.loads(f"path = {quoted}") == {"path": path}
    try:
        loaded(block(used=quoted))
        refusal = ""
    except ConfigError as error:
        refusal = str(error)
    assert re.fullmatch(r"|config.toml: upstream.providers\[0\].used must be a JSONPath[^\n]+", refusal)


def test_the_provider_shown_in_the_sample_file_can_be_used() -> None:
    sample = (Path(__file__).parents[2] / "config.toml").read_text(encoding="utf-8")
    shown = re.findall(r"^#   (\S.*)$", sample, re.MULTILINE)
    shown = shown[shown.index("[[upstream.providers]]") : shown.index("[[quotas]]")]
    (provider,) = loaded("\n".join(shown)).providers
    assert (provider.name, provider.used, provider.limit) == ("example", "$.account.used", "$.account.limit")
    assert provider.header == ProviderSettings("", "").header
    assert provider.header_value == ProviderSettings("", "").header_value
