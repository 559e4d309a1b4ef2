"""The README is kept: its first example runs, its files exist, its words are ours."""

import ast
import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


async def test_the_first_example_runs_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(blocks("toml")[0])
    (tmp_path / "example.py").write_text(blocks("python")[0])
    example = await asyncio.create_subprocess_exec(
        sys.executable,
        "example.py",
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    async with asyncio.timeout(30):
        out, _ = await example.communicate()
    assert example.returncode == 0
    assert out.decode().splitlines() == ["True 1.0", "['AAPL 42.00', 'MSFT 42.00', 'GOOG 42.00']"]


def test_every_python_example_compiles() -> None:
    for block in blocks("python"):
        compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize(
    "name",
    [
        "scripts/start",
        "scripts/test",
        "scripts/check",
        "scripts/bench",
        "scripts/cleanup_quota_logs.sh",
        ".ci/run",
    ],
)
def test_the_commands_that_are_named_can_be_run(name: str) -> None:
    assert (ROOT / name).stat().st_mode & 0o111


def test_every_setting_in_the_readme_exists() -> None:
    config = (ROOT / "config.toml").read_text(encoding="utf-8")
    for key in ("data_dir", "modules", "port", "capacity", "refill_rate"):
        assert re.search(rf"\b{key} =", config), key
