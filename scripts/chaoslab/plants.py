"""Bugs to plant into a copy of the shipped code: each must raise the alarm."""

import shutil
from pathlib import Path
from typing import NamedTuple


class Patch(NamedTuple):
    """Text to replace in one file; it must stand there exactly once."""

    file: str
    old: str
    new: str


PLANTS = {
    # The journal lets go of facts before SQL has them: a kill in between loses rows.
    "trim-before-commit": Patch(
        "quotaflow/journal/flusher.py",
        "            try:\n                await self._store(portion.facts)\n",
        "            await (trim or self._trim)(portion)\n            try:\n                await self._store(portion.facts)\n",
    ),
    # A call that is sent again goes under another id: whatever was done the first time is done twice.
    "new-id-per-retry": Patch(
        "quotaflow/limiter/fence.py",
        "                for last_try in (False, True):\n",
        "                for last_try in (False, True):\n"
        '                    script_keys = [key + "." * last_try if ":request:" in key else key for key in script_keys]\n',
    ),
    # Recovery believes whatever Redis says, whichever of the two is newer.
    "absolute-snapshot": Patch(
        "quotaflow/limiter/restore_prepaid.py",
        "    if in_redis > in_sql and held is not None:\n",
        "    if held is not None:\n",
    ),
}


def planted(name: str, root: Path, where: Path) -> Path:
    """Copy the code, plant the bug, and return the copy's root."""
    patch = PLANTS[name]
    for part in ("quotaflow", "lua", "scripts", "tests"):
        shutil.copytree(root / part, where / part, ignore=shutil.ignore_patterns("__pycache__"))
    file = where / patch.file
    text = file.read_text()
    assert text.count(patch.old) == 1, f"the place for {name} in {patch.file} has changed"
    file.write_text(text.replace(patch.old, patch.new))
    return where
