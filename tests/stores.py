"""A store that has its tables: migrating takes a quarter of a second, copying the file does not."""

import asyncio
import functools
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from quotaflow.store import Store
from tests.servers import PATIENCE_S


def sqlite_url(directory: Path) -> str:
    """Name a file in the directory."""
    return f"sqlite+aiosqlite:///{directory}/store.db"


@functools.cache
def empty_tables() -> bytes:
    """Return a SQLite file as a first start leaves it; it is made once, in a thread, as a loop may be running here."""
    with tempfile.TemporaryDirectory(prefix="qf-store-") as where, ThreadPoolExecutor(1) as aside:
        aside.submit(asyncio.run, make_tables(sqlite_url(Path(where)))).result()
        return (Path(where) / "store.db").read_bytes()


async def make_tables(url: str) -> None:
    """Migrate a database."""
    await (await Store.open(url, deadline_s=PATIENCE_S)).close()


def furnish(data_dir: Path) -> None:
    """Give a data directory that nobody has used the store that a first start would make there."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = data_dir / "quotaflow.db"
    if not file.exists():
        file.write_bytes(empty_tables())
