"""A secret is shown once and stands nowhere afterwards: no log, no key, no row, no answer."""

from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from tests.http.house import House, opened
from tests.servers import ValkeyProcess


def in_redis(redis: Redis) -> str:
    """Return every key and value as text."""
    readers: dict[str, Callable[[str], object]] = {
        "string": redis.get,
        "hash": redis.hgetall,
        "stream": redis.xrange,
        "zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
        "set": redis.smembers,
        "list": lambda key: redis.lrange(key, 0, -1),
    }
    return "".join(f"{key} {readers[str(redis.type(key))](key)}\n" for key in redis.scan_iter("*"))


async def used_in_all_ways(house: House, secret: str, token_id: str) -> list[str]:
    """Present the secret everywhere, right and wrong; return every answer."""
    headers = {"authorization": f"Bearer {secret}"}
    asked = [
        ("POST", "/api/consume", {"cost": 1, "request_id": "r-1"}),
        ("POST", "/api/consume", {"cost": 1, "request_id": "r-1"}),
        ("POST", "/api/consume", {"cost": 2, "request_id": "r-1"}),
        ("POST", "/api/consume", {"cost": 1000}),
        ("POST", "/api/consume", {"quotas": ["nowhere"]}),
        ("POST", "/api/consume", {"request_id": secret}),
        ("POST", "/api/consume", {"cost": secret}),
        ("GET", "/api/consume/r-1", None),
        ("GET", f"/api/consume/{secret}", None),
        ("DELETE", f"/api/consume/{secret}", None),
        ("DELETE", "/api/consume/r-1", None),
        ("POST", "/api/consume/r-1/outcome", {"success": False, "error_message": f"key {secret} is bad"}),
        ("POST", "/api/consume/r-1/outcome", {"success": False, "error_type": secret}),
        ("POST", f"/api/consume/{secret}/outcome", {"success": True}),
        ("PUT", "/api/consume", None),
        ("GET", "/api/consume", None),
    ]
    answers = [
        await house.stranger.request(method, path, json=body, headers=headers) for method, path, body in asked
    ]
    for name in ("accessToken", "access-token"):
        answers.append(await house.stranger.post("/api/consume", headers={name: secret}))
        answers.append(await house.stranger.post("/api/consume", headers={name: secret[:-1] + "0"}))
    answers.append(await house.stranger.get("/api/tokens", headers=headers))
    answers.append(await house.client.post("/api/refund", json={"token_id": token_id, "request_id": secret}))
    for path in ("", "/quota", "/quota/logs", "/quota/logs/export", "/requests/r-1"):
        answers.append(await house.client.get(f"/api/tokens/{token_id}{path}"))
        answers.append(await house.client.get(f"/api/tokens/{secret}{path}"))
    answers.append(await house.client.get("/api/tokens"))
    answers.append(await house.client.delete(f"/api/tokens/{token_id}"))
    answers.append(await house.stranger.post("/api/consume", headers=headers))
    return [f"{answer.headers} {answer.text}" for answer in answers]


async def test_a_secret_is_nowhere(
    valkey_server: ValkeyProcess,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    valkey_server.start()
    valkey_server.clear()
    with caplog.at_level("DEBUG"):
        async with opened(valkey_server, tmp_path) as house:
            made, mine = await house.token()
            secret = made["secret"]
            body = secret.removeprefix("qf_")
            answers = await used_in_all_ways(house, secret, made["id"])

            async def broken(*_: object, **__: object) -> None:
                raise RuntimeError("a bug")

            with monkeypatch.context() as patch:
                patch.setattr(house.qf.tokens, "consume_id", broken)
                answers.append((await house.stranger.post("/api/consume", headers=mine)).text)
            assert not [answer for answer in answers if body in answer]
            kept = in_redis(house.redis)
            assert made["id"] in kept
            assert body not in kept
        ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
        assert not [record for record in ours if body in f"{record.msg} {record.args} {record.exc_info}"]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(made["prefix"].encode() in file for file in files)
    assert not any(body.encode() in file for file in files)
