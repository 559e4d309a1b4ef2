"""The rows of the README's table "seed path -> ours" about Tavily keys."""

from pathlib import Path

from tests.http.upstream import PATH, upstream_house
from tests.servers import ValkeyProcess


async def test_the_tavily_keys_of_the_seed_are_upstream_keys(
    valkey_server: ValkeyProcess, tmp_path: Path
) -> None:
    """/api/v1/admin/tavily-keys: listed, added, many at once, changed, deleted; and /refresh-quota."""
    valkey_server.start()
    valkey_server.clear()
    async with upstream_house(valkey_server, tmp_path) as house:
        client = house.client
        body = {
            "provider": "tavily",
            "secret": house.account(1000, used=400),
            "name": "main",
            "enabled": True,
        }
        made = await client.post(PATH, json=body)
        assert (made.status_code, made.json()["remaining"]) == (201, 600.0)
        rows = [{"provider": "tavily", "secret": house.account()} for _ in range(2)]
        many = await client.post(f"{PATH}/import", json=rows)
        assert (many.status_code, many.json()["success"]) == (200, 2)
        listed = (await client.get(PATH, params={"provider": "tavily"})).json()["items"]
        assert len(listed) == 3

        path = f"{PATH}/{made.json()['id']}"
        changed = await client.patch(path, json={"enabled": False})
        assert (changed.status_code, changed.json()["enabled"]) == (200, False)
        report = (await client.post(f"{PATH}/refresh", json={"provider": "tavily"})).json()
        assert (report["success"], report["failed"], report["total_keys"]) == (2, 0, 2)
        assert report["elapsed_seconds"] >= 0
        assert report["errors"] == []
        assert (await client.delete(path)).status_code == 204
