"""The pages as an application of their own: what goes wrong in them is told on a page."""

from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from quotaflow.edges.http.context import Context, context_of
from quotaflow.edges.http.guard import OPERATOR
from quotaflow.edges.http.problems import of_error
from quotaflow.edges.web import assets, login, operators, overview, quotas, tasks, tokens, traces, upstream
from quotaflow.edges.web.reader import Reader, reader_of
from quotaflow.edges.web.render import render
from quotaflow.errors import QuotaflowError

ROOMS = (assets, login, overview, quotas, tasks, traces, tokens, upstream, operators)


def create_pages(context: Context) -> Starlette:
    """Make the application; it shares the API's context."""
    routes: list[Route] = [route for room in ROOMS for route in room.routes]
    pages = Starlette(
        routes=routes,
        exception_handlers=dict.fromkeys((QuotaflowError, HTTPException, ClientDisconnect, Exception), _told),
    )
    pages.router.redirect_slashes = False
    pages.state.context = context
    return pages


async def tell(pages: Starlette, request: Request, error: Exception) -> Response:
    """Say on a page why a request was refused before it got to the pages."""
    return await _told(Request({**request.scope, "app": pages}), error)


async def _told(request: Request, error: Exception) -> Response:
    """Say on a page what the API would say in a problem."""
    answer = of_error(error, f"{request.method} {request.url.path}")
    if isinstance(error, ClientDisconnect):
        return answer
    reader = _reader(request)
    text = _text(error, reader)
    kept = {name: value for name, value in answer.headers.items() if name in ("retry-after", "allow")}
    return render(
        request, "error.html", status=answer.status_code, reader=reader, headers=kept, text=text,
        title=HTTPStatus(answer.status_code).phrase,
    )  # fmt: skip


def _text(error: Exception, reader: Reader) -> str:
    """Return what to tell; of what is ours to mend only that there is more in the log."""
    match error:
        case HTTPException(status_code=HTTPStatus.NOT_FOUND):
            return reader.words("There is nothing at this address.")
        case HTTPException():
            return reader.words("This cannot be done at this address.")
        case QuotaflowError() if error.status != HTTPStatus.INTERNAL_SERVER_ERROR:
            return reader.words.error(str(error))
        case _:
            return reader.words("Something went wrong here; the log of the daemon says more.")


def _reader(request: Request) -> Reader:
    now_us = context_of(request).clock.wall_us()
    return reader_of(request, now_us, signed_in=OPERATOR in request.scope)
