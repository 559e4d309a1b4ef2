"""A real daemon, as one who looks at its pages knows it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from tests.cli.support import Background
from tests.servers import ServerDirectory

TOKEN = "canary-admin-token-0123456789"

CONFIG = """
[tasks]
modules = ["tests.browser.errands"]
[[quotas]]
id = "errands"
name = "Errands 跑腿"
capacity = 1000
refill_rate = 0
[[quotas]]
id = "dry"
capacity = 1
refill_rate = 0
"""


class House:
    """A running daemon with tasks and quotas of its own, an embedded Redis and SQLite. Tests of a file share it."""

    token = TOKEN

    def __init__(self, more: str = "", **environment: str) -> None:
        """`more`: configuration beside the one of all tests; `environment`: secrets among it."""
        self._environment = environment
        self._directory = ServerDirectory("browser")
        (self.home / "config.toml").write_text(CONFIG + more, encoding="utf-8")
        self._start(port=0)

    @property
    def home(self) -> Path:
        """Where its configuration and what it says are."""
        return self._directory.path

    def ask(self, method: str, path: str, json: Any = None) -> httpx.Response:
        """Ask over HTTP as the admin; whatever it answers."""
        header = {"authorization": f"Bearer {self.token}"}
        return httpx.request(method, f"{self.url}{path}", json=json, headers=header, timeout=60)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Be stopped while the block runs, then start again with the same data, at the same URL."""
        self._stop()
        yield
        self._start(port=urlsplit(self.url).port or 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._stop()
        finally:
            self._daemon.__exit__(None, None, None)
            self._directory.end()

    def _start(self, port: int) -> None:
        where = ("--config", "config.toml", "--data-dir", "data", "--port", str(port))
        self._daemon = Background(
            "run", *where, cwd=self.home, QUOTAFLOW_ADMIN_TOKEN=self.token, **self._environment
        )
        try:
            self.url = self._daemon.wait_ready()
        except BaseException:
            self._daemon.__exit__(None, None, None)
            raise

    def _stop(self) -> None:
        assert self._daemon.stop() == 0, self._daemon.err
        assert "Traceback" not in self._daemon.err, self._daemon.err.partition("Traceback")[2]
