"""Who is calling, and the ways of finding out. Nothing here knows gRPC."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

__all__ = ["ALL_SCOPES", "LOCAL", "Authenticator", "Credentials", "Principal"]

ALL_SCOPES: Final = frozenset({"run", "infer", "tools", "read", "admin"})
"""What a credential can allow. No scope implies another."""


@dataclass(frozen=True, slots=True)
class Principal:
    """An identified caller.

    Attributes:
        name: stable and safe to log, such as `api:AbC12345`; limits are counted under it.
        scopes: what it may do.
        tenant: whose data it works on.
        local: the caller of a server without credentials, who is not rate limited by default.
        any_tenant: may name another tenant in `x-podium-tenant`.
    """

    name: str
    scopes: frozenset[str]
    tenant: str = "default"
    local: bool = False
    any_tenant: bool = False


LOCAL: Final = Principal(name="local", scopes=ALL_SCOPES, local=True, any_tenant=True)
"""Everybody, on a server that has no credentials and therefore listens on loopback only."""


class Credentials:
    """What a call brought along to identify itself. Its text form shows none of it.

    Attributes:
        bearer: the token of `authorization: Bearer ...`, or "".
        api_key: the value of `x-api-key`, or "".
        auth_context: reads what TLS knows of the peer (`peer_uri`, `x509_common_name`, ...).
    """

    __slots__ = ("api_key", "auth_context", "bearer")

    def __init__(
        self,
        bearer: str = "",
        api_key: str = "",
        auth_context: Callable[[], Mapping[str, list[bytes]]] = dict,
    ) -> None:
        self.bearer = bearer
        self.api_key = api_key
        self.auth_context = auth_context


class Authenticator(Protocol):
    """One way of identifying a caller: API keys, JWT, mTLS."""

    def authenticate(self, credentials: Credentials) -> Principal | Awaitable[Principal | None] | None:
        """Return the caller, or None when these credentials are not of this kind.

        Raises:
            Unauthenticated: they are of this kind and not good.
        """
        ...
