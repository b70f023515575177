"""HTTP to one provider: pooled connections, limits of time and size, typed errors, nothing unasked for.

No redirect is followed, and no proxy, cookie or credential of this process's environment is used.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx
import orjson

from podium.errors import (
    FailedPrecondition,
    Internal,
    InvalidRequest,
    PodiumError,
    ResourceExhausted,
    Unavailable,
)
from podium.inference.http.api_key import ApiKeySource
from podium.inference.http.egress import EgressPolicy, GuardedBackend, Resolver, Zone
from podium.inference.http.http_errors import Upstream, cut_short, fault_of, not_understood, retry_after_of
from podium.inference.http.sse import EventTooLong, ServerEvent, ServerEventParser
from podium.inference.http.turn_clock import TurnClock, TurnLimits

__all__ = ["HttpEndpoint"]

_MOST_ERROR_BYTES = 64 << 10


class HttpEndpoint:
    """A provider's API. Belongs to the event loop that uses it first; close it with `aclose`.

    Turns go over HTTP/1.1, one connection each at a time, because closing the connection is what
    tells the server at once to stop generating; the HTTP/2 client at hand leaves a cancelled stream
    running on the server. Requests with one short answer use HTTP/2 where the server offers it.

    Args:
        model: name of the model in Podium, for messages.
        base_url: `http://` or `https://` and a path prefix such as `/v1`, or `unix:/path/of/socket`
            with an optional `:/prefix` behind it.
        policy: what may be reached.
        key: the API key, where the provider wants one.
        key_header: the header that carries it.
        key_prefix: what stands before it in the header.
        headers: further headers of every request, by lower-case name; no secrets.
        limits: of time and size.
        connections: the most turns at once; more wait `limits.connect` for one to end.
        allow_plain_key: whether the key may travel without TLS to another machine.
        proxy: URL of an HTTP proxy. Names then count as public, as only the proxy resolves them.
        resolver: looks up addresses.
        ssl_context: makes the TLS settings; by default the usual authorities, or those of `SSL_CERT_FILE`, are trusted.

    Raises:
        ValueError: the URL is malformed, or holds a user name or a query.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        policy: EgressPolicy,
        key: ApiKeySource | None = None,
        key_header: str = "authorization",
        key_prefix: str = "Bearer ",
        headers: Mapping[str, str] | None = None,
        limits: TurnLimits | None = None,
        connections: int = 100,
        allow_plain_key: bool = False,
        proxy: str | None = None,
        resolver: Resolver | None = None,
        ssl_context: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self.limits = limits or TurnLimits()
        self.upstream = Upstream(model, key.setting if key else "`api_key_env` or `api_key_file`")
        self._socket, self._scheme, self._host, self._origin, self._prefix = _split(base_url)
        self._policy = policy
        self._key, self._key_header, self._key_prefix = key, key_header, key_prefix
        self._headers = dict(headers or {})
        self._connections = connections
        self._allow_plain_key = allow_plain_key
        self._proxy = proxy
        self._resolver = resolver
        self._ssl_context = ssl_context or httpx.create_ssl_context
        self._pools: tuple[httpcore.AsyncConnectionPool, httpcore.AsyncConnectionPool] | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    @property
    def remote(self) -> bool:
        """Whether requests may leave this machine."""
        try:
            return not self._socket and self._policy.check_host(self._host) is not Zone.LOOPBACK
        except FailedPrecondition:
            return True

    async def aclose(self) -> None:
        """Close every connection; turns in flight end as unavailable."""
        self._closed = True
        async with self._opening:
            pools, self._pools = self._pools, None
        for pool in pools or ():
            await pool.aclose()

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        outside: bool = False,
    ) -> Any:
        """Send a small request and return the JSON of its answer.

        Args:
            method: of the request.
            path: below the base URL.
            body: sent as JSON, unless None.
            headers: further ones.
            outside: leave the last `/v1` of the base URL out.

        Raises:
            PodiumError: as `ChatModel` says, or what keeps the request from being sent.
        """
        clock = TurnClock(self._control_limits, self.upstream.model)
        pools = await self._open_pools()
        async with self._exchange(
            pools[1], clock, method, path, body=body, headers=headers or {}, outside=outside
        ) as response:
            return self._parsed(await self._whole(response, clock, self.limits.body_bytes))

    async def events(
        self, path: str, body: Any, *, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[ServerEvent, None]:
        """Send a turn and stream its events. A plain JSON answer is given as one event named `json`.

        Raises:
            PodiumError: as `ChatModel.stream` says, or what keeps the request from being sent.
        """
        clock = TurnClock(self.limits, self.upstream.model)
        pools = await self._open_pools()
        async with self._exchange(pools[0], clock, "POST", path, body=body, headers=headers or {}) as response:
            if "application/json" in _header(response, b"content-type"):
                yield ServerEvent("json", await self._whole(response, clock, self.limits.body_bytes))
                return
            async with aclosing(self._parse(response, clock)) as events:
                async for event in events:
                    yield event

    async def _parse(self, response: httpcore.Response, clock: TurnClock) -> AsyncGenerator[ServerEvent, None]:
        parser = ServerEventParser(self.limits.event_bytes)
        size, lines = 0, 0
        try:
            async with aclosing(response.aiter_stream()) as chunks:  # type: ignore[type-var]
                while (chunk := await clock.wait(anext(chunks, None))) is not None:
                    size += len(chunk)
                    if size > self.limits.body_bytes:
                        raise not_understood(self.upstream.model, "more than a turn may hold")
                    found = parser.feed(chunk)
                    if parser.lines != lines:
                        lines = parser.lines
                        clock.progress()
                    for event in found:
                        yield event
            for event in parser.close():
                yield event
        except EventTooLong:
            raise not_understood(self.upstream.model, "more than one event may hold") from None

    @asynccontextmanager
    async def _exchange(
        self,
        pool: httpcore.AsyncConnectionPool,
        clock: TurnClock,
        method: str,
        path: str,
        *,
        body: Any,
        headers: Mapping[str, str],
        outside: bool = False,
    ) -> AsyncIterator[httpcore.Response]:
        """Send a request and give its response, when it is a good one; close it in any case."""
        content = b"" if body is None else _encoded(body)
        request = httpcore.Request(
            method,
            f"{self._origin}{self._prefix.removesuffix('/v1') if outside else self._prefix}{path}",
            headers=await self._all_headers(headers, content),
            content=content,
            extensions={"timeout": {"connect": self.limits.connect, "pool": self.limits.connect}},
        )
        with _transport_errors(self.upstream.model):
            response = await clock.wait(pool.handle_async_request(request))
            try:
                if response.status != 200:
                    raise await self._refused(response, clock)
                if _header(response, b"content-encoding") not in ("", "identity"):
                    raise not_understood(self.upstream.model, "a compressed answer, which it was not asked for")
                yield response
            finally:
                await response.aclose()

    async def _refused(self, response: httpcore.Response, clock: TurnClock) -> PodiumError:
        try:
            body = await self._whole(response, clock, _MOST_ERROR_BYTES)
        except (PodiumError, httpcore.NetworkError, httpcore.ProtocolError):
            body = b""  # the status says enough
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        status = response.status if response.status >= 300 else 500
        return fault_of(status, body).to_domain(self.upstream, retry_after=retry_after_of(headers))

    async def _whole(self, response: httpcore.Response, clock: TurnClock, most: int) -> bytes:
        data = bytearray()
        async with aclosing(response.aiter_stream()) as chunks:  # type: ignore[type-var]
            while (chunk := await clock.wait(anext(chunks, None))) is not None:
                data += chunk
                if len(data) > most:
                    raise not_understood(self.upstream.model, "more than an answer may hold")
        return bytes(data)

    def _parsed(self, data: bytes) -> Any:
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            raise not_understood(self.upstream.model, "something that is not JSON") from None

    async def _all_headers(self, headers: Mapping[str, str], content: bytes) -> Sequence[tuple[bytes, bytes]]:
        self._check_egress()
        every = {
            "host": urlsplit(self._origin).netloc,
            "user-agent": "podium",
            "accept": "text/event-stream, application/json",
            "accept-encoding": "identity",
            **self._headers,
            **{name: value for name, value in headers.items() if value},
        }
        if content:
            every |= {"content-type": "application/json", "content-length": str(len(content))}
        if self._key is not None:
            every[self._key_header] = self._key_prefix + await self._key.read()
        return [(name.encode("ascii"), value.encode("latin-1", "replace")) for name, value in every.items()]

    def _check_egress(self) -> None:
        """Refuse what the policy or the way to the provider forbids, before anything is sent.

        Raises:
            FailedPrecondition: it is forbidden; names the setting that would allow it.
        """
        if self._closed:
            raise Unavailable(f"model {self.upstream.model!r} is being closed: try again", retry_after=1.0)
        if self._socket:
            return
        zone = self._policy.check_host(self._host)
        if self._proxy is not None and zone is not Zone.LOOPBACK and not self._policy.cloud_enabled:
            raise FailedPrecondition(f"{self._host} is behind a proxy: set CLOUD_LLM_ENABLED=true to allow it")
        if self._key is not None and self._scheme == "http" and zone is not Zone.LOOPBACK and not self._allow_plain_key:
            raise FailedPrecondition(
                f"the API key of model {self.upstream.model!r} would travel unencrypted: use https in `base_url`"
            )

    async def _open_pools(self) -> tuple[httpcore.AsyncConnectionPool, httpcore.AsyncConnectionPool]:
        self._check_egress()
        async with self._opening:
            if self._pools is None:
                self._pools = await self._new_pool(self._connections, http2=False), await self._new_pool(4, http2=True)
            return self._pools

    async def _new_pool(self, connections: int, *, http2: bool) -> httpcore.AsyncConnectionPool:
        # Each pool sets the protocols that it offers on its own context.
        context = await asyncio.to_thread(self._ssl_context) if self._scheme == "https" else None
        return httpcore.AsyncConnectionPool(
            ssl_context=context,
            proxy=httpcore.Proxy(self._proxy) if self._proxy else None,
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=15.0,
            http2=http2 and self._scheme == "https",
            uds=self._socket or None,
            # A proxy is the way out that the settings name; what it may reach was checked by name.
            network_backend=None if self._proxy else GuardedBackend(self._policy, resolver=self._resolver),
        )

    @property
    def _control_limits(self) -> TurnLimits:
        most = self.limits.control
        return TurnLimits(connect=self.limits.connect, first_event=most, between_events=most, total=most)


class _transport_errors:  # noqa: N801 - reads as the context manager that it is
    """Turns the transport's errors into domain errors."""

    def __init__(self, model: str) -> None:
        self._model = model

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        match error:
            case httpcore.PoolTimeout():
                message = f"model {self._model!r} has as many turns as it may have at once: try again"
                raise ResourceExhausted(message, quota="turns", reason="OVERLOADED", retry_after=1.0) from error
            case httpcore.ConnectError() | httpcore.ConnectTimeout() | httpcore.ProxyError() | ssl.SSLError():
                message = f"the provider of model {self._model!r} cannot be reached: check that it runs, or try again"
                raise Unavailable(message, retry_after=1.0) from error
            case httpcore.LocalProtocolError() | httpcore.UnsupportedProtocol():
                raise Internal(f"the request to model {self._model!r} could not be sent") from error
            case httpcore.TimeoutException() | httpcore.NetworkError() | httpcore.RemoteProtocolError():
                raise cut_short(self._model) from error


def _encoded(body: Any) -> bytes:
    try:
        return orjson.dumps(body, default=_plain)
    except TypeError:
        message = "the request holds text or values that JSON cannot carry: send valid Unicode and plain values"
        raise InvalidRequest(message) from None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence | set | frozenset):
        return list(value)
    raise TypeError


def _header(response: httpcore.Response, name: bytes) -> str:
    return next((value.decode("latin-1").lower() for key, value in response.headers if key.lower() == name), "")


def _split(base_url: str) -> tuple[str, str, str, str, str]:
    """Return socket path, scheme, host, origin and path prefix."""
    if base_url.startswith("unix:"):
        socket, _, prefix = base_url.removeprefix("unix:").partition(":")
        if not socket.startswith("/"):
            raise ValueError("a Unix socket is given by its absolute path: unix:/run/model.sock")
        return socket, "http", "localhost", "http://localhost", prefix.rstrip("/")
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        raise ValueError("the URL is malformed; write one such as http://127.0.0.1:8000/v1") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("the URL must look like http://127.0.0.1:8000/v1, without a query")
    if parts.username is not None or parts.password is not None:
        raise ValueError("leave user names and passwords out of the URL; keys have their own settings")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    origin = f"{parts.scheme}://{host}" + (f":{port}" if port else "")
    return "", parts.scheme, parts.hostname, origin, parts.path.rstrip("/")
