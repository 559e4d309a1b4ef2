"""Assemble the scripts: shebang, incarnation, the shared parts that a script names, then its body."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

NAMES = (
    "acquire", "acquire_mixed", "adjust", "allow", "beat", "cancel", "claim", "consume", "cursors", "define",
    "finish", "hold", "lease", "pick", "pool", "record", "recover", "refill", "refund", "release", "settle", "slot",
    "track", "trim",
)  # fmt: skip

Call = tuple[str, Sequence[str], Sequence[str]]  # the name of a script, its KEYS and ARGV


@dataclass(frozen=True, slots=True)
class Script:
    """One atomic act, ready to load."""

    name: str
    text: str
    sha: str


def lua_folder() -> Traversable:
    """Find `lua/`: in the package when installed from a wheel, beside it in a checkout."""
    packaged = files("quotaflow") / "lua"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "lua"


def assemble(name: str, incarnation: int) -> Script:
    """Put one script together. Its text, and so its SHA1, differs for each incarnation."""
    folder = lua_folder()
    body = (folder / f"{name}.lua").read_text(encoding="utf-8")
    parts = [
        (folder / "lib" / f"{part}.lua").read_text(encoding="utf-8") for part in _header(body, "uses").split()
    ]
    flags = _header(body, "flags")
    text = "\n".join(
        [
            f"#!lua flags={flags}" if flags else "#!lua",
            f"-- incarnation {incarnation}",
            f"local incarnation = '{incarnation}'",
            *parts,
            body,
        ]
    )
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def assemble_all(incarnation: int) -> dict[str, Script]:
    """Put every script together, by name."""
    return {name: assemble(name, incarnation) for name in NAMES}


def _header(body: str, word: str) -> str:
    found = re.search(rf"^-- {word} +(.+)$", body, re.MULTILINE)
    return found.group(1).strip() if found else ""
