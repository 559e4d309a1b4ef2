"""/login: a token for a session cookie. /language: which language the reader wants."""

from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quotaflow.control.operators import SESSION_S
from quotaflow.edges.http.context import context_of
from quotaflow.edges.http.guard import COOKIE, address_of
from quotaflow.edges.http.problems import TooManyTries
from quotaflow.edges.web.forms import REST, Form, form_of
from quotaflow.edges.web.reader import LANGUAGE, reader_of
from quotaflow.edges.web.render import redirect, render
from quotaflow.edges.web.words import LANGUAGES
from quotaflow.errors import Unauthorized

YEAR_S = 31_536_000


async def ask(request: Request) -> Response:
    """Ask for a token; with `once` in the address sign in at once, which works one time."""
    once = request.query_params.get("once")
    if once is None:
        return _asked(request, Form())
    secret = await context_of(request).flow.operators.sign_in_once(once)
    if secret is None:
        wrong = "this link was used already, or is older than 10 minutes: sign in with the token"
        return _asked(request, Form(wrong={REST: wrong}), HTTPStatus.UNAUTHORIZED)
    return _let_in(secret, "/")


async def answer(request: Request) -> Response:
    """Let in who has a token."""
    here, form = context_of(request), await form_of(request)
    token = form.typed.get("token", "").strip()
    try:
        secret = await here.door.sign_in(token, address_of(request.scope), here.clock.wall_us())
    except (Unauthorized, TooManyTries) as error:
        return _asked(request, Form(typed=form.typed, wrong={"token": str(error)}), error.status)
    return _let_in(secret, _safe(form.typed.get("next", "/")))


async def leave(request: Request) -> Response:
    """End the session."""
    secret = request.cookies.get(COOKIE)
    if secret is not None:
        await context_of(request).flow.operators.sign_out(secret)
    response = redirect("/login")
    response.delete_cookie(COOKIE)
    return response


async def language(request: Request) -> Response:
    """Remember the language that the reader chose."""
    response = redirect(_safe(request.query_params.get("next", "/")))
    wanted = request.query_params.get("to")
    if wanted in LANGUAGES:
        response.set_cookie(LANGUAGE, wanted, max_age=YEAR_S, httponly=True, samesite="strict")
    return response


def _asked(request: Request, form: Form, status: int = HTTPStatus.OK) -> Response:
    reader = reader_of(request, context_of(request).clock.wall_us(), signed_in=False)
    following = _safe(form.typed.get("next") or request.query_params.get("next", "/"))
    return render(request, "login.html", status=status, reader=reader, form=form, next=following)


def _let_in(secret: str, following: str) -> Response:
    response = redirect(following)
    response.set_cookie(COOKIE, secret, max_age=SESSION_S, httponly=True, samesite="strict")
    return response


def _safe(path: str) -> str:
    """Return a path of ours, never another site's: two slashes, backslashes and control characters lead elsewhere."""
    parts = urlsplit(path)
    is_ours = (
        path.startswith("/") and not path.startswith(("//", "/\\")) and not (parts.scheme or parts.netloc)
    )
    return path if is_ours and path.isprintable() and "\\" not in path else "/"


routes = [
    Route("/login", ask, methods=["GET"]),
    Route("/login", answer, methods=["POST"]),
    Route("/logout", leave, methods=["POST"]),
    Route("/language", language, methods=["GET"]),
]
