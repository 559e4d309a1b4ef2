"""Where the secret of an upstream key is: in the environment, in a file, or encrypted beside the key itself."""

import hashlib
import os
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from quotaflow.errors import InvalidInput, SecretUnavailable
from quotaflow.log import printable

MIN_SECRET = 8
MAX_SECRET = 4096  # characters

FERNET = "fernet"

_ENV, _FILE, _FERNET = "env:", "file:", f"{FERNET}:"
_OURS = "QUOTAFLOW_"  # our own secrets are not sent to anybody
_SECRET_KEY = "QUOTAFLOW_UPSTREAM__SECRET_KEY"  # noqa: S105  the variable's name
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*").fullmatch
_SECRET = re.compile(rf"[!-~]{{{MIN_SECRET},{MAX_SECRET}}}").fullmatch  # ASCII that prints, no space
_IS_SECRET = f"{MIN_SECRET} to {MAX_SECRET} printable ASCII characters without spaces"
_SHOWN_WHOLE = 20  # characters; of a shorter secret only the last two are shown


class Vault:
    """Seals secrets and opens them again.

    :param secret_keys: Fernet keys, newest first: the first encrypts, all decrypt; none keeps references only.
    :param environ: where `env:NAME` is looked up.
    """

    def __init__(self, secret_keys: Sequence[str], environ: Mapping[str, str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in secret_keys]) if secret_keys else None
        self._newest = Fernet(secret_keys[0]) if secret_keys else None
        self._environ = environ

    def seal(self, given: str) -> str:
        """Return what may be kept of a secret: a reference as it stands, anything else encrypted.

        :param given: `env:NAME`, `file:/absolute/path`, or the secret itself.
        :raises InvalidInput: it is none of them, or there is no key to encrypt with. It never repeats the secret.
        """
        if given.startswith((_ENV, _FILE)):
            return _checked_reference(given)
        if not _SECRET(given):
            raise InvalidInput(
                f"secret must be {_IS_SECRET}, env:NAME or file:/absolute/path", field="secret"
            )
        if self._fernet is None:
            raise InvalidInput(
                f"secret cannot be encrypted: set {_SECRET_KEY} (quotaflow upstream new-key makes one),"
                " or give env:NAME or file:/absolute/path",
                field="secret",
            )
        return _FERNET + self._fernet.encrypt(given.encode()).decode()

    def open(self, sealed: str) -> str:
        """Return the secret itself. A file is read at once: from a slow disk, call this in a thread.

        :raises SecretUnavailable: its variable, its file or its key is missing, or holds what is no secret.
        """
        if sealed.startswith(_ENV):
            return self._of_variable(sealed.removeprefix(_ENV))
        if sealed.startswith(_FILE):
            return _of_file(sealed.removeprefix(_FILE))
        try:
            return self._keys().decrypt(sealed.removeprefix(_FERNET).encode()).decode()
        except InvalidToken:
            raise _wrong_key() from None

    def reseal(self, sealed: str) -> str:
        """Encrypt under the newest key what an older one has encrypted; all else stays as it is.

        :raises SecretUnavailable: no key decrypts it.
        """
        if sealed.startswith((_ENV, _FILE)):
            return sealed
        if self._newest is not None:
            with suppress(InvalidToken):
                self._newest.decrypt(sealed.removeprefix(_FERNET).encode())
                return sealed
        try:
            return _FERNET + self._keys().rotate(sealed.removeprefix(_FERNET).encode()).decode()
        except InvalidToken:
            raise _wrong_key() from None

    def _keys(self) -> MultiFernet:
        if self._fernet is None:
            raise _wrong_key()
        return self._fernet

    def _of_variable(self, name: str) -> str:
        secret = self._environ.get(name)
        if secret is None:
            raise SecretUnavailable(f"the variable {name} is not set; set it where the daemon starts")
        if not _SECRET(secret):
            raise SecretUnavailable(f"the variable {name} holds no secret: it must be {_IS_SECRET}")
        return secret


def new_key() -> str:
    """Make a Fernet key from the system's random numbers."""
    return Fernet.generate_key().decode()


def fingerprint(provider: str, secret: str) -> str:
    """Return the SHA-256, in hex, by which a provider's secret is known not to be there twice."""
    return hashlib.sha256(f"{provider}\0{secret}".encode()).hexdigest()


def shown(secret: str) -> str:
    """Return what people may see of a secret: its first and last characters, never more than a third of it."""
    third = len(secret) // 3
    if len(secret) < _SHOWN_WHOLE:
        last = min(2, third)
        return "..." + secret[len(secret) - last :]
    prefix = re.match(r"[^-_]{0,7}[-_]", secret)
    begin = prefix[0] if prefix else secret[:4]
    return f"{begin[: third - 4]}...{secret[-4:]}"


def _checked_reference(given: str) -> str:
    name = given.removeprefix(_ENV)
    if given.startswith(_ENV) and (not _VARIABLE(name) or name.upper().startswith(_OURS)):
        raise InvalidInput(
            f"secret must name a variable after env:, like env:TAVILY_KEY, and none of {_OURS}*",
            field="secret",
        )
    path = given.removeprefix(_FILE)
    if given.startswith(_FILE) and not (
        path.startswith("/") and path.isprintable() and len(path) <= MAX_SECRET
    ):
        raise InvalidInput(
            "secret must name a file by its absolute path, like file:/run/secrets/key", field="secret"
        )
    return given


def _of_file(path: str) -> str:
    try:
        text = _read(path)
    except FileNotFoundError:
        raise SecretUnavailable(
            f"the file {printable(path)} is not there; create it, or name another"
        ) from None
    except OSError as error:
        words = f"the file {printable(path)} cannot be read ({error.strerror}); let the daemon's user read it"
        raise SecretUnavailable(words) from None
    secret = (text or b"").removesuffix(b"\n").removesuffix(b"\r").decode("latin-1")
    if not _SECRET(secret):
        words = f"the file {printable(path)} holds no secret: it must be a regular file with one line of {_IS_SECRET}"
        raise SecretUnavailable(words)
    return secret


def _read(path: str) -> bytes | None:
    """Return as much as a secret and the end of its line may have, or None of what is no regular file.

    A pipe is not waited for.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, MAX_SECRET + 3) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    finally:
        os.close(descriptor)


def _wrong_key() -> SecretUnavailable:
    return SecretUnavailable(f"no key in {_SECRET_KEY} decrypts it; add the key it was encrypted with")
