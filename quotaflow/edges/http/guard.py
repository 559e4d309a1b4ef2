"""Who may come in, and with how much: everything that is decided before a route is looked for."""

import contextlib
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from ipaddress import ip_address

from starlette.requests import Request, cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quotaflow.control.operators import ADMINISTRATOR
from quotaflow.edges.http.addresses import (
    LOCAL_ONLY,
    SAFE,
    SIGN_OUT,
    is_consume,
    is_open,
    is_page,
    is_sign_in,
    is_web,
    sign_in_for,
)
from quotaflow.edges.http.auth import Customers, Door, bearer_of
from quotaflow.edges.http.origin import Headers, check_origin, values_of
from quotaflow.edges.http.policy import with_policy
from quotaflow.edges.http.problems import BadHost, TooLarge, of_error
from quotaflow.errors import Forbidden, Unauthorized
from quotaflow.operators import Operator, Role
from quotaflow.settings import Http

MAX_BODY = 64 * 1024  # bytes
IMPORT = "/api/upstream-keys/import"
MAX_IMPORT = 8 * 1024 * 1024  # bytes of a body there: 10,000 keys
TOKEN_ID = "quotaflow.token_id"  # noqa: S105  in the scope: whose access token it is
OPERATOR = "quotaflow.operator"  # in the scope: who asks
DOOR = "quotaflow.door"  # in the scope: through which they came; none for those whom the file system let in
COOKIE = "quotaflow_session"  # without __Host-, which needs TLS
ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104  compared with, not bound to


Told = Callable[[Request, Exception], Awaitable[Response]]


class Hosts:
    """The names by which we may be addressed; a web page that rebinds its own name to us uses another."""

    def __init__(self, http: Http) -> None:
        bound = () if http.host in ANY_ADDRESS else (f"[{http.host}]" if ":" in http.host else http.host,)
        names = [name.lower() for name in (*http.allowed_hosts, *bound)]
        self._any = "*" in names
        self._names = frozenset(names)
        self._suffixes = tuple(name[1:] for name in names if name.startswith("*."))

    def check(self, header: str) -> None:
        """Return if the Host header names us.

        :raises BadHost: it does not.
        """
        name = host_name(header)
        if not (self._any or name in self._names or (self._suffixes and name.endswith(self._suffixes))):
            raise BadHost("the Host header is none of http.allowed_hosts")


def host_name(header: str) -> str:
    """Return a Host header without its port, in lower case; an IPv6 address keeps its brackets."""
    name, colon, port = header.lower().rpartition(":")
    return name if colon and port.isdigit() else header.lower()


class Guard:
    """Checks a request and hands it on. `hosts` and `door` are None for those whom the file system let in.

    `told` makes the answer of an error where a page was asked for.
    """

    def __init__(
        self, app: ASGIApp, hosts: Hosts | None, door: Door | None, customers: Customers, told: Told
    ) -> None:
        self._app = app
        self._told = told
        self._customers = customers
        self._hosts = hosts
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        send = with_policy(send, scope["path"])
        try:
            instead = await self._check(scope)
        except Exception as error:  # noqa: BLE001  answered like every route's
            instead = await self._refused(scope, error)
        if instead is not None:
            await instead(scope, receive, send)
            return
        # What gets here was logged and answered; the framework raises it again for servers that log.
        with contextlib.suppress(Exception):
            await self._app(scope, _bounded(receive, most_of(scope)), send)

    async def _refused(self, scope: Scope, error: Exception) -> Response:
        if is_web(scope["path"]) and not isinstance(error, BadHost):
            return await self._told(Request(scope), error)
        return of_error(error, f"{scope['method']} {scope['path']}")

    async def _check(self, scope: Scope) -> Response | None:
        """Return what to answer instead of handing it on; say in the scope who asks."""
        headers, instead = scope["headers"], None
        if self._hosts is not None:
            self._hosts.check(b",".join(values_of(headers, b"host")).decode("latin-1"))
        if is_consume(scope["path"]):
            scope[TOKEN_ID] = self._customers.id_of(_secret(headers), address_of(scope))
        elif self._door is None:
            scope[OPERATOR] = ADMINISTRATOR
        else:
            instead = await _admit(self._door, scope)
        most = most_of(scope)
        if any(_length(value) > most for value in values_of(headers, b"content-length")):
            raise _too_large(most)
        return instead


async def _admit(door: Door, scope: Scope) -> Response | None:
    headers, path, is_safe = scope["headers"], scope["path"], scope["method"] in SAFE
    token, session = _credentials(headers)
    is_leaving = path == SIGN_OUT and not is_safe
    if not is_safe and token is None and (session is not None or is_sign_in(path) or is_leaving):
        check_origin(headers, needed=session is not None)
    if is_open(path) or (path.startswith(LOCAL_ONLY) and _is_local(address_of(scope))):
        return None
    operator = await _who(door, token, session, address_of(scope))
    if operator is None:  # who leaves when the session is over is rid of the cookie all the same
        return None if is_leaving else _sign_in_first(scope)
    scope[OPERATOR], scope[DOOR] = operator, door  # also for the page that refuses
    if operator.role is not Role.ADMIN and not is_safe and not is_leaving:
        raise Forbidden("your token may look, not change: ask for one with role admin")
    return None


async def _who(door: Door, token: bytes | None, session: str | None, address: str) -> Operator | None:
    if token is not None:
        return await door.by_token(token, address)
    return None if session is None else await door.by_session(session)


def _sign_in_first(scope: Scope) -> Response:
    """Send a browser to where it can sign in, and back from there; tell others what to send."""
    refused = Unauthorized("send an operator's token (Authorization: Bearer ...), or sign in at /login")
    if not is_page(scope["path"]):
        raise refused
    if values_of(scope["headers"], b"hx-request") == [b"true"]:  # htmx would put the page into this one
        answer = of_error(refused)
        answer.headers["HX-Redirect"] = sign_in_for(scope)
        return answer
    if scope["method"] in SAFE:
        return RedirectResponse(sign_in_for(scope), HTTPStatus.SEE_OTHER)
    raise refused


def operator_of(request: Request) -> Operator:
    """Return who asks.

    :raises Unauthorized: nobody is signed in, which only public pages and /api/consume allow.
    """
    operator = request.scope.get(OPERATOR)
    if not isinstance(operator, Operator):
        raise Unauthorized("nobody is signed in")
    return operator


async def is_still_in(request: Request) -> bool:
    """Say whether who asked may still look, where an answer goes on for long."""
    door: Door | None = request.scope.get(DOOR)
    return door is None or await door.still_knows(*_credentials(request.scope["headers"]))


def most_of(scope: Scope) -> int:
    """Return how many bytes a body may have."""
    return MAX_IMPORT if scope["path"] == IMPORT else MAX_BODY


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"a body may have at most {most} bytes")


def _credentials(headers: Headers) -> tuple[bytes | None, str | None]:
    """Return the token or the secret of the session; with a token nobody looks at cookies."""
    token = bearer_of(next(iter(values_of(headers, b"authorization")), None))
    return token, _session(headers) if token is None else None


def _session(headers: Headers) -> str | None:
    """Return the secret in the cookie; None when there is none, or more than one, in one header or several."""
    pairs = b";".join(values_of(headers, b"cookie")).decode("latin-1").split(";")
    found = [cookie_parser(pair) for pair in pairs]  # by itself: of two with one name it would keep the last
    secrets = [cookies[COOKIE] for cookies in found if COOKIE in cookies]
    return secrets[0] if len(secrets) == 1 else None


def _secret(headers: Headers) -> bytes | None:
    for name in (b"access-token", b"accesstoken"):  # who sends one of these may send an operator's too
        if found := values_of(headers, name):
            return found[0].strip()
    return bearer_of(next(iter(values_of(headers, b"authorization")), None))


def _length(value: bytes) -> int:
    return int(value) if value.isdigit() and len(value) < len(str(1 << 62)) else MAX_IMPORT + 1


def address_of(scope: Scope) -> str:
    """Return where a request comes from; empty for a socket in the file system."""
    return str((scope.get("client") or ("",))[0])


def _is_local(address: str) -> bool:
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _bounded(receive: Receive, most: int) -> Receive:
    left = most

    async def counted() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise _too_large(most)
        return message

    return counted
