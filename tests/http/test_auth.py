"""Who may come in: the admin token, the names we answer to, and nobody who guesses."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from quotaflow.control.operators import OperatorDesk
from quotaflow.edges.http.app import create_app
from quotaflow.edges.http.auth import ADDRESSES, TRIES, Door, Tries, admin_token, network_of
from quotaflow.edges.http.guard import Hosts, host_name
from quotaflow.edges.http.problems import BadHost, TooManyTries
from quotaflow.errors import Unauthorized
from quotaflow.secret import hash_of
from quotaflow.settings import Http, Settings
from quotaflow.store import Store
from quotaflow.timing import ManualClock
from tests.http.house import PROBLEM, TOKEN, House, asking
from tests.servers import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = f"Bearer {TOKEN}"
OPEN = {
    "/livez",
    "/readyz",
    "/docs",
    "/docs/oauth2-redirect",
    "/openapi.json",
    "/static-offline-docs/swagger-ui.css",
}
LOCAL = {"/stats", "/metrics"}


async def test_every_route_but_the_open_ones_needs_the_token(house: House) -> None:
    routes = (await house.stranger.get("/openapi.json")).json()["paths"]
    closed = [
        (method, path) for path, methods in routes.items() for method in methods if path not in OPEN | LOCAL
    ]
    assert len(closed) == 58
    assert {path.split("/")[1] for _, path in closed} == {"api"}
    for method, path in closed:
        answer = await house.stranger.request(method, path.replace("{", "").replace("}", ""))
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), path
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert answer.headers["content-type"] == PROBLEM


async def test_the_token_opens_the_api(house: House) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        answer = await house.stranger.get("/api/quotas", headers={"authorization": f"{scheme} {TOKEN}"})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer é",
    ],
)
async def test_anything_else_does_not(house: House, header: str) -> None:
    answer = await house.stranger.get("/api/quotas", headers=[(b"authorization", header.encode())])
    assert answer.status_code == 401
    assert TOKEN not in answer.text


async def test_a_token_in_the_address_is_not_looked_at(house: House) -> None:
    for query in ({"token": TOKEN}, {"access_token": TOKEN}):
        assert (await house.stranger.get("/api/quotas", params=query)).status_code == 401


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/nothing", "/api%0A", "/api/quotas%0A", "/apiary"])
async def test_what_does_not_exist_is_not_told_to_strangers(house: House, path: str) -> None:
    assert (await house.stranger.get(path)).status_code == 401


@pytest.mark.parametrize("path", sorted(OPEN | LOCAL))
async def test_open_pages_need_no_token_on_this_machine(house: House, path: str) -> None:
    assert (await house.stranger.get(path)).status_code == 200


@pytest.mark.parametrize("address", ["10.0.0.7", "2001:db8::7", "testclient", ""])
async def test_figures_need_the_token_from_elsewhere(house: House, address: str) -> None:
    app = create_app(house.qf, trusted=False)
    async with asking(app, address) as client:
        for path in (*LOCAL, "/stats%0A", "/metrics%0A"):
            assert (await client.get(path)).status_code == 401, path
            assert (await client.get(path, headers={"authorization": GOOD})).status_code == 200, path
        assert (await client.get("/livez")).status_code == 200


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1"])
async def test_figures_are_open_to_this_machine(house: House, address: str) -> None:
    app = create_app(house.qf, trusted=False)
    async with asking(app, address) as client:
        assert (await client.get("/stats")).status_code == 200


async def test_before_the_admin_token_is_known_nobody_has_it(house: House) -> None:
    desk = OperatorDesk(house.qf.store, ManualClock(), secrets.token_bytes)
    for token in (TOKEN, "None", ""):
        assert await desk.identify(token) is None


# Names we answer to


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("[::1]", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("evil.example:80@localhost", 421),
        ("localhost:80:80", 421),
        ("localhost,evil.example", 421),
        ("", 421),
        ("::1", 421),
    ],
)
async def test_only_our_own_names_are_answered(house: House, host: str, status: int) -> None:
    answer = await house.stranger.get("/livez", headers={"host": host})
    assert answer.status_code == status
    if status == 421:
        assert (answer.json()["code"], answer.headers["content-type"]) == ("bad_host", PROBLEM)


async def test_two_host_headers_or_none_are_refused(house: House) -> None:
    hosts = Hosts(Http())
    with pytest.raises(BadHost):
        hosts.check("localhost,localhost")  # as the guard joins two
    with pytest.raises(BadHost):
        hosts.check("")


async def test_the_host_we_listen_on_is_ours_and_any_address_is_not(house: House) -> None:
    Hosts(Http(host="192.168.7.7")).check("192.168.7.7:8000")
    Hosts(Http(host="fd00::7")).check("[fd00::7]:8000")
    for host in ("0.0.0.0", "::"):  # noqa: S104  nothing is bound
        with pytest.raises(BadHost):
            Hosts(Http(host=host)).check("0.0.0.0:8000")


async def test_a_star_allows_names_below_or_all(house: House) -> None:
    below = Hosts(Http(allowed_hosts=("*.example.com",)))
    below.check("api.Example.com:443")
    for name in ("example.com", "evilexample.com"):
        with pytest.raises(BadHost):
            below.check(name)
    Hosts(Http(allowed_hosts=("*",))).check("anything")


async def test_a_host_header_is_cut_at_its_port() -> None:
    assert [host_name(text) for text in ("a:1", "a", "[::1]:1", "[::1]", "a:b", "a:")] == [
        "a", "a", "[::1]", "[::1]", "a:b", "a:",
    ]  # fmt: skip


async def test_the_trusted_socket_asks_for_neither_name_nor_token(house: House) -> None:
    async with asking(create_app(house.qf, trusted=True), host="whatever.example") as client:
        assert (await client.get("/api/quotas")).status_code == 200


# Guessing


async def tried(door: Door, address: str, times: int) -> AsyncIterator[type[Exception]]:
    """Send wrong tokens; yield what each was answered."""
    for number in range(times):
        with pytest.raises((Unauthorized, TooManyTries)) as caught:
            await door.by_token(f"guess-{number}".encode(), address)
        yield caught.type


async def test_guessing_is_slowed_to_one_a_second_for_the_address_that_guesses(house: House) -> None:
    clock = ManualClock()
    door = Door(house.qf.operators, Tries(clock))
    told = [kind async for kind in tried(door, "10.0.0.7", TRIES + 5)]
    assert told == [Unauthorized] * TRIES + [TooManyTries] * 5
    with pytest.raises(TooManyTries):
        await door.by_token(TOKEN.encode(), "10.0.0.7")
    await door.by_token(TOKEN.encode(), "10.0.0.8")
    await clock.advance(1)
    assert [kind async for kind in tried(door, "10.0.0.7", 2)] == [Unauthorized, TooManyTries]
    await clock.advance(1)
    await door.by_token(TOKEN.encode(), "10.0.0.7")
    await clock.advance(1000)
    told = [kind async for kind in tried(door, "10.0.0.7", TRIES + 1)]
    assert told == [Unauthorized] * TRIES + [TooManyTries]


async def test_the_right_token_and_none_at_all_are_no_guesses(house: House) -> None:
    app = create_app(house.qf, trusted=False, clock=ManualClock())
    async with asking(app) as client:
        for _ in range(TRIES * 2):
            assert (await client.get("/api/quotas", headers={"authorization": GOOD})).status_code == 200
            assert (await client.get("/api/quotas")).status_code == 401
        assert (await client.get("/api/quotas", headers={"authorization": GOOD})).status_code == 200


async def test_guesses_are_remembered_in_bounded_memory(house: House) -> None:
    tries = Tries(ManualClock())
    door = Door(house.qf.operators, tries)
    for number in range(ADDRESSES * 2):
        address = f"10.{number // 65_536}.{number // 256 % 256}.{number % 256}"
        assert [kind async for kind in tried(door, address, 1)] == [Unauthorized]
    assert len(tries._tries) == ADDRESSES


async def test_an_ipv6_network_is_one_guesser(house: House) -> None:
    door = Door(house.qf.operators, Tries(ManualClock()))
    answers = [
        kind for number in range(TRIES + 1) async for kind in tried(door, f"2001:db8:0:1::{number:x}", 1)
    ]
    assert answers[-1] is TooManyTries
    await door.by_token(TOKEN.encode(), "2001:db8:0:2::1")
    assert network_of("2001:db8:0:1:2::3") == "2001:0db8:0000:0001"
    assert network_of("fe80::1%eth0") == "fe80:0000:0000:0000"
    assert network_of("::ffff:10.0.0.7") == "10.0.0.7"


async def test_who_guesses_too_often_is_told_when_to_come_back(house: House) -> None:
    app = create_app(house.qf, trusted=False, clock=ManualClock())
    async with asking(app) as client:
        for _ in range(TRIES):
            await client.get("/api/quotas", headers={"authorization": "Bearer wrong"})
        answer = await client.get("/api/quotas", headers={"authorization": "Bearer wrong"})
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_tries")
        assert answer.headers["retry-after"] == "1"
        assert (await client.get("/livez")).status_code == 200


# Where the token comes from


async def test_the_first_start_makes_a_token_and_says_it_once(house: House, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    store = await Store.open(settings.store_url, deadline_s=PATIENCE_S)
    try:
        hashed, token = await admin_token(store, settings)
        assert token is not None
        assert token.startswith("qf_admin_")
        assert len(token) >= len("qf_admin_") + 43, "32 random bytes"
        assert hashed == hash_of(token)
        assert await admin_token(store, settings) == (hashed, None)
    finally:
        await store.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert hashed.encode() in kept
    assert token.encode() not in kept


async def test_the_token_of_the_settings_wins_and_is_not_kept(house: House, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, admin_token=SecretStr(TOKEN))
    store = await Store.open(settings.store_url, deadline_s=PATIENCE_S)
    try:
        assert await admin_token(store, settings) == (hash_of(TOKEN), None)
        assert await store.admin_token_hash() is None
    finally:
        await store.close()


async def test_no_request_writes_the_token_anywhere(house: House, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        await house.stranger.get("/api/quotas", headers={"authorization": GOOD})
        await house.stranger.get("/api/quotas", headers={"authorization": f"{GOOD}x"})
    ours = [record for record in caplog.records if record.name.startswith("quotaflow")]
    assert not [record for record in ours if TOKEN in str(record.msg)]


async def test_bodies_are_not_read_before_the_token(house: House) -> None:
    read = 0

    async def endless() -> object:
        nonlocal read
        while True:
            read += 1
            yield b"x" * 1024
            await asyncio.sleep(0)

    transport = httpx.ASGITransport(create_app(house.qf, trusted=False))
    request = httpx.Request("POST", "http://localhost/api/quotas", content=endless())  # type: ignore[arg-type]
    assert (await transport.handle_async_request(request)).status_code == 401
    assert read == 0
