"""What is typed above a list of traces: `task:x status:limited since:1h "words of the error"`. Pure."""

import re
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from quotaflow.edges.http.moments import read_moment
from quotaflow.edges.http.shapes import TraceQuery
from quotaflow.errors import InvalidInput
from quotaflow.model import Status, Trigger

KEYS = ("task", "quota", "status", "trigger", "since", "until")
_CHOICES = {"status": Status, "trigger": Trigger}
_SHOWN_CHARS = 60

_WORD = re.compile(
    r'\s*(?:(?P<key>[^\W\d]\w*):)?(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s"]+))(?=\s|$)', re.DOTALL
)
_KEY_ALONE = re.compile(r"[^\W\d]\w*:")
_PLAIN_VALUE = re.compile(r'[^\s"]+')
_PLAIN_TEXT = re.compile(r'[^\s":]+(?: [^\s":]+)*')


def parse(text: str) -> TraceQuery:
    r"""Read `key:value` conditions; all other words, joined by spaces, stand somewhere in the error.

    Quotes hold together what has spaces, colons or quotes in it; in them `\"` is a quote and `\\` a backslash.

    :raises InvalidInput: naming the word: an unknown key, one that is there twice, a value that is none.
    """
    given: dict[str, str] = {}
    free: list[str] = []
    for key, value, word in _words(text):
        if key is None:
            free.append(value)
        elif key not in KEYS:
            known = ", ".join(KEYS)
            raise InvalidInput(
                f'"{word}": there is no "{key}"; there are {known}. Text with a colon needs quotes'
            )
        elif key in given:
            raise InvalidInput(f'"{word}": {key} is there twice', field=key)
        else:
            _check(key, value, word)
            given[key] = value
    if free:
        given["text"] = " ".join(free)
        _check("text", given["text"], _shown(given["text"]))
    return TraceQuery(**_typed(given))


def format(query: TraceQuery) -> str:  # noqa: A001  the counterpart of parse
    """Write a query, but for its page, so that `parse` gives it again."""
    words = []
    for key in KEYS:
        value = getattr(query, key)
        if value is not None:
            words.append(f"{key}:{value if _PLAIN_VALUE.fullmatch(value) else _quoted(value)}")
    if query.text is not None:
        words.append(query.text if _PLAIN_TEXT.fullmatch(query.text) else _quoted(query.text))
    return " ".join(words)


def _words(text: str) -> Iterator[tuple[str | None, str, str]]:
    """Yield key, value and the word as it was typed."""
    rest = text.rstrip()
    at = 0
    while at < len(rest):
        match = _WORD.match(rest, at)
        if match is None or (match["key"] is None and _KEY_ALONE.fullmatch(match["plain"] or "")):
            word = _shown(rest[at:].split()[0])
            raise InvalidInput(f'"{word}" cannot be read: a value or a closing quote is missing')
        quoted = match["quoted"]
        value = match["plain"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
        yield match["key"], value, _shown(match[0].strip())
        at = match.end()


def _check(key: str, value: str, word: str) -> None:
    try:
        TraceQuery(**_typed({key: value}))
        if key in ("since", "until"):
            read_moment(value, 0, field=key)
    except InvalidInput as error:
        raise InvalidInput(f'"{word}": {error}', field=key) from None
    except ValidationError as error:
        raise InvalidInput(f'"{word}": {error.errors()[0]["msg"]}', field=key) from None


def _typed(given: dict[str, str]) -> dict[str, Any]:
    """Return the fields with members for words of closed lists.

    :raises InvalidInput: it is none of them.
    """
    typed: dict[str, Any] = dict(given)
    for key, choices in _CHOICES.items():
        if key in given:
            if given[key] not in [*choices]:
                raise InvalidInput(f"{key} is one of {', '.join(choices)}", field=key)
            typed[key] = choices(given[key])
    return typed


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _shown(word: str) -> str:
    return word if len(word) <= _SHOWN_CHARS else f"{word[:_SHOWN_CHARS]}..."
