"""What a build brings from npm is what the lock names, and what the pages ask for."""

import ast
import json
import tomllib
from pathlib import Path
from typing import Any

from quotaflow.edges.web.assets import HERE, LIBRARIES

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
    assert {name for name in constants()["FILES"] if not name.endswith(".txt")} == set(LIBRARIES)
    assert constants()["VENDOR"] == (HERE / "vendor").relative_to(ROOT).as_posix()
