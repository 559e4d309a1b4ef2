"""The fence: no script runs on a Redis that may have lost data until that Redis has caught up with SQL.

Duties:
1. Run scripts by EVALSHA only, each with a deadline.
2. Notice a loss: NOSCRIPT (restart, failover, SCRIPT FLUSH), a wrong or missing marker (FLUSHALL, rollback), or a
   server with another run id at reconnect (somebody loaded the same text behind our back).
3. Recover, one process at a time, under the SQL lock; everybody else waits within a deadline, then `Recovering`.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from hiredis import ReplyError
from redis.exceptions import RedisError

from quotaflow.errors import Conflict, QuotaflowError, Recovering, Unavailable
from quotaflow.limiter import keys
from quotaflow.limiter.client import Client, reaching
from quotaflow.limiter.incarnation import Incarnation, Incarnations
from quotaflow.limiter.scripts import Call, Script, assemble_all
from quotaflow.limiter.wire import Link, Lost, Wire
from quotaflow.log import Event, get_logger
from quotaflow.timing import raise_if_cancelled

log = get_logger(room="limiter")

LONGEST_PAUSE_S = 0.5  # between looks at a Redis that is away: back within 2 s of its return, with jitter
# How a server begins that is there and cannot serve now.
_REFUSALS = ("OOM", "MISCONF", "READONLY", "BUSY", "NOREPLICAS", "LOADING", "MASTERDOWN", "CLUSTERDOWN")

Raw = Callable[[str, Sequence[str], Sequence[str]], Awaitable[Any]]  # run a script of the new incarnation
# Bring Redis, whose run id this is, up to SQL with them; ends by writing the marker.
Recover = Callable[[Raw, str], Awaitable[None]]


class Fence:
    """Runs scripts and guards them. `serve` must be running for anything to become ready."""

    def __init__(self, wire: Wire, plain: Client, incarnations: Incarnations, *, deadline_s: float) -> None:
        """`wire` serves the scripts; its client must report run ids to `saw_run_id`. `plain` is for recovery."""
        self._wire = wire
        self._plain = plain
        self._incarnations = incarnations
        self._deadline_s = deadline_s
        self._scripts: dict[str, Script] = {}
        self._run_id: str | None = None
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._lost = asyncio.Event()
        self._lost.set()
        self._doubted: int | None = None  # the incarnation in which something that must be there was missing
        self.recoveries = 0
        self.resent = 0  # calls whose connection died
        self.number = 0

    @property
    def is_ready(self) -> bool:
        """Scripts can run now."""
        return self._ready.is_set()

    def saw_run_id(self, run_id: str) -> None:
        """Hear which server a new connection reached."""
        if self._run_id is not None and run_id != self._run_id:
            self.lose("another server answers")

    def lose(self, why: str) -> None:
        """Stop running scripts until `serve` has looked at this Redis."""
        if self._ready.is_set():
            log.warning(Event.FENCE_LOST, why=why, incarnation=self.number)
        self._ready.clear()
        self._lost.set()

    async def wait_ready(self, deadline_s: float) -> None:
        """Wait until scripts can run.

        :raises Recovering: when that takes longer than the deadline.
        """
        try:
            async with asyncio.timeout(deadline_s):
                await self._ready.wait()
        except TimeoutError:
            raise Recovering("Redis is being recovered or is not reachable; try again shortly") from None

    def run(
        self, name: str, script_keys: Sequence[str], args: Sequence[str], *, deadline_s: float | None = None
    ) -> Coroutine[Any, Any, Any]:
        """Run one script: it is sent now, if Redis is ready, and what is returned ends with its reply.

        When its connection dies it is sent once more: every script allows that.

        :raises Unavailable: no server, no answer in time, or one that refuses.
        """
        call = name, script_keys, args
        now_s, deadline_s = self._loop.time(), deadline_s or self._deadline_s
        link, sent = self._wire.link, None
        if link is not None and self._ready.is_set():
            sent = link.evalsha(self._scripts[name].sha, script_keys, args, now_s, now_s + deadline_s)
        return self._reply(call, sent, now_s + deadline_s)

    async def _reply(self, call: Call, answer: "asyncio.Future[Any] | None", until_s: float) -> Any:
        name, script_keys, args = call
        was_lost = False
        while True:
            try:
                if answer is None:
                    link = await self._reach(until_s)
                    sha = self._scripts[name].sha
                    answer = link.evalsha(sha, script_keys, args, self._loop.time(), until_s)
                return await answer
            except TimeoutError:
                if not self._ready.is_set():
                    raise Recovering(
                        "Redis is being recovered or is not reachable; try again shortly"
                    ) from None
                # Of a batch the callers have waited for this long, part of it before it was sent.
                raise Unavailable(f"Redis did not answer within {self._deadline_s:.3g} s") from None
            except Lost as error:
                if was_lost:
                    raise Unavailable(f"Redis connection failed: {error}") from error
                was_lost = True
                self.resent += 1
            except ReplyError as error:
                self._heed(name, str(error))
            answer = None

    async def check(self) -> None:
        """Run the smallest script there is.

        :raises Unavailable: no script would run now.
        """
        await self.run("cursors", [keys.MARKER], [])

    async def _reach(self, until_s: float) -> Link:
        """Return the connection to a server that is ready."""
        async with asyncio.timeout_at(until_s):
            while True:
                await self._ready.wait()
                link = await self._wire.connect()
                if self._ready.is_set():  # else the connection is new, and found another server
                    return link

    def _heed(self, name: str, text: str) -> None:
        """Stop running scripts where Redis has lost them or its state.

        :raises Unavailable: it cannot serve now. :raises QuotaflowError: the script failed.
        """
        if text.startswith("FENCED"):
            self._doubted = self.number
        elif text.startswith(_REFUSALS):
            raise Unavailable(f"Redis refuses to work: {text}")
        elif not text.startswith("NOSCRIPT"):
            raise QuotaflowError(f"script {name} failed: {text}")
        self.lose(text)

    async def serve(self, recover: Recover) -> None:
        """Make Redis ready, now and after every loss. Runs until cancelled."""
        pause = 0.05
        while True:
            await self._lost.wait()
            self._lost.clear()
            try:
                await self._restore(recover)
                pause = 0.05
            except (
                Unavailable,
                Conflict,
                RedisError,
                OSError,
            ) as error:  # Conflict: another process was first
                raise_if_cancelled()
                log.warning(Event.REDIS_AWAY, error=str(error))
                self._lost.set()
                await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311  jitter
                pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _restore(self, recover: Recover) -> None:
        async with reaching(self._plain):
            run_id = str((await self._plain.info("server"))["run_id"])
        if await self._adopted(run_id):
            return
        if not self._incarnations.may_recover:
            raise Unavailable("waiting for a daemon to recover this Redis")
        async with self._incarnations.lock():
            if not await self._adopted(run_id):  # nobody else has recovered meanwhile
                await self._recover(await self._next_number(), run_id, recover)

    async def _next_number(self) -> int:
        """Return a number above all before it, also where SQL was restored and Redis has seen later ones."""
        async with reaching(self._plain):
            seen = await self._plain.hmget(keys.MARKER, "incarnation", "recovering")
        return max((await self._incarnations.read()).number, *[int(number or 0) for number in seen]) + 1

    async def _adopted(self, run_id: str) -> bool:
        """Go on with the current incarnation, if this Redis has all of it."""
        current = await self._incarnations.read()
        known = current.number > 0 and current.number != self._doubted and current.run_id == run_id
        if not known or not await self._is_whole(current.number):
            return False
        self._adopt(current.number, run_id)
        return True

    async def _recover(self, number: int, run_id: str, recover: Recover) -> None:
        scripts = assemble_all(number)
        for script in scripts.values():
            async with reaching(self._plain):
                await self._plain.script_load(script.text)
        await self._incarnations.write(Incarnation(number, run_id))
        self.number = (
            number  # SQL takes facts of this life only; recovery writes those it finds in the journal
        )

        async def raw(name: str, script_keys: Sequence[str], args: Sequence[str]) -> Any:
            async with reaching(self._plain):
                return await self._plain.evalsha(scripts[name].sha, len(script_keys), *script_keys, *args)

        await recover(raw, run_id)
        self.recoveries += 1
        self._adopt(number, run_id)

    async def _is_whole(self, number: int) -> bool:
        scripts = assemble_all(number)
        async with reaching(self._plain):
            marked = await self._plain.hget(keys.MARKER, "incarnation")
            loaded = await self._plain.script_exists(*[script.sha for script in scripts.values()])
        return marked == str(number) and all(loaded)

    def _adopt(self, number: int, run_id: str) -> None:
        self._scripts = assemble_all(number)
        self._run_id = run_id
        self.number = number
        self._ready.set()
        log.info(Event.FENCE_RECOVERED, incarnation=number)
