"""Encryption of secrets at rest.

Keys come from ``ENCRYPTION_KEYS`` (comma list, newest first), so that a key can
be rotated: the first one seals, all of them open.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

MIN_KEY = 16


class VaultError(RuntimeError):
    """A stored secret cannot be opened with the configured keys."""


class Vault:
    """Seals and opens short texts with the configured keys."""

    def __init__(self) -> None:
        self._fernet: MultiFernet | None = None

    def configure(self, keys: Sequence[str]) -> None:
        """Set the keys, newest first; any text of 16 characters or more serves as one."""
        if not keys or any(len(key) < MIN_KEY for key in keys):
            raise VaultError("ENCRYPTION_KEYS needs keys of at least 16 characters")
        self._fernet = MultiFernet([Fernet(_derive(key)) for key in keys])

    def seal(self, text: str) -> str:
        """Encrypted form of ``text`` as ASCII."""
        return self._ready().encrypt(text.encode()).decode("ascii")

    def open(self, sealed: str) -> str:
        """Plain text; raises VaultError when no key fits."""
        try:
            return self._ready().decrypt(sealed.encode("ascii")).decode()
        except InvalidToken as error:
            raise VaultError("the secret was sealed with another key") from error

    def _ready(self) -> MultiFernet:
        if self._fernet is None:
            raise VaultError("the vault has no keys yet")
        return self._fernet


def _derive(key: str) -> bytes:
    return base64.urlsafe_b64encode(hashlib.sha256(b"kvartal-vault:" + key.encode()).digest())


vault = Vault()
