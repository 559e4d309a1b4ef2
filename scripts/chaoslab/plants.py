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
        "                    link = await self._reach(until_s)\n",
        "                    link = await self._reach(until_s)\n"
        '                    script_keys = [key + "." * was_lost if ":request:" in key else key for key in script_keys]\n',
    ),
    # Recovery believes whatever Redis says, whichever of the two is newer.
    "absolute-snapshot": Patch(
        "quotaflow/limiter/restore_prepaid.py",
        "    if in_redis > in_sql and held is not None:\n",
        "    if held is not None:\n",
    ),
}

RUNNER_PLANTS = {
    # A claim does not look where the cursor stands: a daemon that was frozen claims again what others have run.
    "cursor-unread": Patch(
        "lua/claim.lua",
        "  if state.last ~= item.cursor or item.at <= state.last then return 'taken', state.last end\n",
        "",
    ),
    # A turn in the future is given and not reserved: everybody gets the same one.
    "turn-not-reserved": Patch(
        "lua/claim.lua",
        "  state.free, state.paced = math.max(now, state.free) + state.interval, true\n",
        "",
    ),
    # A run that begins does not hold the slot that it was given.
    "slot-not-held": Patch(
        "lua/claim.lua",
        "take_slot(item.task_slots, item.run, lease_end)",
        "",
    ),
    # Nobody rests between two attempts.
    "no-rest": Patch(
        "lua/finish.lua",
        "  redis.call('ZADD', KEYS[4], digits(whole(due)), run)\n",
        "  redis.call('ZADD', KEYS[4], digits(now), run)\n",
    ),
}


def planted(name: str, root: Path, where: Path) -> Path:
    """Copy the code, plant the bug, and return the copy's root."""
    patch = (PLANTS | RUNNER_PLANTS)[name]
    for part in ("quotaflow", "lua", "scripts", "tests"):
        shutil.copytree(root / part, where / part, ignore=shutil.ignore_patterns("__pycache__"))
    file = where / patch.file
    text = file.read_text()
    assert text.count(patch.old) == 1, f"the place for {name} in {patch.file} has changed"
    file.write_text(text.replace(patch.old, patch.new))
    return where
