"""Many keys are asked about at once: what comes back, what is tried again, and what never shows."""

import asyncio
import dataclasses
import logging
import re
import ssl
from datetime import UTC, datetime
from email.utils import format_datetime

import httpx
import pytest
import tenacity

from quotaflow.amounts import MICRO
from quotaflow.balances import Asked, KeyStatus, Usage
from quotaflow.examples.upstream_service import Account
from quotaflow.timing import ManualClock
from quotaflow.upstream.asking import Ask, Asker, broken
from quotaflow.upstream.providers import Provider
from quotaflow.upstream.verdicts import LEAST_REST_S, LONGEST_REST_S
from tests.upstream.conftest import Upstream, advanced_until

CANARY = "tvly-canary-0123456789-abcdefghijklmn"
KEY = "key-0000"
RIGHT = Usage(600 * MICRO, 400 * MICRO, 1000 * MICRO)


async def asked(upstream: Upstream, *, path: str = "/usage", **options: object) -> Asked:
    (answer,) = await upstream.ask(upstream.asks(path)[:1], **options)  # type: ignore[arg-type]
    return answer


def requests(upstream: Upstream) -> int:
    return upstream.service.accounts[KEY].requests


async def test_a_balance_is_read(upstream: Upstream) -> None:
    assert await asked(upstream) == Asked(f"id-{KEY}", RIGHT)


async def test_nobody_to_ask_about_is_no_trouble(upstream: Upstream) -> None:
    assert await upstream.ask([]) == []


async def test_answers_come_in_the_order_of_the_questions(upstream: Upstream) -> None:
    accounts = upstream.service.accounts
    accounts |= {f"key-{number:04d}": Account(1000, number) for number in range(1, 40)}
    upstream.behave("key-0001", slow_s=0.1)
    answers = await upstream.ask(upstream.asks(), concurrency=4)
    assert [one.key_id for one in answers] == [f"id-{key}" for key in accounts]
    used = [one.usage.used_micro for one in answers if one.usage]
    assert used == [account.plan_usage * MICRO for account in accounts.values()]


async def test_one_key_in_five_fails_and_all_others_are_right(upstream: Upstream) -> None:
    """Of 200 keys 20 fail, 10 hang and 10 answer nonsense."""
    keys = [f"key-{number:04d}" for number in range(200)]
    upstream.service.accounts |= {key: Account(1000, number) for number, key in enumerate(keys)}
    upstream.behave(*keys[0:200:10], mode="fail_before")
    upstream.behave(*keys[5:200:40], mode="not_json")
    upstream.behave(*keys[25:200:40], mode="wrong_shape")
    upstream.behave(*keys[7:200:20], mode="hang")
    answers = await upstream.ask(upstream.asks(), timeout_s=3.0, attempts=1)  # 200 at once on a busy machine
    bad = {number for number, _ in enumerate(keys) if number % 10 == 0 or number % 20 in (5, 7)}
    assert len(bad) == 40
    for number, answer in enumerate(answers):
        if number not in bad:
            assert answer.usage == Usage((1000 - number) * MICRO, number * MICRO, 1000 * MICRO)
    errors = [one.error for one in answers if one.usage is None]
    assert {error: errors.count(error) for error in errors} == {
        "500 Internal Server Error": 20,
        "no answer within 3 s": 10,
        "the answer is not JSON": 5,
        "plan_limit is zero": 5,
    }


@pytest.mark.parametrize(
    ("mode", "error", "tries"),
    [
        ("fail_before", "500 Internal Server Error (3 tries)", 3),
        ("hang", "no answer within 0.3 s (3 tries)", 3),
        ("drip", "no answer within 0.3 s (3 tries)", 3),
        ("hang_up", "the connection broke before the answer was there (3 tries)", 3),
        ("not_json", "the answer is not JSON", 1),
        ("wrong_shape", "plan_limit is zero", 1),
        ("huge", "the answer is compressed or longer than 1,048,576 bytes", 1),
        ("redirect", "302 Found: it would carry the secret elsewhere; correct the provider's url", 1),
    ],
)
async def test_each_failure_has_its_line_and_its_tries(
    upstream: Upstream, mode: str, error: str, tries: int
) -> None:
    upstream.behave(KEY, mode=mode)
    timeout_s = 0.3 if "0.3 s" in error else 10.0
    assert await asked(upstream, timeout_s=timeout_s) == Asked(f"id-{KEY}", None, error)
    assert requests(upstream) == tries


async def test_a_key_that_its_service_does_not_know_is_invalid(upstream: Upstream) -> None:
    upstream.behave(KEY, mode="revoked")
    error = "401 Unauthorized: the service does not know this key"
    assert await asked(upstream) == Asked(f"id-{KEY}", None, error, KeyStatus.INVALID)
    assert requests(upstream) == 1


async def test_a_wrong_address_is_not_tried_again(upstream: Upstream) -> None:
    answer = await asked(upstream, path="/nothing?secret=no")
    assert answer.error == "404 Not Found: nothing is at the provider's url; correct it"
    assert requests(upstream) == 1


async def test_nobody_listening_is_tried_again(upstream: Upstream) -> None:
    provider = dataclasses.replace(upstream, url="http://127.0.0.1:9").provider()
    (answer,) = await upstream.ask([Ask("a", provider, CANARY)])
    assert answer == Asked("a", None, "no connection to the service (3 tries)")


async def test_what_fails_twice_is_right_at_the_third_try(upstream: Upstream) -> None:
    upstream.behave(KEY, mode="fail_before", count=2)
    assert (await asked(upstream)).usage == RIGHT
    assert requests(upstream) == 3


@pytest.mark.parametrize(("wait_s", "retry_after", "slept_s"), [(0, "4", 4), (6, "4", 6), (1, "0", 1)])
async def test_the_later_of_our_wait_and_retry_after_is_waited(
    upstream: Upstream, wait_s: float, retry_after: str, slept_s: float
) -> None:
    clock = ManualClock()
    upstream.behave(KEY, mode="limited", count=1, retry_after=retry_after)
    wait = tenacity.wait_fixed(wait_s)
    task = asyncio.create_task(asked(upstream, clock=clock, wait=wait))
    assert await advanced_until(clock, task, 0.5) == pytest.approx(slept_s, abs=0.01)
    assert (task.result().usage, requests(upstream)) == (RIGHT, 2)


async def test_a_retry_after_may_be_a_moment(upstream: Upstream) -> None:
    clock = ManualClock()
    moment = datetime.fromtimestamp(clock.wall_us() / 1e6 + 3, UTC)
    upstream.behave(KEY, mode="limited", count=1, retry_after=format_datetime(moment, usegmt=True))
    task = asyncio.create_task(asked(upstream, clock=clock))
    assert await advanced_until(clock, task, 0.5) == 3


@pytest.mark.parametrize(("retry_after", "rest_s"), [("60", 60), ("5.5", 5.5), ("1e300", LONGEST_REST_S)])
async def test_a_rest_that_outlasts_the_timeout_is_told_instead_of_waited(
    upstream: Upstream, retry_after: str, rest_s: float
) -> None:
    upstream.behave(KEY, mode="limited", retry_after=retry_after)
    answer = await asked(upstream, clock=ManualClock(), timeout_s=5.0)
    assert answer == Asked(f"id-{KEY}", None, "429 Too Many Requests", KeyStatus.COOLDOWN, rest_s)
    assert requests(upstream) == 1


async def test_a_rest_that_is_still_asked_for_after_the_last_try_is_told(upstream: Upstream) -> None:
    upstream.behave(KEY, mode="limited", retry_after="0.01")
    error = "429 Too Many Requests (3 tries)"
    assert await asked(upstream) == Asked(f"id-{KEY}", None, error, KeyStatus.COOLDOWN, LEAST_REST_S)


async def test_a_429_that_does_not_say_for_how_long_is_no_rest(upstream: Upstream) -> None:
    upstream.behave(KEY, mode="limited", retry_after="soon")
    assert await asked(upstream, attempts=1) == Asked(f"id-{KEY}", None, "429 Too Many Requests")


class Buggy:
    """A plug-in with a bug in each of its methods."""

    name = "buggy"

    def __init__(self, real: Provider, *, makes_requests: bool) -> None:
        self._real = real
        self._makes_requests = makes_requests

    def request(self, secret: str) -> httpx.Request:
        if not self._makes_requests:
            raise KeyError(secret)
        return self._real.request(secret)

    def usage(self, answer: object) -> Usage:
        raise ZeroDivisionError(str(answer))


class Careless(Buggy):
    """A plug-in without types."""

    def usage(self, answer: object) -> Usage:
        return answer  # type: ignore[return-value]


async def test_a_bug_in_a_plug_in_is_the_trouble_of_its_keys_alone(upstream: Upstream) -> None:
    real = upstream.provider()
    asks = [
        Ask("a", Buggy(real, makes_requests=True), KEY),
        Ask("b", Buggy(real, makes_requests=False), KEY),
        Ask("c", real, KEY),
        Ask("d", Careless(real, makes_requests=True), KEY),
    ]
    assert await upstream.ask(asks) == [
        Asked("a", None, "the provider cannot read the answer (ZeroDivisionError)"),
        Asked("b", None, "the provider cannot make a request (KeyError)"),
        Asked("c", RIGHT),
        Asked("d", None, "the provider made no usage of the answer (dict)"),
    ]


async def test_at_most_so_many_are_under_way_and_nobody_waits_for_a_connection(upstream: Upstream) -> None:
    """30 keys at 5 connections take six rounds of 0.4 s: more than the timeout, which is each request's own."""
    upstream.service.accounts |= {f"key-{number:04d}": Account(1000) for number in range(30)}
    upstream.behave(*upstream.service.accounts, slow_s=0.4)
    begun_s = asyncio.get_running_loop().time()
    answers = await upstream.ask(upstream.asks(), concurrency=5, timeout_s=2.0, attempts=1)
    assert [one.error for one in answers] == [None] * 30
    assert asyncio.get_running_loop().time() - begun_s >= 2.4


async def test_cancelled_it_ends_at_once(upstream: Upstream) -> None:
    upstream.service.accounts |= {f"key-{number:04d}": Account(1000) for number in range(60)}
    upstream.behave(*upstream.service.accounts, mode="hang")
    before = asyncio.all_tasks()
    task = asyncio.create_task(upstream.ask(upstream.asks(), timeout_s=30))
    async with asyncio.timeout(30):
        while sum(account.requests for account in upstream.service.accounts.values()) < 50:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert asyncio.all_tasks() == before


async def test_what_the_listener_raises_ends_everything(upstream: Upstream) -> None:
    def refuses(_: Asked) -> None:
        raise LookupError

    asker = Asker(ManualClock(), concurrency=2, timeout_s=5, attempts=1)
    with pytest.raises(ExceptionGroup) as caught:
        await asker.ask(upstream.asks(), refuses)
    assert caught.group_contains(LookupError)


async def test_no_secret_shows_anywhere(upstream: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    upstream.service.accounts = {CANARY: Account(0)}
    ask = Ask("a", upstream.provider(), CANARY)
    assert CANARY not in repr(ask)
    texts = []
    for mode in ("ok", "fail_before", "not_json", "redirect", "hang_up", "revoked", "wrong_shape"):
        upstream.behave(CANARY, mode=mode)
        texts.append(repr(await upstream.ask([ask])))
    assert CANARY not in "".join(texts) + caplog.text
    # No vault gives such a secret out; httpcore itself would report it at debug, where log.py does not let it speak.
    (answer,) = await upstream.ask([dataclasses.replace(ask, secret=f"{CANARY}\nX-Other: 1")])
    assert answer == Asked("a", None, "the request cannot be sent (LocalProtocolError)")


def test_a_certificate_that_is_not_trusted_is_not_tried_again() -> None:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")
    last = broken(httpx.ConnectError(str(error)))
    assert (last.error, last.again) == ("the service's certificate is not trusted", False)
    assert re.match("no connection", broken(httpx.ConnectError("")).error or "")
