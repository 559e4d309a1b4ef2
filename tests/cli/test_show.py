"""Tables: no name breaks one, and a program gets every character."""

import pytest

from quotaflow.edges.cli.show import cell, plain, table


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (True, "yes"),
        (2.0, "2"),
        (0.000001, "1e-06"),
        ([], "-"),
        ({"ok": 3, "p50": None}, "ok 3, p50 -"),
        (["a", 1], "a, 1"),
    ],
)
def test_a_value_of_json_in_words(value: object, shown: str) -> None:
    assert plain(value) == shown


def test_markup_and_control_characters_are_shown_not_obeyed() -> None:
    assert cell("[red]a[/red]\x1b[2J\n\u202e").plain == r"[red]a[/red]\x1b[2J\n\u202e"


def test_a_long_name_is_whole_when_a_program_reads(capsys: pytest.CaptureFixture[str]) -> None:
    table({"id": "id", "name": "name"}, [{"id": "a" * 128, "name": "上海" * 21}])
    assert capsys.readouterr().out.splitlines()[1] == f"{'a' * 128}  {'上海' * 21}"
