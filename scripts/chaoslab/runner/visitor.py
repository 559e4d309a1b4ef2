"""A visitor: triggers, cancels, pauses and skips by HTTP, through whichever daemon answers; keeps what it was told."""

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx

from chaoslab.runner.contract import KINDS, task_ids
from chaoslab.runner.world import TOKEN, World

BURST = 6
GIVE_UP_S = 30.0  # resuming what was paused
PACED = [task_id for name, kind in KINDS.items() if kind.rate for task_id in task_ids(name)]
PAUSED = [
    task_id for name in ("plain", "retried", "jittered", "patient", "five") for task_id in task_ids(name)
]
TICKED = [task_id for name, kind in KINDS.items() if kind.step for task_id in task_ids(name)]


class Asked(NamedTuple):
    """A trigger that was admitted."""

    run: str
    task: str
    at: float
    countdown: float
    word: str


class Paused(NamedTuple):
    """A task rested from one answer until the next request."""

    task: str
    since: float
    since_wall: float
    until: float


class Visitor:
    """Asks until told to end. Monotonic seconds."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._chance = random.Random(seed)
        self._client = httpx.Client(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=2, trust_env=False)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._visit, daemon=True)
        self._words = 0
        self._resting: dict[str, tuple[float, float]] = {}  # task -> since when, by both clocks
        self.asked: list[Asked] = []
        self.paused: list[Paused] = []
        self.cancelled: dict[str, tuple[float, str]] = {}  # run -> when it was answered, and how
        self.answers: Counter[str] = Counter()

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Stop asking; whatever was paused goes on."""
        self._ends.set()
        self._thread.join()
        deadline = time.monotonic() + GIVE_UP_S
        while self._resting and time.monotonic() < deadline:
            for task_id in list(self._resting):
                self._resume(task_id)
        self._client.close()

    def _visit(self) -> None:
        acts = {
            self._ask: 8,
            self._burst: 6,
            self._trigger_any: 4,
            self._cancel: 6,
            self._pause: 2,
            self._skip: 2,
        }
        while not self._ends.wait(self._chance.uniform(0.01, 0.15)):
            (act,) = self._chance.choices(list(acts), list(acts.values()))
            act()
            for task_id, (since, _) in list(self._resting.items()):
                if time.monotonic() - since > self._chance.uniform(1, 4):
                    self._resume(task_id)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask one daemon; None when there was no answer, or a refusal."""
        daemons = self._world.awake()
        if not daemons:
            time.sleep(0.1)
            return None
        try:
            answer = self._client.request(method, self._chance.choice(daemons).url + path, json=body)
        except httpx.HTTPError:
            self.answers["none"] += 1
            return None
        self.answers[str(answer.status_code)] += 1
        return answer.json() if answer.is_success else None

    def _trigger(self, task_id: str, countdown: float = 0.0, word: str = "") -> None:
        wishes: dict[str, Any] = {"countdown": countdown} if countdown else {}
        if word:
            wishes["args"] = [word]
        at = time.monotonic()
        if found := self._call("POST", f"/api/tasks/{task_id}/trigger", wishes):
            self.asked.append(Asked(found["run_id"], task_id, at, countdown, word or "-"))

    def _ask(self) -> None:
        self._words += 1
        countdown = self._chance.choice([0.0, 0.5, 3.0])
        self._trigger(self._chance.choice(task_ids("asked")), countdown, f"w{self._words}")

    def _burst(self) -> None:
        task_id = self._chance.choice(PACED)
        for _ in range(BURST):
            self._trigger(task_id)

    def _trigger_any(self) -> None:
        self._trigger(self._chance.choice(TICKED), self._chance.choice([0.0, 1.0]))

    def _cancel(self) -> None:
        status = self._chance.choice(["waiting", "running"])
        found = self._call("GET", f"/api/traces?status={status}&limit=20")
        if found and found["items"]:
            self._cancel_run(self._chance.choice(found["items"])["run_id"])
        elif self.asked:
            self._cancel_run(self.asked[-1].run)

    def _cancel_run(self, run: str) -> None:
        if found := self._call("POST", f"/api/traces/{run}/cancel"):
            self.cancelled[run] = (time.monotonic(), found["was"])

    def _pause(self) -> None:
        task_id = self._chance.choice(PAUSED)
        if task_id in self._resting:
            return
        found = self._call("PATCH", f"/api/tasks/{task_id}", {"paused": True})
        # Without an answer nobody knows whether it rests: it is resumed, and nothing is concluded.
        self._resting[task_id] = (time.monotonic(), time.time() if found else 0.0)

    def _resume(self, task_id: str) -> None:
        until = time.monotonic()
        if self._call("PATCH", f"/api/tasks/{task_id}", {"paused": False}):
            since, wall = self._resting.pop(task_id)
            if wall:
                self.paused.append(Paused(task_id, since, wall, until))
            return
        # It may have gone on without our hearing of it.
        self._resting[task_id] = (self._resting[task_id][0], 0.0)

    def _skip(self) -> None:
        self._call("PATCH", f"/api/tasks/{self._chance.choice(TICKED)}", {"skip_next": True})


@contextlib.contextmanager
def visiting(world: World, seed: int) -> Iterator[Visitor]:
    """Have somebody ask while the block runs."""
    visitor = Visitor(world, seed)
    visitor.begin()
    try:
        yield visitor
    finally:
        visitor.end()
