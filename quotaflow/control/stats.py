"""How it goes: the numbers of /api/stats, and whether this process is fit to serve."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from quotaflow.errors import Unavailable
from quotaflow.journal.flusher import Flusher
from quotaflow.journal.recorder import Recorder
from quotaflow.journal.snapshots import Snapshotter
from quotaflow.limiter.fence import Fence
from quotaflow.limiter.instances import Instance, Instances
from quotaflow.limiter.server import Server
from quotaflow.limiter.slots import Slots
from quotaflow.limiter.waiting import Lines
from quotaflow.model import Level
from quotaflow.runs import Run
from quotaflow.settings import Settings
from quotaflow.store import Store


@dataclass(slots=True)
class Readiness:
    """Whether to send work here; `problems` says in words why not.

    `rpo`: what a crash can take back, a few seconds old; None when Redis never told.
    """

    problems: list[str] = field(default_factory=list)
    rpo: str | None = None

    @property
    def is_ready(self) -> bool:
        """Nothing is wrong."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class Statistics:
    """Collects from the rooms; asks Redis and SQL where the answer is theirs."""

    settings: Settings
    fence: Fence
    server: Server
    instances: Instances
    flusher: Flusher
    snapshotter: Snapshotter
    recorder: Recorder
    lines: Lines
    slots: Slots
    store: Store
    levels: Callable[[], Awaitable[dict[str, Level]]]
    runs_waiting: Callable[[], Awaitable[int]]
    stuck_runs: Callable[[], list[Run]]

    async def small(self) -> dict[str, Any]:
        """Return the seven figures of the write-behind queues."""
        journal = self.settings.journal
        return {
            "sync_queue_len": self.snapshotter.waiting,
            "sync_queue_cap": journal.sync_queue_cap,
            "log_queue_len": await self.server.backlog() + len(self.recorder),
            "log_queue_cap": journal.log_queue_cap,
            "sync_interval": f"{journal.flush_every_s:g}s",
            "sync_batch_size": journal.batch,
        }

    async def queues(self) -> dict[str, Any]:
        """Return the figures of everything that waits.

        :raises Unavailable: Redis cannot be asked.
        """
        return {
            **await self.small(),
            "flush_lag_s": round(await self.flusher.oldest_age_s(), 3),
            "flushed": self.flusher.flushed,
            "untraced": self.recorder.untraced,
            "waiting_calls": self.lines.waiting,
            "waiting_runs": await self.runs_waiting(),
        }

    async def pulse(self) -> tuple[Any, ...]:
        """Return what differs whenever pages may have something new to show; Redis is not asked.

        A run is seen when it is in SQL, within a second or two, and a level when its snapshot was taken.

        :raises Unavailable: SQL cannot be asked.
        """
        return (self.fence.number, self.fence.is_ready, *await self.store.pulse())

    async def everything(self) -> dict[str, Any]:
        """Return all figures.

        :raises Unavailable: Redis or SQL cannot be asked.
        """
        counts = await self.store.counts()
        levels = await self.levels()
        return {
            **await self.queues(),
            "slots": {"held": len(self.slots), "waiting": self.slots.waiting, "lost": self.slots.lost},
            "decisions": {
                "allowed": sum(level.allowed for level in levels.values()),
                "limited": sum(level.limited for level in levels.values()),
            },
            "quotas": {
                level.quota_id: {
                    "allowed": level.allowed,
                    "limited": level.limited,
                    "remaining": level.remaining,
                }
                for level in levels.values()
            },
            "traces": {str(status): count for status, count in counts.traces.items()},
            "dead_letters": counts.dead_letters,
            "double_claims": counts.double_claims,
            "incarnation": self.fence.number,
            "instances": [shown(instance) for instance in await self.instances.all()],
            "redis": await self.server.persistence(),
        }

    async def readiness(self) -> Readiness:
        """Say whether this process can decide, and write down what it decides."""
        ready = Readiness()
        if not self.fence.is_ready:
            ready.problems.append("Redis is away or being recovered")
            ready.rpo = self.server.last_rpo
        else:
            try:
                await self.fence.check()  # a ping would be answered also by a Redis that has lost its data
                ready.rpo = await self.server.rpo()
            except Unavailable as error:
                ready.problems.append(str(error))
                ready.rpo = self.server.last_rpo
        if self.flusher.failing_since_s is not None:
            ready.problems.append("the journal cannot be written to SQL")
        ready.problems += [
            f'a run of "{run.task_id}" is stuck: it was cancelled and does not end ({run.run_id})'
            for run in self.stuck_runs()
        ]
        return ready


def shown(instance: Instance) -> dict[str, Any]:
    """Return an instance for people."""
    return {
        "id": instance.id,
        "role": instance.role,
        "host": instance.host,
        "pid": instance.pid,
        "started_us": instance.started_us,
        "beat_us": instance.beat_us,
    }
