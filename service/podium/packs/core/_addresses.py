"""Which hosts and addresses `http_get` may reach."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from podium.orchestration.tool import ToolFailure, ToolFailureCode

__all__ = ["HostRules", "Resolver", "Target", "system_resolver"]

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a host, for a port."""

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_EMBEDDED_V4 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was vetted, and the one address to connect to."""

    scheme: str
    host: str
    port: int
    path: str
    address: str

    @property
    def url(self) -> str:
        """The URL by its host name, for messages and results."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"


class HostRules:
    """Vets URLs.

    Args:
        hosts: names that may be fetched over https: `api.example.com`, `*.example.com` (names below
            it), either with `:port`. They must not resolve to an address that is not public.
        internal_hosts: names (likewise) or addresses that may also be plain http, and private.
        resolver: looks up addresses.
    """

    def __init__(self, hosts: Sequence[str], internal_hosts: Sequence[str] = (), *, resolver: Resolver) -> None:
        self._hosts = [_rule(host) for host in hosts]
        self._internal = [_rule(host) for host in internal_hosts]
        self._resolver = resolver

    @property
    def names(self) -> list[str]:
        """The allowed hosts, for messages."""
        return [f"{host}:{port}" if port else host for host, port in (*self._hosts, *self._internal)]

    @property
    def example(self) -> str:
        """The beginning of a URL that is allowed."""
        host, port = (*self._hosts, *self._internal)[0]
        host = host.replace("*", "www") if host.startswith("*.") else f"[{host}]" if ":" in host else host
        return f"https://{host}:{port}" if port else f"https://{host}"

    def check(self, url: str) -> tuple[str, str, int, str]:
        """Check a URL's form and host against the rules, without looking anything up.

        Returns:
            Scheme, host, port and path with query.

        Raises:
            ValueError: it is malformed.
            ToolFailure: NOT_ALLOWED.
        """
        scheme, host, port, path = _split(url)
        internal = _matches(self._internal, scheme, host, port)
        if not internal and not _matches(self._hosts, scheme, host, port):
            allowed = ", ".join(self.names[:10])
            raise _not_allowed(f"{host} on port {port} is not among the hosts that may be fetched: {allowed}")
        if scheme == "http" and not internal:
            raise _not_allowed(f"{host} may be fetched over https only")
        return scheme, host, port, path

    async def vet(self, url: str) -> Target:
        """Check a URL and resolve its host, once: the address given back is the one to connect to.

        Raises:
            ToolFailure: it is malformed or not allowed, or its host cannot be found.
        """
        try:
            scheme, host, port, path = self.check(url)
        except ValueError as error:
            raise ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, f"http_get: {error}") from None
        addresses = await self._addresses(host, port)
        if not _matches(self._internal, scheme, host, port):
            for address in addresses:  # all of them: one private among public ones is an attack or a mistake
                if not _public(address):
                    raise _not_allowed(f"{host} does not lead to a public address")
        return Target(scheme, host, port, path, str(addresses[0]))

    async def _addresses(self, host: str, port: int) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
        literal = _address(host)
        if literal is not None:
            return [literal]
        try:
            found = [ipaddress.ip_address(address.partition("%")[0]) for address in await self._resolver(host, port)]
        except (OSError, UnicodeError, ValueError):
            found = []
        if not found:
            message = f"http_get: the address of {host} cannot be found"
            raise ToolFailure(ToolFailureCode.UNAVAILABLE, message, retryable=True)
        return found


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """Look a host up the way this machine does."""
    entries = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in entries]


def _split(url: str) -> tuple[str, str, int, str]:
    if re.search(r"[\s\x00-\x1f\x7f\\]", url):
        raise ValueError("a URL holds no spaces, backslashes or control characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the URL is malformed; write one such as https://example.com/page") from None
    scheme = parts.scheme.lower()
    if scheme not in _PORTS:
        raise ValueError("only https URLs can be fetched, such as https://example.com/page")
    if "@" in parts.netloc:
        raise ValueError("leave user names and passwords out of the URL")
    host = _ascii((parts.hostname or "").rstrip("."))
    if _address(host) is None and (not all(map(_LABEL.fullmatch, host.split("."))) or host.split(".")[-1].isdigit()):
        raise ValueError("the URL names no valid host")  # nor 127.1, 0x7f.1 or 2130706433
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return scheme, host, port or _PORTS[scheme], path


def _ascii(host: str) -> str:
    if host.isascii():
        return host.lower()
    try:
        return host.encode("idna").decode().lower()
    except UnicodeError:
        raise ValueError("the URL names no valid host") from None


def _rule(text: str) -> tuple[str, int]:
    """Read `host`, `*.host`, `host:port`, `[address]:port`."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|(?:\*\.)?[^\s:/@*\[\]]+)(?::(\d{1,5}))?", text.strip())
    port = int(match[2]) if match and match[2] else 0
    if not match or port > 65_535:
        raise ValueError(f"{text!r} is no host rule; write api.example.com, *.example.com or host:8080")
    return _ascii(match[1].strip("[]").rstrip(".")), port


def _matches(rules: Sequence[tuple[str, int]], scheme: str, host: str, port: int) -> bool:
    return any(
        (host == name or (name.startswith("*.") and host.endswith(name[1:]))) and port == (wanted or _PORTS[scheme])
        for name, wanted in rules
    )


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and any(address in network for network in _EMBEDDED_V4):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None and not _public(inner):
            return False
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _not_allowed(message: str) -> ToolFailure:
    return ToolFailure(ToolFailureCode.NOT_ALLOWED, f"http_get: {message}")
