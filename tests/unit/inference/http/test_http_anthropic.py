"""Anthropic's Messages API: bodies and streams."""

from __future__ import annotations

from typing import Any

import pytest

from podium.errors import InvalidRequest, Unavailable
from podium.inference.http import AnthropicChatModel, EgressPolicy, anthropic_endpoint
from podium.inference.http.anthropic_stream import MessageReader
from podium.inference.http.anthropic_wire import turn_body
from podium.inference.http.http_errors import Upstream
from podium.inference.http.sse import ServerEventParser
from podium.orchestration.chat import (
    AssistantMessage,
    CallRequest,
    ChatEvent,
    ChatRequest,
    Message,
    ReasoningDelta,
    SystemMessage,
    TextDelta,
    ToolCallSealed,
    ToolChoice,
    ToolMessage,
    TurnFinished,
    TurnFinishReason,
    Usage,
    UserMessage,
)
from support import fake_anthropic as shape
from support.chat_model_suite import ADD, collect
from support.fake_openai import FakeServer

ASK = ChatRequest(messages=[UserMessage("add")], tools=[ADD])


def body(**fields: Any) -> dict[str, Any]:
    options: dict[str, Any] = {"thinking": fields.pop("thinking", None), "thoughts": lambda _call_id: ()}
    return turn_body(ChatRequest(**{"messages": [UserMessage("hi")], **fields}), model="m", max_tokens=100, **options)


def read(*payloads: dict[str, Any]) -> list[ChatEvent]:
    return read_chunks(*shape.named_sse(*payloads))


def read_chunks(*chunks: bytes) -> list[ChatEvent]:
    parser, reader = ServerEventParser(), MessageReader(Upstream("m", "KEY"))
    events = [found for data in chunks for event in parser.feed(data) for found in reader.feed(event)]
    assert reader.answered
    assert reader.ended
    return [*events, *reader.finish()]


def calls(events: list[ChatEvent]) -> list[tuple[str, bytes, str]]:
    return [(e.tool, e.arguments_json, e.provider_id) for e in events if isinstance(e, ToolCallSealed)]


def test_the_smallest_turn() -> None:
    """The API wants a limit."""
    content = [{"type": "text", "text": "hi"}]
    assert body() == {
        "model": "m",
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 100,
        "stream": True,
        "temperature": 0.0,
    }


def test_options() -> None:
    """Of temperature and top_p only one; neither while it thinks; no seed, as the API has none."""
    found = body(max_tokens=7, top_p=0.5, stop=["END"], seed=3, messages=[SystemMessage("a"), SystemMessage("b")])
    assert (found["max_tokens"], found["top_p"], found["stop_sequences"]) == (7, 0.5, ["END"])
    assert found["system"] == "a\n\nb"
    assert {"temperature", "seed"}.isdisjoint(found)
    assert "temperature" not in body(thinking={"type": "adaptive"})


def test_tools_choice_and_schema() -> None:
    """Under the API's names."""
    found = body(tools=[ADD], tool_choice=ToolChoice.REQUIRED, json_schema='{"type": "object"}')
    assert found["tools"][0]["input_schema"]["properties"].keys() == {"a", "b"}
    assert found["tool_choice"] == {"type": "any"}
    assert found["output_config"] == {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    assert body(tools=[ADD], tool_choice=ToolChoice.NONE)["tool_choice"] == {"type": "none"}
    with pytest.raises(InvalidRequest):
        body(json_schema="[]")


def test_history_alternates_and_pairs_ids() -> None:
    """Results of one turn are one message; ids that the API would refuse are replaced on both sides."""
    messages = [
        UserMessage("add"),
        AssistantMessage(
            " ", (CallRequest("c0_0", "add", b'{"a": 1}', "toolu_1"), CallRequest("c0_1", "add", b"[", "a:b"))
        ),
        ToolMessage("c0_0", "add", "1", provider_id="toolu_1"),
        ToolMessage("c0_1", "add", "bad", ok=False, provider_id="a:b"),
        UserMessage("go on"),
        AssistantMessage(""),
    ]
    found = body(messages=messages)["messages"]
    assert [m["role"] for m in found] == ["user", "assistant", "user"]
    assert found[1]["content"] == [
        {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}},
        {"type": "tool_use", "id": "c0_1", "name": "add", "input": {"not_a_json_object": "["}},
    ]
    assert found[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "1"},
        {"type": "tool_result", "tool_use_id": "c0_1", "content": "bad", "is_error": True},
        {"type": "text", "text": "go on"},
    ]


def recorded() -> list[dict[str, Any]]:
    return [
        shape.start(cache_read_input_tokens=30, cache_creation_input_tokens=8),
        shape.ping(),
        shape.block(0, "thinking", thinking="", signature=""),
        shape.delta(0, "thinking_delta", thinking="Let me "),
        shape.delta(0, "thinking_delta", thinking="add."),
        shape.delta(0, "signature_delta", signature="c2ln"),
        shape.stop_block(0),
        *shape.text(1, "Grüße", " 🌍"),
        shape.ping(),
        *shape.use(2, "toolu_1", "add", '{"a"', ": 1}"),
        *shape.use(3, "toolu_2", "now"),
        {"type": "an_event_of_the_future", "index": 9},
        *shape.stop("tool_use", 40),
    ]


def test_a_recorded_turn() -> None:
    """Reasoning, text, calls, usage."""
    assert read(*recorded()) == [
        ReasoningDelta("Let me "),
        ReasoningDelta("add."),
        TextDelta("Grüße"),
        TextDelta(" 🌍"),
        ToolCallSealed("add", b'{"a": 1}', "toolu_1"),
        ToolCallSealed("now", b"{}", "toolu_2"),
        TurnFinished(TurnFinishReason.TOOL_CALLS, Usage(50, 40, 30)),
    ]


def test_every_byte_boundary() -> None:
    """The same events wherever the stream is split."""
    stream = b"".join(shape.named_sse(*recorded()))
    whole = read_chunks(stream)
    for at in range(len(stream) + 1):
        assert read_chunks(stream[:at], stream[at:]) == whole, at


def test_a_call_is_sealed_by_the_end_of_its_block() -> None:
    """Not before, though its arguments are whole; and not after."""
    reader, parser = MessageReader(Upstream("m", "KEY")), ServerEventParser()
    use = shape.use(0, "toolu_1", "add", '{"a":1}')

    def feed(*payloads: dict[str, Any]) -> list[ChatEvent]:
        chunks = shape.named_sse(*payloads)
        return [found for data in chunks for event in parser.feed(data) for found in reader.feed(event)]

    assert feed(shape.start(), *use[:-1]) == []
    assert feed(use[-1]) == [ToolCallSealed("add", b'{"a":1}', "toolu_1")]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", TurnFinishReason.STOP),
        ("stop_sequence", TurnFinishReason.STOP),
        ("pause_turn", TurnFinishReason.STOP),
        ("max_tokens", TurnFinishReason.LENGTH),
        ("model_context_window_exceeded", TurnFinishReason.LENGTH),
        ("refusal", TurnFinishReason.CONTENT_FILTER),
    ],
)
def test_stop_reasons(reason: str, expected: TurnFinishReason) -> None:
    """Each has its meaning."""
    assert read(shape.start(), *shape.text(0, "x"), *shape.stop(reason))[-1] == TurnFinished(expected, Usage(12, 9))


def test_a_call_that_the_limit_cut_is_dropped() -> None:
    """Its block ends like any other; the stop reason tells. One that is merely wrong is passed on."""
    whole, cut = shape.use(0, "toolu_1", "add", '{"a":1}'), shape.use(1, "toolu_2", "add", '{"a"')
    limited = read(shape.start(), *whole, *cut, *shape.stop("max_tokens"))
    assert calls(limited) == [("add", b'{"a":1}', "toolu_1")]
    wrong = read(shape.start(), *cut, *shape.use(2, "toolu_3", "add", "{}"), *shape.stop("tool_use"))
    assert calls(wrong) == [("add", b'{"a"', "toolu_2"), ("add", b"{}", "toolu_3")]


def test_arguments_outside_a_call_are_refused() -> None:
    """They belong to nothing."""
    with pytest.raises(Unavailable):
        read(shape.start(), shape.delta(4, "input_json_delta", partial_json="{"))


async def test_thinking_is_sent_back_with_the_results() -> None:
    """The block before the call, with its signature, first in the assistant's message."""
    async with FakeServer(shape.message(*recorded())) as server:
        endpoint = anthropic_endpoint("m", server.origin, policy=EgressPolicy())
        model = AnthropicChatModel("m", "m", endpoint, thinking={"type": "adaptive"})
        await collect(model, ASK)
        history: list[Message] = [
            UserMessage("add"),
            AssistantMessage("", (CallRequest("c0_0", "add", b'{"a": 1}', "toolu_1"),)),
            ToolMessage("c0_0", "add", "1", provider_id="toolu_1"),
        ]
        await collect(model, ChatRequest(messages=history, tools=[ADD]))
        await model.aclose()
        sent = server.requests[1].json()
    assert sent["thinking"] == {"type": "adaptive"}
    assert sent["messages"][1]["content"][0] == {"type": "thinking", "thinking": "Let me add.", "signature": "c2ln"}
