"""Sealing of values that are kept outside the process, each tenant's with a key of its own.

AES-256-GCM with a random 96-bit nonce; keys come from the service's secret by HKDF-SHA256
(RFC 5869). A key of one tenant may seal 2^32 values (NIST SP 800-38D, 8.3): at a thousand a second
the secret must change every seven weeks.

A sealed value is: version (1 byte), key id (1), nonce (12), ciphertext, tag (16). Version and key
id are authenticated along with the associated data.
"""

from __future__ import annotations

import functools
import hashlib
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

__all__ = ["CipherError", "ValueCipher"]

_VERSION: Final = 1
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_KEY_BYTES: Final = 32
_SHORTEST_SECRET: Final = 32


class CipherError(Exception):
    """A value was not sealed with this secret for this tenant and these associated data, or it was altered."""


class ValueCipher:
    """Seals and opens values. May be used from several threads.

    Args:
        secret: the service's own, at least 32 characters, and random: nothing slows down guessing at it.
        salt: of the installation; needs not be secret, must not change (RFC 5869, 3.1).
        purpose: what the values are; other purposes get other keys.
        key_id: of the secret, 0 to 255; values of other ids are refused.
        max_tenants: tenants whose keys are kept ready.

    Raises:
        ValueError: the secret is too short, or the salt or purpose is empty.
    """

    def __init__(
        self, secret: str, *, salt: str, purpose: str = "podium:cache", key_id: int = 1, max_tenants: int = 1024
    ) -> None:
        if len(secret) < _SHORTEST_SECRET:
            raise ValueError(f"the secret needs at least {_SHORTEST_SECRET} characters")
        if not salt or not purpose:
            raise ValueError("a cipher needs a salt and a purpose")
        if not 0 <= key_id <= 255 or max_tenants < 1:
            raise ValueError("a key id is 0 to 255, and at least one tenant's keys are kept")
        # As environment variables are read: bytes that are not UTF-8 come back as they were.
        self._secret = secret.encode("utf-8", "surrogateescape")
        self._salt = salt.encode("utf-8", "surrogateescape")
        self._purpose = purpose.encode()
        self._header = bytes((_VERSION, key_id))
        self._keys_of = functools.lru_cache(maxsize=max_tenants)(self._derive)

    def seal(self, tenant: str, aad: bytes, plaintext: bytes) -> bytes:
        """Return the value sealed: only `open` with the same tenant and associated data gives it back."""
        nonce = os.urandom(_NONCE_BYTES)
        return self._header + nonce + self._keys_of(tenant)[0].encrypt(nonce, plaintext, self._header + aad)

    def open(self, tenant: str, aad: bytes, sealed: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            CipherError: it is not whole, or was not sealed so.
        """
        start = len(self._header) + _NONCE_BYTES
        if len(sealed) < start + _TAG_BYTES or sealed[: len(self._header)] != self._header:
            raise CipherError("the value is not one that this key has sealed")
        nonce = sealed[len(self._header) : start]
        try:
            return self._keys_of(tenant)[0].decrypt(nonce, sealed[start:], self._header + aad)
        except InvalidTag:
            raise CipherError("the value was altered, or sealed with another key") from None

    def pseudonym(self, tenant: str, data: bytes) -> bytes:
        """Return 32 bytes that stand for `data`, always the same, from which it cannot be guessed without the key."""
        return hashlib.blake2b(data, key=self._keys_of(tenant)[1], digest_size=32).digest()

    def _derive(self, tenant: str) -> tuple[AESGCM, bytes]:
        """Return the tenant's keys: for values and for pseudonyms."""
        purpose = len(self._purpose).to_bytes(4, "big") + self._purpose  # so that no two pairs read the same
        derive = HKDF(algorithm=SHA256(), length=2 * _KEY_BYTES, salt=self._salt, info=purpose + tenant.encode())
        both = derive.derive(self._secret)
        return AESGCM(both[:_KEY_BYTES]), both[_KEY_BYTES:]
