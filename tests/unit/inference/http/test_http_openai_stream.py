"""Streams of chat completions, in the shapes that servers send."""

from __future__ import annotations

import json
from typing import Any

import pytest

from podium.errors import Unavailable
from podium.inference.http.http_errors import Upstream
from podium.inference.http.openai_quirks import QUIRKS, Vendor
from podium.inference.http.openai_stream import ChatCompletionReader
from podium.inference.http.sse import ServerEvent, ServerEventParser
from podium.orchestration.chat import (
    ChatEvent,
    ChatRequest,
    ReasoningDelta,
    TextDelta,
    ToolCallSealed,
    TurnFinished,
    TurnFinishReason,
    Usage,
    UserMessage,
)
from support.fake_openai import call_delta, chunk, finish, role, say, sse, usage

ASK = ChatRequest(messages=[UserMessage("add")])
A, B = '{"a":1,"b":2}', '{"a":3,"b":4}'
TWO = [("add", A), ("add", B)]


def reader(vendor: Vendor = Vendor.GENERIC) -> ChatCompletionReader:
    return ChatCompletionReader(Upstream("m", "KEY"), QUIRKS[vendor], ASK)


def feed(target: ChatCompletionReader, *payloads: dict[str, Any]) -> list[ChatEvent]:
    return [found for p in payloads for found in target.feed(ServerEvent("", json.dumps(p).encode()))]


def read(*payloads: dict[str, Any], vendor: Vendor = Vendor.GENERIC) -> list[ChatEvent]:
    target = reader(vendor)
    events = feed(target, *payloads)
    assert target.answered
    return [*events, *target.finish()]


def calls(events: list[ChatEvent]) -> list[tuple[str, str]]:
    return [(e.tool, e.arguments_json.decode()) for e in events if isinstance(e, ToolCallSealed)]


def ids(events: list[ChatEvent]) -> list[str]:
    return [e.provider_id for e in events if isinstance(e, ToolCallSealed)]


def last(events: list[ChatEvent]) -> TurnFinished:
    assert isinstance(events[-1], TurnFinished)
    return events[-1]


SHAPES: dict[str, tuple[Vendor, list[dict[str, Any]], list[str]]] = {
    "openai: name first, pieces, index": (
        Vendor.OPENAI,
        [
            call_delta("", call_id="x", name="add"), call_delta(A[:5]), call_delta(A[5:]),
            call_delta("", index=1, call_id="y", name="add"), call_delta(B[:1], index=1), call_delta(B[1:], index=1),
        ],
        ["x", "y"],
    ),
    "vllm: index always 0, a new id begins a call, empty ids go on": (
        Vendor.VLLM,
        [
            call_delta("", call_id="x", name="add"), call_delta(A, call_id=""),
            call_delta("", call_id="y", name="add"), call_delta(B, call_id=""),
        ],
        ["x", "y"],
    ),
    "the id repeated with every piece": (
        Vendor.GENERIC,
        [
            call_delta("", call_id="0", name="add"), call_delta(A, call_id="0"),
            call_delta("", call_id="1", name="add"), call_delta(B, call_id="1"),
        ],
        ["0", "1"],
    ),
    "ollama: whole calls, index 0, ids": (
        Vendor.OLLAMA, [call_delta(A, call_id="x", name="add"), call_delta(B, call_id="y", name="add")], ["x", "y"],
    ),
    "ollama: whole calls, index 0, no ids": (
        Vendor.OLLAMA, [call_delta(A, call_id="", name="add"), call_delta(B, call_id="", name="add")], ["", ""],
    ),
    "whole calls without an index or an id": (
        Vendor.GENERIC, [call_delta(A, index=None, name="add"), call_delta(B, index=None, name="add")], ["", ""],
    ),
    "arguments as an object": (
        Vendor.GENERIC,
        [
            call_delta(json.loads(A), call_id="x", name="add"),
            call_delta(json.loads(B), index=1, call_id="y", name="add"),
        ],
        ["x", "y"],
    ),
    "one id for two calls": (
        Vendor.GENERIC,
        [call_delta(A, call_id="x", name="add"), call_delta(B, index=1, call_id="x", name="add")],
        ["x", ""],
    ),
    "the name repeated with every piece": (
        Vendor.GENERIC,
        [
            call_delta(A[:4], call_id="x", name="add"), call_delta(A[4:], name="add"),
            call_delta(B[:4], index=1, call_id="y", name="add"), call_delta(B[4:], index=1, name="add"),
        ],
        ["x", "y"],
    ),
    "both calls in one delta": (
        Vendor.GENERIC,
        [chunk({"tool_calls": [
            {"index": 0, "id": "x", "function": {"name": "add", "arguments": A}},
            {"index": 1, "id": "y", "function": {"name": "add", "arguments": B}},
        ]})],
        ["x", "y"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", ["tool_calls", "stop", "function_call"])
@pytest.mark.parametrize("shape", SHAPES)
def test_two_calls_in_every_shape(shape: str, reason: str) -> None:
    """Whoever sends them: two calls, in order, and a finish that says so."""
    vendor, deltas, expected = SHAPES[shape]
    events = read(role(), *deltas, finish(reason), vendor=vendor)
    assert calls(events) == TWO
    assert ids(events) == expected
    assert last(events).reason is TurnFinishReason.TOOL_CALLS


@pytest.mark.parametrize("shape", SHAPES)
def test_every_byte_boundary(shape: str) -> None:
    """A recorded stream gives the same events wherever it is split."""
    vendor, deltas, _ = SHAPES[shape]
    body = b"".join(sse(role(), say("Grüße 🌍"), *deltas, chunk(None), finish("tool_calls"), usage()))

    def events(*chunks: bytes) -> list[ChatEvent]:
        parser, target = ServerEventParser(), reader(vendor)
        found = [e for data in chunks for event in parser.feed(data) for e in target.feed(event)]
        assert target.ended
        return [*found, *target.finish()]

    whole = events(body)
    assert calls(whole) == TWO
    for at in range(len(body) + 1):
        assert events(body[:at], body[at:]) == whole, at
    assert events(*(body[i : i + 1] for i in range(len(body)))) == whole


def test_when_calls_are_sealed() -> None:
    """At the next call's first part, at the finish reason, never because the arguments so far parse."""
    target = reader()
    assert feed(target, call_delta("", call_id="x", name="add"), call_delta(A)) == []
    assert feed(target, call_delta("  ")) == []
    assert calls(feed(target, call_delta("", index=1, call_id="y", name="add"))) == [("add", A)]
    assert feed(target, call_delta("[1]", index=1), call_delta("[2]", index=1), say("text between")) == [
        TextDelta("text between")
    ]
    assert calls(feed(target, finish("tool_calls"))) == [("add", "[1][2]")]


def test_the_end_marker_alone_seals_too() -> None:
    """Some servers send no finish reason."""
    target = reader()
    feed(target, call_delta(A, call_id="x", name="add"))
    assert not target.answered
    assert calls(target.feed(ServerEvent("", b"[DONE]"))) == [("add", A)]
    assert last(target.finish()).reason is TurnFinishReason.TOOL_CALLS


def test_arguments_that_parse_early_and_then_grow() -> None:
    """Each prefix of these is JSON; only the whole is sealed."""
    pieces = ["1", "2", "3", "  ", "\n"]
    target = reader()
    feed(target, call_delta("", call_id="x", name="add"))
    for piece in pieces:
        assert feed(target, call_delta(piece)) == []
    assert calls(feed(target, finish("tool_calls"))) == [("add", "123")]


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_a_call_that_was_cut_is_not_sealed(reason: str) -> None:
    """The one before it was whole and stays."""
    events = read(
        call_delta(A, name="add", call_id="x"), call_delta(B, index=1, name="add", call_id="y"), finish(reason)
    )
    assert calls(events) == [("add", A)]
    assert last(events).reason == reason


def test_more_of_a_call_that_had_ended_is_refused() -> None:
    """It may be running by now."""
    target = reader()
    feed(target, call_delta(A, call_id="x", name="add"), call_delta(B, index=1, call_id="y", name="add"))
    with pytest.raises(Unavailable):
        feed(target, call_delta(" more", index=0))


def test_no_arguments_are_an_empty_object() -> None:
    """As tools without parameters are often called."""
    assert calls(read(call_delta("", call_id="x", name="now"), finish("tool_calls"))) == [("now", "{}")]
    assert calls(read(call_delta(None, call_id="x", name="now"), finish("tool_calls"))) == [("now", "{}")]


def test_a_call_without_a_name_is_refused() -> None:
    """There is nothing to run."""
    with pytest.raises(Unavailable):
        read(call_delta(A, call_id="x"), finish("tool_calls"))


def test_text_reasoning_refusal() -> None:
    """Each field by its meaning; empty ones are nothing."""
    events = read(
        role(),
        chunk({"reasoning_content": "hm"}),
        chunk({"reasoning": "so", "content": ""}),
        chunk({"reasoning": "x", "reasoning_content": "x"}),
        chunk({"content": [{"type": "text", "text": "part"}]}),
        say("text"),
        chunk({"content": None, "refusal": "I cannot"}),
        finish("stop"),
    )
    assert events[:-1] == [
        ReasoningDelta("hm"), ReasoningDelta("so"), ReasoningDelta("x"), TextDelta("part"), TextDelta("text"),
        TextDelta("I cannot"),
    ]  # fmt: skip
    assert last(events).reason is TurnFinishReason.CONTENT_FILTER


def test_usage_where_it_comes() -> None:
    """In a chunk of its own, with the finish, or with every chunk; else estimated."""
    assert last(read(say("x"), usage(9, 4, 3), finish("stop"))).usage == Usage(9, 4, 3)
    target = reader()
    feed(target, say("x"), finish("stop"), usage(9, 4))
    assert last(target.finish()).usage == Usage(9, 4)
    ollama = chunk({}, "stop", usage={"prompt_tokens": 5, "completion_tokens": 6, "prompt_cache_hit_tokens": 2})
    assert last(read(say("x"), ollama)).usage == Usage(5, 6, 2)
    estimated = last(read(say("word " * 20), finish("stop"))).usage
    assert estimated.prompt_tokens > 0
    assert 20 <= estimated.completion_tokens <= 40


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": [None, 3, {"delta": None}]},
        {"choices": [{"index": 1, "delta": {"content": "another choice"}}]},
        {"choices": [{"index": 0, "delta": {"content": 5, "tool_calls": {}, "reasoning": []}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [None, 3, {}, {"function": None}]}}], "usage": 7},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": ""}], "error": None},
    ],
)
def test_what_says_nothing_is_nothing(payload: dict[str, Any]) -> None:
    """Empty and odd chunks do not end a turn."""
    target = reader()
    assert feed(target, payload) == []
    assert not target.answered
