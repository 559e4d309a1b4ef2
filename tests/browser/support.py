"""What tests of pages look with: at complaints of the browser, at pictures, at who is shut out."""

import os
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, WebError, WebSocket

ROOT = Path(__file__).parents[2]
AXE = ROOT / ".venv/browser/node_modules/axe-core/axe.min.js"
HERE = "127.0.0.1"
DEADLINE_S = 5.0  # a report takes milliseconds; the machine may be busy
INSIDE = {"data", "blob", "about"}  # schemes of what the browser has already


class Complaints:
    """Console errors, uncaught errors, violations of the content policy, and requests that leave this machine.

    A test fails at its end when one is left; `expect` takes away what the test provokes.
    """

    def __init__(self) -> None:
        self._said: list[str] = []

    def watch(self, context: BrowserContext) -> None:
        """Listen to all pages of a context, also those that it will open."""
        context.on("console", self._console)
        context.on("weberror", self._error)
        context.on("request", self._request)
        context.on("page", lambda page: page.on("websocket", self._websocket))

    def expect(self, page: Page, text: str) -> None:
        """Take away the complaints with `text`; the test fails when none comes.

        The browser reports in its own time, and only while Playwright listens.
        """
        end = time.monotonic() + DEADLINE_S
        while not any(text in said for said in self._said) and time.monotonic() < end:
            page.wait_for_timeout(5)
        assert any(text in said for said in self._said), self._said
        self._said = [said for said in self._said if text not in said]

    def left(self) -> list[str]:
        """Return what nobody has expected."""
        return self._said

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":  # Chromium reports violations of the content policy here
            self._said.append(f"console: {message.text} ({message.location['url']})")

    def _error(self, error: WebError) -> None:
        self._said.append(f"uncaught: {error.error}")

    def _request(self, request: Request) -> None:
        self._leaves(request.url)

    def _websocket(self, socket: WebSocket) -> None:
        self._leaves(socket.url)

    def _leaves(self, url: str) -> None:
        where = urlsplit(url)
        if where.scheme not in INSIDE and where.hostname != HERE:
            self._said.append(f"leaves this machine: {url}")


def shot(page: Page, name: str) -> Path:
    """Take a picture of the whole page, for people: NAME.png in QUOTAFLOW_SHOTS or .browser."""
    file = Path(os.environ.get("QUOTAFLOW_SHOTS") or ROOT / ".browser", f"{name}.png")
    page.screenshot(path=file, full_page=True, caret="initial")
    return file


def axe(page: Page) -> list[str]:
    """Return what shuts people out of the page as it stands, a line for each rule: `assert axe(page) == []`.

    :raises FileNotFoundError: axe-core is not installed; scripts/test-browser does it.
    """
    found = _evaluated(page, f"{AXE.read_text(encoding='utf-8')}\n;axe.run()")
    return [_told(violation) for violation in found["violations"]]


def _evaluated(page: Page, source: str) -> dict[str, Any]:
    """Run a script as the developer tools do: the page's content policy is not asked."""
    tools = page.context.new_cdp_session(page)
    answer = tools.send(
        "Runtime.evaluate", {"expression": source, "awaitPromise": True, "returnByValue": True}
    )
    tools.detach()
    assert "exceptionDetails" not in answer, answer["exceptionDetails"]
    value: dict[str, Any] = answer["result"]["value"]
    return value


def _told(violation: dict[str, Any]) -> str:
    nodes = ", ".join(re.sub(r"\s+", " ", node["html"])[:200] for node in violation["nodes"])
    return f"{violation['id']} ({violation['impact']}), {violation['help']}: {nodes}"
