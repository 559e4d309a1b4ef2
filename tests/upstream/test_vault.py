"""Where secrets are kept, and that they never show."""

import os
import re
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from quotaflow.errors import InvalidInput, SecretUnavailable
from quotaflow.upstream.vault import Vault, fingerprint, new_key, shown

CANARY = "tvly-canary-0123456789-abcdefghijklmn"


@pytest.fixture
def keyed() -> Vault:
    return Vault([new_key()], {"TAVILY_KEY": CANARY, "EMPTY": "", "TWO": "two words", "SHORT": "1234567"})


def test_a_secret_is_kept_encrypted_and_opened_again(keyed: Vault) -> None:
    sealed = keyed.seal(CANARY)
    assert sealed.startswith("fernet:")
    assert CANARY not in sealed
    assert keyed.open(sealed) == CANARY
    assert keyed.seal(CANARY) != sealed, "two seals of one secret do not show that they are one"


@pytest.mark.parametrize("secret", ["fernet:" + "x" * 20, "!" * 8, "~" * 4096])
def test_any_printable_ascii_can_be_a_secret(keyed: Vault, secret: str) -> None:
    assert keyed.open(keyed.seal(secret)) == secret


@pytest.mark.parametrize("reference", ["env:TAVILY_KEY", "file:/run/secrets/tavily", "env:_x1"])
def test_a_reference_stays_as_it_is_and_needs_no_key(reference: str) -> None:
    vault = Vault([], {})
    assert vault.seal(reference) == vault.reseal(reference) == reference


@pytest.mark.parametrize(
    "given", ["", "1234567", "x" * 4097, CANARY + " ", CANARY + "\n", CANARY + "é", CANARY + "\x7f"]
)
def test_what_is_no_secret_is_refused_without_repeating_it(keyed: Vault, given: str) -> None:
    with pytest.raises(InvalidInput, match=r"^secret must be 8 to 4096 printable ASCII") as caught:
        keyed.seal(given)
    assert caught.value.field == "secret"
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "1X", "A-B", "A B", "A=B", "QUOTAFLOW_ADMIN_TOKEN", "quotaflow_x"])
def test_a_reference_to_no_variable_or_to_one_of_ours_is_refused(keyed: Vault, name: str) -> None:
    with pytest.raises(InvalidInput, match="after env:"):
        keyed.seal(f"env:{name}")


@pytest.mark.parametrize("path", ["", "relative", "~/x", "/a\nb", "/a\0b", "/" + "x" * 4096])
def test_a_reference_to_a_file_is_absolute_and_printable(keyed: Vault, path: str) -> None:
    with pytest.raises(InvalidInput, match="by its absolute path"):
        keyed.seal(f"file:{path}")


def test_without_a_key_it_says_what_to_set() -> None:
    with pytest.raises(InvalidInput, match=r"QUOTAFLOW_UPSTREAM__SECRET_KEY.*new-key") as caught:
        Vault([], {}).seal(CANARY)
    assert caught.value.field == "secret"
    assert CANARY not in str(caught.value)


def test_a_variable_is_looked_up(keyed: Vault) -> None:
    assert keyed.open("env:TAVILY_KEY") == CANARY


@pytest.mark.parametrize(
    ("name", "words"),
    [("GONE", "GONE is not set"), *((name, "no secret") for name in ("EMPTY", "TWO", "SHORT"))],
)
def test_a_variable_that_holds_no_secret_is_named(keyed: Vault, name: str, words: str) -> None:
    with pytest.raises(SecretUnavailable, match=words) as caught:
        keyed.open(f"env:{name}")
    assert (caught.value.code, caught.value.status, caught.value.exit_code) == ("secret_unavailable", 409, 2)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_file_holds_one_line(keyed: Vault, tmp_path: Path, end: bytes) -> None:
    file = tmp_path / "secret"
    file.write_bytes(CANARY.encode() + end)
    assert keyed.open(f"file:{file}") == CANARY
    link = tmp_path / "link"
    link.symlink_to(file)
    assert keyed.open(f"file:{link}") == CANARY


def test_the_longest_secret_fits_into_a_file(keyed: Vault, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x" * 4096 + b"\r\n")
    assert keyed.open(f"file:{tmp_path}/secret") == "x" * 4096


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"12345678\n12345678\n", b"x" * 4097, b"x" * 5000, "schlüssel".encode(), b"a b c d e f"],
)
def test_a_file_that_holds_no_secret_is_named(keyed: Vault, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(SecretUnavailable, match=f"{re.escape(str(file))} holds no secret"):
        keyed.open(f"file:{file}")


def test_a_file_that_is_not_there_or_no_regular_file_is_named(keyed: Vault, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, words in (
        ("gone", "is not there"),
        ("pipe", "must be a regular file"),
        ("loop", "cannot be read"),
        (".", r"cannot be read|must be a regular file"),
    ):
        with pytest.raises(SecretUnavailable, match=words) as caught:
            keyed.open(f"file:{tmp_path}/{name}")
        assert "\n" not in str(caught.value)


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    old, new = new_key(), new_key()
    sealed = Vault([old], {}).seal(CANARY)
    both = Vault([new, old], {})
    assert both.open(sealed) == CANARY
    again = both.reseal(sealed)
    assert again != sealed
    assert Vault([new], {}).open(again) == CANARY
    with pytest.raises(SecretUnavailable):
        Vault([old], {}).open(again)


@pytest.mark.parametrize("keys", [[], ["x"]])
@pytest.mark.parametrize("sealed", ["fernet:nonsense", "fernet:", "", "é", None])
def test_what_no_key_decrypts_is_unavailable(keys: list[str], sealed: str | None) -> None:
    vault = Vault([new_key() for _ in keys], {})
    sealed = Vault([new_key()], {}).seal(CANARY) if sealed is None else sealed
    for doing in (vault.open, vault.reseal):
        with pytest.raises(SecretUnavailable, match="no key in QUOTAFLOW_UPSTREAM__SECRET_KEY") as caught:
            doing(sealed)
        assert caught.value.__cause__ is None


def test_a_fingerprint_tells_provider_and_secret_apart() -> None:
    assert re.fullmatch("[0-9a-f]{64}", fingerprint("a", "b"))
    assert len({fingerprint(*pair) for pair in (("a", "b"), ("b", "a"), ("ab", ""), ("", "ab"))}) == 4
    assert fingerprint("a", "b") == fingerprint("a", "b")


def test_nothing_about_a_vault_shows_a_key() -> None:
    key = new_key()
    assert key not in repr(Vault([key], {"X": CANARY}))
    assert CANARY not in repr(Vault([key], {"X": CANARY}))


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        (CANARY, "tvly-...klmn"),
        ("sk_live_0123456789abcdefghij", "sk_...ghij"),
        ("0123456789abcdefghijklmnopqrst", "0123...qrst"),
        ("abcdefg-0123456789abcdefghijklmnopqrst", "abcdefg-...qrst"),
        ("tvly-456789012345678", "tv...5678"),
        ("tvly-45678901234567", "...67"),
        ("12345678", "...78"),
        ("", "..."),
    ],
)
def test_people_see_both_ends(secret: str, text: str) -> None:
    assert shown(secret) == text


@hypothesis.given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=80))
def test_never_more_than_a_third_of_a_secret_is_shown(secret: str) -> None:
    begin, _, end = shown(secret).rpartition("...")
    assert secret.startswith(begin)
    assert secret.endswith(end)
    assert 3 * (len(begin) + len(end)) <= len(secret)
