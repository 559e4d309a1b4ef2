"""A daemon to be killed: `python -m chaoslab.daemon REDIS_URL STORE_URL DATA_DIR`."""

import asyncio
import contextlib
import sys
from pathlib import Path

from quotaflow import Quotaflow
from quotaflow.errors import QuotaflowError
from quotaflow.settings import Settings, load

RETRY_S = 0.2


def settings_for(redis_url: str, store_url: str, data_dir: str) -> Settings:
    """Make settings for any process of the chaos."""
    Path(data_dir).mkdir(parents=True, exist_ok=True)
    config = Path(data_dir) / "config.toml"
    config.write_text("")
    return load(config, environ={}, data_dir=data_dir, redis__url=redis_url, store__url=store_url)


async def main() -> None:
    """Run until killed; a server that is away is waited for."""
    settings = settings_for(*sys.argv[1:4])
    while True:
        with contextlib.suppress(QuotaflowError, OSError):
            async with Quotaflow.open(settings, role="daemon") as qf, qf.working():
                print("ready", flush=True)
                await asyncio.Event().wait()
        await asyncio.sleep(RETRY_S)


if __name__ == "__main__":
    asyncio.run(main())
