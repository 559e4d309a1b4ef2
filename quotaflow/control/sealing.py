"""Making upstream keys of what people give: the secret sealed, the rest checked."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from quotaflow.amounts import check_id
from quotaflow.balances import KeyStatus, UpstreamKey
from quotaflow.errors import InvalidInput, SecretUnavailable
from quotaflow.timing import Clock
from quotaflow.upstream.importing import ImportRow
from quotaflow.upstream.vault import FERNET, Vault, fingerprint, shown

# What is known of a key before its service was asked.
UNCHECKED: dict[str, Any] = {
    "plan_limit_micro": None,
    "used_micro": None,
    "remaining_micro": None,
    "status": KeyStatus.ACTIVE,
    "cooldown_until_us": None,
    "checked_us": None,
    "error": None,
    "failures": 0,
}


class Sealer:
    """Makes keys for the providers that are known."""

    def __init__(
        self, vault: Vault, providers: Collection[str], clock: Clock, new_id: Callable[[], str]
    ) -> None:
        self.providers = providers
        self._vault = vault
        self._clock = clock
        self._new_id = new_id

    def made(self, provider: str, secret: str, name: str | None, *, enabled: bool) -> UpstreamKey:
        """Make a key; without a name it is called as what it refers to, or what is shown of its secret.

        :raises InvalidInput: naming the field. :raises SecretUnavailable: the reference leads nowhere.
        """
        if provider not in self.providers:
            known = ", ".join(self.providers)
            # What was given is not repeated: in an import with its columns swapped it is the secret.
            raise InvalidInput(f"provider is not known; known are {known}", field="provider")
        now_us = self._clock.wall_us()
        fields = self.sealed(provider, secret)
        name = check_id(name or _name_of(fields), field="name")
        bare = UpstreamKey(self._new_id(), provider, name, "", "", "", enabled, now_us, now_us)
        return replace(bare, **fields)

    def made_of(self, row: ImportRow) -> UpstreamKey | str:
        """Return the key of an imported row, or why it cannot be one."""
        if row.error is not None:
            return row.error
        try:
            return self.made(row.provider, row.secret, row.name, enabled=row.enabled)
        except (InvalidInput, SecretUnavailable) as error:
            return str(error)

    def sealed(self, provider: str, secret: str) -> dict[str, Any]:
        """Return the fields of a key that come of its secret; raises as `made` does."""
        sealed = self._vault.seal(secret)
        opened = self._vault.open(sealed)
        return {"sealed": sealed, "fingerprint": fingerprint(provider, opened), "shown": shown(opened)}

    def reseal(self, sealed: str) -> str:
        """Encrypt a secret under the newest key.

        :raises SecretUnavailable: no key decrypts it.
        """
        return self._vault.reseal(sealed)


def _name_of(fields: dict[str, Any]) -> str:
    """Name a key that nobody named. Four characters are too few to tell a thousand keys apart."""
    scheme, _, place = fields["sealed"].partition(":")
    return f"{fields['shown']} {fields['fingerprint'][:6]}" if scheme == FERNET else place
