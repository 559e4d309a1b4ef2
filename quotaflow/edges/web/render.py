"""Templates to answers. Everything that a template shows is escaped, unless it was made here."""

import asyncio
import gzip
import json
import re
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from urllib.parse import quote, unquote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from quotaflow.amounts import MICRO
from quotaflow.edges.http.context import context_of
from quotaflow.edges.web.assets import address_of, has_libraries
from quotaflow.edges.web.reader import DONE, Reader, reader_of
from quotaflow.edges.web.refill import rate_of
from quotaflow.edges.web.words import LANGUAGES, Words
from quotaflow.edges.web.words_zh import CHINESE
from quotaflow.timing import iso, us_of

_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z").fullmatch  # as timing.iso writes it
MEDIA_TYPE = "text/html; charset=utf-8"
PACKED_FROM = 1_000  # bytes: below that compressing gains nothing
DONE_S = 10  # how long a page may take to show what was done
DONE_CHARS = 200  # of each value in it
REFRESH = "x-refresh"  # header of a page that only fetches its regions: what was done is for the next page


def render(
    request: Request,
    template: str,
    *,
    status: int = HTTPStatus.OK,
    reader: Reader | None = None,
    headers: Mapping[str, str] | None = None,
    **values: object,
) -> Response:
    """Answer with a page. A template has, besides `values`: `me` (Reader), `_` (Words), `here` (path and query)."""
    me = reader or reader_of(request, context_of(request).clock.wall_us())
    done = None if REFRESH in request.headers else request.cookies.get(DONE)
    text = (
        _environment()
        .get_template(template)
        .render(
            values,
            me=me,
            _=me.words,
            here=here_of(request),
            path=request.url.path,
            done=_done(done, me.words),
        )
    )
    response = _answer(request, text, status, headers or {})
    if done is not None:
        response.delete_cookie(DONE)
    return response


def redirect(path: str, done: str | None = None, **values: str) -> Response:
    """Send the browser to a page after a form did its work; that page says what was done, in the reader's language.

    :param done: an English text from the words of the pages; `values` fill it.
    """
    response = RedirectResponse(path, HTTPStatus.SEE_OTHER)
    if done is not None:
        told = quote(json.dumps([done, values]))
        response.set_cookie(DONE, told, max_age=DONE_S, httponly=True, samesite="strict")
    return response


def address(*parts: str, **query: object) -> str:
    """Return a path of these parts, each quoted whole, with a query of what is not None."""
    path = "/" + "/".join(quote(part, safe="") for part in parts)
    given = {key: str(value) for key, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def here_of(request: Request) -> str:
    """Return the address of this page on this server, as the browser asked for it."""
    path = quote(request.scope["path"], safe="/~")
    query = request.scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def units(value: float | None) -> str:
    """Write an amount exactly: up to six decimals, thousands apart, no zeros at the end."""
    if value is None:
        return "–"
    whole, _, rest = f"{value:,.6f}".partition(".")
    rest = rest.rstrip("0")
    return f"{whole}.{rest}" if rest else whole


def micro(value: int | None) -> str:
    """Write micro-units as units."""
    return units(None if value is None else value / MICRO)


def span(seconds: float | None) -> str:
    """Write a duration with the two units that say most: `1d 3h`, `2m 5s`, `36 s`, `120 ms`."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 60:  # noqa: PLR2004  a minute
        return f"{seconds:.3g} s"
    left = round(seconds)
    parts: list[str] = []
    for name, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or parts:
            parts.append(f"{count}{name}")
    return " ".join(part for part in parts[:2] if not part.startswith("0"))


def when(us: int | None, me: Reader) -> Markup:
    """Write a moment in the reader's zone, with UTC on hover."""
    if us is None:
        return Markup("–")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        iso(us), me.moment_utc(us), me.moment(us)
    )


def told(value: object, me: Reader) -> str | Markup:
    """Write a value of a definition: yes or no, amounts exactly, moments in the reader's zone, else as it is."""
    match value:
        case bool():
            return me.words("yes" if value else "no")
        case int() | float():
            return units(value)
        case str() if _ISO(value):
            return when(us_of(value), me)
        case _:
            return str(value)


def _done(cookie: str | None, words: Words) -> str | None:
    """Read what the page before left to be said: one of our own texts, with values of at most 200 characters.

    Anybody who can set a cookie chooses which text and which values, not more: our texts name values, and nothing of
    them. What cannot be read is not shown.
    """
    if cookie is None:
        return None
    try:
        english, values = json.loads(unquote(cookie))
        if english not in CHINESE:
            return None
        told = words(english, **{key: str(value)[:DONE_CHARS] for key, value in values.items()})
        told.encode()  # half a character, which JSON may name, is in no page
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return None
    return told


def _answer(request: Request, text: str, status: int, headers: Mapping[str, str]) -> Response:
    body = text.encode()
    known = {"Vary": "Accept-Encoding, Cookie, Accept-Language", **headers}
    if len(body) >= PACKED_FROM and "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, compresslevel=5, mtime=0)
        known["Content-Encoding"] = "gzip"
    return Response(body, status, known, MEDIA_TYPE)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("quotaflow.edges.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"units": units, "micro": micro, "span": span}
    environment.globals |= {
        "when": when,
        "told": told,
        "address": address,
        "rate_of": rate_of,
        "asset": address_of,
        "has_libraries": has_libraries(),
        "languages": LANGUAGES,
    }
    # The first page needs its own template; the others, 20 ms each, are ready when somebody goes there.
    asyncio.get_running_loop().run_in_executor(None, _compile_all, environment)
    return environment


def _compile_all(environment: Environment) -> None:
    for name in environment.list_templates():
        environment.get_template(name)
