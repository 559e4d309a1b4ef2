"""The application: every route behind the guard."""

import contextlib
from collections.abc import Awaitable, Callable
from importlib import metadata

from fastapi import Depends, FastAPI, Request, Response
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp, Receive, Scope, Send

from quotaflow.edges.http import (
    cleanup,
    consume,
    health,
    ledger,
    logs,
    quotas,
    refreshes,
    tasks,
    tokens,
    traces,
    upstream,
)
from quotaflow.edges.http.auth import Customers, Door, Tries
from quotaflow.edges.http.context import Context
from quotaflow.edges.http.guard import CONSUME, Guard, Hosts
from quotaflow.edges.http.problems import handle_errors, of_error
from quotaflow.edges.http.ratelimit import Policies
from quotaflow.edges.http.vitals import Stage, Vitals
from quotaflow.flow import Quotaflow
from quotaflow.timing import Clock, SystemClock


def create_app(
    qf: Quotaflow,
    *,
    trusted: bool,
    token_hash: str | None = None,
    clock: Clock | None = None,
    vitals: Vitals | None = None,
) -> ASGIApp:
    """Make the application.

    :param trusted: whoever reaches it may do everything; only for a socket that the file system guards.
    :param token_hash: of the admin token (`auth.admin_token`); None lets nobody in who is not trusted.
    :param vitals: of the process, where it is told; None is one that works.
    """
    clock = clock or SystemClock()
    # The validator badge would send the document's address to another host.
    app = FastAPIOffline(
        title="quotaflow", version=_version(), redoc_url=None, swagger_ui_parameters={"validatorUrl": None}
    )
    app.router.redirect_slashes = False
    customers = Customers(qf.tokens.id_of, None if trusted else Tries(clock))
    app.state.context = Context(
        qf, Policies(qf.store, clock), clock, customers, vitals or Vitals(clock, Stage.WORKING)
    )
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
        health,
        refreshes,
        upstream,
    ):  # logs first: quotas take every address; and refreshes: upstream takes them for ids
        app.include_router(part.router, dependencies=bearer)
    handle_errors(app)
    if trusted:
        return Guard(Direct(app), None, None, customers)
    return Guard(Direct(app), Hosts(qf.settings.http), Door(token_hash, clock), customers)


class Direct:
    """Serves acquire and consume by itself. What the framework puts around routes takes longer than the decision."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        found = _direct(scope["path"]) if scope["method"] == "POST" else None
        if found is None:
            await self._app(scope, receive, send)
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
