"""The servers: TCP for everybody with the token, and a socket for the owner of the data directory."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from quotaflow.edges.http.app import create_app
from quotaflow.edges.http.auth import admin_token
from quotaflow.edges.http.connection import BACKLOG, KEEP_ALIVE_S, Connection
from quotaflow.edges.http.place import bound_socket
from quotaflow.edges.http.vitals import Vitals
from quotaflow.errors import ConfigError
from quotaflow.flow import Quotaflow
from quotaflow.settings import Http, Settings

GRACE_S = 1  # for answers under way when we stop

# Of every answer; what depends on its address is added by the guard.
HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
]


async def serve(
    qf: Quotaflow, settings: Settings, *, started: Callable[[str], None], vitals: Vitals | None = None
) -> None:
    """Answer on TCP and on the socket in the data directory until cancelled; `started` is told the base URL.

    Whoever wants to show a new admin token calls `auth.admin_token` before; here it would be lost.

    :raises ConfigError: the port is taken, or a socket cannot be made.
    """
    token_hash, _ = await admin_token(qf.store, settings)
    qf.operators.set_admin(token_hash)
    with contextlib.ExitStack() as stack:
        tcp = stack.enter_context(contextlib.closing(await listen(settings.http)))
        own = stack.enter_context(bound_socket(settings.data_dir))
        servers = {
            Server(create_app(qf, trusted=False, vitals=vitals)): tcp,
            Server(create_app(qf, trusted=True, vitals=vitals)): own,
        }
        url = base_url(tcp)
        async with asyncio.TaskGroup() as group:
            for server, listener in servers.items():
                group.create_task(server.serve([listener]))
            for server in servers:
                await server.ready.wait()
            started(url)


class Server(uvicorn.Server):
    """uvicorn as a guest: signals, logging and the loop are not its business."""

    def __init__(self, app: ASGIApp) -> None:
        config = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",  # below that: a line per broken request, and the server's own life
            access_log=False,
            proxy_headers=False,  # anybody could claim to be another address
            server_header=False,
            headers=HEADERS,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
        )
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the daemon."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self.ready.set()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until cancelled; then answers under way have a second, and every connection is closed."""
        try:
            await super().serve(sockets)
        finally:
            if self.started:
                await self.shutdown(sockets)
            for connection in list(self.server_state.connections):
                connection.transport.abort()


async def listen(http: Http) -> socket.socket:
    """Bind the TCP port, on the host's IPv4 address if it has one.

    :raises ConfigError: one line with address, reason and setting.
    """
    try:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(http.host, http.port, type=socket.SOCK_STREAM)
        family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        return _bound(family, address)
    except OSError as error:
        raise ConfigError(_why_not(error, f"{http.host}:{http.port}")) from error


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener


def _why_not(error: OSError, where: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{where} is taken by another program: stop it, or set http.port to another port (0: any free one)"
    return f"cannot listen on {where}: {error.strerror}; set http.host and http.port"


def base_url(listener: socket.socket) -> str:
    """Return the URL under which this machine reaches a listening socket."""
    host, port = listener.getsockname()[:2]
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared with, not bound to
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"
