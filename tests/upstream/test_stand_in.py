"""The stand-in is a service like the real one: what it charges, refuses and tells is right."""

import asyncio
import contextlib
import json
import random
import sys
from typing import Any

import httpx
import pytest

from quotaflow.examples.keep_alive import HANG_UP, NEVER, Answer
from quotaflow.examples.upstream_service import Account, Behaviour, Mode, UpstreamService, key_of

KEY = "tvly-key"


def service(limit: int = 10, **options: Any) -> UpstreamService:
    return UpstreamService({KEY: Account(limit)}, now_s=lambda: 0.0, **options)


def search(one: UpstreamService, cost: int = 1) -> int:
    return one.answer("POST", f"/search?cost={cost}", KEY, b"").status


def usage(one: UpstreamService) -> Any:
    return json.loads(one.answer("GET", "/usage", KEY, b"").body)


def behaving(mode: Mode, **options: Any) -> UpstreamService:
    one = service(1000, rng=random.Random(7))  # noqa: S311  the same each time
    one.behave([KEY], Behaviour(mode, **options))
    return one


def test_a_search_is_charged_and_shows_in_the_usage() -> None:
    one = service()
    assert [search(one), search(one, 3)] == [200, 200]
    assert usage(one)["account"]["plan_usage"] == usage(one)["key"]["usage"] == one.spent == 4
    assert usage(one)["account"]["plan_limit"] == 10


def test_an_unknown_key_is_refused() -> None:
    one = service()
    assert (
        one.answer("GET", "/usage", "", b"").status == one.answer("POST", "/search", "x", b"").status == 401
    )
    assert one.spent == 0


def test_a_plan_is_never_exceeded() -> None:
    one = service(5)
    assert [search(one, cost) for cost in (3, 3, 2, 1)] == [200, 432, 200, 432]
    assert one.books() == {
        "spent": 5,
        "keys": {KEY: {"spent": 5, "overspent": 0, "plan_usage": 5, "plan_limit": 5, "requests": 4}},
    }


def test_with_an_overdraft_what_is_above_the_plan_is_counted() -> None:
    one = service(5, overdraft=True)
    assert [search(one, cost) for cost in (3, 3, 2)] == [200, 200, 200]
    assert (one.spent, one.accounts[KEY].overspent) == (8, 3)


def test_a_new_month_begins_with_the_whole_plan() -> None:
    one = service(5)
    search(one, 5)
    one.reset()
    assert (search(one, 5), one.spent, one.accounts[KEY].plan_usage) == (200, 10, 5)


def test_a_key_that_is_too_fast_is_told_when_to_come_again() -> None:
    now = [0.0]
    one = UpstreamService({KEY: Account(10, per_s=2)}, now_s=lambda: now[0])
    assert [search(one), search(one)] == [200, 200]
    refused = one.answer("POST", "/search", KEY, b"")
    assert (refused.status, refused.headers) == (429, "Retry-After: 0.500\r\n")
    now[0] = 0.5
    assert (search(one), one.spent) == (200, 3)


def test_what_is_spent_may_show_later() -> None:
    now = [0.0]
    one = UpstreamService({KEY: Account(10)}, now_s=lambda: now[0], usage_delay_s=5)
    search(one, 4)
    seen = []
    for now[0] in (4.9, 5.0):
        seen.append(usage(one)["account"]["plan_usage"])
    assert (seen, one.spent) == ([0, 4], 4)


@pytest.mark.parametrize(
    ("mode", "status", "spent"),
    [
        ("ok", 200, 1), ("drip", 200, 1), ("fail_before", 500, 0), ("fail_after", 500, 1), ("hang", NEVER, 0),
        ("hang_up", HANG_UP, 0), ("not_json", 200, 0), ("huge", 200, 0), ("redirect", 302, 0),
        ("revoked", 401, 0), ("limited", 429, 0), ("wrong_shape", 200, 0),
    ],
)  # fmt: skip
def test_each_behaviour_charges_or_does_not(mode: Mode, status: int, spent: int) -> None:
    one = behaving(mode)
    assert (search(one), one.spent) == (status, spent)


def test_a_behaviour_ends_after_its_count() -> None:
    one = behaving("fail_before", count=2)
    assert [search(one) for _ in range(4)] == [500, 500, 200, 200]


def test_a_behaviour_comes_with_its_probability_and_the_same_each_time() -> None:
    first, second = behaving("fail_after", probability=0.3), behaving("fail_after", probability=0.3)
    statuses = [search(first) for _ in range(1000)]
    assert statuses == [search(second) for _ in range(1000)]
    assert 250 < statuses.count(500) < 350
    assert first.spent == 1000


def test_slowness_comes_before_the_answer() -> None:
    one = service(latency_s=0.2)
    one.behave([KEY], Behaviour(slow_s=0.3))
    assert one.answer("GET", "/usage", KEY, b"").after_s == 0.5


@pytest.mark.parametrize("body", [b"", b"5", b'{"mode": "x"}', b'{"mod": 1}', b'{"key": "x", "mode": "ok"}'])
def test_orders_that_cannot_be_followed_are_refused(body: bytes) -> None:
    assert service().answer("POST", "/_control", "", body).status == 400


@pytest.mark.parametrize(
    "target", ["/", "/searching", "/search?cost=x", "/search?cost=-1", "/search?cost=1.5"]
)
def test_nonsense_is_refused_and_not_charged(target: str) -> None:
    one = service()
    assert one.answer("POST", target, KEY, b"").status in (400, 404)
    assert one.spent == 0


def written(cost: int) -> str:
    head = f"POST /search?cost={cost} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\n"
    return head + "content-length: 3\r\n\r\nabc"


async def test_requests_of_one_connection_are_answered_one_after_the_other() -> None:
    one = service(latency_s=0.01)
    async with one.listening() as url, asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        text = "".join(written(cost) for cost in (1, 2, 3)).encode()
        for piece in (text[:50], text[50:200], text[200:]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        for cost in (1, 2, 3):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert json.loads(await reader.readuntil(b"}}"))["usage"]["credits"] == cost
        writer.close()
    assert one.spent == 6


@pytest.mark.parametrize("text", [b"GET\r\n\r\n", b"x" * 70_000])
async def test_what_is_no_request_is_hung_up_on(text: bytes) -> None:
    async with service().listening() as url, asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(text)
        with contextlib.suppress(ConnectionResetError):  # it closed while we were still writing
            assert await reader.read() == b""
        writer.close()


async def test_a_hundred_connections_are_kept_at_once() -> None:
    one = service(1000, latency_s=0.05)

    async def searches(url: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        for _ in range(2):
            writer.write(written(1).encode())
            assert (await reader.readuntil(b"}}")).startswith(b"HTTP/1.1 200 ")
        writer.close()

    async with one.listening() as url, asyncio.timeout(30):
        await asyncio.gather(*(searches(url) for _ in range(100)))
    assert one.spent == 200


async def test_as_a_process_it_is_told_what_to_do_and_shows_its_books() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "quotaflow.examples.upstream_service", "--keys", "2", "--limit", "5",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60), httpx.AsyncClient(timeout=5) as client:
            assert process.stdout
            url = (await process.stdout.readline()).decode().strip()
            headers = {"Authorization": f"Bearer {key_of(1)}"}
            assert (await client.post(f"{url}/search?cost=4", headers=headers)).status_code == 200
            orders = {"key": key_of(1), "mode": "fail_before", "count": 1}
            assert (await client.post(f"{url}/_control", json=orders)).status_code == 200
            assert [(await client.get(f"{url}/usage", headers=headers)).status_code for _ in "ab"] == [
                500,
                200,
            ]
            await client.post(f"{url}/_control", json={"reset": True, "plan_limit": 7})
            books = (await client.get(f"{url}/_books")).json()
            account = (await client.get(f"{url}/usage", headers=headers)).json()["account"]
    finally:
        process.terminate()
        await process.wait()
    assert (books["spent"], books["keys"][key_of(0)]["spent"]) == (4, 0)
    assert (account["plan_usage"], account["plan_limit"]) == (0, 7)


def test_an_answer_is_json_by_default() -> None:
    assert json.loads(Answer(200).body) == {}
