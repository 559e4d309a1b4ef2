"""Forms: text fields to the same shapes that the API takes, and back to the page when something is wrong.

A field left empty is as if it were not there.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import NoneType
from typing import Any, TypeVar, get_args
from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.requests import Request

from quotaflow.edges.http.bodies import Body
from quotaflow.edges.http.problems import MalformedJson
from quotaflow.edges.http.refusals import refusal
from quotaflow.errors import Conflict, InvalidInput

DO = "do"  # the field that says which of a page's forms this is
MOST_FIELDS = 100
VERSION = "version"  # the field with the version of what a page showed, where two may change it at once
CHANGED = "it has been changed since this form was opened: look at it again, then change it"
UNKNOWN = "the form asks for something that is not known here"
REST = ""  # key of what is wrong with no field in particular

_GROUPED = re.compile(r"-?\d{1,3}(?:([, ])\d{3})(?:\1\d{3})*(?:\.\d+)?").fullmatch

Shape = TypeVar("Shape", bound=Body)


@dataclass(frozen=True, slots=True)
class Form:
    """What was typed: `do` says into which form. `wrong` says in English what is wrong, by field."""

    do: str = ""
    typed: Mapping[str, str] = field(default_factory=dict)
    wrong: Mapping[str, str] = field(default_factory=dict)

    def read(self, shape: type[Shape], *, nulls: tuple[str, ...] = ()) -> Shape:
        """Return it as the body that the API would have got.

        :param nulls: fields that are null when they were left empty, instead of not being there.
        :raises Wrong: with every field that cannot be taken.
        """
        given: dict[str, Any] = {
            name: text.strip() for name, text in self.typed.items() if text.strip() and name != DO
        }
        try:
            read = shape.model_validate_strings(
                {name: _plain(shape, name, text) for name, text in given.items()}
            )
        except ValidationError as error:
            raise Wrong(_by_field(error)) from error
        for name in nulls:
            if name in self.typed and name not in given:
                setattr(read, name, None)
        return read

    def since(self, version: int) -> "Form":
        """Return it without the version that its page showed.

        :raises Conflict: somebody has changed what it is about since; a form that names no version is of a program.
        """
        if self.typed.get(VERSION) not in (None, str(version)):
            raise Conflict(CHANGED)
        return Form(self.do, {name: text for name, text in self.typed.items() if name != VERSION})

    @property
    def status(self) -> int:
        """How to answer with the page that shows it."""
        return HTTPStatus.UNPROCESSABLE_ENTITY if self.wrong else HTTPStatus.OK

    def refused(self, wrong: Mapping[str, str]) -> "Form":
        """Return it with what is wrong."""
        return Form(self.do, self.typed, wrong)


class Wrong(Exception):
    """A form that cannot be taken; says why, by field."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__("; ".join(fields.values()))
        self.fields = fields


async def form_of(request: Request) -> Form:
    """Read the form of a request.

    :raises MalformedJson: it is none.
    """
    try:
        body = (await request.body()).decode()
        pairs = parse_qsl(body, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError as error:
        raise MalformedJson("the body is not a form in UTF-8") from error
    typed = dict(pairs)
    return Form(typed.get(DO, ""), typed)


def wrong_of(error: Wrong | InvalidInput | Conflict, names: Callable[[str], bool]) -> Mapping[str, str]:
    """Say what is wrong by field; `names` tells the fields that the form shows, all else stands above it."""
    if isinstance(error, Wrong):
        return {name if names(name) else REST: text for name, text in error.fields.items()}
    at = getattr(error, "field", None)
    return {at if at is not None and names(at) else REST: str(error)}


def _by_field(error: ValidationError) -> dict[str, str]:
    found: dict[str, str] = {}
    for problem in error.errors(include_url=False):
        refused = refusal([problem])
        found.setdefault(str(problem["loc"][0]) if problem["loc"] else REST, str(refused))
    return found


def _plain(shape: type[Body], name: str, text: str) -> str:
    known = shape.model_fields.get(name)
    if known is None:
        return text
    kinds = get_args(known.annotation) or (known.annotation,)
    # Of Annotated[float, ...] what counts is float.
    plain = {getattr(kind, "__origin__", kind) for kind in kinds} - {NoneType}
    return ungrouped(text) if plain <= {int, float} else text


def ungrouped(text: str) -> str:
    """Drop what keeps thousands apart: 1,000,000 or 1 000 000. A comma anywhere else is no number of ours: 1,5."""
    return re.sub("[, ]", "", text) if _GROUPED(text) else text
