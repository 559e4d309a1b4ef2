"""Every text that people meet is there in both languages, with the same values in it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from quotaflow.edges.cli import words
from quotaflow.edges.cli.words_zh import CHINESE
from quotaflow.limiter import rpo

SOURCES = sorted(Path(words.__file__).parent.glob("*.py"))


def texts() -> Iterator[str]:
    """Yield what is said: arguments of `say`, headings of tables, and the first lines of commands."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name("say"), args=[ast.Constant(str(text)), *_]):
                    yield text
                case ast.AnnAssign(annotation=ast.Name("Columns"), value=ast.Dict(keys=keys)):
                    yield from (str(key.value) for key in keys if isinstance(key, ast.Constant) and key.value)
                case ast.FunctionDef(decorator_list=[ast.Call(func=ast.Name("command" | "remote")), *_]):
                    yield str(ast.get_docstring(node)).split("\n", 1)[0]


def test_every_text_has_a_translation_and_every_translation_a_text() -> None:
    elsewhere = {"ok", "failed", "limited", "skipped", "missed"}  # headings made of statuses
    elsewhere |= {*rpo.TEXTS}
    declared_in_app = {text for text in CHINESE if text.startswith(("Run the daemon", "Check the servers"))}
    assert set(texts()) | elsewhere | declared_in_app == set(CHINESE)


def test_a_translation_has_the_same_values_in_it() -> None:
    differing = [text for text, chinese in CHINESE.items() if values(text) != values(chinese)]
    assert differing == []


def values(text: str) -> set[str]:
    return set(re.findall(r"\{\w+\}", text))


@pytest.mark.parametrize(
    ("arguments", "environ", "said"),
    [
        ([], {}, "yes"),
        ([], {"LANG": "en_GB.UTF-8"}, "yes"),
        ([], {"LANG": "zh_CN.UTF-8"}, "是"),
        ([], {"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "yes"),
        ([], {"LC_ALL": "", "LANG": "zh_TW"}, "是"),
        (["--lang", "zh", "run"], {"LANG": "en_GB"}, "是"),
        (["--lang=en"], {"LC_ALL": "zh_CN"}, "yes"),
        (["run", "--lang"], {"LANG": "zh"}, "是"),
    ],
)
def test_the_flag_wins_over_the_environment(arguments: list[str], environ: dict[str, str], said: str) -> None:
    try:
        words.choose(arguments, environ)
        assert words.say("yes") == said
    finally:
        words.choose([], {})
