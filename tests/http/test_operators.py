"""Who may do what over HTTP: tokens and cookies, roles on every route, and pages of other sites."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from quotaflow.edges.http.app import Direct, create_app
from quotaflow.edges.http.auth import TRIES, Customers, Door, Tries
from quotaflow.edges.http.guard import COOKIE, OPERATOR, Guard, Hosts, is_still_in
from quotaflow.edges.http.policy import DOCS, STRICT
from quotaflow.edges.http.problems import of_error
from quotaflow.settings import Http
from quotaflow.timing import ManualClock
from tests.http.house import PROBLEM, TOKEN, House, asking, opened
from tests.http.test_secrets import in_redis
from tests.servers import ValkeyProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

OURS = {"sec-fetch-site": "same-origin"}
CONSUME = "/api/consume"
ENDLESS = "/api/events"
EVERYBODYS = ("/docs", "/static-offline-docs", "/assets", "/login", "/language", "/openapi.json")
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")


async def plainly(_request: Request, error: Exception) -> Response:
    return of_error(error)


async def made(house: House, name: str, role: str = "viewer") -> tuple[dict[str, Any], dict[str, str]]:
    """Make an operator over HTTP; return it, and the header of who has its token."""
    answer = await house.client.post("/api/operators", json={"name": name, "role": role})
    assert answer.status_code == 201, answer.text
    operator: dict[str, Any] = answer.json()
    return operator, {"authorization": f"Bearer {operator['secret']}"}


async def signed_in(house: House, token: str = TOKEN) -> dict[str, str]:
    """Sign in; return the header that a browser sends from then on."""
    secret = await house.qf.operators.sign_in(token)
    assert secret is not None
    return {"cookie": f"other=1; {COOKIE}={secret}"}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand for the pages: say who asks, and whether they still may."""
    operator = scope.get(OPERATOR)
    is_in = operator is not None and await is_still_in(Request(scope))
    answer = JSONResponse({"name": operator and operator.name, "is_in": is_in})
    await answer(scope, receive, send)


@asynccontextmanager
async def pages(house: House, clock: ManualClock | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of the guard before pages that only echo."""
    door = Door(house.qf.operators, Tries(clock or ManualClock()))
    async with asking(
        Guard(echo, Hosts(Http()), door, Customers(house.qf.tokens.id_of, None), plainly)
    ) as client:
        yield client


def routes(house: House) -> Iterator[tuple[str, str]]:
    """Yield (method, path) of every route of the API and of the pages."""
    transport = house.stranger._transport
    assert isinstance(transport, httpx.ASGITransport)
    guard = transport.app
    assert isinstance(guard, Guard)
    assert isinstance(guard._app, Direct)
    for app in (guard._app._app, guard._app._pages):
        assert isinstance(app, FastAPI | Starlette)
        yield from _of(app)


def _of(app: Starlette) -> Iterator[tuple[str, str]]:
    for route in app.routes:
        included = getattr(route, "original_router", None)  # newer FastAPIs keep routers as they came
        for each in [route] if included is None else included.routes:
            if isinstance(each, Route | APIRoute):
                path = re.sub(r"{(\w+)(:path)?}", r"\1", each.path)
                yield from ((method, path) for method in each.methods or ())


# Roles


async def test_a_viewer_may_change_nothing_on_any_route(house: House) -> None:
    _, viewer = await made(house, "walker")
    cookie = await signed_in(house, viewer["authorization"].removeprefix("Bearer ")) | OURS
    walked = []
    for method, path in set(routes(house)):
        if method in UNSAFE and not path.startswith((CONSUME, *EVERYBODYS, "/logout")):
            for headers in (viewer, cookie):
                answer = await house.stranger.request(method, path, headers=headers)
                assert answer.status_code == 403, (method, path)
                if path.startswith("/api"):
                    assert answer.json()["code"] == "forbidden"
                    assert answer.headers["content-type"] == PROBLEM
                else:
                    assert "ask for one with role admin" in answer.text
            walked.append((method, path))
    documented = (await house.stranger.get("/openapi.json")).json()["paths"]
    assert set(walked) >= {
        (method.upper(), path.replace("{", "").replace("}", ""))
        for path, methods in documented.items()
        for method in methods
        if method.upper() in UNSAFE and not path.startswith(CONSUME)
    }
    assert ("POST", "/api/quotas/quota_id/acquire") in walked, "it is served without the framework"


async def test_a_viewer_may_look_at_every_route(house: House) -> None:
    _, viewer = await made(house, "looker")
    walked = []
    for method, path in set(routes(house)):
        if method == "GET" and path.startswith("/api") and not path.startswith((CONSUME, ENDLESS)):
            answer = await house.stranger.get(path, headers=viewer)
            assert answer.status_code not in (401, 403), path
            assert (await house.stranger.head(path, headers=viewer)).status_code not in (401, 403), path
            walked.append(path)
    assert len(walked) >= 20


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "QUERY", "get", "post"])
async def test_a_method_that_nobody_knows_is_no_way_around(house: House, method: str) -> None:
    _, viewer = await made(house, f"odd {method}")
    async with pages(house) as client:
        for path in ("/api/quotas", "/quotas"):
            assert (await client.request(method, path)).status_code in (401, 303)
    # httpx writes methods in capitals
    if method.upper() != "GET":
        assert (await house.stranger.request(method, "/api/quotas", headers=viewer)).status_code == 403


async def test_an_admin_with_a_token_of_its_own_may_do_everything(house: House) -> None:
    _, admin = await made(house, "second", "admin")
    answer = await house.stranger.post(
        "/api/quotas", json={"id": "by-second", "capacity": 1, "refill_rate": 0}, headers=admin
    )
    assert answer.status_code == 201
    answer = await house.stranger.post(
        "/api/operators", json={"name": "third", "role": "viewer"}, headers=admin
    )
    assert answer.status_code == 201
    assert (await house.stranger.get("/stats", headers=admin)).status_code == 200


@pytest.mark.parametrize("role", ["admin", "viewer"])
async def test_figures_are_open_to_every_role_from_elsewhere(house: House, role: str) -> None:
    _, mine = await made(house, f"figures {role}", role)
    async with asking(create_app(house.qf, trusted=False), "10.0.0.7") as client:
        for path in ("/stats", "/metrics"):
            assert (await client.get(path)).status_code == 401
            assert (await client.get(path, headers=mine)).status_code == 200


async def test_everybody_is_told_who_they_are(house: House) -> None:
    _, viewer = await made(house, "名")
    _, admin = await made(house, "chief", "admin")
    asked = [
        (house.client, {}, ("admin", "admin")),
        (house.client, viewer, ("admin", "admin")),  # the file system let them in
        (house.stranger, {"authorization": f"Bearer {TOKEN}"}, ("admin", "admin")),
        (house.stranger, viewer, ("名", "viewer")),
        (house.stranger, admin, ("chief", "admin")),
        (house.stranger, await signed_in(house), ("admin", "admin")),
        (house.stranger, await signed_in(house) | viewer, ("名", "viewer")),  # a token wins over the cookie
    ]
    for client, headers, (name, role) in asked:
        assert (await client.get("/api/whoami", headers=headers)).json() == {"name": name, "role": role}


# Operators


async def test_a_token_is_shown_once_and_its_operator_in_every_list(house: House) -> None:
    operator, _ = await made(house, "once")
    secret = operator.pop("secret")
    assert secret.startswith("qf_op_")
    assert (operator["prefix"], operator["revoked_at"]) == (secret[:12], None)
    items = (await house.client.get("/api/operators")).json()["items"]
    assert operator in items
    assert "secret" not in items[0]
    assert items == sorted(items, key=lambda item: item["created_at"], reverse=True)


async def test_who_is_revoked_is_out_at_once_by_token_and_by_cookie(house: House) -> None:
    operator, mine = await made(house, "gone", "admin")
    cookie = await signed_in(house, operator["secret"])
    for headers in (mine, cookie):
        assert (await house.stranger.get("/api/quotas", headers=headers)).status_code == 200
    async with pages(house) as client:
        assert (await client.get("/quotas", headers=cookie)).json() == {"name": "gone", "is_in": True}
    for _ in range(2):
        assert (await house.client.delete(f"/api/operators/{operator['id']}")).status_code == 204
    for headers in (mine, cookie):
        assert (await house.stranger.get("/api/quotas", headers=headers)).status_code == 401
    shown = (await house.client.get("/api/operators")).json()["items"]
    assert [item["revoked_at"] is not None for item in shown if item["name"] == "gone"] == [True]
    await made(house, "gone")  # the name is free again


async def test_an_answer_that_goes_on_for_long_notices_that_its_reader_is_out(house: House) -> None:
    operator, mine = await made(house, "watching")
    cookie = await signed_in(house, operator["secret"])
    told: list[bool] = []

    async def long(scope: Scope, receive: Receive, send: Send) -> None:
        told.append(await is_still_in(Request(scope)))
        await house.qf.operators.revoke(operator["id"])
        told.append(await is_still_in(Request(scope)))
        await Response()(scope, receive, send)

    door = Door(house.qf.operators, Tries(ManualClock()))
    customers = Customers(house.qf.tokens.id_of, None)
    async with asking(Guard(long, Hosts(Http()), door, customers, plainly)) as client:
        assert (await client.get("/quotas", headers=cookie)).status_code == 200
        assert (await client.get("/quotas", headers=mine)).status_code == 401
    async with asking(Guard(long, None, None, customers, plainly)) as owner:
        assert (await owner.get("/quotas", headers=mine)).status_code == 200
    assert told == [True, False, True, True], "the file system let the owner in"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": "admin", "role": "viewer"}, 409, "conflict"),
        ({"name": "taken", "role": "viewer"}, 409, "conflict"),
        ({"name": "", "role": "viewer"}, 422, "invalid_input"),
        ({"name": "x", "role": "root"}, 422, "invalid_input"),
        ({"name": "x"}, 422, "invalid_input"),
        ({"name": 7, "role": "viewer"}, 422, "invalid_input"),
        ({"name": "x", "role": "viewer", "token_hash": "y"}, 422, "invalid_input"),
    ],
)
async def test_an_operator_that_cannot_be_is_refused(
    house: House, body: Mapping[str, object], status: int, code: str
) -> None:
    names = [item["name"] for item in (await house.client.get("/api/operators")).json()["items"]]
    if "taken" not in names:
        await made(house, "taken")
    before = (await house.client.get("/api/operators")).json()
    answer = await house.client.post("/api/operators", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await house.client.get("/api/operators")).json() == before


@pytest.mark.parametrize("operator_id", ["op_" + "0" * 32, "op_canary", "qf_op_canary", "%0A"])
async def test_an_id_of_nobody_is_not_found(house: House, operator_id: str) -> None:
    answer = await house.client.delete(f"/api/operators/{operator_id}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "canary" not in answer.text


async def test_an_operators_token_is_no_access_token(house: House) -> None:
    _, admin = await made(house, "no customer", "admin")
    answer = await house.stranger.post(CONSUME, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (401, "unknown_token")
    _, customer = await house.token()
    assert (await house.stranger.get("/api/whoami", headers=customer)).status_code == 401


async def test_who_has_the_admin_token_or_an_access_token_waits_for_nothing(house: House) -> None:
    """Decisions are asked for tens of thousands of times a second: no SQL, no turn of the loop."""
    reached: list[str] = []

    async def decide(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["path"])

    async def unused(*_: object) -> Any:
        raise AssertionError

    door = Door(house.qf.operators, Tries(ManualClock()))
    guard = Guard(decide, Hosts(Http()), door, Customers(house.qf.tokens.id_of, None), plainly)
    _, customer = await house.token()
    admin = {"authorization": f"Bearer {TOKEN}"}
    for path, mine in (("/api/quotas/x/acquire", admin), (CONSUME, customer)):
        headers = [(b"host", b"localhost"), (b"authorization", mine["authorization"].encode())]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
        with pytest.raises(StopIteration):
            guard(scope, unused, unused).send(None)
    assert reached == ["/api/quotas/x/acquire", CONSUME]


# Guessing


async def test_wrong_tokens_are_counted_and_old_cookies_are_not(house: House) -> None:
    operator, _ = await made(house, "guessed")
    wrong = {"authorization": f"Bearer {operator['secret'][:-1]}"}
    stale = {"cookie": f"{COOKIE}={'A' * 43}"}
    async with pages(house) as client:
        for _ in range(TRIES * 2):
            answer = await client.get("/api/quotas", headers=stale)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        for _ in range(TRIES):
            assert (await client.get("/api/quotas", headers=wrong)).status_code == 401
        assert (await client.get("/api/quotas", headers=wrong)).status_code == 429
        assert (await client.get("/quotas", headers=await signed_in(house))).status_code == 200


async def test_wrong_tokens_at_the_door_are_counted_too(house: House) -> None:
    clock = ManualClock()
    door = Door(house.qf.operators, Tries(clock))
    assert await door.sign_in(TOKEN, "10.0.0.7")
    async with pages(house, clock):
        for _ in range(TRIES):
            with pytest.raises(Exception, match="no operator has this token"):
                await door.sign_in("guess", "10.0.0.7")
        with pytest.raises(Exception, match="too many wrong tokens"):
            await door.sign_in(TOKEN, "10.0.0.7")


@pytest.mark.parametrize("cookie", ["", "=", f"{COOKIE}", f"{COOKIE}=", f"{COOKIE}=é", f'{COOKIE}="a;b"'])
async def test_a_cookie_that_is_none_lets_nobody_in(house: House, cookie: str) -> None:
    async with pages(house) as client:
        answer = await client.get("/api/quotas", headers=[(b"cookie", cookie.encode())])
        assert answer.status_code == 401


async def test_of_two_cookies_of_the_name_none_is_believed(house: House) -> None:
    mine = (await signed_in(house))["cookie"]
    async with pages(house) as client:
        two = [("cookie", mine), ("cookie", mine)]
        assert (await client.get("/quotas", headers=two)).status_code == 303
        (pair,) = [each for each in mine.split("; ") if each.startswith(COOKIE)]
        for other in (pair, f"{COOKIE}={'A' * 43}", f"{COOKIE}="):
            for both in (f"{other}; {pair}", f"{pair};{other}", f"{pair}; x=1; {other}"):
                assert (await client.get("/quotas", headers={"cookie": both})).status_code == 303, both
        assert (await client.get("/quotas", headers={"cookie": f"x={COOKIE}; {pair}"})).status_code == 200


# Pages of other sites

FROM = [
    ({}, False),
    ({"sec-fetch-site": "same-origin"}, True),
    ({"sec-fetch-site": "same-site"}, False),
    ({"sec-fetch-site": "cross-site"}, False),
    ({"sec-fetch-site": "none"}, False),
    ({"sec-fetch-site": ""}, False),
    ({"sec-fetch-site": "same-origin", "origin": "http://evil.example"}, True),  # pages cannot set it
    ({"sec-fetch-site": "cross-site", "origin": "http://localhost"}, False),
    ({"origin": "http://localhost"}, True),
    ({"origin": "https://LOCALHOST"}, True),
    ({"origin": "http://localhost:8000"}, False),
    ({"origin": "http://evil.example"}, False),
    ({"origin": "http://localhost.evil.example"}, False),
    ({"origin": "http://evil.example/localhost"}, False),
    ({"origin": "null"}, False),
    ({"origin": ""}, False),
    ({"origin": "localhost"}, False),
]


@pytest.mark.parametrize(("headers", "is_ours"), FROM)
@pytest.mark.parametrize("path", ["/api/quotas", "/quotas", "/logout", "/language"])
async def test_with_a_cookie_only_our_own_pages_change_things(
    house: House, path: str, headers: dict[str, str], is_ours: bool
) -> None:
    cookie = await signed_in(house)
    async with pages(house) as client:
        for method in UNSAFE:
            answer = await client.request(method, path, headers=headers | cookie)
            if is_ours:
                assert answer.status_code == 200, answer.text
            else:
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
                assert answer.json()["detail"] == "this request comes from another site"
        assert (await client.get(path, headers=headers | cookie)).status_code == 200


@pytest.mark.parametrize(("headers", "is_ours"), FROM)
async def test_a_token_says_by_itself_that_it_was_meant(
    house: House, headers: dict[str, str], is_ours: bool
) -> None:
    bearer = {"authorization": f"Bearer {TOKEN}"}
    async with pages(house) as client:
        for more in ({}, await signed_in(house)):
            assert (await client.post("/api/quotas", headers=headers | bearer | more)).status_code == 200


@pytest.mark.parametrize(("headers", "is_ours"), FROM)
async def test_no_other_site_signs_somebody_in(house: House, headers: dict[str, str], is_ours: bool) -> None:
    is_program = not headers  # it has no browser's cookies to begin with
    async with pages(house) as client:
        for path in ("/login", "/login/once"):
            answer = await client.post(path, headers=headers)
            assert answer.status_code == (200 if is_ours or is_program else 403)


async def test_two_of_a_header_are_not_believed(house: House) -> None:
    cookie = list((await signed_in(house)).items())
    async with pages(house) as client:
        for name, value in (("sec-fetch-site", "same-origin"), ("origin", "http://localhost")):
            answer = await client.post("/quotas", headers=[*cookie, (name, value), (name, value)])
            assert answer.status_code == 403


# Pages


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("/", "/"),
        ("/quotas", "/quotas"),
        ("/quotas?cursor=a%26b&x=1", "/quotas?cursor=a%26b&x=1"),
        ("/tasks/%E5%90%8D%20%2F", "/tasks/%E5%90%8D%20/"),
        ("/nothing-is-here", "/nothing-is-here"),
        ("/logout", "/logout"),
        ("/loginx", "/loginx"),
        ("/livez%0A", "/livez%0A"),
    ],
)
async def test_who_is_not_signed_in_is_sent_to_do_so_and_back(house: House, path: str, leads_to: str) -> None:
    for client in (house.stranger,):
        for method in ("GET", "HEAD"):
            answer = await client.request(method, path)
            where = urlsplit(answer.headers["location"])
            assert (answer.status_code, where.netloc, where.path) == (303, "", "/login")
            assert parse_qs(where.query) == {"next": [leads_to]}
        answer = await client.get(path, headers={"hx-request": "true"})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert parse_qs(urlsplit(answer.headers["hx-redirect"]).query) == {"next": [leads_to]}
        for method in () if path == "/logout" else UNSAFE:
            answer = await client.request(method, path)
            assert (answer.status_code, answer.headers["content-type"]) == (401, "text/html; charset=utf-8")
            answer = await client.request(method, path, headers={"hx-request": "true"})
            assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/login")


@pytest.mark.parametrize(
    "path", ["/login", "/login/once", "/language", "/assets/x.css", "/docs", "/livez", "/readyz"]
)
async def test_what_is_everybodys_needs_no_sign_in(house: House, path: str) -> None:
    async with pages(house) as client:
        assert (await client.get(path)).json() == {"name": None, "is_in": False}


async def test_a_viewer_may_sign_out(house: House) -> None:
    operator, _ = await made(house, "leaves")
    cookie = await signed_in(house, operator["secret"]) | OURS
    async with pages(house) as client:
        assert (await client.post("/logout", headers=cookie)).status_code == 200
        for path in ("/logout/", "/logout/x", "/quotas"):
            assert (await client.post(path, headers=cookie)).status_code == 403
        assert (await client.get("/quotas", headers=cookie)).json() == {"name": "leaves", "is_in": True}


async def test_who_signs_out_when_the_session_is_over_is_rid_of_the_cookie(house: House) -> None:
    cookie = await signed_in(house)
    await house.qf.operators.sign_out(cookie["cookie"].rpartition("=")[2])
    left = await house.stranger.post("/logout", headers=cookie | OURS)
    assert (left.status_code, left.headers["location"]) == (303, "/login")
    assert left.headers["set-cookie"].startswith(f'{COOKIE}=""; expires=')
    assert "Max-Age=0" in left.headers["set-cookie"]
    for headers in ({}, {"sec-fetch-site": "cross-site"}, {"origin": "http://evil.example"}):
        refused = await house.stranger.post("/logout", headers=cookie | headers)
        assert refused.status_code == 403
        assert "set-cookie" not in refused.headers
    stranger = await house.stranger.post("/logout", headers={"sec-fetch-site": "cross-site"})
    assert stranger.status_code == 403


async def test_what_a_viewer_is_refused_is_said_on_a_page_with_everything_around_it(house: House) -> None:
    operator, _ = await made(house, "refused here")
    cookie = await signed_in(house, operator["secret"]) | OURS
    answer = await house.stranger.post("/quotas", headers=cookie)
    assert answer.status_code == 403
    assert '<nav aria-label="Pages">' in answer.text
    assert "refused here" in answer.text


async def test_a_host_that_is_not_ours_is_refused_whoever_asks(house: House) -> None:
    cookie = await signed_in(house)
    async with pages(house) as client:
        for path in ("/", "/login", "/assets/x.css", "/api/quotas"):
            answer = await client.get(path, headers=cookie | {"host": "evil.example"})
            assert (answer.status_code, answer.json()["code"]) == (421, "bad_host")
            assert "location" not in answer.headers


async def test_a_session_outlives_the_daemon_on_the_same_store(
    valkey_server: ValkeyProcess, tmp_path: Path
) -> None:
    with ValkeyProcess() as valkey:
        async with opened(valkey, tmp_path) as house:
            operator, viewer = await made(house, "stays")
            cookies = [await signed_in(house), await signed_in(house, operator["secret"])]
        async with opened(valkey, tmp_path) as house:
            for cookie, name in zip(cookies, ("admin", "stays"), strict=True):
                answer = await house.stranger.get("/api/whoami", headers=cookie)
                assert answer.json()["name"] == name
            assert (await house.stranger.get("/api/whoami", headers=viewer)).json()["name"] == "stays"


# What every answer carries


@pytest.mark.parametrize(
    ("path", "policy", "kept"),
    [
        ("/docs", DOCS, None),
        ("/static-offline-docs/swagger-ui.css", STRICT, None),
        ("/openapi.json", STRICT, "no-store"),
        ("/api/quotas", STRICT, "no-store"),
        ("/docsx", STRICT, "no-store"),
        ("/", STRICT, "no-store"),
        ("/livez", STRICT, "no-store"),
        ("/api/consume/x", STRICT, "no-store"),
    ],
)
async def test_every_answer_has_one_policy(house: House, path: str, policy: str, kept: str | None) -> None:
    async with pages(house) as client:
        for each in (house.stranger, client):
            for host in ("localhost", "evil.example"):
                answer = await each.get(path, headers={"host": host})
                assert answer.headers.get_list("content-security-policy") == [policy]
                assert answer.headers.get("cache-control") == kept


async def test_what_an_answer_says_about_keeping_it_stays(house: House) -> None:
    async def kept(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("x", headers={"cache-control": "max-age=60"})(scope, receive, send)

    async with asking(Guard(kept, None, None, Customers(house.qf.tokens.id_of, None), plainly)) as client:
        assert (await client.get("/quotas")).headers.get_list("cache-control") == ["max-age=60"]


# Secrets


async def test_the_secrets_of_operators_and_sessions_are_nowhere(
    valkey_server: ValkeyProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"), ValkeyProcess() as valkey:
        async with opened(valkey, tmp_path) as house:
            operator, mine = await made(house, "canary", "admin")
            secret = operator["secret"]
            cookie = await signed_in(house, secret)
            session = cookie["cookie"].rpartition("=")[2]
            code = house.qf.operators.one_time_link()
            assert await house.qf.operators.sign_in_once(code)
            answers = [
                await house.stranger.request(method, path, headers=headers, json=body)
                for method, path, headers, body in (
                    ("GET", "/api/operators", mine, None),
                    ("GET", "/api/whoami", cookie, None),
                    ("GET", "/api/operators", {"authorization": f"Bearer {secret}x"}, None),
                    ("POST", "/api/operators", mine, {"name": secret, "role": secret}),
                    ("DELETE", f"/api/operators/{secret}", mine, None),
                    ("GET", f"/api/quotas/x/{session}", {"cookie": f"{COOKIE}={session}x"}, None),
                    ("POST", CONSUME, {"access-token": secret}, {"request_id": secret}),
                    ("POST", "/api/quotas", cookie, {}),
                )
            ]
            assert (await house.client.delete(f"/api/operators/{operator['id']}")).status_code == 204
            answers.append(await house.client.get("/api/operators"))
            told = "".join(f"{answer.headers} {answer.text}" for answer in answers) + in_redis(house.redis)
        ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
        told += "".join(f"{record.msg} {record.args} {record.exc_info}" for record in ours)
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert operator["prefix"].encode() in files
    assert "operator.signed_in" in told
    for text in (secret.removeprefix("qf_op_"), session, code):
        assert text not in told
        assert text.encode() not in files


async def test_a_secret_that_a_customer_reports_is_blanked(house: House) -> None:
    operator, _ = await made(house, "reported")
    _, customer = await house.token()
    answer = await house.stranger.post(CONSUME, headers=customer, json={"request_id": operator["secret"]})
    assert (answer.status_code, answer.json()["field"]) == (422, "request_id")
    assert operator["secret"] not in answer.text
