"""What may leave this machine: checked on the configured address, and again on the resolved one."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from podium.errors import FailedPrecondition

__all__ = ["EgressPolicy", "Resolver", "Zone", "system_resolver", "zone_of_host"]

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a host, for a port."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Services on the internet: refused without CLOUD_LLM_ENABLED before their names are even looked up.
_VENDORS = (
    "anthropic.com", "openai.com", "openai.azure.com", "googleapis.com", "mistral.ai", "groq.com", "openrouter.ai",
    "together.xyz", "together.ai", "deepseek.com", "fireworks.ai", "x.ai", "cohere.com", "cohere.ai",
    "perplexity.ai", "cerebras.ai", "huggingface.co", "deepinfra.com", "moonshot.ai", "ollama.com",
)  # fmt: skip


class Zone(StrEnum):
    """How far away an address is."""

    LOOPBACK = "loopback"
    PRIVATE = "private"
    PUBLIC = "public"


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressPolicy:
    """Where models may be. Loopback addresses and Unix sockets always are allowed.

    Attributes:
        cloud_enabled: whether public addresses and known vendors may be reached (`CLOUD_LLM_ENABLED`).
        remote_enabled: whether private addresses of other machines may be (`REMOTE_LLM_ENABLED`).
    """

    cloud_enabled: bool = False
    remote_enabled: bool = False

    def check_host(self, host: str) -> Zone:
        """Check a configured host without looking it up. Returns how far away it will be at most.

        Raises:
            FailedPrecondition: it is not allowed; names the setting that would allow it.
        """
        zone = zone_of_host(host)
        if zone is not None:
            self._require(zone, host)
            return zone
        if _is_vendor(host):
            self._require(Zone.PUBLIC, host)
        elif not (self.cloud_enabled or self.remote_enabled):
            raise _refusal(host, "outside this machine", "REMOTE_LLM_ENABLED=true (or CLOUD_LLM_ENABLED=true)")
        return Zone.PUBLIC

    def check_addresses(self, host: str, addresses: Iterable[str]) -> None:
        """Check what a host resolved to; every address has to be allowed.

        Raises:
            FailedPrecondition: one is not; a loopback name that leads elsewhere never is.
        """
        named = zone_of_host(host)
        for text in addresses:
            zone = _zone(ipaddress.ip_address(text.partition("%")[0]))
            if named is Zone.LOOPBACK and zone is not Zone.LOOPBACK:
                raise FailedPrecondition(f"{host} does not lead to this machine: mend its name resolution")
            self._require(zone, host)

    def _require(self, zone: Zone, host: str) -> None:
        if zone is Zone.PUBLIC and not self.cloud_enabled:
            raise _refusal(host, "on the internet", "CLOUD_LLM_ENABLED=true")
        if zone is Zone.PRIVATE and not self.remote_enabled:
            raise _refusal(host, "on another machine", "REMOTE_LLM_ENABLED=true")


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """Look a host up the way this machine does."""
    entries = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in entries]


def zone_of_host(host: str) -> Zone | None:
    """Return how far away a host is by its name alone; None when only its addresses could tell."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return Zone.LOOPBACK
    address = _literal(name)
    return None if address is None else _zone(address)


def _literal(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _zone(address: _Address) -> Zone:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return Zone.LOOPBACK
    return Zone.PUBLIC if address.is_global or address.is_multicast else Zone.PRIVATE


def _is_vendor(host: str) -> bool:
    name = host.rstrip(".").lower()
    return any(name == vendor or name.endswith(f".{vendor}") for vendor in _VENDORS)


def _refusal(host: str, where: str, setting: str) -> FailedPrecondition:
    return FailedPrecondition(f"{host} is {where}, and models there are switched off: set {setting} to allow them")
