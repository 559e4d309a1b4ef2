"""Where one embedded server keeps its things, and its socket when the data directory's path is too long."""

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from quotaflow.errors import ConfigError

# The kernel takes 107 bytes on Linux and 103 on macOS.
SOCKET_PATH_MAX = 100


@dataclass(frozen=True, slots=True)
class Place:
    """The files of one embedded server, all below the real path of the data directory."""

    home: Path

    @classmethod
    def at(cls, data_dir: Path) -> Self:
        """Make the directories that are missing, readable by nobody else.

        :raises ConfigError: they cannot be made.
        """
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            place = cls(data_dir.resolve())
            place.files.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot use the data directory {data_dir}: {error.strerror}") from error
        return place

    @property
    def lock(self) -> Path:
        """Held by the server process for as long as it lives."""
        return self.home / "redis.lock"

    @property
    def guard(self) -> Path:
        """Held for a moment by whoever starts, joins or stops the server."""
        return self.home / "redis.guard"

    @property
    def log(self) -> Path:
        """The log of the server's present life; the life before is in `redis.log.1`."""
        return self.home / "redis.log"

    @property
    def files(self) -> Path:
        """The server's own directory: the append-only file."""
        return self.home / "redis"

    @property
    def link(self) -> Path:
        """The socket, or a symbolic link to it: who joins need not have the environment of who started."""
        return self.home / "redis.sock"

    def socket(self) -> Path:
        """Where the running server listens.

        :raises ConfigError: the link leads to a directory that others could have made.
        """
        try:
            socket = self.link.readlink()
        except OSError:
            return self.link
        # A link from before a reboot leads nowhere, until the holder of the lock has made a new one.
        with contextlib.suppress(FileNotFoundError):
            check_private(socket.parent)
        return socket

    def settle(self, environ: Mapping[str, str]) -> Path:
        """Decide where a new server listens and prepare it; only for the holder of the lock.

        :raises ConfigError: there is no directory that is both short and private.
        """
        if _fits(self.link):
            return self.link
        socket = short_socket(self.home, environ)
        with contextlib.suppress(FileExistsError):
            socket.parent.mkdir(mode=0o700)
        check_private(socket.parent)
        fresh = self.home / "redis.sock.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(socket)
        fresh.replace(self.link)
        return socket


def short_socket(home: Path, environ: Mapping[str, str]) -> Path:
    """Derive the same short path for the same user and directory, always.

    :raises ConfigError: the machine's own temporary directories are too long as well.
    """
    name = hashlib.sha256(f"{os.getuid()}:{home}".encode()).hexdigest()[:16]
    for parent in (environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir()):
        socket = Path(parent, f"quotaflow-{name}", "redis.sock")
        if parent and os.access(parent, os.W_OK | os.X_OK) and _fits(socket):
            return socket
    raise ConfigError(f"the path {home} is too long for a socket; choose a shorter data_dir")


def check_private(directory: Path) -> None:
    """Refuse a directory that somebody else made or can change: a temporary directory is open to all.

    :raises ConfigError: it is no directory, or not this user's alone.
    :raises FileNotFoundError: nothing is there.
    """
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError(
            f"{directory} must be a directory of user {os.getuid()} with mode 0700; it is "
            f"{stat.filemode(found.st_mode)} of user {found.st_uid}: remove it, or choose a shorter data_dir"
        )


def _fits(socket: Path) -> bool:
    return len(os.fsencode(socket)) <= SOCKET_PATH_MAX
