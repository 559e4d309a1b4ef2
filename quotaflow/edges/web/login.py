"""/login: a token, or a link's code, for a session cookie. /language: which language the reader wants."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from quotaflow.control.operators import SESSION_S
from quotaflow.edges.http.context import context_of
from quotaflow.edges.http.guard import COOKIE, address_of
from quotaflow.edges.http.problems import TooManyTries, retry_after
from quotaflow.edges.web.forms import REST, Form, form_of
from quotaflow.edges.web.reader import LANGUAGE, reader_of
from quotaflow.edges.web.render import redirect, render
from quotaflow.edges.web.words import LANGUAGES
from quotaflow.errors import Unauthorized

YEAR_S = 31_536_000


async def ask(request: Request) -> Response:
    """Ask for a token; for a link with a code in it show a button, because programs follow links too."""
    return _asked(request, Form(), once=request.query_params.get("once"))


async def answer(request: Request) -> Response:
    """Let in who has a token, or the code of a link that was not used yet."""
    here, form = context_of(request), await form_of(request)
    if "once" in form.typed:
        return await _let_in_once(request, form.typed["once"])
    token = form.typed.get("token", "").strip()
    try:
        secret = await here.door.sign_in(token, address_of(request.scope))
    except (Unauthorized, TooManyTries) as error:
        refused = _asked(request, Form(typed=form.typed, wrong={"token": str(error)}), error.status)
        refused.headers.update(retry_after(getattr(error, "retry_after", None)))
        return refused
    return _let_in(request, secret, _safe(form.typed.get("next", "/")))


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


async def _let_in_once(request: Request, code: str) -> Response:
    secret = await context_of(request).flow.operators.sign_in_once(code)
    if secret is None:
        wrong = "this link was used already, or is older than 10 minutes: sign in with the token"
        return _asked(request, Form(wrong={REST: wrong}), HTTPStatus.UNAUTHORIZED)
    return _let_in(request, secret, "/")


def _asked(request: Request, form: Form, status: int = HTTPStatus.OK, *, once: str | None = None) -> Response:
    reader = reader_of(request, context_of(request).clock.wall_us(), signed_in=False)
    following = _safe(form.typed.get("next") or request.query_params.get("next", "/"))
    return render(request, "login.html", status=status, reader=reader, form=form, next=following, once=once)


def _let_in(request: Request, secret: str, following: str) -> Response:
    """Behind a proxy with TLS only the browser knows that it came by https, and says so in Origin."""
    is_https = request.headers.get("origin", "").startswith("https://")
    response = redirect(following)
    response.set_cookie(COOKIE, secret, max_age=SESSION_S, httponly=True, samesite="strict", secure=is_https)
    return response


def _safe(path: str) -> str:
    """Return a path of ours, never another site's: two slashes, backslashes and control characters lead elsewhere."""
    is_ours = path.startswith("/") and not path.startswith("//")
    return path if is_ours and path.isprintable() and "\\" not in path else "/"


routes = [
    Route("/login", ask, methods=["GET"]),
    Route("/login", answer, methods=["POST"]),
    Route("/logout", leave, methods=["POST"]),
    Route("/language", language, methods=["GET"]),
]
