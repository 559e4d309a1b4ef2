"""English or Chinese on a page: the English text is the key. What has no translation is shown in English."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from quotaflow.edges.web.words_en import ENGLISH
from quotaflow.edges.web.words_zh import CHINESE
from quotaflow.edges.web.words_zh_errors import PATTERNS

EN, ZH = "en", "zh"
LANGUAGES = {EN: "English", ZH: "中文"}

_errors = [(re.compile(pattern), chinese) for pattern, chinese in PATTERNS]


class Words(NamedTuple):
    """One language."""

    language: str

    def __call__(self, english: str, **values: object) -> str:
        """Return the text in this language, with its values filled in."""
        text = (CHINESE if self.language == ZH else ENGLISH).get(english, english)
        return text.format(**values) if values else text

    def error(self, english: str) -> str:
        """Return what went wrong in this language; errors are raised in English, with their values in them."""
        if self.language != ZH:
            return english
        return "；".join(_error(sentence) for sentence in english.split("; "))


def _error(english: str) -> str:
    for pattern, chinese in _errors:
        if found := pattern.fullmatch(english):
            return chinese.format(*found.groups())
    return CHINESE.get(english, english)


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
