"""`http_get`: a page from one of the hosts that are allowed."""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated
from urllib.parse import urljoin

import httpx
from pydantic import AfterValidator, Field

from podium.orchestration.tool import ToolFailure, ToolFailureCode
from podium.packs.core._addresses import HostRules, Target
from podium.packs.core._texts import decoded
from podium.tools import Tool, tool, tool_of

__all__ = ["Fetched", "Fetcher", "http_tools"]

_MOST_CHARACTERS = 2_000
_MOST_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}


@dataclass(frozen=True, slots=True)
class Fetched:
    """A response. `truncated` says that only the beginning of its text is in `body`."""

    url: str
    status: int
    content_type: str
    truncated: bool
    body: str


class Fetcher:
    """Fetches URLs by GET, connecting only to addresses that were vetted.

    The host is looked up once, and the connection goes to the very address that was checked (TLS
    still verifies the host's name), so that a name cannot mean another address the second time.
    Redirects are vetted like the first URL. No proxy, cookie or credential of this process is used.

    Args:
        rules: what may be reached.
        most_bytes: how much of a body is read.
        timeout: seconds for the whole fetch.
        transport: makes the transport for one fetch; for tests.
    """

    def __init__(
        self,
        rules: HostRules,
        *,
        most_bytes: int = 256 << 10,
        timeout: float = 20.0,
        transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
    ) -> None:
        self._rules = rules
        self._most_bytes = most_bytes
        self._timeout = timeout
        self._transport = transport

    async def fetch(self, url: str) -> Fetched:
        """Fetch a URL.

        Raises:
            ToolFailure: it may not be fetched, or could not be.
        """
        try:
            async with asyncio.timeout(self._timeout), await self._client() as client:
                return await self._follow(client, url)
        except TimeoutError:
            message = f"http_get: no answer within {self._timeout:g} s"
            raise ToolFailure(ToolFailureCode.TIMEOUT, message, retryable=True) from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            message = f"http_get: the fetch failed ({type(error).__name__})"
            raise ToolFailure(ToolFailureCode.UNAVAILABLE, message, retryable=True) from None

    async def _follow(self, client: httpx.AsyncClient, url: str) -> Fetched:
        for _ in range(_MOST_REDIRECTS + 1):
            target = await self._rules.vet(url)
            async with _get(client, target) as response:
                location = response.headers.get("location", "")
                if response.status_code not in _REDIRECTS or not location:
                    return await self._fetched(target, response)
            url = urljoin(target.url, location)
        raise ToolFailure(ToolFailureCode.UNAVAILABLE, f"http_get: more than {_MOST_REDIRECTS} redirects")

    async def _fetched(self, target: Target, response: httpx.Response) -> Fetched:
        data, truncated = await _body(response, self._most_bytes)
        content_type = response.headers.get("content-type", "")
        text = _text(data, content_type, whole=not truncated)
        if text is None:
            message = f"http_get: {target.url} is no text ({content_type.partition(';')[0][:60] or 'no content type'})"
            raise ToolFailure(ToolFailureCode.UNAVAILABLE, message)
        return Fetched(target.url, response.status_code, content_type[:200], truncated, text)

    async def _client(self) -> httpx.AsyncClient:
        if self._transport is not None:
            return httpx.AsyncClient(transport=self._transport(), trust_env=False)
        context = await asyncio.to_thread(lambda: self._tls)  # reads the certificates at the first use
        return httpx.AsyncClient(verify=context, trust_env=False, timeout=self._timeout, follow_redirects=False)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpx.create_ssl_context(trust_env=False)


@asynccontextmanager
async def _get(client: httpx.AsyncClient, target: Target) -> AsyncIterator[httpx.Response]:
    address = f"[{target.address}]" if ":" in target.address else target.address
    headers = {
        "host": target.url.split("/", 3)[2],
        "user-agent": "podium",
        "accept": "text/*, application/json, application/xml;q=0.9, */*;q=0.1",
        "accept-encoding": "gzip, identity",
    }
    url = f"{target.scheme}://{address}:{target.port}{target.path}"
    async with client.stream("GET", url, headers=headers, extensions={"sni_hostname": target.host}) as response:
        yield response


async def _body(response: httpx.Response, most: int) -> tuple[bytes, bool]:
    """Read at most `most` bytes, unpacked; a small gzip that unpacks into gigabytes stops there too."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise ToolFailure(
            ToolFailureCode.UNAVAILABLE, "http_get: the body is compressed in a way that is not understood"
        )
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding.endswith("gzip") else None
    data = bytearray()
    async for chunk in response.aiter_raw():
        try:
            data += unpacker.decompress(chunk, most + 1 - len(data)) if unpacker else chunk
        except zlib.error:
            raise ToolFailure(ToolFailureCode.UNAVAILABLE, "http_get: the compressed body is damaged") from None
        if len(data) > most:
            return bytes(data[:most]), True
    return bytes(data), False


def _text(data: bytes, content_type: str, *, whole: bool) -> str | None:
    for parameter in content_type.split(";")[1:]:
        name, _, charset = parameter.strip().partition("=")
        if name.lower() == "charset":
            try:
                return data.decode(charset.strip("\"' "), errors="replace")
            except (LookupError, ValueError):
                break  # a charset that nobody knows: go by the bytes
    return decoded(data, whole=whole)


def http_tools(rules: HostRules, fetcher: Fetcher, *, timeout: float) -> list[Tool]:
    """Return the tools of this module.

    Args:
        rules: what may be fetched; checked as part of the arguments, too.
        fetcher: what fetches.
        timeout: seconds for one call.
    """

    def checked(url: str) -> str:
        text = url.strip().strip("<>\"'`")
        if "://" not in text:
            text = f"https://{text}"
        if len(text) > _MOST_CHARACTERS:
            raise ValueError(f"a URL has at most {_MOST_CHARACTERS:,} characters")
        rules.check(text)
        return text

    url_type = Annotated[
        str,
        Field(min_length=1, max_length=_MOST_CHARACTERS, json_schema_extra={"x-podium-kind": "url", "format": "uri"}),
        AfterValidator(checked),
    ]
    base = rules.example

    @tool(
        side_effects="none",
        type="http",
        timeout=timeout,
        cache_ttl=60,
        examples=[
            (f"fetch {base}/status", {"url": f"{base}/status"}),
            (f"What does {base}/ say?", {"url": f"{base}/"}),
            (f"download {base}/data.json and show it", {"url": f"{base}/data.json"}),
            (f"GET {base}/api/v1/items?limit=5", {"url": f"{base}/api/v1/items?limit=5"}),
            (f"open the page {base}/docs/intro.html", {"url": f"{base}/docs/intro.html"}),
            (f"read the website {base}/about", {"url": f"{base}/about"}),
            (f"get me the contents of {base}/robots.txt", {"url": f"{base}/robots.txt"}),
            (f"is {base}/health up", {"url": f"{base}/health"}),
        ],
    )
    async def http_get(url: url_type) -> Fetched:
        """Fetch a web page or a web API's answer by its URL.

        Args:
            url: The full URL, beginning with https.
        """
        return await fetcher.fetch(url)

    return [made for made in (tool_of(http_get),) if made is not None]
