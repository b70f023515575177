"""Small requests use HTTP/2 where it is offered; turns do not, as only a closed connection stops them at once."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h2.config
import h2.connection
import h2.events
import trustme

from podium.inference.http import EgressPolicy, HttpEndpoint, OpenAIChatModel
from podium.orchestration.chat import ChatRequest, TextDelta, UserMessage
from support.chat_model_suite import collect
from support.fake_openai import FakeServer, completion, finish, say, usage

AUTHORITY = trustme.CA()


def serving(*protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    context.set_alpn_protocols(list(protocols))
    return context


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@asynccontextmanager
async def model(port: int) -> AsyncIterator[OpenAIChatModel]:
    url = f"https://127.0.0.1:{port}/v1"
    found = OpenAIChatModel("m", "m", HttpEndpoint("m", url, policy=EgressPolicy(), ssl_context=trusting))
    try:
        yield found
    finally:
        await found.aclose()


async def test_small_requests_over_http2() -> None:
    """Several at once share one connection."""
    connections = 0
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        server.initiate_connection()
        writer.write(server.data_to_send())
        while data := await reader.read(65_536):
            for event in server.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    asked.append({str(name): str(value) for name, value in event.headers}[":path"])
                    server.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/json")])
                    answer = json.dumps({"data": [{"id": "m"}, {"id": "n"}]}).encode()
                    server.send_data(event.stream_id, answer, end_stream=True)
            writer.write(server.data_to_send())
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=serving("h2"))
    async with listening:
        async with model(listening.sockets[0].getsockname()[1]) as subject:
            assert await subject.list_models() == ["m", "n"]
            assert await asyncio.gather(*(subject.list_models() for _ in range(5))) == [["m", "n"]] * 5
        assert asked == ["/v1/models"] * 6
        assert connections == 1


async def test_turns_over_http1_even_where_http2_is_offered() -> None:
    """The server prefers HTTP/2 but would be spoken to in HTTP/1.1, which is all that it understands here."""
    reply = completion(say("Hello"), finish("stop"), usage())
    async with FakeServer(reply, tls=serving("h2", "http/1.1")) as server, model(server.port) as subject:
        for _ in range(2):
            assert (await collect(subject, ChatRequest(messages=[UserMessage("hi")])))[0] == TextDelta("Hello")
        assert server.connections == 1
