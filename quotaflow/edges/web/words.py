"""English or Chinese on a page: the English text is the key. What has no translation is shown in English."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from quotaflow.edges.web.words_en import ENGLISH
from quotaflow.edges.web.words_zh import CHINESE
from quotaflow.edges.web.words_zh_errors import PATTERNS

EN, ZH = "en", "zh"
LANGUAGES = {EN: "English", ZH: "中文"}

_Patterns = list[tuple[re.Pattern[str], str]]

_errors: _Patterns = [(re.compile(pattern), chinese) for pattern, chinese in PATTERNS]
_long: _Patterns = [
    each for each in _errors if "; " in each[0].pattern
]  # one sentence, with a semicolon in it


class Words(NamedTuple):
    """One language."""

    language: str

    def __call__(self, english: str, **values: object) -> str:
        """Return the text in this language, with its values filled in."""
        text = (CHINESE if self.language == ZH else ENGLISH).get(english, english)
        return text.format(**values) if values else text

    def wrong(self, english: str, name: str, label: str) -> str:
        """Return what is wrong with a field: under the label that the page has for it, not its name in the API."""
        if self.language != ZH:
            return re.sub(rf"\A{name}\b", lambda _: label, english)
        put = f" {label} " if label.isascii() else label  # Latin words stand apart from Chinese ones
        return re.sub(rf" ?\b{name}\b ?", lambda _: put, self.error(english), count=1, flags=re.ASCII).strip()

    def error(self, english: str) -> str:
        """Return what went wrong in this language; errors are raised in English, with their values in them."""
        if self.language != ZH:
            return english
        if whole := _error(english, _long):
            return whole
        return "；".join(_error(sentence, _errors) or sentence for sentence in english.split("; "))


def _error(english: str, patterns: _Patterns) -> str | None:
    for pattern, chinese in patterns:
        if found := pattern.fullmatch(english):
            return chinese.format(*_groups(found))
    return CHINESE.get(english)


def _groups(found: re.Match[str]) -> Iterable[str]:
    inner = found.re.groupindex.get("error")
    return (Words(ZH).error(text) if at == inner else text for at, text in enumerate(found.groups(), 1))


def choose(cookie: str | None, accepted: str) -> Words:
    """Take what the reader chose, else the first language of `Accept-Language` that is one of ours, else English."""
    if cookie in LANGUAGES:
        return Words(cookie)
    return Words(next((found for found in _wanted(accepted) if found in LANGUAGES), EN))


def _wanted(accepted: str) -> Iterable[str]:
    """Return the primary languages of an Accept-Language header, most wanted first (RFC 9110, 12.5.4)."""
    weighed = []
    for part in accepted[:500].split(","):
        tag, _, parameters = part.strip().partition(";")
        weight = _weight(parameters.strip())
        if weight > 0:
            weighed.append((-weight, tag.strip().lower().partition("-")[0]))
    return [tag for _, tag in sorted(weighed, key=lambda each: each[0])]


def _weight(parameters: str) -> float:
    if not parameters.startswith("q="):
        return 1.0
    try:
        return float(parameters[2:])
    except ValueError:
        return 0.0
