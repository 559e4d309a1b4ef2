"""What waits in Redis: claimed when its time has come, by whichever daemon knows its task; and runs to be cancelled."""

import asyncio
import math
import zlib
from collections.abc import Callable, Sequence

from quotaflow.control.gate import Gate
from quotaflow.control.plans import run_of
from quotaflow.errors import QuotaflowError, Unavailable
from quotaflow.limiter.admission import CLAIMS_PER_CALL, Admission, Waiting
from quotaflow.log import Event, get_logger
from quotaflow.model import Status
from quotaflow.runner.pool import Inbox
from quotaflow.runner.registry import Registry
from quotaflow.runs import Run, Word
from quotaflow.timing import Clock, to_the_end

log = get_logger(room="waking")

LOOK_EVERY_S = 0.2  # others put runs into `due` too
FULL_S = 0.02  # while the runner has no room
PATIENCE_US = 100_000  # a run is left to the daemon that usually takes it for so long
FOREIGN_US = 30_000_000  # late: no daemon that is here knows its task
PUT_OFF_US = 60_000_000
PAGE = 512
PAGES = 20  # of runs that are due; what comes first may be of tasks that only others know


class Waker:
    """Claims runs whose waiting is over."""

    def __init__(
        self,
        admission: Admission,
        gate: Gate,
        registry: Registry,
        inbox: Inbox,
        clock: Clock,
        *,
        now_us: Callable[[], int],
        leads: Callable[[str], bool],
        end: Callable[[str, Status, str | None], bool],
    ) -> None:
        """`now_us` is Redis time; `leads` says whether a run is usually ours; `end` ends one that is here."""
        self._admission = admission
        self._gate = gate
        self._registry = registry
        self._inbox = inbox
        self._clock = clock
        self._now_us = now_us
        self._leads = leads
        self._end = end
        self._unanswered: list[Run] = []
        self._alarm = asyncio.Event()
        self._rests_until_us = math.inf  # while it looks, whatever it hears of may be missed
        self.woken = 0

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self._alarm.clear()
            try:
                rest_s = await self.once()
            except QuotaflowError as error:
                log.warning(Event.REDIS_AWAY, error=str(error))
                rest_s = LOOK_EVERY_S
            await self._rest(min(LOOK_EVERY_S, max(0.0, rest_s)))

    async def _rest(self, seconds: float) -> None:
        self._rests_until_us = self._now_us() + seconds * 1e6
        waiters = [
            asyncio.ensure_future(self._clock.sleep(seconds)),
            asyncio.ensure_future(self._alarm.wait()),
        ]
        try:
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._rests_until_us = math.inf
            for waiter in waiters:
                waiter.cancel()

    def expect(self, due_us: int) -> None:
        """Hear of a run that waits from now on, until then."""
        if due_us < self._rests_until_us:
            self._alarm.set()

    async def once(self) -> float:
        """Look once; returns how long to rest, in seconds."""
        if self._unanswered:
            await self._claim(self._unanswered)
        now_us = self._now_us()
        following_us: int | None = None
        for page in range(PAGES):
            look = await self._admission.due(now_us, page * PAGE, PAGE)
            following_us = look.following_us
            for run_id in look.cancels:
                self._end(run_id, Status.CANCELLED, None)
            ours, foreign = self._sort(look.waiting, now_us)
            if foreign:  # daemons that know their tasks look every 0.2 s: for now there is none
                await self._admission.put_off(foreign, now_us + PUT_OFF_US)
            some = ours[: min(self._inbox.free(), CLAIMS_PER_CALL)]
            if some and not await self._claim(some):
                return LOOK_EVERY_S  # SQL is too far behind
            if len(some) < len(ours):  # no room; or more than one call takes
                return 0.0 if self._inbox.free() else FULL_S
            if some or look.is_last:
                break
        return LOOK_EVERY_S if following_us is None else (following_us - self._now_us()) / 1e6

    def _sort(self, waiting: Sequence[Waiting], now_us: int) -> tuple[list[Run], list[str]]:
        """Tell what is for us from what nobody has taken for a while."""
        ours, foreign = [], []
        for each in waiting:
            run = self._read(each)
            if run is None or self._registry.get(run.task_id) is None:
                if each.due_us < now_us - FOREIGN_US:
                    foreign.append(each.run_id)
            elif each.due_us <= now_us - PATIENCE_US or self._leads(each.run_id):
                ours.append(run)
        return ours, foreign

    def _read(self, waiting: Waiting) -> Run | None:
        try:
            return run_of(waiting.fact)._replace(since_us=waiting.since_us)
        except (
            KeyError,
            ValueError,
            TypeError,
        ) as error:  # of another version; a newer daemon may know better
            log.error(Event.RUN_UNREADABLE, run_id=waiting.run_id, error=f"{type(error).__name__}: {error}")
            return None

    async def _claim(self, some: Sequence[Run]) -> bool:
        """Claim; False when the backlog turned some away."""
        self._unanswered = list(some)  # until there is an answer: what is granted is in `due` no more
        try:
            answers = await to_the_end(self._gate.claim_due(some))
        except Unavailable:
            raise
        except QuotaflowError as error:
            await self._claim_singly(some, error)
            answers = []
        self._unanswered = []
        self.woken += sum(answer.word is Word.GRANTED for answer in answers)
        return all(answer.word is not Word.BACKLOG for answer in answers)

    async def _claim_singly(self, some: Sequence[Run], why: QuotaflowError) -> None:
        """Find the run that a call dies of, and put it aside, so that it does not hold up all others."""
        for run in some:
            try:
                await to_the_end(self._gate.claim_due([run]))
            except Unavailable:
                raise
            except QuotaflowError as error:
                log.error(
                    Event.RUN_UNREADABLE, run_id=run.run_id, task_id=run.task_id, error=f"{error} ({why})"
                )
                await self._admission.put_off([run.run_id], self._now_us() + PUT_OFF_US)


def leads(run_id: str, daemons: Sequence[str], me: str) -> bool:
    """Say whether one of several daemons usually takes a run."""
    return not daemons or daemons[zlib.crc32(run_id.encode()) % len(daemons)] == me
