"""Small rooms: a stranger reads any file in one sitting."""

import ast
import statistics
from pathlib import Path

HOUSE = Path(__file__).parents[2] / "quotaflow"
FILES = [path for path in sorted(HOUSE.rglob("*.py")) if "migrations" not in path.parts]


def test_no_file_is_longer_than_300_lines_and_half_are_under_120() -> None:
    lengths = {
        str(path.relative_to(HOUSE)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES
    }
    assert {name: length for name, length in lengths.items() if length > 300} == {}
    assert statistics.median(lengths.values()) <= 120


def function_lengths() -> dict[str, int]:
    """Lines of each function without its docstring."""
    lengths = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                documented = ast.get_docstring(node) is not None
                first = node.body[1].lineno if documented and len(node.body) > 1 else node.lineno
                lengths[f"{path.relative_to(HOUSE)}:{node.lineno} {node.name}"] = (
                    (node.end_lineno or 0) - first + 1
                )
    return lengths


def test_no_function_is_longer_than_40_lines_and_half_are_under_9() -> None:
    lengths = function_lengths()
    assert {name: length for name, length in lengths.items() if length > 40} == {}
    assert statistics.median(lengths.values()) <= 8
