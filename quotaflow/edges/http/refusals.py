"""What is wrong with the values of a request, in our own words: the field, and what it must be."""

from collections.abc import Mapping, Sequence
from typing import Any

from quotaflow.errors import InvalidInput
from quotaflow.log import printable

SHOWN_CHARS = 64  # of a name that somebody made up
SHOWN_PROBLEMS = 5

_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "none_required": "must be null",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "string_too_long": "must be at most {max_length} characters",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "enum": "must be one of {expected}",
    "model_type": "must be a JSON object",
}


def refusal(problems: Sequence[Mapping[str, Any]]) -> InvalidInput:
    """Turn what pydantic found into one error: all of it in words, the first field by name."""
    told = [_told(problem) for problem in problems[:SHOWN_PROBLEMS]]
    more = len(problems) - len(told)
    sentences = [f"{field} {words}" for field, words in told] + ([f"and {more} more"] if more else [])
    return InvalidInput("; ".join(sentences), field=told[0][0])


def _told(problem: Mapping[str, Any]) -> tuple[str, str]:
    field = ".".join(map(str, problem["loc"])) or "body"
    words = _WORDS.get(problem["type"], "cannot be used")
    return printable(field[:SHOWN_CHARS]), words.format(**problem.get("ctx", {}))
