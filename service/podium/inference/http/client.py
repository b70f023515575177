"""HTTP to one provider: pooled connections, limits of time and size, typed errors, nothing unasked for.

No redirect is followed, and no proxy, cookie or credential of this process's environment is used.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from podium.errors import FailedPrecondition, InvalidRequest, PodiumError, Unavailable
from podium.inference.http.api_key import ApiKeySource
from podium.inference.http.egress import EgressPolicy, Resolver, Zone
from podium.inference.http.http_errors import Upstream, fault_of, not_understood, retry_after_of
from podium.inference.http.sse import EventTooLong, ServerEvent, ServerEventParser
from podium.inference.http.turn_clock import TurnClock, TurnLimits

if TYPE_CHECKING:
    from podium.inference.http.transport import Exchange, Transport

__all__ = ["HttpEndpoint"]

_MOST_ERROR_BYTES = 64 << 10


class HttpEndpoint:
    """A provider's API. Belongs to the event loop that uses it first; close it with `aclose`.

    Everything goes over HTTP/1.1, one connection for each request at a time: closing the connection
    is what tells the server at once to stop generating.

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
        self._ssl_context = ssl_context or _usual_authorities
        self._zone: Zone | None = None
        self._transport: Transport | None = None
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
            transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

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
        prefix = self._prefix.removesuffix("/v1") if outside else self._prefix
        answer = await self._answer(clock, method, prefix + path, body, headers or {}, turn=False)
        try:
            return self._parsed(await self._whole(answer, clock, self.limits.body_bytes))
        finally:
            answer.close()

    async def events(
        self, path: str, body: Any, *, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[ServerEvent, None]:
        """Send a turn and stream its events. A plain JSON answer is given as one event named `json`.

        Raises:
            PodiumError: as `ChatModel.stream` says, or what keeps the request from being sent.
        """
        clock = TurnClock(self.limits, self.upstream.model)
        answer = await self._answer(clock, "POST", self._prefix + path, body, headers or {}, turn=True)
        try:
            if "application/json" in _header(answer, "content-type"):
                yield ServerEvent("json", await self._whole(answer, clock, self.limits.body_bytes))
                return
            parser = ServerEventParser(self.limits.event_bytes)
            size, lines = 0, 0
            while chunk := await clock.wait(answer.read()):
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
        finally:
            answer.close()

    async def _answer(
        self, clock: TurnClock, method: str, path: str, body: Any, headers: Mapping[str, str], *, turn: bool
    ) -> Exchange:
        """Send a request and return its answer, when it is a good one. The caller closes it."""
        self._check_egress()
        content = b"" if body is None else _encoded(body)
        every = await self._all_headers(headers)
        transport = await self._opened()
        answer = await clock.wait(transport.send(method, self._origin + path, every, content, turn=turn))
        try:
            if answer.status != 200:
                raise await self._refused(answer, clock)
            if _header(answer, "content-encoding") not in ("", "identity"):
                raise not_understood(self.upstream.model, "a compressed answer, which it was not asked for")
        except BaseException:
            answer.close()
            raise
        return answer

    async def _refused(self, answer: Exchange, clock: TurnClock) -> PodiumError:
        try:
            body = await self._whole(answer, clock, _MOST_ERROR_BYTES)
        except PodiumError:
            body = b""  # the status says enough
        headers = {name.lower(): value for name, value in answer.headers.items()}
        status = answer.status if answer.status >= 300 else 500
        return fault_of(status, body).to_domain(self.upstream, retry_after=retry_after_of(headers))

    async def _whole(self, answer: Exchange, clock: TurnClock, most: int) -> bytes:
        data = bytearray()
        while chunk := await clock.wait(answer.read()):
            data += chunk
            if len(data) > most:
                raise not_understood(self.upstream.model, "more than an answer may hold")
        return bytes(data)

    def _parsed(self, data: bytes) -> Any:
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            raise not_understood(self.upstream.model, "something that is not JSON") from None

    async def _all_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        every = {
            "host": urlsplit(self._origin).netloc,
            "user-agent": "podium",
            "accept": "text/event-stream, application/json",
            "accept-encoding": "identity",
            **self._headers,
            **{name: value for name, value in headers.items() if value},
        }
        if self._key is not None:
            every[self._key_header] = self._key_prefix + await self._key.read()
        return {name: value if value.isascii() else _in_ascii(value) for name, value in every.items()}

    def _check_egress(self) -> None:
        """Refuse what the policy or the way to the provider forbids, before anything is sent.

        Raises:
            FailedPrecondition: it is forbidden; names the setting that would allow it.
        """
        if self._closed:
            raise Unavailable(f"model {self.upstream.model!r} is being closed: try again", retry_after=1.0)
        if self._socket:
            return
        if self._zone is None:
            self._zone = self._policy.check_host(self._host)
        zone = self._zone
        if self._proxy is not None and zone is not Zone.LOOPBACK and not self._policy.cloud_enabled:
            raise FailedPrecondition(f"{self._host} is behind a proxy: set CLOUD_LLM_ENABLED=true to allow it")
        if self._key is not None and self._scheme == "http" and zone is not Zone.LOOPBACK and not self._allow_plain_key:
            raise FailedPrecondition(
                f"the API key of model {self.upstream.model!r} would travel unencrypted: use https in `base_url`"
            )

    async def _opened(self) -> Transport:
        if self._transport is not None:
            return self._transport
        async with self._opening:
            self._check_egress()
            if self._transport is None:
                # A slow import and a slow read of certificates, which only models behind HTTP need.
                from podium.inference.http.transport import Transport  # noqa: PLC0415

                self._transport = Transport(
                    self.upstream.model,
                    policy=self._policy,
                    resolver=self._resolver,
                    unix_socket=self._socket,
                    tls=await asyncio.to_thread(self._ssl_context) if self._scheme == "https" else None,
                    proxy=self._proxy,
                    connect_seconds=self.limits.connect,
                    connections=self._connections,
                )
            return self._transport

    @property
    def _control_limits(self) -> TurnLimits:
        most = self.limits.control
        return TurnLimits(connect=self.limits.connect, first_event=most, between_events=most, total=most)


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


def _header(answer: Exchange, name: str) -> str:
    return answer.headers.get(name, "").lower()


def _in_ascii(value: str) -> str:
    return value.encode("ascii", "replace").decode()


def _usual_authorities() -> ssl.SSLContext:
    import httpx  # noqa: PLC0415  loaded only where it is used

    return httpx.create_ssl_context()


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
