"""The conditions in the address of a page, read as the API reads them; and how much is on a page."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from quotaflow.edges.http.refusals import refusal

ON_A_PAGE = 25  # rows of a list; a screen holds fewer, and who waits for the first waits for all

Query = TypeVar("Query", bound=BaseModel)


def query_of(request: Request, shape: type[Query], *names: str) -> Query:
    """Return what of these names is there; an empty field of a form is as if it were not.

    :raises InvalidInput: naming the first that cannot be used.
    """
    given = {name: text for name in names if (text := request.query_params.get(name, "").strip())}
    try:
        return shape.model_validate_strings(given)
    except ValidationError as error:
        raise refusal(error.errors(include_url=False)) from error
