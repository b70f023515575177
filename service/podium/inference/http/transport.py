"""Connections to one provider: aiohttp's, held to our egress policy and limits, with our errors.

Loaded with the first request only, as aiohttp takes a while to import.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
from collections.abc import Mapping
from functools import partial
from typing import Any
from weakref import WeakSet

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.tracing import Trace
from yarl import URL

from podium.errors import Internal, PodiumError, ResourceExhausted, Unavailable
from podium.inference.http.egress import EgressPolicy, Resolver, system_resolver
from podium.inference.http.http_errors import cut_short

__all__ = ["Exchange", "Transport"]

_IDLE_SECONDS = 15.0
_CLOSE_SECONDS = 1.0
_SMALL_REQUESTS = 16
_MOST_FIELD_BYTES = 32 << 10


class Transport:
    """A pool of HTTP/1.1 connections to one provider. Make it on the event loop that uses it.

    It follows no redirect, keeps no cookie and takes nothing from the environment.

    Args:
        model: name of the model in Podium, for messages.
        policy: what may be reached.
        resolver: looks up addresses; by default this machine's.
        unix_socket: path of a Unix socket, instead of the host of the URLs.
        tls: for https; None where there is none.
        proxy: URL of an HTTP proxy. The policy then does not judge addresses, as the proxy looks names up.
        connect_seconds: to look up and connect, TLS included, and as long to wait for a free connection.
        connections: the most turns at once.
    """

    def __init__(
        self,
        model: str,
        *,
        policy: EgressPolicy,
        resolver: Resolver | None,
        unix_socket: str,
        tls: ssl.SSLContext | None,
        proxy: str | None,
        connect_seconds: float,
        connections: int,
    ) -> None:
        self._model = model
        self._proxy = proxy
        self._connect_seconds = connect_seconds
        self._turns = asyncio.Semaphore(connections)
        self._small = asyncio.Semaphore(_SMALL_REQUESTS)
        self._exchanges: set[Exchange] = set()
        if tls is not None:
            tls.set_alpn_protocols(["http/1.1"])
        # A proxy is the way out that the settings name; what it may reach was checked by name.
        guard = _Guard(None if proxy else policy, None if proxy else resolver)
        if unix_socket:
            self._pool: _Pool = _UnixPool(unix_socket, limit=0, keepalive_timeout=_IDLE_SECONDS)
        else:
            self._pool = _TcpPool(
                limit=0,
                keepalive_timeout=_IDLE_SECONDS,
                ssl=True if tls is None else tls,
                resolver=guard,
                use_dns_cache=False,
                socket_factory=guard.socket_to,
            )
        self._session = aiohttp.ClientSession(
            connector=self._pool,
            response_class=_Response,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(connect=connect_seconds),
            auto_decompress=False,
            trust_env=False,
            max_line_size=_MOST_FIELD_BYTES,
            max_field_size=_MOST_FIELD_BYTES,
        )

    async def aclose(self) -> None:
        """Close every connection; whoever waits for an answer gets `Unavailable`."""
        for exchange in tuple(self._exchanges):
            exchange.abort()
        self._pool.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._session.close()

    async def send(self, method: str, url: str, headers: Mapping[str, str], content: bytes, *, turn: bool) -> Exchange:
        """Send a request and return its answer once the head of it has come. Close that in any case.

        Args:
            method: of the request.
            url: sent as it is.
            headers: all of them but the length.
            content: the body, empty for none.
            turn: whether it counts as a turn or as one of the small requests beside them.

        Raises:
            FailedPrecondition: the policy does not allow an address that the name leads to.
            ResourceExhausted: there are as many requests as there may be.
            Unavailable: the provider cannot be reached, or breaks off.
            Internal: the request cannot be sent as it is.
        """
        slots = self._turns if turn else self._small
        await self._take(slots)
        try:
            response = await self._requested(method, URL(url, encoded=True), headers, content)
        except BaseException:
            slots.release()
            raise
        return Exchange(self._model, response, slots, self._exchanges)

    async def _take(self, slots: asyncio.Semaphore) -> None:
        if not slots.locked():
            await slots.acquire()  # without waiting
            return
        try:
            async with asyncio.timeout(self._connect_seconds):
                await slots.acquire()
        except TimeoutError:
            message = f"model {self._model!r} has as many turns as it may have at once: try again"
            raise ResourceExhausted(message, quota="turns", reason="OVERLOADED", retry_after=1.0) from None

    async def _requested(
        self, method: str, url: URL, headers: Mapping[str, str], content: bytes
    ) -> aiohttp.ClientResponse:
        try:
            return await self._session.request(
                method,
                url,
                headers=headers,
                data=_Content(content) if content else None,
                proxy=self._proxy,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
            failure = _failure(self._model, error)
        raise failure


class Exchange:
    """An answer that is being received."""

    __slots__ = ("_model", "_open", "_response", "_slots")

    def __init__(
        self, model: str, response: aiohttp.ClientResponse, slots: asyncio.Semaphore, opened: set[Exchange]
    ) -> None:
        self._model = model
        self._response = response
        self._slots = slots
        self._open = opened
        opened.add(self)

    @property
    def status(self) -> int:
        """The status code."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields; names match in any case."""
        return self._response.headers

    async def read(self) -> bytes:
        """Return what has come of the body; wait when that is nothing. Empty at the end.

        Raises:
            Unavailable: the answer breaks off.
        """
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            failure = _failure(self._model, error)
        raise failure

    def abort(self) -> None:
        """Close the connection, unless all of the answer has come; a `read` that waits fails."""
        self._response.close()

    def close(self) -> None:
        """Be done with the answer: its connection is closed at once, or free again when all of it has come."""
        self._response.close()
        self._open.discard(self)
        self._slots.release()


class _Response(aiohttp.ClientResponse):
    """One that does not wait for the peer to take in the rest of the request when it is closed early."""

    def close(self) -> None:
        if self.connection is not None and self.connection.transport is not None:
            self.connection.transport.abort()
        super().close()


class _Pool(aiohttp.BaseConnector):
    """Uses no connection again on which something came in the meantime.

    It is the end of the connection, or bytes that would pass for the answer to the next request.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._known: WeakSet[asyncio.BaseProtocol] = WeakSet()
        self._busy: set[aiohttp.connector.Connection] = set()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the interface has it
    ) -> aiohttp.connector.Connection:
        """Return a connection, which is open unless it was lost just now."""
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if protocol is None or protocol not in self._known or not (protocol.should_close or _readable(connection)):
                break
            connection.close()
        if protocol is not None:
            self._known.add(protocol)
        self._busy.add(connection)
        connection.add_callback(partial(self._busy.discard, connection))
        return connection

    def abort(self) -> None:
        """Cut every connection that is in use, whatever is still to be sent on it."""
        for connection in self._busy:
            if connection.transport is not None:
                connection.transport.abort()


class _TcpPool(_Pool, aiohttp.TCPConnector):
    pass


class _UnixPool(_Pool, aiohttp.UnixConnector):
    pass


class _Guard(AbstractResolver):
    """Lets connections go only where the policy allows, or anywhere without one.

    A host is looked up once for each connection, and the connection goes to an address that was checked.
    """

    def __init__(self, policy: EgressPolicy | None, resolver: Resolver | None) -> None:
        self._policy = policy
        self._resolver = resolver or system_resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Look a host up; every address that it has must be allowed.

        Raises:
            FailedPrecondition: one is not.
            OSError: there is none.
        """
        try:
            found = await self._resolver(host, port)
        except UnicodeError as error:
            raise OSError("this is no host name") from error
        if not found:
            raise OSError("the host name has no address")
        if self._policy is not None:
            self._policy.check_addresses(host, found)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in dict.fromkeys(found)
            if family in (socket.AF_UNSPEC, socket.AF_INET6 if ":" in address else socket.AF_INET)
        ]

    async def close(self) -> None:
        """There is nothing to close."""

    def socket_to(self, info: tuple[Any, ...]) -> socket.socket:
        """Make the socket for an address, after a last look at it: literal addresses are not looked up.

        Raises:
            PermissionError: the policy does not allow it.
        """
        family, kind, protocol, _, address = info
        if self._policy is not None:
            try:
                self._policy.check_addresses(address[0], [address[0]])
            except (PodiumError, ValueError) as error:
                raise PermissionError("the egress policy does not allow this address") from error
        return socket.socket(family, kind, protocol)


class _Content(aiohttp.BytesPayload):
    """JSON that is ready. The base warns of a large one, but chopping it up would not make it cheaper."""

    def __init__(self, value: bytes) -> None:
        aiohttp.Payload.__init__(self, value, content_type="application/json")
        self._size = len(value)


def _readable(connection: aiohttp.connector.Connection) -> bool:
    """Return whether something came that the loop has not seen yet, or the connection is closed."""
    transport = connection.transport
    number = -1 if transport is None else transport.get_extra_info("socket").fileno()
    if number < 0:
        return True
    ready = select.poll()
    ready.register(number, select.POLLIN)
    return bool(ready.poll(0))


def _failure(model: str, error: Exception) -> PodiumError:
    """Return what an error of the transport means.

    Errors of aiohttp may hold the request's headers, and with them the key: of theirs, only a plain
    cause is kept. Raise the result outside of the `except` clause, so that it has no context either.
    """
    failure: PodiumError
    match error:
        case TimeoutError() | aiohttp.ClientConnectorError() | aiohttp.ClientHttpProxyError() | RuntimeError():
            message = f"the provider of model {model!r} cannot be reached: check that it runs, or try again"
            failure = Unavailable(message, retry_after=1.0)
        case ValueError():
            failure = Internal(f"the request to model {model!r} could not be sent")
        case _:
            failure = cut_short(model)
    failure.__cause__ = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else None
    return failure
