"""Every text of the pages exists in both languages, and the reader's choice comes first."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from quotaflow.edges.web import words_zh
from quotaflow.edges.web.words import EN, ZH, Words, choose
from quotaflow.model import Reason, Status

WEB = Path(words_zh.__file__).parent
IN_TEMPLATE = re.compile(r"""\b_\(\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')""")


def texts_of_templates() -> Iterator[str]:
    for path in sorted((WEB / "templates").glob("*.html")):
        for double, single in IN_TEMPLATE.findall(path.read_text(encoding="utf-8")):
            text = ast.literal_eval(f'"{double}"' if double else f"'{single}'")
            if not text.endswith(":") or " " in text:  # `_("because:" ~ reason)` is made of words below
                yield text


def texts_of_redirects() -> Iterator[str]:
    """Whatever a page's code says: sentences that end like one."""
    for path in sorted(WEB.glob("*.py")):
        if path.name.startswith("words"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documented = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) and id(node) not in documented else None
            if isinstance(text, str) and re.fullmatch(r"[A-Z][^<>]+ [^<>]+\.", text):
                yield text


TEXTS = sorted({*texts_of_templates(), *texts_of_redirects()})


def test_every_text_is_there_in_chinese() -> None:
    assert len(TEXTS) > 100
    assert [text for text in TEXTS if text not in words_zh.CHINESE] == []


def test_both_languages_are_filled_with_the_same_values() -> None:
    names = re.compile(r"{(\w*)}")
    for text in TEXTS:
        assert sorted(names.findall(words_zh.CHINESE[text])) == sorted(names.findall(text))


@pytest.mark.parametrize("word", [*Status, *(f"because:{reason}" for reason in Reason)])
def test_every_word_of_a_closed_list_is_said_in_both_languages(word: str) -> None:
    assert str(word) in words_zh.CHINESE
    assert not Words(EN)(word).startswith("because:")


@pytest.mark.parametrize(
    ("cookie", "accepted", "language"),
    [
        (None, "", EN),
        (None, "zh-CN,zh;q=0.9,en;q=0.8", ZH),
        (None, "en-GB,zh;q=0.9", EN),
        (None, "zh;q=0.2,en;q=0.8", EN),
        (None, "de,zh-TW;q=0.5", ZH),
        (None, "zh;q=0,en;q=0.1", EN),
        (None, "zh;q=many", EN),
        ("zh", "en", ZH),
        ("en", "zh", EN),
        ("tlh", "zh", ZH),
    ],
)
def test_the_choice_comes_before_what_the_browser_asks_for(
    cookie: str | None, accepted: str, language: str
) -> None:
    assert choose(cookie, accepted).language == language


def test_an_error_is_said_in_the_language_of_the_page() -> None:
    assert (
        Words(ZH).error("capacity is missing; refill_rate must be a number")
        == "缺少 capacity；refill_rate 必须是数字"
    )
    assert Words(EN).error("capacity is missing") == "capacity is missing"


def test_a_sentence_with_a_semicolon_is_looked_up_whole() -> None:
    chinese = Words(ZH)
    assert (
        chinese.error("too many wrong tokens came from this address; try again later")
        == "来自此地址的错误令牌过多，请稍后再试"
    )
    assert chinese.error("no key in QUOTAFLOW_SECRET_KEY decrypts it; add the key it was encrypted with") == (
        "QUOTAFLOW_SECRET_KEY 中没有能解密它的密钥；请加入加密时所用的密钥"
    )
    assert chinese.error("role must be one of 'a' or 'b'; name is missing") == (
        "role 必须是以下之一：'a' or 'b'；缺少 name"
    )


def test_what_an_error_says_of_another_is_said_in_chinese_too() -> None:
    english = "this cannot be undone any more: another quota has the name 'x'"
    assert Words(ZH).error(english) == "已无法撤销：另一个配额已名为“x”"
    assert Words(EN).error(english) == english
