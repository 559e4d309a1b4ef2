"""The secret of an upstream key goes to its service and nowhere else: no log, no key, no row, no answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from quotaflow.examples.upstream_service import Behaviour
from tests.http.test_secrets import in_redis
from tests.http.upstream import PATH, UpstreamHouse, upstream_house
from tests.servers import ValkeyProcess


async def used_in_all_ways(house: UpstreamHouse, secret: str, other: str) -> list[str]:
    """Present the secrets everywhere, right and wrong; return every answer."""
    client = house.client
    made = await client.post(PATH, json={"provider": "tavily", "secret": secret})
    path = f"{PATH}/{made.json()['id']}"
    rows: list[dict[str, Any]] = [
        {"provider": "tavily", "secret": secret},
        {"provider": other, "secret": "tavily"},  # swapped
        {"provider": "tavily", "secret": f"{other} "},
        {"provider": "tavily", "secret": other, "extra": secret},
        {"provider": "tavily", "secret": other, "enabled": secret},
    ]
    asked: list[tuple[str, str, object]] = [
        ("POST", PATH, {"provider": "tavily", "secret": secret}),
        ("POST", PATH, {"provider": secret, "secret": secret}),
        ("POST", PATH, {"provider": "tavily", "secret": [secret]}),
        ("POST", PATH, {"provider": "tavily", "secret": f"{secret} {secret}"}),
        ("POST", PATH, {"provider": "tavily", "secret": other, "enabled": other}),
        ("POST", f"{PATH}/import", rows),
        ("POST", f"{PATH}/import", f"[{secret}]"),
        ("POST", f"{PATH}/refresh", None),
        ("POST", f"{PATH}/rotate", None),
        ("PATCH", path, {"secret": f"{secret}\n"}),
        ("PATCH", path, {"secret": secret, "enabled": secret}),
        ("GET", f"{PATH}/{secret}", None),
        ("PATCH", f"{PATH}/{secret}", {"secret": secret}),
        ("DELETE", f"{PATH}/{secret}", None),
        ("GET", f"{PATH}?status={secret}", None),
        ("GET", f"{PATH}?cursor={secret}", None),
        ("GET", PATH, None),
        ("GET", path, None),
        ("GET", f"{PATH}/refresh", None),
        ("GET", "/metrics", None),
        ("GET", "/api/stats", None),
        ("GET", "/openapi.json", None),
        ("GET", "/docs", None),
    ]
    answers = [await client.request(method, to, json=body) for method, to, body in asked]
    answers.append(await client.post(PATH, content=json.dumps({"provider": "tavily", "secret": secret})[:-1]))
    answers.append(await client.post(f"{PATH}/import", content=f'provider,secret\ntavily,"{secret}'.encode()))
    async with house.qf.upstream.key("tavily", cost=0) as key:
        answers.append(await client.get(f"{PATH}/{key.id}"))
        assert secret not in repr(key)
    for mode in ("revoked", "not_json", "hang_up", "redirect"):
        house.service.behave(house.service.accounts, Behaviour(mode))
        answers.append(await client.post(f"{PATH}/refresh", headers={"accept": "text/event-stream"}))
        answers.append(await client.get(path))
    return [f"{answer.headers} {answer.text}" for answer in [made, *answers]]


async def test_the_secret_of_an_upstream_key_is_nowhere(
    valkey_server: ValkeyProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    valkey_server.start()
    valkey_server.clear()
    with caplog.at_level("DEBUG"):
        async with upstream_house(valkey_server, tmp_path) as house:
            secret, other = house.account(), house.account()
            house.service.accounts["kept"] = house.service.accounts[secret]
            answers = await used_in_all_ways(house, secret, other)
            assert not [answer for answer in answers if secret in answer or other in answer]
            kept = in_redis(house.redis)
            assert "fernet:" in kept
            assert not [one for one in (secret, other) if one in kept]
        ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
        said = [f"{record.msg} {record.args} {record.exc_info}" for record in ours]
        assert not [line for line in said if secret in line or other in line]
        # httpx logs the addresses that it asks; those of this test's own client hold the secret on purpose.
        asked = [record.getMessage() for record in caplog.records if record.name.startswith("httpx")]
        assert not [line for line in asked if "127.0.0.1" in line and secret in line]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"fernet:" in file for file in files)
    assert not [file for file in files if secret.encode() in file or other.encode() in file]


async def test_without_a_key_to_encrypt_with_it_says_what_to_set(
    valkey_server: ValkeyProcess, tmp_path: Path
) -> None:
    valkey_server.start()
    valkey_server.clear()
    async with upstream_house(valkey_server, tmp_path, secret_key="") as house:
        answer = await house.client.post(PATH, json={"provider": "tavily", "secret": "tvly-of-nobody"})
        assert (answer.status_code, answer.json()["field"]) == (422, "secret")
        assert "QUOTAFLOW_UPSTREAM__SECRET_KEY" in answer.json()["detail"]
