"""The application: every route behind the guard."""

import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import metadata

from fastapi import Depends, FastAPI, Request, Response
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from quotaflow.edges.http import (
    admin_audit,
    cleanup,
    consume,
    health,
    ledger,
    live,
    logs,
    operators,
    quotas,
    refreshes,
    tasks,
    tokens,
    traces,
    upstream,
)
from quotaflow.edges.http.addresses import CONSUME, is_web
from quotaflow.edges.http.auth import Customers, Door, Tries
from quotaflow.edges.http.context import Context
from quotaflow.edges.http.guard import Guard, Hosts
from quotaflow.edges.http.problems import handle_errors, of_error
from quotaflow.edges.http.pulse import Pulse
from quotaflow.edges.http.ratelimit import Policies
from quotaflow.edges.http.vitals import Stage, Vitals
from quotaflow.edges.web.app import create_pages, tell
from quotaflow.flow import Quotaflow
from quotaflow.timing import Clock, SystemClock


def create_app(
    qf: Quotaflow,
    *,
    trusted: bool,
    clock: Clock | None = None,
    vitals: Vitals | None = None,
) -> ASGIApp:
    """Make the application. `qf.operators.set_admin` says which token is the admin's; until then nobody has it.

    :param trusted: whoever reaches it may do everything; only for a socket that the file system guards.
    :param vitals: of the process, where it is told; None is one that works.
    """
    clock = clock or SystemClock()
    # The validator badge would send the document's address to another host.
    app = FastAPIOffline(
        title="quotaflow", version=_version(), redoc_url=None, swagger_ui_parameters={"validatorUrl": None}
    )
    app.router.redirect_slashes = False
    customers = Customers(qf.tokens.id_of, None if trusted else Tries(clock))
    door = Door(qf.operators, Tries(clock))
    app.state.context = Context(
        qf, Policies(qf.store, clock), clock, customers, door, vitals or Vitals(clock, Stage.WORKING),
        Pulse(qf.statistics.pulse, clock),
    )  # fmt: skip
    bearer = [Depends(HTTPBearer(auto_error=False))]  # for /docs only; the guard has looked already
    for part in (
        logs,
        quotas,
        tokens,
        consume,
        tasks,
        traces,
        ledger,
        cleanup,
        operators,
        admin_audit,
        live,
        health,
        refreshes,
        upstream,
    ):  # logs first: quotas take every address; and refreshes: upstream takes them for ids
        app.include_router(part.router, dependencies=bearer)
    handle_errors(app)
    pages = create_pages(app.state.context)
    told = partial(tell, pages)
    if trusted:
        return Guard(Direct(app, pages), None, None, customers, told)
    return Guard(Direct(app, pages), Hosts(qf.settings.http), door, customers, told)


class Direct:
    """Serves acquire and consume by itself. What the framework puts around routes takes longer than the decision.

    What is not the API's is the pages'.
    """

    def __init__(self, app: FastAPI, pages: Starlette) -> None:
        self._app = app
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        found = _direct(scope["path"]) if scope["method"] == "POST" else None
        if found is None:
            app = self._pages if is_web(scope["path"]) else self._app
            await app(scope, receive, send)
            return
        serve, params = found
        request = Request({**scope, "app": self._app, "path_params": params}, receive)
        try:
            response = await serve(request)
        except Exception as error:  # noqa: BLE001  answered like every other route's
            response = of_error(error, f"{request.method} {request.url.path}")
        await response(scope, receive, send)


def _direct(path: str) -> tuple[Callable[[Request], Awaitable[Response]], dict[str, str]] | None:
    if path == CONSUME:
        return consume.consume, {}
    quota_id = quotas.acquired(path)
    return None if quota_id is None else (quotas.acquire, {"quota_id": quota_id})


def _version() -> str:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version("quotaflow")
    return "0"  # run from its source, not installed
