"""What kind of address a request goes to, which decides who may come in and how the answer is kept."""

import re
from urllib.parse import quote

from starlette.types import Scope

CONSUME = "/api/consume"  # and what is below it: not an operator's, but of who has an access token
API = "/api"
LOCAL_ONLY = ("/stats", "/metrics")  # figures: open to this machine, with a token to others
SIGN_IN = "/login"
SIGN_OUT = "/logout"
SAFE = ("GET", "HEAD")  # methods that change nothing

# By prefix: the router takes "/stats\n" for "/stats".
_NO_PAGE = (API, *LOCAL_ONLY)
_OPEN = re.compile(
    r"/livez|/readyz|/openapi\.json|/(docs|static-offline-docs|assets|login|language)(/.*)?", re.DOTALL
).fullmatch
_API_TOO = re.compile(r"/livez|/readyz|/openapi\.json|/(docs|static-offline-docs)(/.*)?", re.DOTALL).fullmatch
_DOCS = re.compile(r"/docs(/.*)?", re.DOTALL).fullmatch
_FILES = re.compile(r"/(docs|static-offline-docs|assets)(/.*)?", re.DOTALL).fullmatch


def is_consume(path: str) -> bool:
    """Say whether an address is for access tokens instead of operators."""
    return path == CONSUME or path.startswith(CONSUME + "/")


def is_open(path: str) -> bool:
    """Say whether an address is everybody's: probes, documentation, files of the pages, and signing in."""
    return _OPEN(path) is not None


def is_sign_in(path: str) -> bool:
    """Say whether it is where people sign in."""
    return path == SIGN_IN or path.startswith(SIGN_IN + "/")


def is_page(path: str) -> bool:
    """Say whether an address is for people in a browser, when it is not open."""
    return not path.startswith(_NO_PAGE)


def is_web(path: str) -> bool:
    """Say whether the pages answer it, and not the API."""
    return is_page(path) and not _API_TOO(path)


def is_docs(path: str) -> bool:
    """Say whether it is the documentation, a page with a script in it."""
    return _DOCS(path) is not None


def is_file(path: str) -> bool:
    """Say whether what is there is the same for everybody, and may be kept."""
    return _FILES(path) is not None


def sign_in_for(scope: Scope) -> str:
    """Return the address to sign in at, which leads back to where a request went if that was a page."""
    if scope["method"] not in SAFE:
        return SIGN_IN
    query = scope["query_string"].decode("latin-1")
    target = quote(scope["path"]) + ("?" + query if query else "")
    return f"{SIGN_IN}?next={quote(target)}"
