"""Models behind HTTP when their servers, their keys or the network misbehave."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from podium.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    PodiumError,
    ResourceExhausted,
    Unavailable,
)
from podium.inference.http import (
    AnthropicChatModel,
    ApiKeySource,
    EgressPolicy,
    HttpEndpoint,
    OpenAIChatModel,
    TurnLimits,
    Vendor,
    anthropic_endpoint,
)
from podium.orchestration.chat import (
    ChatEvent,
    ChatRequest,
    TextDelta,
    ToolCallSealed,
    TurnFinished,
    TurnFinishReason,
    UserMessage,
)
from support import fake_anthropic as anthropic
from support.chat_model_suite import ADD, collect
from support.fake_openai import (
    CUT,
    STALL,
    FakeServer,
    Reply,
    Request,
    call_delta,
    chunk,
    completion,
    finish,
    json_reply,
    models,
    role,
    say,
    sse,
    usage,
)

KEY = "sk-test-0123456789abcdef"
HELLO = ChatRequest(messages=[UserMessage("hello")], tools=[ADD])
SSE = {"content-type": "text/event-stream"}
GOOD = completion(role(), say("Hello"), finish("stop"), usage())


def key() -> ApiKeySource:
    return ApiKeySource.from_env("MODEL_KEY", environ={"MODEL_KEY": KEY})


@asynccontextmanager
async def openai_model(
    url: str, *, vendor: Vendor = Vendor.GENERIC, limits: TurnLimits | None = None, **options: Any
) -> AsyncIterator[OpenAIChatModel]:
    endpoint = HttpEndpoint("m", url, limits=limits, **{"policy": EgressPolicy(), **options})
    model = OpenAIChatModel("m", "m", endpoint, vendor=vendor)
    try:
        yield model
    finally:
        await model.aclose()


async def outcome(model: Any, request: ChatRequest = HELLO) -> tuple[list[ChatEvent], PodiumError]:
    """Return a failed turn's events and error."""
    events: list[ChatEvent] = []
    try:
        async with asyncio.timeout(20), aclosing(model.stream(request)) as stream:
            async for event in stream:
                events.append(event)  # noqa: PERF401 - those before the error count, too
    except PodiumError as error:
        assert KEY not in f"{error!r}{error.message}{error.metadata}"
        assert not any(isinstance(event, TurnFinished) for event in events)
        return events, error
    raise AssertionError(f"no error; the events were {events}")


@pytest.mark.parametrize(
    ("reply", "kind", "word"),
    [
        (json_reply({"error": {"message": f"Incorrect key {KEY}"}}, 401), FailedPrecondition, "MODEL_KEY"),
        (json_reply({"error": {"message": "no right"}}, 403), FailedPrecondition, "MODEL_KEY"),
        (json_reply({"error": {"message": "pay"}}, 402), FailedPrecondition, "account"),
        (json_reply({"error": {"message": "The model does not exist"}}, 404), NotFound, "model"),
        (json_reply({"error": {"message": "x", "code": "context_length_exceeded"}}, 400), InvalidRequest, "too long"),
        (json_reply({"detail": "maximum context length is 4096"}, 400), InvalidRequest, "too long"),
        (json_reply({"error": "tools[0] is odd"}, 422), InvalidRequest, "tools[0] is odd"),
        (json_reply({"error": {"code": "insufficient_quota"}}, 429), ResourceExhausted, "credit"),
        (json_reply({}, 500), Unavailable, "try again"),
        (Reply(status=502, steps=[b"<html>Bad Gateway</html>"]), Unavailable, "try again"),
        (json_reply({}, 529), Unavailable, "try again"),
        (Reply(status=307, headers={"location": "http://127.0.0.1:1/v1"}), FailedPrecondition, "redirect"),
        (Reply(status=204), Unavailable, "try again"),
    ],
)
async def test_refusals_are_typed(reply: Reply, kind: type[PodiumError], word: str) -> None:
    """Each status becomes the error that says what can be done, and never shows the key."""
    async with FakeServer(reply) as server, openai_model(server.url, key=key()) as model:
        events, error = await outcome(model)
        assert events == []
        assert type(error) is kind
        assert word in error.message
        assert len(server.requests) == 1, "nothing is sent twice, and no redirect is followed"
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_retry_after_comes_through() -> None:
    """The server's own word on when to come again is passed on, for 429 and for 503."""
    replies = iter([json_reply({}, 429, retry_after_ms="2500", retry_after="9"), json_reply({}, 503, retry_after="7")])
    async with FakeServer(lambda _request: next(replies)) as server, openai_model(server.url) as model:
        first, second = (await outcome(model))[1], (await outcome(model))[1]
    assert isinstance(first, ResourceExhausted)
    assert (first.retry_after, first.reason) == (2.5, "RATE_LIMITED")
    assert isinstance(second, Unavailable)
    assert second.retry_after == 7


async def test_a_missing_server_is_unavailable_and_its_info_says_so() -> None:
    """Nobody listens: typed, retryable, and told by `info` without raising."""
    async with FakeServer(GOOD) as server:
        url = server.url
    async with openai_model(url) as model:
        _, error = await outcome(model)
        assert isinstance(error, Unavailable)
        assert error.retry_after is not None
        info = await model.info()
        assert not info.ready
        assert info.detail


async def test_a_stall_before_the_first_event() -> None:
    """Headers and silence: given up at the limit, retryable."""
    limits = TurnLimits(first_event=0.1)
    reply = Reply(headers=SSE, steps=[STALL])
    async with FakeServer(reply) as server, openai_model(server.url, limits=limits) as model:
        events, error = await outcome(model)
        assert (events, type(error)) == ([], Unavailable)
        assert "begin" in error.message
        assert error.retry_after is not None
        async with asyncio.timeout(2):
            await server.disconnected.wait()


async def test_a_stall_in_the_middle() -> None:
    """A server that falls silent after some output: given up, no longer retryable, nothing more sealed."""
    limits = TurnLimits(between_events=0.1)
    call = call_delta('{"a": 1, "b": 2}', call_id="c", name="add")
    reply = completion(say("Hello"), call, done=False, then=[STALL])
    async with FakeServer(reply) as server, openai_model(server.url, limits=limits) as model:
        events, error = await outcome(model)
        assert events == [TextDelta("Hello")]
        assert type(error) is Unavailable
        assert error.retry_after is None
        async with asyncio.timeout(2):
            await server.disconnected.wait()


async def test_a_slow_drip_meets_the_total_limit() -> None:
    """Something always comes in time, but the turn never ends."""
    limits = TurnLimits(total=0.4)
    reply = Reply(headers=SSE, steps=(b": still here\n\n" for _ in range(10_000)), drip=0.02)
    async with FakeServer(reply) as server, openai_model(server.url, limits=limits) as model:
        began = time.monotonic()
        events, error = await outcome(model)
        assert (events, type(error)) == ([], DeadlineExceeded)
        assert 0.35 < time.monotonic() - began < 2


async def test_the_total_limit_holds_while_the_server_is_silent() -> None:
    """A wait for the next event never goes beyond the end of the turn."""
    limits = TurnLimits(total=0.2, between_events=10, first_event=10)
    reply = completion(say("Hello"), done=False, then=[STALL])
    async with FakeServer(reply) as server, openai_model(server.url, limits=limits) as model:
        began = time.monotonic()
        events, error = await outcome(model)
        assert (events, type(error)) == ([TextDelta("Hello")], DeadlineExceeded)
        assert time.monotonic() - began < 2


async def test_a_drip_of_single_bytes_is_a_stall() -> None:
    """Bytes that never complete a line are no progress."""
    limits = TurnLimits(between_events=0.3, first_event=0.3)
    drops = (b"x" for _ in range(10_000))
    reply = Reply(headers=SSE, steps=(s for part in (sse(say("Hi"), done=False), drops) for s in part), drip=0.01)
    async with FakeServer(reply) as server, openai_model(server.url, limits=limits) as model:
        events, error = await outcome(model)
    assert events == [TextDelta("Hi")]
    assert type(error) is Unavailable


async def test_a_slow_reader_is_no_stall() -> None:
    """Time that our side takes between two events is not held against the server."""
    limits = TurnLimits(between_events=0.15)
    go = asyncio.Event()
    reply = completion(say("a"), done=False, then=[go, *sse(say("b"), finish("stop"), usage())])
    async with FakeServer(reply) as server, openai_model(server.url, limits=limits) as model:
        events: list[ChatEvent] = []
        async with aclosing(model.stream(HELLO)) as stream:
            async for event in stream:
                events.append(event)
                if len(events) == 1:
                    await asyncio.sleep(0.3)  # longer than the limit; the point of this test
                    go.set()
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["a", "b"]


@pytest.mark.parametrize("then", [[CUT], []], ids=["reset", "end"])
async def test_a_cut_seals_nothing_more(then: list[Any]) -> None:
    """A call whose arguments are whole JSON is still open until the protocol says otherwise."""
    first, second = (
        call_delta('{"a":1,"b":2}', call_id="x", name="add"),
        call_delta("", index=1, call_id="y", name="add"),
    )
    grown = call_delta('{"a":3,"b":4}', index=1)
    async with (
        FakeServer(completion(first, second, grown, done=False, then=then)) as server,
        openai_model(server.url) as model,
    ):
        events, error = await outcome(model)
    assert events == [ToolCallSealed("add", b'{"a":1,"b":2}', "x")]
    assert type(error) is Unavailable
    assert error.retry_after is None


async def test_a_cut_before_any_output_may_be_retried() -> None:
    """The role and an unsealed call are no output."""
    reply = completion(role(), call_delta('{"a":1,"b":2}', call_id="x", name="add"), done=False, then=[CUT])
    async with FakeServer(reply) as server, openai_model(server.url) as model:
        events, error = await outcome(model)
    assert (events, type(error)) == ([], Unavailable)
    assert error.retry_after is not None


@pytest.mark.parametrize(
    "data", [b"{not json", b"[1, 2]", b'"text"', b"\xff\xfe{}", b'{"choices": [{"delta": {"content": "x"'], ids=repr
)
async def test_what_is_not_json_is_typed(data: bytes) -> None:
    """An event that is no JSON object ends the turn."""
    reply = Reply(headers=SSE, steps=[b"data: " + data + b"\n\n"])
    async with FakeServer(reply) as server, openai_model(server.url) as model:
        events, error = await outcome(model)
    assert (events, type(error)) == ([], Unavailable)


async def test_errors_inside_a_good_stream() -> None:
    """Each shape that servers put an error in, after their 200."""
    shapes: list[tuple[bytes, type[PodiumError]]] = [
        (b'data: {"error": {"message": "x", "type": "BadRequestError", "code": 400}}\n\n', InvalidRequest),
        (b'data: {"object": "error", "message": "maximum context length", "code": 400}\n\n', InvalidRequest),
        (b'event: error\ndata: {"error": {"message": "Model unloaded."}}\n\n', Unavailable),
        (b'event: error\ndata: {"message": "oops"}\n\n', Unavailable),
        (b'data: {"error": "an error was encountered while running the model"}\n\n', Unavailable),
        (b'data: {"error": {"code": "rate_limit_exceeded", "message": "x"}}\n\n', ResourceExhausted),
    ]
    for data, kind in shapes:
        async with FakeServer(Reply(headers=SSE, steps=[data])) as server, openai_model(server.url) as model:
            events, error = await outcome(model)
        assert (events, type(error)) == ([], kind), data


@pytest.mark.parametrize("where", ["event", "body", "arguments", "calls", "json"])
async def test_sizes_are_bounded(where: str) -> None:
    """A line without end, a body without end, a call without end, calls without end, a document without end."""
    blob = "x" * 1000
    limits = TurnLimits(event_bytes=20_000, body_bytes=200_000)
    steps: Any = {
        "event": (b"data: " if i == 0 else blob.encode() for i in range(1000)),
        "body": (f": {blob}\n\n".encode() for _ in range(1000)),
        "arguments": (sse(call_delta(blob, name="add" if i == 0 else None), done=False)[0] for i in range(100)),
        "calls": (sse(call_delta("{}", index=i, name="add"), done=False)[0] for i in range(5000)),
        "json": (blob.encode() for _ in range(1000)),
    }[where]
    headers = {"content-type": "application/json"} if where == "json" else SSE
    async with (
        FakeServer(Reply(headers=headers, steps=steps)) as server,
        openai_model(server.url, limits=limits) as model,
    ):
        _, error = await outcome(model)
        assert type(error) is Unavailable
        async with asyncio.timeout(2):
            await server.disconnected.wait()


async def test_odd_calls_are_passed_on_as_they_are() -> None:
    """A tool that was not offered and arguments that are no JSON are the orchestrator's to refuse; ids stay unique."""
    reply = completion(
        call_delta('{"a":1}', index=0, call_id="same", name="no_such_tool"),
        call_delta("not json", index=1, call_id="same", name="add"),
        chunk(None),
        finish("tool_calls"),
        usage(),
    )
    async with FakeServer(reply) as server, openai_model(server.url) as model:
        events = await collect(model, HELLO)
    assert events[:2] == [ToolCallSealed("no_such_tool", b'{"a":1}', "same"), ToolCallSealed("add", b"not json", "")]


async def test_a_lost_tail_does_not_spoil_a_complete_answer() -> None:
    """After the finish reason only usage can come: a cut there is no failure, and usage is estimated."""
    reply = completion(say("Hello"), finish("stop"), done=False, then=[CUT])
    async with FakeServer(reply) as server, openai_model(server.url) as model:
        events = await collect(model, HELLO)
    assert isinstance(events[-1], TurnFinished)
    assert events[-1].usage.prompt_tokens > 0
    assert events[-1].usage.completion_tokens > 0


async def test_every_two_chunks_of_a_recorded_stream_on_the_wire() -> None:
    """The same events, wherever the network splits the stream."""
    body = b"".join(
        sse(
            role(),
            say("Grüße 🌍"),
            call_delta("", call_id="call_a", name="add"),
            call_delta('{"a": 1, "b'),
            call_delta('": 2}'),
            call_delta('{"a":3,"b":4}', index=1, call_id="call_b", name="add"),
            finish("tool_calls"),
            usage(),
        )
    )
    replies = (Reply(headers=SSE, steps=[body[:at], body[at:]]) for at in range(0, len(body), 3))
    whole = Reply(headers=SSE, steps=[body])
    expected: list[ChatEvent] | None = None
    async with FakeServer(lambda _request: next(replies, whole)) as server, openai_model(server.url) as model:
        for _ in range(0, len(body), 3):
            events = await collect(model, HELLO)
            expected = expected or events
            assert events == expected
    assert expected is not None
    assert [e.arguments_json for e in expected if isinstance(e, ToolCallSealed)] == [
        b'{"a": 1, "b": 2}',
        b'{"a":3,"b":4}',
    ]


async def test_a_server_that_does_not_stream() -> None:
    """A whole completion instead of a stream is read as one."""
    function = {"name": "add", "arguments": {"a": 1, "b": 2}}
    message = {"role": "assistant", "content": "Adding.", "tool_calls": [{"id": "t1", "function": function}]}
    body = {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
    }
    async with FakeServer(json_reply(body)) as server, openai_model(server.url) as model:
        events = await collect(model, HELLO)
    assert events[:2] == [TextDelta("Adding."), ToolCallSealed("add", b'{"a":1,"b":2}', "t1")]
    assert isinstance(events[2], TurnFinished)
    assert (events[2].reason, events[2].usage.prompt_tokens) == (TurnFinishReason.TOOL_CALLS, 3)


async def test_a_model_that_refuses_to_be_sampled_is_asked_again_once() -> None:
    """The refusal of `temperature` is learned; later turns do not send it."""

    def answer(request: Request) -> Reply:
        if "temperature" in request.json():
            return json_reply({"error": {"message": "`temperature` is deprecated for this model."}}, 400)
        return GOOD

    async with FakeServer(answer) as server, openai_model(server.url) as model:
        assert (await collect(model, HELLO))[0] == TextDelta("Hello")
        assert (await collect(model, HELLO))[0] == TextDelta("Hello")
        assert ["temperature" in request.json() for request in server.requests] == [True, False, False]


async def test_more_turns_than_connections_are_told_to_wait() -> None:
    """A full pool is `ResourceExhausted`, after the time to get a connection; the held turn is not disturbed."""
    go = asyncio.Event()
    reply = completion(say("a"), done=False, then=[go, *sse(finish("stop"), usage())])
    async with (
        FakeServer(reply) as server,
        openai_model(server.url, connections=1, limits=TurnLimits(connect=0.1)) as model,
        aclosing(model.stream(HELLO)) as held,
    ):
        assert await anext(held) == TextDelta("a")
        _, error = await outcome(model)
        assert type(error) is ResourceExhausted
        assert error.retry_after is not None
        go.set()
        assert isinstance([event async for event in held][-1], TurnFinished)


async def test_closing_the_model_ends_turns_in_flight() -> None:
    """They fail as unavailable; new ones do, too."""
    async with (
        FakeServer(completion(say("a"), done=False, then=[STALL])) as server,
        openai_model(server.url) as model,
        aclosing(model.stream(HELLO)) as held,
    ):
        await anext(held)

        async def rest() -> list[ChatEvent]:
            return [event async for event in held]

        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(_raised(rest()))
            await server.silent.wait()
            await model.aclose()
        assert type(waiting.result()) is Unavailable
        assert type((await outcome(model))[1]) is Unavailable


async def _raised(work: Any) -> BaseException | None:
    try:
        await work
    except PodiumError as error:
        return error
    return None


# --- what may be reached ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "policy", "setting"),
    [
        ("https://api.openai.com/v1", EgressPolicy(remote_enabled=True), "CLOUD_LLM_ENABLED"),
        ("http://93.184.216.34/v1", EgressPolicy(remote_enabled=True), "CLOUD_LLM_ENABLED"),
        ("http://10.1.2.3:8000/v1", EgressPolicy(cloud_enabled=True), "REMOTE_LLM_ENABLED"),
        ("http://[fd00::1]:8000/v1", EgressPolicy(), "REMOTE_LLM_ENABLED"),
        ("http://gpu-box:8000/v1", EgressPolicy(), "REMOTE_LLM_ENABLED"),
    ],
)
async def test_nothing_is_sent_or_looked_up_when_it_is_off(url: str, policy: EgressPolicy, setting: str) -> None:
    """The refusal names the setting, and comes before any look-up."""
    looked_up: list[str] = []

    async def resolver(host: str, _port: int) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"]

    async with openai_model(url, policy=policy, resolver=resolver) as model:
        events, error = await outcome(model)
        assert (events, type(error)) == ([], FailedPrecondition)
        assert setting in error.message
        assert not (await model.info()).ready
    assert looked_up == []


@pytest.mark.parametrize(
    ("host", "addresses", "policy"),
    [
        ("localhost", ["127.0.0.1", "10.0.0.5"], EgressPolicy(remote_enabled=True, cloud_enabled=True)),
        ("gpu-box", ["127.0.0.1", "93.184.216.34"], EgressPolicy(remote_enabled=True)),
        ("gpu-box", ["127.0.0.1", "10.0.0.5"], EgressPolicy(cloud_enabled=True)),
        ("gpu-box", ["127.0.0.1", "::ffff:10.0.0.5"], EgressPolicy(cloud_enabled=True)),
    ],
)
async def test_resolved_addresses_are_checked_before_connecting(
    host: str, addresses: list[str], policy: EgressPolicy
) -> None:
    """One bad address among good ones is enough: not even the good one is connected to."""

    async def resolver(_host: str, _port: int) -> list[str]:
        return addresses

    async with (
        FakeServer(GOOD) as server,
        openai_model(f"http://{host}:{server.port}/v1", policy=policy, resolver=resolver) as model,
    ):
        _, error = await outcome(model)
        assert type(error) is FailedPrecondition
        assert server.connections == 0


async def test_the_checked_address_is_the_one_connected_to() -> None:
    """A name is looked up once for a connection, so it cannot mean another address the second time."""
    answers = iter([["127.0.0.1"], ["93.184.216.34"]])

    async def resolver(_host: str, _port: int) -> list[str]:
        return next(answers)

    async with (
        FakeServer(GOOD) as server,
        openai_model(
            f"http://gpu-box:{server.port}/v1", policy=EgressPolicy(remote_enabled=True), resolver=resolver
        ) as model,
    ):
        assert (await collect(model, HELLO))[0] == TextDelta("Hello")
        assert server.requests[0].headers["host"] == f"gpu-box:{server.port}"


async def test_the_environments_proxy_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the settings name a proxy."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with FakeServer(GOOD) as server, openai_model(server.url) as model:
        assert (await collect(model, HELLO))[0] == TextDelta("Hello")


async def test_a_proxy_of_the_settings_is_used_where_the_policy_allows() -> None:
    """Names behind a proxy count as public, as only the proxy knows what they lead to."""
    async with FakeServer(GOOD) as proxy:
        options: dict[str, Any] = {"proxy": f"http://127.0.0.1:{proxy.port}"}
        async with openai_model("http://gpu-box/v1", policy=EgressPolicy(remote_enabled=True), **options) as model:
            _, error = await outcome(model)
            assert type(error) is FailedPrecondition
            assert "CLOUD_LLM_ENABLED" in error.message
        assert proxy.connections == 0
        async with openai_model("http://gpu-box/v1", policy=EgressPolicy(cloud_enabled=True), **options) as model:
            await collect(model, ChatRequest(messages=[UserMessage("hi")], correlation_id="exec_1"))
        assert proxy.requests[0].path == "http://gpu-box/v1/chat/completions"
        assert proxy.requests[0].headers["x-correlation-id"] == "exec_1"


async def test_a_server_that_closes_between_turns_is_connected_to_again() -> None:
    """A connection that the server has closed meanwhile is not used."""
    async with FakeServer(GOOD) as server, openai_model(server.url) as model:
        assert (await collect(model, HELLO))[0] == TextDelta("Hello")
        server.hang_up()
        await server.all_closed()
        assert (await collect(model, HELLO))[0] == TextDelta("Hello")
        assert server.connections == 2


async def test_a_key_does_not_travel_in_the_clear() -> None:
    """To another machine a key goes over https only, unless that is allowed outright."""
    policy = EgressPolicy(remote_enabled=True)

    async def resolver(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    async with FakeServer(GOOD) as server:
        url = f"http://gpu-box:{server.port}/v1"
        async with openai_model(url, policy=policy, resolver=resolver, key=key()) as model:
            assert "https" in (await outcome(model))[1].message
        assert server.connections == 0
        async with openai_model(url, policy=policy, resolver=resolver, key=key(), allow_plain_key=True) as model:
            await collect(model, HELLO)
        assert server.connections == 1


async def test_a_missing_key_is_told_before_anything_is_sent() -> None:
    """The setting is named."""
    async with (
        FakeServer(GOOD) as server,
        openai_model(server.url, key=ApiKeySource.from_env("MODEL_KEY", environ={})) as model,
    ):
        _, error = await outcome(model)
        assert type(error) is FailedPrecondition
        assert "MODEL_KEY" in error.message
        assert server.connections == 0


async def test_a_rotated_key_file_is_used_at_once(tmp_path: Path) -> None:
    """The key is read at use."""
    file = tmp_path / "key"
    file.write_text("first-key\n")
    async with (
        FakeServer(GOOD) as server,
        openai_model(server.url, key=ApiKeySource.from_file(file)) as model,
    ):
        await collect(model, HELLO)
        file.write_text("  second-key-is-longer \n")
        await collect(model, HELLO)
        assert [r.headers["authorization"] for r in server.requests] == [
            "Bearer first-key",
            "Bearer second-key-is-longer",
        ]


async def test_keys_stay_out_of_logs(caplog: pytest.LogCaptureFixture) -> None:
    """Not even the transport's debug log shows one."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    async with FakeServer(json_reply({}, 401)) as server, openai_model(server.url, key=key()) as model:
        await outcome(model)
        assert server.requests
    assert caplog.records, "the transport logs, so this test can fail"
    assert KEY not in caplog.text


async def test_tls_is_verified() -> None:
    """A server with a certificate that is trusted is used; one that nobody vouches for is not."""
    authority = trustme.CA()
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(serving)

    def trusting() -> ssl.SSLContext:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        return context

    async with FakeServer(GOOD, tls=serving) as server:
        async with openai_model(server.url, key=key(), ssl_context=trusting) as model:
            assert (await collect(model, HELLO))[0] == TextDelta("Hello")
        async with openai_model(server.url, key=key()) as model:
            _, error = await outcome(model)
        assert type(error) is Unavailable
        assert len(server.requests) == 1


async def test_a_unix_socket_needs_no_permission(tmp_path: Path) -> None:
    """It never leaves the machine."""
    path = str(tmp_path / "s")
    async with FakeServer(GOOD, path=path) as server, openai_model(f"unix:{path}:/v1") as model:
        assert (await collect(model, HELLO))[0] == TextDelta("Hello")
        assert server.requests[0].path == "/v1/chat/completions"
        assert not (await model.info()).remote


# --- probes -----------------------------------------------------------------------------------------------------------


async def test_info_is_cached_and_shared() -> None:
    """Many callers, one question; what the server tells is passed on."""
    async with FakeServer(models("m", max_model_len=8192)) as server, openai_model(server.url) as model:
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(model.info()) for _ in range(20)]
        infos = {task.result() for task in asked}
        assert len(infos) == 1
        info = infos.pop()
        assert (info.ready, info.context_length, info.remote, info.kind) == (True, 8192, False, "openai")
        assert len(server.requests) == 1


async def test_info_says_why_a_model_is_not_ready() -> None:
    """A server that lists its models, but not this one."""
    async with FakeServer(models("other")) as server, openai_model(server.url, vendor=Vendor.VLLM) as model:
        info = await model.info()
        assert not info.ready
        assert "other" in info.detail
        assert await model.list_models() == ["other"]


async def test_info_of_a_server_without_a_list() -> None:
    """A generic server need not list its models."""
    async with FakeServer(json_reply({}, 404)) as server, openai_model(server.url) as model:
        assert (await model.info()).ready


# --- Anthropic's own --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded_error", Unavailable),
        ("api_error", Unavailable),
        ("rate_limit_error", ResourceExhausted),
        ("invalid_request_error", InvalidRequest),
        ("authentication_error", FailedPrecondition),
    ],
)
async def test_anthropic_errors_in_the_stream(kind: str, expected: type[PodiumError]) -> None:
    """An error event after the 200 is typed by its kind."""
    async with FakeServer(anthropic.message(anthropic.start(), anthropic.error(kind))) as server:
        model = AnthropicChatModel("m", "m", anthropic_endpoint("m", server.origin, policy=EgressPolicy(), key=key()))
        events, error = await outcome(model)
        await model.aclose()
        assert (events, type(error)) == ([], expected)
        headers = server.requests[0].headers
    assert (headers["x-api-key"], headers["anthropic-version"]) == (KEY, "2023-06-01")
    assert "authorization" not in headers


async def test_anthropic_cut_in_a_call_seals_nothing() -> None:
    """Without the end of its block a call is not whole, even when its arguments are."""
    call = anthropic.use(0, "toolu_1", "add", '{"a":1,"b":2}')[:-1]
    async with FakeServer(anthropic.message(anthropic.start(), *call, then=[CUT])) as server:
        model = AnthropicChatModel("m", "m", anthropic_endpoint("m", server.origin, policy=EgressPolicy()))
        events, error = await outcome(model)
        await model.aclose()
    assert (events, type(error)) == ([], Unavailable)


# --- many -------------------------------------------------------------------------------------------------------------


async def test_a_thousand_mixed_requests_leave_nothing_behind() -> None:
    """Good, refused, cut, stalled, closed early and cancelled turns: no task, connection or thought is left."""
    random_ = random.Random(4)
    kinds = ("good", "refused", "cut", "close", "cancel", "garbage", "stall")
    replies = {
        "good": GOOD,
        "refused": json_reply({}, 503),
        "cut": completion(say("a"), done=False, then=[CUT]),
        "close": completion(*[say("a")] * 50, done=False, then=[STALL]),
        "cancel": completion(say("a"), done=False, then=[STALL]),
        "garbage": Reply(headers=SSE, steps=[b"data: {\n\n"]),
        "stall": completion(say("a"), done=False, then=[STALL]),
    }

    def answer(request: Request) -> Reply:
        return replies[request.json()["messages"][0]["content"]]

    async def turn(model: OpenAIChatModel, kind: str) -> None:
        request = ChatRequest(messages=[UserMessage(kind)])
        try:
            async with aclosing(model.stream(request)) as stream:
                async for _event in stream:
                    if kind == "close":
                        return
                    if kind == "cancel":
                        raise asyncio.CancelledError
        except PodiumError:
            assert kind not in ("good", "close", "cancel")
        except asyncio.CancelledError:
            assert kind == "cancel"

    limits = TurnLimits(between_events=0.1)
    async with FakeServer(answer) as server, openai_model(server.url, limits=limits, connections=32) as model:
        before = asyncio.all_tasks()
        limit = asyncio.Semaphore(32)

        async def limited(kind: str) -> None:
            async with limit:
                await turn(model, kind)

        async with asyncio.timeout(50), asyncio.TaskGroup() as group:
            for _ in range(1000):
                group.create_task(limited(random_.choice(kinds)))
        assert len(server.requests) == 1000
        gc.collect()
        left = {task for task in asyncio.all_tasks() - before if not task.get_name().startswith("backend")}
        if left:
            _, left = await asyncio.wait(left, timeout=1)
        assert not left
        await model.aclose()
        async with asyncio.timeout(2):
            await server.all_closed()
