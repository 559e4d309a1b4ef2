"""The world of the runner's chaos: three daemons as processes on one Redis and one PostgreSQL, and what was done to them."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from chaoslab.runner.contract import DRAIN, QUOTAS
from chaoslab.runner.notes import NOTES
from chaoslab.world import Sql, thaw_later
from tests.servers import ValkeyProcess, wait_until

DAEMONS = 3
TOKEN = "the-admin-token-of-chaos"  # noqa: S105  it opens nothing else
GRACE_S = 6.0  # bodies last 1.6 s
END_S = GRACE_S + 20.0  # the last batch, which may meet a frozen daemon's locks; 17 s where the host was slow
READY_S = 60.0
WORK_S = 10.0
BREATH_S = 1.0  # after a freeze; nothing is surely told in less
LEASE_S = 8.0  # a daemon frozen for longer loses its runs
TAG = "qf:{p0}:"


class AllKilled(NamedTuple):
    """A moment at which everything died, and the runs that waited then."""

    at: float
    waiting: set[str]


class Frozen(NamedTuple):
    """A process stood still; monotonic seconds."""

    since: float
    until: float

    @property
    def is_long(self) -> bool:
        """Its runs may have been taken from it: a beat comes every 2 s."""
        return self.until - self.since > LEASE_S - 2.5


class Daemon:
    """One life of a daemon."""

    def __init__(self, home: Path, log: Path, environ: dict[str, str]) -> None:
        self._log = log
        self._url = ""
        self.frozen = Frozen(0.0, 0.0)
        words = ("run", "--config", str(home.parent / "config.toml"), "--data-dir", str(home))
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "quotaflow", *words],
                cwd=home.parent,
                env=environ,
                stdout=output,
                stderr=output,
            )

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    @property
    def said(self) -> str:
        return self._log.read_text()

    @property
    def url(self) -> str:
        """Where it answers; empty before it is ready."""
        if not self._url and (found := re.search(r"ready: (http://\S+)", self.said)):
            self._url = found[1]
        return self._url if self.is_alive else ""

    @property
    def is_awake(self) -> bool:
        return bool(self.url) and time.monotonic() > self.frozen.until

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class World:
    """Everything that can be hurt."""

    def __init__(self, directory: Path, redis: ValkeyProcess, sql: Sql) -> None:
        self.directory = directory
        self.redis = redis
        self.sql = sql
        self.notes = directory / "notes"
        self.daemons: list[Daemon] = []
        self.lives = 0
        self.done: Counter[str] = Counter()
        self.died: dict[int, float] = {}  # process -> when it was killed, or frozen and then killed
        self.stopped: set[int] = set()  # processes that were told to end
        self.frozen: dict[int, list[Frozen]] = {}  # by process
        self.all_killed: list[AllKilled] = []
        self.faults: list[str] = []  # what daemons did that they must not
        self.slowest_end_s = 0.0
        self.changing = threading.Lock()  # of `daemons`: the visitor looks at it from a thread
        (directory / "config.toml").write_text(
            f'[redis]\nurl = "{redis.url}"\n[store]\nurl = "{sql.url}"\n[tasks]\nmodules = ["chaoslab.runner.tasks"]\n'
            f'[http]\nport = 0\n[runner]\nshutdown_grace_s = {GRACE_S}\n[log]\nformat = "json"\n{QUOTAS}'
        )

    def begin(self) -> None:
        """Start everybody, and wait until they work."""
        self.daemons = [self._start(number) for number in range(DAEMONS)]
        self.wait_ready()

    def _start(self, number: int, **more: str) -> Daemon:
        self.lives += 1
        self.tell("start", number, self.lives)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("QUOTA")}
        environ = {**clean, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "QUOTAFLOW_ADMIN_TOKEN": TOKEN, **more}
        log = self.directory / f"daemon{number}-{self.lives}.log"
        return Daemon(self.directory / f"daemon{number}", log, {**environ, NOTES: str(self.notes)})

    def tell(self, *words: object) -> None:
        """Write down what is done, for whoever reads what CHAOS_KEEP kept."""
        with (self.directory / "faults.log").open("a") as log:
            moment = datetime.now(UTC).isoformat(timespec="milliseconds")
            print(moment, f"load {os.getloadavg()[0]:.1f}", *words, file=log)

    def wait_ready(self) -> None:
        wait_until(
            lambda: all(daemon.url or not daemon.is_alive for daemon in self.daemons), deadline_s=READY_S
        )
        for daemon in self.daemons:
            if not daemon.is_alive:
                raise RuntimeError(daemon.said[-2000:])

    def awake(self) -> list[Daemon]:
        """Return the daemons that answer."""
        with self.changing:
            return [daemon for daemon in self.daemons if daemon.is_awake]

    def wait_for_work(self, daemons: int) -> None:
        """Wait until so many daemons work, but not for ever."""
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: len(self.awake()) >= daemons, deadline_s=WORK_S)

    def mend(self) -> None:
        """Start again whoever ended; nobody may end by itself."""
        for number, daemon in enumerate(self.daemons):
            if not daemon.is_alive:
                if daemon.process.pid not in self.died.keys() | self.stopped:
                    self.faults.append(f"a daemon ended by itself: {daemon.process.returncode}")
                self.replace(number)

    def replace(self, number: int) -> None:
        with self.changing:
            self.daemons[number] = self._start(number)

    def kill(self, daemon: Daemon) -> None:
        """kill -9; one that is frozen has been dead since then."""
        now = time.monotonic()
        self.tell("kill", daemon.process.pid)
        was_awake = now > daemon.frozen.until + BREATH_S
        self.died[daemon.process.pid] = now if was_awake else daemon.frozen.since
        daemon.kill()

    def freeze(self, daemon: Daemon, seconds: float) -> None:
        daemon.process.send_signal(signal.SIGSTOP)
        now = time.monotonic()
        self.tell("freeze", daemon.process.pid, seconds)
        # Frozen again as soon as it has gone on, it has hardly been there in between.
        since = daemon.frozen.since if now < daemon.frozen.until + BREATH_S else now
        daemon.frozen = Frozen(since, now + seconds)
        self.frozen.setdefault(daemon.process.pid, []).append(daemon.frozen)
        thaw_later(daemon.process, seconds)

    def stop(self, daemon: Daemon) -> None:
        """SIGTERM; it must end in order and in time."""
        began = time.monotonic()
        self.tell("stop", daemon.process.pid)
        self.stopped.add(daemon.process.pid)
        daemon.process.terminate()
        try:
            code = daemon.process.wait(timeout=END_S + 20)
        except subprocess.TimeoutExpired:
            self.faults.append("a daemon did not end after SIGTERM")
            self.kill(daemon)
            return
        took = time.monotonic() - began
        self.slowest_end_s = max(self.slowest_end_s, took)
        if code != 0 or took > END_S:
            self.faults.append(f"after SIGTERM a daemon ended with code {code} after {took:.1f} s")

    def kill_everything(self, pause_s: float) -> None:
        """kill -9 of all daemons and Redis; before it nothing moves, so that what waits is known exactly."""
        for daemon in self.daemons:
            if daemon.is_alive:
                daemon.process.send_signal(signal.SIGSTOP)
        time.sleep(0.05)  # what is on its way to Redis arrives
        with self.redis.client() as client:
            waiting = set(client.zrange(TAG + "due", 0, -1))
        self.all_killed.append(AllKilled(time.monotonic(), waiting))
        for daemon in self.daemons:
            if daemon.is_alive:
                self.kill(daemon)
        self.redis.kill()
        self.tell("redis is killed, too")
        time.sleep(pause_s)
        self.redis.start()
        self.mend()
        self.wait_ready()

    def drain(self, deadline_s: float) -> None:
        """Stop ticking and empty everything: all daemons end, and a last one has tasks that are never due."""
        wait_until(lambda: len(self.awake()) == DAEMONS, deadline_s=READY_S)
        for daemon in self.daemons:
            self.stop(daemon)
        with self.changing:
            self.daemons = [self._start(0, **{DRAIN: "1"})]
        self.wait_ready()
        try:
            wait_until(self.is_empty, deadline_s=deadline_s)
        except TimeoutError:
            self.faults.append(f"not everything ended within {deadline_s:g} s")
        self.stop(self.daemons[0])

    def is_empty(self) -> bool:
        """Nothing waits or runs, and SQL has everything."""
        time.sleep(0.1)
        with self.redis.client() as client:
            return not (
                client.zcard(TAG + "due") or client.zcard(TAG + "running") or client.xlen(TAG + "journal")
            )

    def end(self) -> None:
        """End everybody."""
        for daemon in self.daemons:
            if daemon.is_alive:
                daemon.kill()
