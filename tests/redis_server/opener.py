"""A process that opens embedded servers: one data directory per line of stdin, one line of JSON for each."""

import asyncio
import json
import sys
from pathlib import Path

from redis import Redis

from quotaflow.redis_server.embedded import open_embedded


def look(url: str) -> tuple[str, int]:
    """Tell which server answers there: its run id and its process id."""
    with Redis.from_url(url) as client:
        info = client.info("server")
    return str(info["run_id"]), int(info["process_id"])


def main() -> None:
    for line in sys.stdin:
        server = asyncio.run(open_embedded(Path(line.rstrip("\n"))))
        run_id, pid = look(server.url)
        answer = {"url": server.url, "started": server.started, "run_id": run_id, "pid": pid}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
