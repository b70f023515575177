"""API keys: `pdm_<8-character id>_<256-bit secret in base 62>`.

A key's secret is shown once, when it is made; what is kept is its SHA-256. A fast hash is right
here: the secret is 256 random bits, so there is nothing to guess and nothing to slow down.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, Protocol

from podium.errors import InvalidRequest, Unauthenticated
from podium.security.principal import ALL_SCOPES, Credentials, Principal

__all__ = [
    "ApiKey",
    "ApiKeyAuthenticator",
    "ExpiredKey",
    "KeySource",
    "MalformedKey",
    "RevokedKey",
    "UnknownKey",
    "check_scopes",
    "check_tenant",
    "digest",
    "new_token",
    "split",
]

PREFIX: Final = "pdm_"
_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH: Final = 8
_SECRET_LENGTH: Final = 43  # the shortest that holds 256 bits
_TOKEN_LENGTH: Final = 56
_SHAPE: Final = re.compile(r"pdm_([0-9A-Za-z]{8})_([0-9A-Za-z]{43})", re.ASCII)
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_NO_DIGEST: Final = "0" * 64


class MalformedKey(Unauthenticated):
    """The text cannot be a key of ours at all: truncated, mistyped or another product's."""


class UnknownKey(Unauthenticated):
    """No such key, or the secret is wrong; which of the two is not told."""


class ExpiredKey(Unauthenticated):
    """The key was good until its expiry."""


class RevokedKey(Unauthenticated):
    """The key was withdrawn."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key. Times are seconds since the epoch.

    Attributes:
        id: its public part; safe to log.
        sha256: of the secret, in hexadecimal.
        name: a note of the operator's.
        expires: None for never.
        revoked: when it was withdrawn, or None.
    """

    id: str
    sha256: str
    scopes: frozenset[str]
    tenant: str
    name: str
    created: float
    expires: float | None = None
    revoked: float | None = None

    def state(self, now: float) -> str:
        """Return `active`, `expired` or `revoked`."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and now >= self.expires else "active"


def _base62(value: int, length: int) -> str:
    characters = []
    for _ in range(length):
        value, digit = divmod(value, 62)
        characters.append(_BASE62[digit])
    return "".join(reversed(characters))


_LARGEST_SECRET: Final = _base62((1 << 256) - 1, _SECRET_LENGTH)


def digest(secret: str) -> str:
    """Return what is stored in place of the secret."""
    return hashlib.sha256(secret.encode("ascii")).hexdigest()


def new_token() -> tuple[str, str, str]:
    """Return a new token, its id and its digest."""
    key_id = "".join(secrets.choice(_BASE62) for _ in range(_ID_LENGTH))
    secret = _base62(secrets.randbits(256), _SECRET_LENGTH)
    return f"{PREFIX}{key_id}_{secret}", key_id, digest(secret)


def split(token: str) -> tuple[str, str]:
    """Return the id and the secret of a token.

    Raises:
        MalformedKey: it does not have the form of a key.
    """
    match = _SHAPE.fullmatch(token)
    # The alphabet is in ASCII order and the length fixed, so texts compare as their numbers do.
    if match is None or match[2] > _LARGEST_SECRET:
        raise MalformedKey("the API key is not of the form pdm_<id>_<secret>: check that it was copied whole")
    return match[1], match[2]


def check_scopes(scopes: frozenset[str]) -> frozenset[str]:
    """Return the scopes, or raise `InvalidRequest` when one is unknown or there is none."""
    unknown = scopes - ALL_SCOPES
    if unknown or not scopes:
        known = ", ".join(sorted(ALL_SCOPES))
        what = f"unknown scopes {', '.join(sorted(unknown))}" if unknown else "a key needs at least one scope"
        raise InvalidRequest(f"{what}: choose from {known}")
    return scopes


def check_tenant(tenant: str) -> str:
    """Return the tenant's name, or raise `InvalidRequest` when it cannot be one."""
    if _TENANT.fullmatch(tenant) is None:
        raise InvalidRequest("a tenant is 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit")
    return tenant


class KeySource(Protocol):
    """Where keys are looked up; `podium.security.key_store.KeyStore` is one."""

    def find(self, key_id: str) -> ApiKey | None:
        """Return the key of that id, whatever its state."""
        ...

    def now(self) -> float:
        """Return the time that expiry is measured by."""
        ...


class ApiKeyAuthenticator:
    """Identifies callers by API key, from `x-api-key` or as a bearer token that begins with `pdm_`."""

    __slots__ = ("_principals", "_source")

    def __init__(self, source: KeySource) -> None:
        self._source = source
        # One principal per record seen, so that a call builds none. Bounded by the key file.
        self._principals: dict[str, tuple[ApiKey, Principal]] = {}

    def authenticate(self, credentials: Credentials) -> Principal | Awaitable[Principal | None] | None:
        """Return the key's holder; None when there is no API key.

        Raises:
            Unauthenticated: the key is malformed, unknown, expired or revoked.
        """
        token = credentials.api_key
        if not token:
            token = credentials.bearer
            if not token.startswith(PREFIX):
                return None
        if len(token) == _TOKEN_LENGTH and token[12] == "_" and token.startswith(PREFIX) and token.isascii():
            # The right length and frame: what is wrong inside shows when nothing matches.
            key_id, secret = token[4:12], token[13:]
        else:
            key_id, secret = split(token)
        record = self._source.find(key_id)
        seen = self._principals.get(key_id)
        # Seen before and good for ever: only the secret is left to compare.
        known = seen is not None and seen[0] is record and record.revoked is None and record.expires is None
        if known and record is not None and seen is not None and hmac.compare_digest(digest(secret), record.sha256):
            return seen[1]
        # Compared even when there is no such key, so that the time taken tells nothing.
        good = hmac.compare_digest(digest(secret), _NO_DIGEST if record is None else record.sha256)
        if record is None or not good:
            split(token)
            raise UnknownKey("the API key is not known to this server")
        if record.revoked is not None:
            raise RevokedKey("the API key has been revoked: ask the operator for another")
        if record.expires is not None and self._source.now() >= record.expires:
            raise ExpiredKey("the API key has expired: ask the operator for another")
        return self._principal(record)

    def _principal(self, record: ApiKey) -> Principal:
        cached = self._principals.get(record.id)
        if cached is not None and cached[0] is record:
            return cached[1]
        admin = "admin" in record.scopes
        principal = Principal(f"api:{record.id}", record.scopes, record.tenant, any_tenant=admin)
        self._principals[record.id] = (record, principal)
        return principal
