"""Operators by command line."""

import json
from typing import Any

import pytest

from tests.cli.conftest import TOKEN, Ask, Owner
from tests.cli.test_asking import answered


def test_an_operator_lives_from_add_to_revoke(ask: Ask, at: Ask, owner: Owner) -> None:
    made: Any = answered(at("operator", "add", "anna", "-o", "json"))
    assert (made["name"], made["role"], made["secret"][:12]) == ("anna", "viewer", made["prefix"])
    head, *rows = at("operator", "list").out.splitlines()
    assert head.split() == ["id", "name", "role", "token", "created", "(UTC)", "revoked", "(UTC)"]
    assert [made["id"], "anna", "viewer", made["prefix"]] in [row.split()[:4] for row in rows]
    there = ("--url", owner.url, "--token", str(made["secret"]))
    assert ask("quota", "list", *there).code == 0
    refused = ask("operator", "add", "friend", *there)
    assert (refused.code, refused.out) == (2, "")
    assert (
        refused.err == "quotaflow: forbidden: your token may look, not change: ask for one with role admin\n"
    )
    assert at("operator", "revoke", str(made["id"])) == (0, f"revoked: {made['id']}\n", "")
    assert ask("quota", "list", *there).code == 2
    items: Any = answered(at("operator", "list", "-o", "json"))["items"]
    (item,) = [item for item in items if item["id"] == made["id"]]
    assert item["revoked_at"] is not None
    assert made["secret"] not in json.dumps(item)


def test_an_admin_of_ones_own_may_add_others(ask: Ask, at: Ask, owner: Owner) -> None:
    made = answered(at("operator", "add", "chief", "--role", "admin", "-o", "json"))
    for token in (str(made["secret"]), TOKEN):
        there = ("--url", owner.url, "--token", token, "-o", "json")
        other = answered(ask("operator", "add", "deputy", "--role", "admin", *there))
        assert ask("operator", "revoke", str(other["id"]), *there).code == 0
    assert at("operator", "revoke", str(made["id"])).code == 0


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        (("add", "admin"), "conflict: an operator has the name 'admin'"),
        (("add", ""), "invalid_input: name must not be empty"),
        (("revoke", "nobody"), "not_found: no operator has this id"),
    ],
)
def test_what_is_refused_is_one_line(at: Ask, arguments: tuple[str, ...], begins: str) -> None:
    refused = at("operator", *arguments)
    assert (refused.code, refused.out, len(refused.err.splitlines())) == (2, "", 1)
    assert refused.err.startswith(f"quotaflow: {begins}")


def test_a_role_that_there_is_not_is_refused(at: Ask) -> None:
    assert at("operator", "add", "x", "--role", "root").code == 2


def test_the_commands_speak_chinese(at: Ask) -> None:
    made = answered(at("operator", "add", "名", "-o", "json"))
    assert "角色" in at("--lang", "zh", "operator", "list").out
    assert at("--lang", "zh", "operator", "revoke", str(made["id"])).out == f"已撤销：{made['id']}\n"
