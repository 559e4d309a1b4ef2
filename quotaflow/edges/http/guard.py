"""Who may come in, and with how much: everything that is decided before a route is looked for."""

import contextlib
from ipaddress import ip_address

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quotaflow.edges.http.auth import Customers, Door, bearer_of
from quotaflow.edges.http.problems import BadHost, TooLarge, of_error
from quotaflow.errors import QuotaflowError
from quotaflow.settings import Http

MAX_BODY = 64 * 1024  # bytes
IMPORT = "/api/upstream-keys/import"
MAX_IMPORT = 8 * 1024 * 1024  # bytes of a body there: 10,000 keys
LOCAL_ONLY = ("/stats", "/metrics")  # figures: open to this machine, with the token to others
CONSUME = "/api/consume"  # and what is below it: not the admin's, but of who has an access token
TOKEN_ID = "quotaflow.token_id"  # noqa: S105  in the scope: whose access token it is
ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104  compared with, not bound to


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
    """Checks a request and hands it on. `hosts` and `door` are None for those whom the file system let in."""

    def __init__(self, app: ASGIApp, hosts: Hosts | None, door: Door | None, customers: Customers) -> None:
        self._app = app
        self._customers = customers
        self._hosts = hosts
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        try:
            self._check(scope)
        except QuotaflowError as error:
            await of_error(error)(scope, receive, send)
            return
        # What gets here was logged and answered; the framework raises it again for servers that log.
        with contextlib.suppress(Exception):
            await self._app(scope, _bounded(receive, most_of(scope)), send)

    def _check(self, scope: Scope) -> None:
        headers = scope["headers"]
        if self._hosts is not None:
            self._hosts.check(b",".join(_values(headers, b"host")).decode("latin-1"))
        if is_consume(scope["path"]):
            scope[TOKEN_ID] = self._customers.id_of(_secret(headers), address_of(scope))
        elif self._door is not None and _needs_token(scope):
            self._door.check(next(iter(_values(headers, b"authorization")), None), address_of(scope))
        most = most_of(scope)
        if any(_length(value) > most for value in _values(headers, b"content-length")):
            raise _too_large(most)


def most_of(scope: Scope) -> int:
    """Return how many bytes a body may have."""
    return MAX_IMPORT if scope["path"] == IMPORT else MAX_BODY


def _too_large(most: int) -> TooLarge:
    return TooLarge(f"a body may have at most {most} bytes")


def _values(headers: list[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    return [value for name, value in headers if name == wanted]


def is_consume(path: str) -> bool:
    """Say whether an address is for access tokens instead of the admin's."""
    return path == CONSUME or path.startswith(CONSUME + "/")


def _secret(headers: list[tuple[bytes, bytes]]) -> bytes | None:
    for name in (b"access-token", b"accesstoken"):  # who sends one of these may send the admin token too
        if found := _values(headers, name):
            return found[0].strip()
    return bearer_of(next(iter(_values(headers, b"authorization")), None))


def _length(value: bytes) -> int:
    return int(value) if value.isdigit() and len(value) < len(str(1 << 62)) else MAX_IMPORT + 1


def address_of(scope: Scope) -> str:
    """Return where a request comes from; empty for a socket in the file system."""
    return str((scope.get("client") or ("",))[0])


def _needs_token(scope: Scope) -> bool:
    # By prefix: the router takes "/stats\n" for "/stats".
    path = scope["path"]
    return path.startswith("/api") or (path.startswith(LOCAL_ONLY) and not _is_local(address_of(scope)))


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
