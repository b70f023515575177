"""Servers that break HTTP itself: heads, framing, connections, and requests that nobody takes in."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest

from podium.errors import FailedPrecondition, Internal, PodiumError, ResourceExhausted, Unavailable
from podium.inference.http import ApiKeySource, EgressPolicy, HttpEndpoint, TurnLimits
from support.fake_openai import STALL, FakeServer, Reply, completion, finish, json_reply, say

KEY = "sk-test-0123456789abcdef"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
EVENT = b"9\r\ndata: a\n\n\r\n"
END = b"0\r\n\r\n"


@asynccontextmanager
async def raw_server(*answers: bytes, after: bytes = b"", hang_up: bool = False) -> AsyncIterator[Any]:
    """Serve bytes as they are; the last answer is given again and again. Yields an endpoint and the heads it sent."""
    heads: list[bytes] = []
    connections: list[asyncio.StreamWriter] = []
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0))
                heads.append(head)
                writer.write(left.pop(0) if len(left) > 1 else left[0])
                await writer.drain()
                if hang_up:
                    return
                if after:
                    await asyncio.sleep(0.02)
                    writer.write(after)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        key = ApiKeySource.from_env("MODEL_KEY", environ={"MODEL_KEY": KEY})
        endpoint = HttpEndpoint("m", f"http://127.0.0.1:{port}/v1", policy=EgressPolicy(), key=key)
        try:
            yield endpoint, heads, connections
        finally:
            await endpoint.aclose()


async def read(endpoint: HttpEndpoint, body: Any = None, **headers: str) -> list[bytes]:
    async with asyncio.timeout(10), aclosing(endpoint.events("/chat", body or {"a": 1}, headers=headers)) as events:
        return [event.data async for event in events]


async def refusal(work: Awaitable[Any]) -> PodiumError:
    with pytest.raises(PodiumError) as caught:
        await work
    return caught.value


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Return an error and everything that it holds on to."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 2xx OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx-long: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: 1\r\n" % i for i in range(1000)) + b"\r\n",
        HEAD + b"content-length: 5\r\n\r\n" + EVENT + END,
        HEAD + b"\r\n" + EVENT + b"no size\r\n",
        HEAD + b"\r\n" + EVENT + b"-1\r\n",
        HEAD + b"\r\n" + EVENT + b"ffffffffffffffffffff\r\n",
        HEAD + b"\r\n" + EVENT + b"5\r\ntoo long by far\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ],
    ids=lambda answer: repr(answer[:60]),
)
async def test_what_is_no_http_is_told_at_once(answer: bytes) -> None:
    """Typed, retryable, without waiting for a limit, and nothing in its chain of causes shows the key."""
    async with raw_server(answer) as (endpoint, heads, _):
        began = time.monotonic()
        error = await refusal(read(endpoint))
        assert time.monotonic() - began < 2
        assert type(error) is Unavailable
        assert error.retry_after is not None
        assert KEY.encode() in heads[0]
        assert all(KEY not in f"{e!r}{e}{vars(e)}" for e in chain(error))


@pytest.mark.parametrize(
    "answer",
    [b"", HEAD + b"\r\n" + EVENT, b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ndata: a\n\n", HEAD],
    ids=["nothing", "chunks", "length", "half a head"],
)
async def test_an_answer_that_breaks_off(answer: bytes) -> None:
    """Wherever it does."""
    async with raw_server(answer, hang_up=True) as (endpoint, heads, _):
        error = await refusal(read(endpoint))
        assert (type(error), error.retry_after) == (Unavailable, 1.0)
        assert "broke off" in error.message
        assert len(heads) == 1, "a turn is never sent twice"


@pytest.mark.parametrize("stray", [HEAD + b"\r\n9\r\ndata: b\n\n\r\n" + END, b"x"], ids=["answer", "byte"])
@pytest.mark.parametrize("seen", [True, False], ids=["seen by the loop", "not yet seen"])
async def test_bytes_that_nobody_asked_for_answer_no_later_turn(stray: bytes, seen: bool) -> None:
    """A connection on which something came between two turns is not used again."""
    good = HEAD + b"\r\n" + EVENT + END
    async with raw_server(good) as (endpoint, _, connections):
        assert await read(endpoint) == [b"a"]
        connections[0].write(stray)
        if seen:
            await asyncio.sleep(0.05)
        assert await read(endpoint) == [b"a"]
        assert await read(endpoint) == [b"a"]
        assert len(connections) == 2


async def test_answers_that_end_with_the_connection() -> None:
    """The oldest framing there is."""
    async with raw_server(b"HTTP/1.0 200 OK\r\n\r\ndata: a\n\n", hang_up=True) as (endpoint, _, connections):
        assert await read(endpoint) == [b"a"]
        assert await read(endpoint) == [b"a"]
        assert len(connections) == 2


async def test_interim_answers_are_skipped() -> None:
    """Proxies send them."""
    answer = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + HEAD + b"\r\n" + EVENT + END
    async with raw_server(answer) as (endpoint, _, _):
        assert await read(endpoint) == [b"a"]


@asynccontextmanager
async def deaf_server() -> AsyncIterator[tuple[str, Callable[[], Awaitable[socket.socket]]]]:
    """A server that accepts connections and never reads from them."""
    loop = asyncio.get_running_loop()
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)

        with ExitStack() as stack:

            async def accept() -> socket.socket:
                return stack.enter_context((await loop.sock_accept(listening))[0])

            yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1", accept


@pytest.mark.parametrize("how", ["cancelled", "too slow", "closed"])
async def test_a_request_that_nobody_takes_in_is_given_up_at_once(how: str) -> None:
    """Its connection does not linger until the peer would take in the rest."""
    limits = TurnLimits(first_event=0.2 if how == "too slow" else 60.0)
    async with deaf_server() as (url, accept), asyncio.TaskGroup() as group:
        endpoint = HttpEndpoint("m", url, policy=EgressPolicy(), limits=limits)
        turn = group.create_task(_outcome(read(endpoint, {"a": "x" * (16 << 20)})))
        peer = await accept()
        await asyncio.sleep(0.05)
        if how == "cancelled":
            turn.cancel()
        if how == "closed":
            await endpoint.aclose()
        await asyncio.wait([turn], timeout=2)
        assert turn.done()
        if how != "cancelled":
            assert type(turn.result()) is Unavailable
        async with asyncio.timeout(2):
            await _ended(peer)
        await endpoint.aclose()


async def _outcome(work: Awaitable[Any]) -> PodiumError | None:
    try:
        await work
    except PodiumError as error:
        return error
    return None


async def _ended(peer: socket.socket) -> None:
    """Take everything in until the connection ends, and see that it was cut before its whole length."""
    loop = asyncio.get_running_loop()
    size = 0
    with suppress(ConnectionError):
        while data := await loop.sock_recv(peer, 1 << 20):
            size += len(data)
    assert size < 16 << 20


async def test_a_large_prompt_is_sent_whole() -> None:
    """Nothing warns of it, either: warnings are errors here."""
    body = {"text": "x" * (3 << 20)}
    async with FakeServer(completion(say("a"), finish("stop"))) as server:
        endpoint = HttpEndpoint("m", server.url, policy=EgressPolicy())
        await read(endpoint, body)
        assert server.requests[0].json() == body
        assert server.requests[0].headers["content-type"] == "application/json"
        await endpoint.aclose()


async def test_header_values_are_made_harmless() -> None:
    """What is not ASCII becomes a question mark; a line break is refused before anything is sent."""
    async with FakeServer(completion(say("a"), finish("stop"))) as server:
        endpoint = HttpEndpoint("m", server.url, policy=EgressPolicy())
        await read(endpoint, **{"x-correlation-id": "grüß-\udc80🌍"})
        assert server.requests[0].headers["x-correlation-id"] == "gr??-??"
        for value in ("a\r\nx-evil: 1", "a\nb", "a\0b"):
            assert type(await refusal(read(endpoint, **{"x-correlation-id": value}))) is Internal
        assert len(server.requests) == 1
        await endpoint.aclose()


async def test_more_turns_than_connections_wait_and_then_are_refused() -> None:
    """The refusal is not for want of a server; small requests have connections of their own; no place is lost."""
    limits = TurnLimits(connect=0.1)
    stall = Reply(headers={"content-type": "text/event-stream"}, steps=[b"data: a\n\n", STALL])
    async with FakeServer(lambda request: stall if request.method == "POST" else json_reply({})) as server:
        endpoint = HttpEndpoint("m", server.url, policy=EgressPolicy(), limits=limits, connections=2)
        for _ in range(3):
            turns = [endpoint.events("/chat", {}) for _ in range(2)]
            for turn in turns:
                await anext(turn)
            error = await refusal(read(endpoint))
            assert isinstance(error, ResourceExhausted)
            assert error.reason == "OVERLOADED"
            assert await endpoint.call("GET", "/models") == {}
            for turn in turns:
                await turn.aclose()
        await endpoint.aclose()


async def test_closing_ends_turns_that_wait() -> None:
    """For the rest of an answer, for its head, for a connection."""
    stall = Reply(headers={"content-type": "text/event-stream"}, steps=[b"data: a\n\n", STALL])
    async with FakeServer(stall) as server, deaf_server() as (url, accept):
        for target in (server.url, url):
            endpoint = HttpEndpoint("m", target, policy=EgressPolicy(), connections=1)
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                first = group.create_task(_outcome(read(endpoint)))
                await (server.silent.wait() if target == server.url else accept())
                second = group.create_task(_outcome(read(endpoint)))
                await asyncio.sleep(0.02)
                await endpoint.aclose()
            assert (type(first.result()), type(second.result())) == (Unavailable, Unavailable)


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f.0.0.1", "\uff1127.0.0.1", "[::ffff:10.0.0.1]"])
async def test_other_spellings_of_addresses_are_checked_like_any_name(host: str) -> None:
    """None of them leads past the policy, whatever the library or the system would make of it."""
    async with FakeServer(completion(say("a"), finish("stop"))) as server:
        for policy in (EgressPolicy(), EgressPolicy(cloud_enabled=True)):
            endpoint = HttpEndpoint("m", f"http://{host}:{server.port}/v1", policy=policy, resolver=_elsewhere)
            assert isinstance(await refusal(read(endpoint)), FailedPrecondition | Unavailable | Internal)
            await endpoint.aclose()
        assert server.connections == 0


async def _elsewhere(_host: str, _port: int) -> list[str]:
    return ["10.9.9.9"]


async def test_the_last_look_is_at_the_address_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a name ever get past the look-up, the socket for a forbidden address is not made."""

    async def resolve(*_: Any, **__: Any) -> list[Any]:
        return [{"hostname": "gpu-box", "host": "127.0.0.1", "port": port, "family": 0, "proto": 0, "flags": 0}]

    looked: list[str] = []

    def check(_policy: EgressPolicy, host: str, addresses: list[str]) -> None:
        looked.extend(addresses)
        raise FailedPrecondition(f"{host} is not allowed")

    async with FakeServer(completion(say("a"), finish("stop"))) as server:
        port = server.port
        monkeypatch.setattr(aiohttp.TCPConnector, "_resolve_host", resolve)
        monkeypatch.setattr(EgressPolicy, "check_addresses", check)
        endpoint = HttpEndpoint("m", f"http://gpu-box:{port}/v1", policy=EgressPolicy(remote_enabled=True))
        assert type(await refusal(read(endpoint))) is Unavailable
        assert (looked, server.connections) == (["127.0.0.1"], 0)
        await endpoint.aclose()
