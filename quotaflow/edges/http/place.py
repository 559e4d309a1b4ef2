"""Where the owner's socket is: `http.sock` in the data directory, or a link there when its path is too long."""

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from quotaflow.errors import ConfigError
from quotaflow.redis_server.place import SOCKET_PATH_MAX, check_private, short_socket

NAME = "http.sock"


def find_socket(data_dir: Path) -> Path:
    """Return the path to connect to; nothing may be there.

    :raises ConfigError: the link leads to a directory that others could have made.
    """
    link = data_dir.resolve() / NAME
    try:
        path = link.readlink()
    except OSError:
        return link
    with contextlib.suppress(FileNotFoundError):
        check_private(path.parent)
    return path


@contextlib.contextmanager
def bound_socket(data_dir: Path, environ: Mapping[str, str] = os.environ) -> Iterator[socket.socket]:
    """Bind the socket, for this user only, while the block runs. For the daemon, who owns the directory.

    :raises ConfigError: there is no place for it.
    """
    link = data_dir.resolve() / NAME
    try:
        path = _settle(link, environ)
        path.unlink(missing_ok=True)  # a killed daemon leaves its own
        bound = _bind(path)
    except OSError as error:
        raise ConfigError(f"cannot make the socket {link}: {error.strerror}; check data_dir") from error
    try:
        yield bound
    finally:
        bound.close()
        path.unlink(missing_ok=True)
        link.unlink(missing_ok=True)


def _settle(link: Path, environ: Mapping[str, str]) -> Path:
    """Decide where to listen, and lead there from the data directory."""
    if len(os.fsencode(link)) <= SOCKET_PATH_MAX:
        return link
    path = short_socket(link.parent, environ).with_name(NAME)  # beside the embedded server's
    path.parent.mkdir(mode=0o700, exist_ok=True)
    check_private(path.parent)
    fresh = link.with_name(f"{NAME}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(path)
    fresh.replace(link)
    return path


def _bind(path: Path) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        path.chmod(0o600)  # before anybody can connect: it does not listen yet
    except BaseException:
        bound.close()
        raise
    return bound
