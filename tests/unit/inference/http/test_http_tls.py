"""Everything goes over HTTP/1.1, as only a closed connection stops a turn at once."""

from __future__ import annotations

import ssl

import trustme

from podium.inference.http import EgressPolicy, HttpEndpoint, OpenAIChatModel
from podium.orchestration.chat import ChatRequest, TextDelta, UserMessage
from support.chat_model_suite import collect
from support.fake_openai import FakeServer, Reply, Request, completion, finish, models, say, usage

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


async def test_http1_even_where_http2_is_offered() -> None:
    """The server prefers HTTP/2 but would be spoken to in HTTP/1.1, which is all that it understands here."""

    def answer(request: Request) -> Reply:
        return models("n", "m") if request.method == "GET" else completion(say("Hello"), finish("stop"), usage())

    async with FakeServer(answer, tls=serving("h2", "http/1.1")) as server:
        url = f"https://127.0.0.1:{server.port}/v1"
        subject = OpenAIChatModel("m", "m", HttpEndpoint("m", url, policy=EgressPolicy(), ssl_context=trusting))
        for _ in range(2):
            assert (await collect(subject, ChatRequest(messages=[UserMessage("hi")])))[0] == TextDelta("Hello")
            assert await subject.list_models() == ["m", "n"]
        assert server.connections == 1
        await subject.aclose()
