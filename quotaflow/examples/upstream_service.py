"""A stand-in for a service whose API keys have a plan: it charges, tells its usage, and fails as it is told to.

GET /usage           ->  what Tavily answers: {"key": {...}, "account": {"plan_usage": 3, "plan_limit": 1000, ...}}
POST /search?cost=2  ->  charges the key: 200, 401 unknown key, 429 too fast, 432 above the plan's limit
POST /_control       ->  {"key": "...", "mode": "hang", "count": 3}; without "key" for all; {"reset": true}
GET /_books          ->  what was really spent, in all and by key
"""

import argparse
import asyncio
import contextlib
import json
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args
from urllib.parse import parse_qs, urlsplit

from quotaflow.examples.keep_alive import HANG_UP, NEVER, Answer, listening

HUGE_BYTES = 2_097_152
PLAN_EXCEEDED = 432

Mode = Literal[
    "ok",
    "fail_before",  # 500, nothing charged
    "fail_after",  # 500, charged all the same
    "hang",
    "drip",  # the answer comes byte by byte
    "hang_up",
    "not_json",
    "wrong_shape",
    "huge",
    "redirect",
    "revoked",  # 401
    "limited",  # 429 with Retry-After
]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How requests with a key are treated: each with this probability, the next `count` of them (None: all)."""

    mode: Mode = "ok"
    slow_s: float = 0.0
    probability: float = 1.0
    count: int | None = None
    retry_after: str = "1"


@dataclass(slots=True)
class Account:
    """A key and its plan. `per_s`: searches a second that it may do, with as many at once (at least 1).

    `spent` are its own books: they go on over months. `recent`: what does not yet show, as (moment, units).
    """

    plan_limit: int
    plan_usage: int = 0
    key_limit: int | None = None
    per_s: float | None = None
    spent: int = 0
    overspent: int = 0
    requests: int = 0
    behaviour: Behaviour = Behaviour()
    recent: deque[tuple[float, int]] = field(default_factory=deque)
    tokens: float = 0.0
    at_s: float = float("-inf")


class UpstreamService:
    """Accounts by API key, and the answers for them.

    :param now_s: reads a monotonic clock; by default the event loop's.
    :param usage_delay_s: how long a spent unit takes to show in /usage.
    :param overdraft: charges above the plan's limit are counted as `overspent` instead of refused.
    """

    def __init__(
        self,
        accounts: dict[str, Account],
        *,
        now_s: Callable[[], float] | None = None,
        latency_s: float = 0.0,
        usage_delay_s: float = 0.0,
        overdraft: bool = False,
        rng: random.Random | None = None,
    ) -> None:
        self.accounts = accounts
        self._now_s = now_s
        self._latency_s = latency_s
        self._usage_delay_s = usage_delay_s
        self._overdraft = overdraft
        self._rng = rng or random.Random(0)  # noqa: S311  the same failures each time

    @property
    def spent(self) -> int:
        """Units charged since the beginning, over all keys."""
        return sum(account.spent for account in self.accounts.values())

    def behave(self, keys: Iterable[str], behaviour: Behaviour) -> None:
        """Treat these keys so from now on."""
        for key in keys:
            self.accounts[key].behaviour = behaviour

    def reset(self) -> None:
        """Begin a new month: nothing is used of any plan."""
        for account in self.accounts.values():
            account.plan_usage = 0
            account.recent.clear()

    def books(self) -> dict[str, Any]:
        """Tell what was really spent."""
        names = ("spent", "overspent", "plan_usage", "plan_limit", "requests")
        keys = {key: {name: getattr(one, name) for name in names} for key, one in self.accounts.items()}
        return {"spent": self.spent, "keys": keys}

    def answer(self, method: str, target: str, bearer: str, body: bytes) -> Answer:
        """Return the answer to one request, and charge for it. Charges are made when a request comes."""
        path = urlsplit(target).path
        if path == "/_books":
            return _json(200, self.books())
        if (method, path) == ("POST", "/_control"):
            return self._control(body)
        account = self.accounts.get(bearer)
        if account is None:
            return _json(401, {"detail": {"error": "Unauthorized: missing or invalid API key."}})
        account.requests += 1
        behaviour = self._drawn(account)
        answer = _misbehaved(behaviour) or self._honest(path, target, account)
        if behaviour.mode == "fail_after":
            answer = _json(500, {"error": "after charging"})
        after_s = answer.after_s + self._latency_s + account.behaviour.slow_s
        return answer._replace(after_s=after_s, drips=behaviour.mode == "drip")

    def now_s(self) -> float:
        """Read the clock it was given."""
        return self._now_s() if self._now_s else asyncio.get_running_loop().time()

    def _drawn(self, account: Account) -> Behaviour:
        behaviour = account.behaviour
        if behaviour.mode == "ok" or behaviour.count == 0 or self._rng.random() >= behaviour.probability:
            return replace(behaviour, mode="ok")
        if behaviour.count is not None:
            account.behaviour = replace(behaviour, count=behaviour.count - 1)
        return behaviour

    def _honest(self, path: str, target: str, account: Account) -> Answer:
        if path == "/usage":
            return _json(200, self._usage(account))
        if path != "/search":
            return _json(404, {"detail": "Not Found"})
        cost = parse_qs(urlsplit(target).query).get("cost", ["1"])[0]
        if not cost.isdecimal():
            return _json(400, {"error": "cost must be a whole number"})
        return self._search(account, int(cost))

    def _usage(self, account: Account) -> dict[str, Any]:
        while account.recent and account.recent[0][0] <= self.now_s() - self._usage_delay_s:
            account.recent.popleft()
        used = account.plan_usage - sum(units for _, units in account.recent)
        plan = {"current_plan": "Researcher", "plan_usage": used, "plan_limit": account.plan_limit}
        key = {"usage": used, "limit": account.key_limit}
        return {"key": key, "account": plan | {"paygo_usage": 0, "paygo_limit": None}}

    def _search(self, account: Account, cost: int) -> Answer:
        now_s = self.now_s()
        if account.per_s is not None:
            burst = max(1.0, account.per_s)
            account.tokens = min(burst, account.tokens + (now_s - account.at_s) * account.per_s)
            account.at_s = now_s
            if account.tokens < 1:
                rest_s = (1 - account.tokens) / account.per_s
                return _json(429, {"error": "too fast"}, f"Retry-After: {rest_s:.3f}\r\n")
            account.tokens -= 1
        over = account.plan_usage + cost - account.plan_limit
        if over > 0 and not self._overdraft:
            return _json(
                PLAN_EXCEEDED, {"detail": {"error": "This request exceeds your plan's set usage limit."}}
            )
        account.overspent += min(cost, max(0, over))
        account.plan_usage += cost
        account.spent += cost
        if self._usage_delay_s:
            account.recent.append((now_s, cost))
        return _json(200, {"results": [], "usage": {"credits": cost}})

    def _control(self, body: bytes) -> Answer:
        """Set what a request says; a mistake in it is answered 400."""
        try:
            orders = json.loads(body)
            if orders.pop("reset", False):
                self.reset()
            key = orders.pop("key", None)
            keys = list(self.accounts) if key is None else [key]
            for name in ("plan_limit", "plan_usage", "key_limit", "per_s"):
                if name in orders:
                    value = orders.pop(name)
                    for one in keys:
                        setattr(self.accounts[one], name, value)
            if orders:
                behaviour = Behaviour(**orders)
                if behaviour.mode not in get_args(Mode):
                    return _json(400, {"error": f"mode must be one of {', '.join(get_args(Mode))}"})
                self.behave(keys, behaviour)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return _json(400, {"error": str(error)})
        return _json(200, {})

    def listening(self, port: int = 0) -> contextlib.AbstractAsyncContextManager[str]:
        """Serve on loopback while the block runs; gives the URL. Port 0 takes any free one."""
        return listening(self.answer, port)


def _json(status: int, body: object, headers: str = "") -> Answer:
    return Answer(status, json.dumps(body).encode(), headers=headers)


_MISBEHAVED: dict[Mode, Answer] = {
    "fail_before": _json(500, {"error": "before charging"}),
    "hang": Answer(NEVER),
    "hang_up": Answer(HANG_UP),
    "not_json": Answer(200, b"<html>down for maintenance</html>"),
    "wrong_shape": _json(200, ["nothing", "of", "use"]),
    "huge": _json(200, {"filler": "x" * HUGE_BYTES}),
    "redirect": _json(302, {}, "Location: http://127.0.0.1:9/elsewhere\r\n"),
    "revoked": _json(401, {"detail": {"error": "revoked"}}),
    "limited": _json(429, {"error": "too fast"}),
}


def _misbehaved(behaviour: Behaviour) -> Answer | None:
    """Return the answer that says nothing of the account; None for those that do."""
    answer = _MISBEHAVED.get(behaviour.mode)
    if answer and behaviour.mode == "limited":
        return answer._replace(headers=f"Retry-After: {behaviour.retry_after}\r\n")
    return answer


def key_of(number: int) -> str:
    """Return the key of an account of the process, counted from 0."""
    return f"tvly-demo-{number:032d}"


async def main(arguments: list[str]) -> None:
    """Serve until Ctrl-C or SIGTERM; the first line of output is the URL."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--keys", type=int, default=10)
    parser.add_argument("--limit", type=int, default=1000, help="units of each plan")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--usage-delay-ms", type=float, default=0.0)
    parser.add_argument("--overdraft", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    service = UpstreamService(
        {key_of(number): Account(given.limit) for number in range(given.keys)},
        latency_s=given.latency_ms / 1000,
        usage_delay_s=given.usage_delay_ms / 1000,
        overdraft=given.overdraft,
        rng=random.Random(given.seed),  # noqa: S311  the same failures each time
    )
    async with service.listening(given.port) as url:
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1:]))
