"""Bodies: one JSON object in UTF-8, read strictly: what could be understood in two ways is refused.

The Content-Type is not asked for: a browser cannot send the bearer token across sites, so it protects nothing.
"""

import json
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError

from quotaflow.edges.http.problems import MalformedJson
from quotaflow.edges.http.refusals import refusal
from quotaflow.log import printable

LONG_DIGITS = 20  # longer integers are far beyond every limit, and slow to read exactly


class Body(BaseModel):
    """What a body may hold: these keys and no others, with exactly these types."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


Shape = TypeVar("Shape", bound=Body)


async def read(request: Request, shape: type[Shape]) -> Shape:
    """Return the body; an empty one counts as `{}`.

    :raises MalformedJson: it is not JSON. :raises InvalidInput: it is, with other keys or values than these.
    """
    document = parse(await request.body())
    try:
        return shape.model_validate(document)
    except ValidationError as error:
        raise refusal(error.errors(include_url=False)) from error


def parse(body: bytes) -> object:
    """Read JSON; NaN and Infinity pass as numbers that no field takes.

    :raises MalformedJson: broken, not UTF-8, the same key twice in an object, or nested too deeply.
    """
    if not body:
        return {}
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_object, parse_int=_integer)
    except UnicodeDecodeError as error:
        raise MalformedJson("the body is not UTF-8") from error
    except RecursionError as error:
        raise MalformedJson("the body is nested too deeply") from error
    except ValueError as error:
        raise MalformedJson(f"the body is not JSON: {printable(str(error))}") from error


def takes(shape: type[Body]) -> dict[str, Any]:
    """Describe the body for OpenAPI, which cannot see what a route reads by itself."""
    schema = shape.model_json_schema()
    return {
        "requestBody": {
            "content": {"application/json": {"schema": schema}},
            "required": bool(schema.get("required")),
        }
    }


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'the key "{twice[:64]}" is there twice')
    return found


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < LONG_DIGITS else float(digits)
