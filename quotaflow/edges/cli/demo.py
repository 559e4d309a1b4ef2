"""`quotaflow demo`: the daemon with the example tasks, everything in one directory; then a count of what it did."""

import contextlib
import os
import secrets
import socket
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr

from quotaflow import examples
from quotaflow.edges.cli.client import Daemon
from quotaflow.edges.cli.leaving import lead
from quotaflow.edges.cli.live import Live
from quotaflow.edges.cli.process import Stop, import_tasks, serving, working
from quotaflow.edges.cli.summary import summarize
from quotaflow.edges.cli.systemd import Systemd
from quotaflow.edges.cli.tally import Since, Tally, tally
from quotaflow.edges.cli.words import say
from quotaflow.edges.http.vitals import Vitals
from quotaflow.errors import Conflict
from quotaflow.examples.upstream_service import Account, UpstreamService, key_of
from quotaflow.examples.weather_service import WeatherService
from quotaflow.flow import Quotaflow
from quotaflow.log import configure
from quotaflow.settings import Settings, load
from quotaflow.timing import SystemClock
from quotaflow.upstream import vault

CONFIG = Path(examples.__file__).with_name("config.toml")
DATA_DIR = Path("quotaflow-data")
PORT = 8000
KEY_FILE = "upstream-secret-key"
PROVIDER = "search_service"
SEARCH_KEYS = [key_of(number) for number in range(3)]
SEARCHES = 20  # of each key: enough for five minutes


def demo(
    seconds: Annotated[
        float | None, typer.Option("--for", min=0, help=say("End by itself after so many seconds"))
    ] = None,
    data_dir: Annotated[Path, typer.Option(help=say("Where everything is kept"))] = DATA_DIR,
    port: Annotated[
        int | None, typer.Option(help=say("Where to listen; default 8000, or any free port"))
    ] = None,
) -> None:
    """Run the daemon with example tasks, watch it work, then check every count.

    Exit code 1 when one differs.
    """
    settings = load(
        CONFIG,
        data_dir=data_dir,
        http__port=free_or_any(PORT) if port is None else port,
        redis__url="embedded",
        store__url="",
        tasks__database_url="",
    )
    settings = settings.model_copy(update={"admin_token": settings.admin_token or _fresh_token()})
    configure("console", "warning")
    import_tasks(settings.tasks.modules)
    counted = lead(_demo(settings, seconds))
    if counted is not None:
        summarize(counted)
        raise typer.Exit(0 if counted.agrees else 1)


async def _demo(settings: Settings, seconds: float | None) -> Tally | None:
    """Return the count; None when it was stopped before it had begun."""
    clock, counted = SystemClock(), None
    vitals = Vitals(clock)
    stop = Stop(vitals, Systemd(os.environ, os.getpid()))
    opened_us = clock.wall_us()
    with stop.cutting_short():
        async with (
            WeatherService().listening() as weather,
            UpstreamService({key: Account(SEARCHES) for key in SEARCH_KEYS}).listening() as search,
            Quotaflow.open(searching(sealing(settings), search), role="daemon") as qf,
            serving(qf, vitals) as url,
        ):
            os.environ |= {"WEATHER_URL": weather, "SEARCH_URL": search}
            await stock(qf)
            _first_lines(url, settings, qf.operators.one_time_link())
            Live(typer.echo, partial(stop.ask, "nobody reads")).attach()
            async with working(qf, vitals, clock):
                since = Since(opened_us, clock.wall_us())
                await stop.wait(seconds)
            with contextlib.closing(Daemon(settings.data_dir)) as daemon:
                counted = await tally(qf, daemon, since, clock)
    return counted


def _first_lines(url: str, settings: Settings, code: str) -> None:
    typer.echo(say("{url} is quotaflow at work; Ctrl-C stops it and counts", url=url))
    typer.echo(
        say(
            "look at it in a browser (signs in once, for 10 minutes): {link}", link=f"{url}/login?once={code}"
        )
    )
    if settings.admin_token is not None:
        token = settings.admin_token.get_secret_value()
        typer.echo(say("admin token, for this demo only: {token}", token=token))
    where = settings.data_dir
    typer.echo(say("in another terminal: quotaflow quota list --data-dir {where}", where=where) + "\n")


def searching(settings: Settings, url: str) -> Settings:
    """Return settings that know where the search service listens."""
    providers = tuple(replace(one, url=f"{url}/usage") for one in settings.upstream.providers)
    upstream = settings.upstream.model_copy(update={"providers": providers})
    return settings.model_copy(update={"upstream": upstream})


def sealing(settings: Settings) -> Settings:
    """Return settings with what encrypts the API keys that somebody types: it lies beside the demo's data."""
    if settings.upstream.secret_keys:
        return settings
    file = settings.data_dir / KEY_FILE
    if not file.exists():
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.touch(mode=0o600)
        file.write_text(vault.new_key())
    upstream = settings.upstream.model_copy(update={"secret_key": SecretStr(file.read_text())})
    return settings.model_copy(update={"upstream": upstream})


async def stock(qf: Quotaflow) -> None:
    """Store the keys of the search service, unless an earlier demo did; its service had others' books."""
    for number, key in enumerate(SEARCH_KEYS, 1):
        os.environ[f"SEARCH_KEY_{number}"] = key
        with contextlib.suppress(Conflict):
            await qf.upstream.add(PROVIDER, f"env:SEARCH_KEY_{number}", name=f"key {number}")
    await qf.upstream.refresh(PROVIDER)


def _fresh_token() -> SecretStr:
    return SecretStr(secrets.token_urlsafe(24))


def free_or_any(port: int) -> int:
    """Return the port, or 0 (any) when somebody has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
        return port
