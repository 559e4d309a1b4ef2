"""`quotaflow run`: the daemon."""

import asyncio
import os
from functools import partial
from typing import Annotated, Literal

import typer

from quotaflow.edges.cli.client import Config, DataDir
from quotaflow.edges.cli.leaving import lead
from quotaflow.edges.cli.process import Stop, collect_seldom, import_tasks, serving, working
from quotaflow.edges.cli.systemd import Systemd
from quotaflow.edges.cli.words import say
from quotaflow.edges.http.vitals import Vitals
from quotaflow.flow import Quotaflow
from quotaflow.log import Event, configure, get_logger
from quotaflow.runner.registry import REGISTRY
from quotaflow.settings import Settings, load
from quotaflow.timing import SystemClock

Level = Literal["debug", "info", "warning", "error"]

log = get_logger(room="daemon")


def run(
    config: Config = None,
    data_dir: DataDir = None,
    port: Annotated[int | None, typer.Option(help=say("Where to listen; 0 takes any free port"))] = None,
    log_level: Annotated[Level | None, typer.Option(help=say("The least important level shown"))] = None,
) -> None:
    """Run the daemon until SIGTERM or Ctrl-C."""
    systemd = Systemd(os.environ, os.getpid())
    settings = load(config, data_dir=data_dir, http__port=port, log__level=log_level)
    configure(settings.log.format, settings.log.level)
    import_tasks(settings.tasks.modules)
    collect_seldom()
    lead(_serve(settings, systemd))


async def _serve(settings: Settings, systemd: Systemd) -> None:
    clock = SystemClock()
    vitals = Vitals(clock)
    stop = Stop(vitals, systemd)
    with systemd.pinging(clock), stop.cutting_short():
        async with (
            Quotaflow.open(settings, role="daemon") as qf,
            serving(qf, vitals) as url,
            working(qf, vitals, clock),
            asyncio.TaskGroup() as group,
        ):
            log.info(Event.DAEMON_STARTED, **_facts(qf))
            typer.echo(say("quotaflow is ready: {url} (Ctrl-C stops it)", url=url))
            readiness = partial(vitals.readiness, qf.statistics)
            telling = group.create_task(systemd.tell_ready(readiness, url, clock))
            await stop.wait()
            telling.cancel()
    log.info(Event.DAEMON_STOPPED)


def _facts(qf: Quotaflow) -> dict[str, object]:
    settings = qf.settings
    return {
        "instance_id": qf.instance_id,
        "data_dir": str(settings.data_dir),
        "redis": settings.redis.url,
        "store": settings.store_url,
        "tasks": len(REGISTRY),
        "quotas": len(settings.quotas),
    }
