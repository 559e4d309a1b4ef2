"""Errors as RFC 9457 problems: one shape for all, with a stable `code`. No traceback ever leaves the house."""

import json
import math
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from quotaflow.edges.http.refusals import refusal
from quotaflow.errors import InvalidInput, QuotaflowError, Unauthorized
from quotaflow.log import get_logger

log = get_logger(room="http")

MEDIA_TYPE = "application/problem+json"
FAILED = "http.failed"  # log event: error_id, method, path

# What the framework refuses by itself.
_CODES = {
    404: ("no_route", "nothing is at this address"),
    405: ("method_not_allowed", "not with this method"),
}
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class MalformedJson(QuotaflowError):
    """A body that is not one unambiguous JSON document in UTF-8."""

    code = "malformed_json"
    status = 400


class TooLarge(QuotaflowError):
    """A body above the limit."""

    code = "too_large"
    status = 413


class BadHost(QuotaflowError):
    """The Host header names none of `http.allowed_hosts`: possibly a web page that rebound its own name to us."""

    code = "bad_host"
    status = 421


class TooManyTries(QuotaflowError):
    """So many wrong tokens came from this address that none is looked at for `retry_after` seconds."""

    code = "too_many_tries"
    status = 429
    retry_after: ClassVar[float] = 1.0


def problem(
    status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: object
) -> Response:
    """Make the answer. `members` stand beside the standard ones; the text is plain ASCII."""
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "code": code}
    content = json.dumps({**document, "detail": detail, **members})
    return Response(content, status, headers, media_type=MEDIA_TYPE)


def retry_after(seconds: float | None) -> dict[str, str]:
    """Return the header in whole seconds, rounded up, at least 1; none when waiting never helps."""
    return {} if seconds is None else {"Retry-After": str(max(1, math.ceil(seconds)))}


def of_error(error: Exception, where: str = "") -> Response:
    """Turn any error into its problem. One that is not for clients is logged, and answered by its number only."""
    match error:
        case QuotaflowError() if error.status != HTTPStatus.INTERNAL_SERVER_ERROR:
            return problem(error.status, error.code, str(error), headers=_headers(error), **_members(error))
        case RequestValidationError():
            return of_error(refusal([{**found, "loc": found["loc"][1:]} for found in error.errors()]))
        case ClientDisconnect():
            return Response(status_code=400)  # nobody is there to read it
        case HTTPException():
            code, detail = _CODES.get(error.status_code, (f"http_{error.status_code}", error.detail))
            return problem(error.status_code, code, detail, headers=error.headers)
        case _:
            error_id = secrets.token_hex(8)
            log.error(FAILED, error_id=error_id, where=where, exc_info=error)
            return problem(
                500, "internal", f"an error happened; the log has it as {error_id}", error_id=error_id
            )


def _headers(error: QuotaflowError) -> dict[str, str]:
    match error:
        case Unauthorized():
            return {"WWW-Authenticate": 'Bearer realm="quotaflow"'}
        case TooLarge():
            return {"Connection": "close"}  # or the server would read the rest of it
        case _:
            return retry_after(getattr(error, "retry_after", None))


def _members(error: QuotaflowError) -> dict[str, Any]:
    return {"field": error.field} if isinstance(error, InvalidInput) and error.field is not None else {}


def handle_errors(app: FastAPI) -> None:
    """Have every error of the routes answered by its problem."""

    async def answer(request: Request, error: Exception) -> Response:
        response = of_error(error, f"{request.method} {request.url.path}")
        if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            response.headers["Allow"] = ", ".join(_allowed(app, request))
        return response

    for kind in (QuotaflowError, RequestValidationError, HTTPException, ClientDisconnect, Exception):
        app.add_exception_handler(kind, answer)


def _allowed(app: FastAPI, request: Request) -> list[str]:
    """Ask every route: the framework names the methods of the first one only."""
    scopes = [{**request.scope, "method": method} for method in _METHODS]
    return [
        scope["method"]
        for scope in scopes
        if any(route.matches(scope)[0] is Match.FULL for route in app.routes)
    ]
