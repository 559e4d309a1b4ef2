"""What requests about upstream keys may carry."""

import re
from functools import partial
from typing import Annotated, Any

from fastapi import Request
from pydantic import AfterValidator, Field

from quotaflow.amounts import check_id
from quotaflow.balances import KeyStatus
from quotaflow.edges.http.bodies import Body
from quotaflow.edges.http.problems import MalformedJson
from quotaflow.edges.http.shapes import Paging
from quotaflow.errors import NotFound

_KEY_ID = re.compile(r"[0-9a-f]{14}-[0-9a-f-]{1,64}").fullmatch


def key_id_of(text: str) -> str:
    """Check the id of an upstream key in an address.

    :raises NotFound: it is none.
    """
    if not _KEY_ID(text):
        raise NotFound("no upstream key has this id")  # it may be a secret: it is not repeated
    return text


Provider = Annotated[str, AfterValidator(partial(check_id, field="provider"))]
KeyId = Annotated[str, AfterValidator(key_id_of)]
Secret = Annotated[
    str,
    Field(
        repr=False,
        description="the API key itself, env:NAME or file:/absolute/path",
        json_schema_extra={"format": "password", "writeOnly": True},
    ),
]


class KeyQuery(Paging):
    """Which upstream keys; all conditions must hold. `status` is what the last check found."""

    provider: Provider | None = None
    status: KeyStatus | None = None
    enabled: bool | None = None


class NewKey(Body):
    """An upstream key to store; without a name it is called by the first and last characters of its secret."""

    provider: str
    secret: Secret
    name: str | None = None
    enabled: bool = True


class KeyChange(Body):
    """What to change of an upstream key. With another secret everything known of it begins anew."""

    name: str = ""
    secret: Secret = ""
    enabled: bool = True


class RefreshWish(Body):
    """Whose keys to ask about; null: all."""

    provider: Provider | None = None


_ROW = NewKey.model_json_schema()
IMPORT: dict[str, Any] = {
    "requestBody": {
        "content": {
            "text/csv": {"schema": {"type": "string"}},
            "application/json": {"schema": {"type": "array", "items": _ROW}},
        },
        "required": True,
    }
}


async def text_of(request: Request) -> str:
    """Return the body as text.

    :raises MalformedJson: it is not UTF-8.
    """
    try:
        return (await request.body()).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedJson("the body is not UTF-8") from None
