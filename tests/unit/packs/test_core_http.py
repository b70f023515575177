"""`http_get`: reaches the hosts that are allowed, at public addresses, and nothing else."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx
import pytest

from podium.orchestration.tool import ToolFailure, ToolFailureCode
from podium.packs.core import CorePackConfig, core_pack
from podium.packs.core._addresses import HostRules, system_resolver
from podium.packs.core.http import Fetcher, http_tools

PUBLIC = "93.184.216.34"
Answer = Callable[[httpx.Request], httpx.Response]


def resolver(*answers: Sequence[str]) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    """Give each answer once, the last one for ever: how a rebinding name server behaves."""
    waiting = list(answers)

    async def resolve(host: str, port: int) -> Sequence[str]:
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    return resolve


def rules(*answers: Sequence[str], hosts: Sequence[str] = ("example.com",), internal: Sequence[str] = ()) -> HostRules:
    return HostRules(hosts, internal, resolver=resolver(*(answers or ([PUBLIC],))))


class Web:
    """A made-up web: answers requests, and remembers them."""

    def __init__(self, answer: Answer) -> None:
        self.requests: list[httpx.Request] = []
        self._answer = answer

    def transport(self) -> httpx.AsyncBaseTransport:
        def handle(request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            return self._answer(request)

        return httpx.MockTransport(handle)


def fetcher(web: Web, host_rules: HostRules | None = None, **options: Any) -> Fetcher:
    return Fetcher(host_rules or rules(), transport=web.transport, **options)


def page(body: str, **headers: str) -> httpx.Response:
    """A response whose body is yet to be read, as from a network."""
    return httpx.Response(200, headers=headers, stream=httpx.ByteStream(body.encode()))


def text(_: httpx.Request) -> httpx.Response:
    return page("hello")


async def refused(url: str, host_rules: HostRules | None = None) -> ToolFailure:
    web = Web(text)
    with pytest.raises(ToolFailure) as caught:
        await fetcher(web, host_rules).fetch(url)
    assert web.requests == []
    return caught.value


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("url", "code"),
        [
            ("http://example.com/", ToolFailureCode.NOT_ALLOWED),
            ("https://other.com/", ToolFailureCode.NOT_ALLOWED),
            ("https://example.com.evil.com/", ToolFailureCode.NOT_ALLOWED),
            ("https://sub.example.com/", ToolFailureCode.NOT_ALLOWED),
            ("https://evilexample.com/", ToolFailureCode.NOT_ALLOWED),
            ("https://example.com:8443/", ToolFailureCode.NOT_ALLOWED),
            ("https://example.com:22/", ToolFailureCode.NOT_ALLOWED),
            ("https://127.0.0.1/", ToolFailureCode.NOT_ALLOWED),
            ("https://[::1]/", ToolFailureCode.NOT_ALLOWED),
            ("https://169.254.169.254/latest/meta-data", ToolFailureCode.NOT_ALLOWED),
            ("https://localhost/", ToolFailureCode.NOT_ALLOWED),
            ("https://2130706433/", ToolFailureCode.INVALID_ARGUMENTS),
            ("https://0x7f000001/", ToolFailureCode.NOT_ALLOWED),
            ("https://127.1/", ToolFailureCode.INVALID_ARGUMENTS),
            ("https://0177.0.0.1/", ToolFailureCode.INVALID_ARGUMENTS),
            ("https://user:pw@example.com/", ToolFailureCode.INVALID_ARGUMENTS),
            ("https://example.com@evil.com/", ToolFailureCode.INVALID_ARGUMENTS),
            ("https://evil.com\\@example.com/", ToolFailureCode.INVALID_ARGUMENTS),
            ("https://evil.com#@example.com/", ToolFailureCode.NOT_ALLOWED),
            ("https://example.com\r\nHost: evil.com/", ToolFailureCode.INVALID_ARGUMENTS),
            ("https://example.com /", ToolFailureCode.INVALID_ARGUMENTS),
            ("file:///etc/passwd", ToolFailureCode.INVALID_ARGUMENTS),
            ("gopher://example.com/", ToolFailureCode.INVALID_ARGUMENTS),
            ("ftp://example.com/", ToolFailureCode.INVALID_ARGUMENTS),
            ("https://", ToolFailureCode.INVALID_ARGUMENTS),
            ("https:///path", ToolFailureCode.INVALID_ARGUMENTS),
            ("https://example.com:99999/", ToolFailureCode.INVALID_ARGUMENTS),
            ("https://exa_mple..com/", ToolFailureCode.INVALID_ARGUMENTS),
            ("https://[::1/", ToolFailureCode.INVALID_ARGUMENTS),
            ("example.com", ToolFailureCode.INVALID_ARGUMENTS),
            ("https://еxample.com/", ToolFailureCode.NOT_ALLOWED),  # noqa: RUF001  a Cyrillic letter
        ],
    )
    async def test_urls(self, url: str, code: ToolFailureCode) -> None:
        assert (await refused(url)).code is code

    @pytest.mark.parametrize(
        "address",
        [
            "127.0.0.1", "127.8.8.8", "10.0.0.5", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
            "100.64.0.1", "0.0.0.0", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
            "192.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1",
            "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "2002:a00:1::1",
            "64:ff9b::7f00:1", "64:ff9b::a00:1", "2001:db8::1", "2001:0:7f00:1:0:0:80ff:fffe", "::127.0.0.1",
        ],
    )  # fmt: skip
    async def test_names_that_lead_to_an_address_that_is_not_public(self, address: str) -> None:
        for answers in ([address], [PUBLIC, address], [address, PUBLIC]):
            failure = await refused("https://example.com/", rules(answers))
            assert failure.code is ToolFailureCode.NOT_ALLOWED
            assert address not in failure.message

    @pytest.mark.parametrize("answers", [[], ["nonsense"]])
    async def test_names_that_lead_nowhere(self, answers: list[str]) -> None:
        failure = await refused("https://example.com/", rules(answers))
        assert (failure.code, failure.retryable) == (ToolFailureCode.UNAVAILABLE, True)

    async def test_a_failing_resolver_is_unavailable(self) -> None:
        async def fail(_: str, __: int) -> Sequence[str]:
            raise OSError("no network")

        failure = await refused("https://example.com/", HostRules(["example.com"], resolver=fail))
        assert failure.code is ToolFailureCode.UNAVAILABLE


class TestPinning:
    async def test_the_connection_goes_to_the_address_that_was_checked(self) -> None:
        web = Web(text)
        made = await fetcher(web).fetch("https://example.com/a?b=c#d")
        request = web.requests[0]
        assert str(request.url) == f"https://{PUBLIC}/a?b=c"
        assert request.headers["host"] == "example.com"
        assert request.extensions["sni_hostname"] == "example.com"
        assert (made.url, made.status, made.body) == ("https://example.com/a?b=c", 200, "hello")

    async def test_a_name_that_changes_its_address_is_asked_once(self) -> None:
        web = Web(text)
        await fetcher(web, rules([PUBLIC], ["127.0.0.1"])).fetch("https://example.com/")
        assert web.requests[0].url.host == PUBLIC

    async def test_ipv6_addresses_are_pinned_too(self) -> None:
        web = Web(text)
        await fetcher(web, rules(["2606:2800:220:1::1"])).fetch("https://example.com/")
        assert web.requests[0].url.host == "2606:2800:220:1::1"

    async def test_no_proxy_cookie_or_credential_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        web = Web(lambda _: page("x", **{"set-cookie": "a=b"}))
        made = fetcher(web)
        await made.fetch("https://example.com/")
        await made.fetch("https://example.com/")
        assert {"authorization", "cookie"}.isdisjoint(web.requests[1].headers)


class TestRules:
    @pytest.mark.parametrize(
        ("hosts", "url", "allowed"),
        [
            (["*.example.com"], "https://a.example.com/", True),
            (["*.example.com"], "https://a.b.example.com/", True),
            (["*.example.com"], "https://example.com/", False),
            (["example.com:8443"], "https://example.com:8443/", True),
            (["example.com:8443"], "https://example.com/", False),
            (["EXAMPLE.com."], "https://Example.COM./", True),
            (["bücher.example"], "https://xn--bcher-kva.example/", True),
            (["bücher.example"], "https://bücher.example/", True),
        ],
    )
    def test_match_whole_names_and_ports(self, hosts: list[str], url: str, allowed: bool) -> None:
        checked = rules(hosts=hosts)
        if allowed:
            assert checked.check(url)
        else:
            with pytest.raises(ToolFailure):
                checked.check(url)

    @pytest.mark.parametrize("rule", ["", "https://example.com", "a b", "*", "example.com:99999", "user@example.com"])
    def test_malformed_ones_stop_the_start(self, rule: str) -> None:
        with pytest.raises(ValueError, match="is no host rule"):
            core_pack(CorePackConfig(http_hosts=(rule,)))

    @pytest.mark.parametrize(
        ("internal", "url"),
        [
            ("localhost:8080", "http://localhost:8080/"),
            ("10.0.0.5", "http://10.0.0.5/"),
            ("10.0.0.5", "https://10.0.0.5/"),
            ("[::1]:9000", "http://[::1]:9000/"),
            ("*.internal", "http://wiki.internal/"),
        ],
    )
    async def test_internal_hosts_may_be_private_and_plain(self, internal: str, url: str) -> None:
        web = Web(text)
        made = await fetcher(web, rules(["127.0.0.1"], hosts=[], internal=[internal])).fetch(url)
        assert made.url == url
        assert web.requests[0].url.scheme == url.partition(":")[0]

    async def test_the_system_resolver_finds_this_machine(self) -> None:
        assert {"127.0.0.1", "::1"} & set(await system_resolver("localhost", 80))


class TestRedirects:
    async def test_are_followed_and_checked_again(self) -> None:
        def answer(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/a":
                return httpx.Response(302, headers={"location": "/b"})
            return page("there")

        web = Web(answer)
        made = await fetcher(web).fetch("https://example.com/a")
        assert (made.url, made.body, len(web.requests)) == ("https://example.com/b", "there", 2)

    @pytest.mark.parametrize(
        "location",
        [
            "https://evil.com/",
            "http://example.com/",
            "//evil.com/",
            "https://127.0.0.1/",
            "http://169.254.169.254/",
            "file:///etc/passwd",
            "https://user@example.com/",
        ],
    )
    async def test_that_lead_elsewhere_are_refused(self, location: str) -> None:
        web = Web(lambda _: httpx.Response(301, headers={"location": location}))
        with pytest.raises(ToolFailure) as caught:
            await fetcher(web).fetch("https://example.com/")
        assert caught.value.code in (ToolFailureCode.NOT_ALLOWED, ToolFailureCode.INVALID_ARGUMENTS)
        assert len(web.requests) == 1

    async def test_to_a_name_that_has_turned_private_are_refused(self) -> None:
        web = Web(lambda _: httpx.Response(302, headers={"location": "/again"}))
        with pytest.raises(ToolFailure, match="public address"):
            await fetcher(web, rules([PUBLIC], ["10.0.0.1"])).fetch("https://example.com/")
        assert len(web.requests) == 1

    async def test_end_after_five(self) -> None:
        web = Web(lambda _: httpx.Response(302, headers={"location": "/again"}))
        with pytest.raises(ToolFailure, match="more than 5 redirects"):
            await fetcher(web).fetch("https://example.com/")
        assert len(web.requests) == 6


class TestBodies:
    async def test_are_cut_at_the_limit(self) -> None:
        web = Web(lambda _: page("x" * 1_000))
        made = await fetcher(web, most_bytes=100).fetch("https://example.com/")
        assert (made.truncated, made.body) == (True, "x" * 100)

    async def test_that_unpack_into_gigabytes_are_cut_too(self) -> None:
        bomb = gzip.compress(b"\x20" * 50_000_000)

        def answer(_: httpx.Request) -> httpx.Response:
            return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(bomb))

        made = await fetcher(Web(answer), most_bytes=1_000).fetch("https://example.com/")
        assert (made.truncated, len(made.body)) == (True, 1_000)

    async def test_compressed_ones_are_unpacked(self) -> None:
        def answer(_: httpx.Request) -> httpx.Response:
            packed = httpx.ByteStream(gzip.compress(b"hello"))
            return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=packed)

        assert (await fetcher(Web(answer)).fetch("https://example.com/")).body == "hello"

    @pytest.mark.parametrize(
        ("headers", "body", "said"),
        [
            ({"content-encoding": "br"}, b"x", "not understood"),
            ({"content-encoding": "gzip"}, b"not gzip", "damaged"),
            ({"content-type": "image/png"}, b"\x89PNG\x00", "is no text .image/png."),
        ],
    )
    async def test_others_are_refused(self, headers: dict[str, str], body: bytes, said: str) -> None:
        web = Web(lambda _: httpx.Response(200, headers=headers, stream=httpx.ByteStream(body)))
        with pytest.raises(ToolFailure, match=said):
            await fetcher(web).fetch("https://example.com/")

    @pytest.mark.parametrize(
        ("content_type", "body", "expected"),
        [
            ("text/plain; charset=utf-8", "grün".encode(), "grün"),
            ("text/plain; charset=iso-8859-1", "grün".encode("latin-1"), "grün"),
            ("text/plain; charset=unknown", "grün".encode(), "grün"),
            ("text/plain; charset=base64", b"plain", "plain"),
            ("application/json", b'{"a": 1}', '{"a": 1}'),
            ("", b"plain", "plain"),
        ],
    )
    async def test_are_decoded(self, content_type: str, body: bytes, expected: str) -> None:
        headers = {"content-type": content_type} if content_type else {}
        web = Web(lambda _: httpx.Response(404, headers=headers, stream=httpx.ByteStream(body)))
        made = await fetcher(web).fetch("https://example.com/")
        assert (made.status, made.body) == (404, expected)


class TestFailures:
    @pytest.mark.parametrize(
        "error",
        [httpx.ConnectError("refused at 10.1.2.3"), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("bad")],
    )
    async def test_of_the_connection_are_retryable_and_say_no_more_than_their_kind(self, error: Exception) -> None:
        def answer(_: httpx.Request) -> httpx.Response:
            raise error

        with pytest.raises(ToolFailure, match=type(error).__name__) as caught:
            await fetcher(Web(answer)).fetch("https://example.com/")
        assert (caught.value.code, caught.value.retryable) == (ToolFailureCode.UNAVAILABLE, True)
        assert str(error) not in caught.value.message

    async def test_a_host_that_never_answers_times_out(self) -> None:
        async def never(_: str, __: int) -> Sequence[str]:
            await asyncio.Event().wait()
            return []

        web = Web(text)
        with pytest.raises(ToolFailure) as caught:
            await fetcher(web, HostRules(["example.com"], resolver=never), timeout=0.02).fetch("https://example.com/")
        assert caught.value.code is ToolFailureCode.TIMEOUT


class TestTheTool:
    def test_is_absent_unless_hosts_are_allowed(self) -> None:
        def names(**options: Any) -> set[str]:
            pack = core_pack(CorePackConfig(**options))
            pack.close()
            return {tool.name for tool in pack}

        assert "http_get" not in names()
        assert "http_get" in names(http_hosts=("example.com",))
        assert "http_get" in names(http_internal_hosts=("wiki.internal:8080",))

    @pytest.mark.parametrize(
        ("written", "url"),
        [
            ("https://example.com/x", "https://example.com/x"),
            ("example.com/x", "https://example.com/x"),
            ("<https://example.com/x>", "https://example.com/x"),
        ],
    )
    def test_arguments_are_checked_before_the_call(self, written: str, url: str) -> None:
        checked = rules()
        made = http_tools(checked, Fetcher(checked), timeout=5)[0]
        assert made.arguments.normalise({"url": written}) == {"url": url}
        with pytest.raises(ToolFailure) as caught:
            made.arguments.normalise({"url": "https://evil.com/"})
        assert caught.value.code is ToolFailureCode.NOT_ALLOWED

    async def test_fetches_over_a_real_connection(self) -> None:
        seen: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            body = json.dumps({"ok": True}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n")
            writer.write(b"content-length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            checked = HostRules([], [f"service.internal:{port}"], resolver=resolver(["127.0.0.1"]))
            made = http_tools(checked, Fetcher(checked), timeout=5)[0]
            fetched = await made.bind({"url": f"http://service.internal:{port}/x"})()
        assert json.loads(fetched.body) == {"ok": True}
        assert f"host: service.internal:{port}".encode() in seen[0].lower()
        assert seen[0].startswith(b"GET /x HTTP/1.1")
