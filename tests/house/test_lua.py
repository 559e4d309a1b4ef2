"""Lua is an API: the header of a script, its body and its Python binding say the same."""

import re

import pytest

from quotaflow.limiter.scripts import NAMES, assemble, lua_folder

BODIES = {name: (lua_folder() / f"{name}.lua").read_text(encoding="utf-8") for name in NAMES}
WORD = re.compile(r"^-- (KEYS|ARGV)\[(\d+)(\+?)\]", re.MULTILINE)


def header(body: str) -> str:
    return "\n".join(line for line in body.split("\n") if line.startswith("--")).split("\nlocal ")[0]


def code(body: str) -> str:
    return "\n".join(line.split("-- ")[0] for line in body.split("\n") if not line.startswith("--"))


def test_every_file_has_a_binding_and_every_binding_a_file() -> None:
    files = {path.name.removesuffix(".lua") for path in lua_folder().iterdir() if path.name.endswith(".lua")}
    assert files == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_header_begins_with_the_name_and_a_promise(name: str) -> None:
    assert BODIES[name].startswith(f"-- {name}: ")
    assert re.search(r"^-- reply +\S", BODIES[name], re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("table", ["KEYS", "ARGV"])
def test_every_slot_that_the_body_reads_is_in_the_header(name: str, table: str) -> None:
    slots = [(int(number), bool(plus)) for kind, number, plus in WORD.findall(BODIES[name]) if kind == table]
    assert [number for number, _ in slots] == list(range(1, len(slots) + 1)), (
        "slots are numbered without gaps"
    )
    assert all(not plus for _, plus in slots[:-1]), "only the last slot may repeat"
    read = {int(number) for number in re.findall(rf"{table}\[(\d+)\]", code(BODIES[name]))}
    assert read <= {number for number, _ in slots}
    repeats = bool(slots) and slots[-1][1]
    computed = re.search(rf"{table}\[[a-z]|#{table}|unpack\({table}", code(BODIES[name])) is not None
    assert computed <= repeats, "an index that is computed needs a slot that repeats"
    fixed = {number for number, plus in slots if not plus}
    assert fixed <= read, "a slot that the header names is read"


@pytest.mark.parametrize("name", NAMES)
def test_the_assembled_text_carries_its_incarnation_and_flags(name: str) -> None:
    text = assemble(name, 7).text
    assert text.startswith("#!lua")
    assert "\n-- incarnation 7\n" in text
    assert assemble(name, 8).sha != assemble(name, 7).sha
    frees = {"adjust", "cancel", "finish", "trim", "recover", "refund", "release", "lease", "beat", "slot"}
    frees |= {"hold", "settle", "pool"}
    assert ("flags=allow-oom" in text.split("\n")[0]) == (name in frees), (
        "what frees or ends may run out of memory"
    )


@pytest.mark.parametrize("name", NAMES)
def test_numbers_never_leave_lua_by_tostring_or_json(name: str) -> None:
    assert not re.search(r"tostring\((?!act)|cjson|cmsgpack|math\.random|os\.", code(BODIES[name]))


@pytest.mark.parametrize("name", NAMES)
def test_parts_are_taken_in_only_where_they_are_used(name: str) -> None:
    uses = re.search(r"^-- uses +(.+)$", BODIES[name], re.MULTILINE)
    assert uses is not None
    for part in uses.group(1).split():
        text = (lua_folder() / "lib" / f"{part}.lua").read_text(encoding="utf-8")
        functions = re.findall(r"^local function (\w+)", text, re.MULTILINE)
        others = "".join(
            (lua_folder() / "lib" / f"{other}.lua").read_text(encoding="utf-8")
            for other in uses.group(1).split()
            if other != part
        )
        assert any(re.search(rf"\b{function}\(", code(BODIES[name]) + others) for function in functions), part
