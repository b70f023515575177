"""The readers of HTTP models against split, cut, mutated and invented streams."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.errors import PodiumError
from podium.inference.http.anthropic_stream import MessageReader
from podium.inference.http.http_chat import TurnReader
from podium.inference.http.http_errors import Upstream
from podium.inference.http.openai_quirks import QUIRKS, Vendor
from podium.inference.http.openai_stream import ChatCompletionReader
from podium.inference.http.sse import EventTooLong, ServerEvent, ServerEventParser
from podium.orchestration.chat import (
    ChatEvent,
    ChatRequest,
    ReasoningDelta,
    TextDelta,
    ToolCallSealed,
    TurnFinished,
    UserMessage,
)
from support import fake_anthropic as anthropic
from support.fake_openai import call_delta, chunk, finish, role, say, sse, usage

UPSTREAM = Upstream("m", "KEY")
OPENAI = b"".join(
    sse(
        role(),
        chunk({"reasoning_content": "hm"}),
        say("Grüße 🌍"),
        call_delta("", call_id="call_a", name="add"),
        call_delta('{"a": 1, "b'),
        call_delta('": 2}'),
        call_delta('{"a":3,"b":4}', index=1, call_id="call_b", name="add"),
        finish("tool_calls"),
        usage(),
    )
)
ANTHROPIC = b"".join(
    anthropic.named_sse(
        anthropic.start(),
        anthropic.block(0, "thinking", thinking="", signature=""),
        anthropic.delta(0, "thinking_delta", thinking="hm"),
        anthropic.stop_block(0),
        *anthropic.text(1, "Grüße", " 🌍"),
        *anthropic.use(2, "toolu_1", "add", '{"a": 1', ', "b": 2}'),
        *anthropic.use(3, "toolu_2", "add", '{"a":3,"b":4}'),
        *anthropic.stop("tool_use"),
    )
)
STREAMS = {"openai": OPENAI, "anthropic": ANTHROPIC}
PIECES = ["{", "}", '"a"', ":", "1", " ", "[]", "{}", "null", "é"]
FIELDS = [
    "choices", "delta", "tool_calls", "function", "name", "arguments", "index", "id", "finish_reason", "usage", "error",
    "type", "content_block", "message", "content", "partial_json", "text", "stop_reason", "code",
]  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=8,
)


def reader(kind: str) -> TurnReader:
    if kind == "anthropic":
        return MessageReader(UPSTREAM)
    ask = ChatRequest(messages=[UserMessage("add")])
    return ChatCompletionReader(UPSTREAM, QUIRKS[Vendor(kind) if kind in list(Vendor) else Vendor.GENERIC], ask)


def play(kind: str, chunks: list[bytes]) -> tuple[list[ChatEvent], bool]:
    """Return the events, and whether the turn is complete. Only typed errors may be raised."""
    parser, target = ServerEventParser(), reader(kind)
    events: list[ChatEvent] = []
    try:
        for data in chunks:
            for event in parser.feed(data):
                events += target.feed(event)
        for event in parser.close():
            events += target.feed(event)
        if target.answered:
            events += target.finish()
    except (PodiumError, EventTooLong):
        return events, False
    return events, target.answered


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    marks = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(marks)]


def sealed(events: list[ChatEvent]) -> list[ToolCallSealed]:
    return [event for event in events if isinstance(event, ToolCallSealed)]


def text(events: list[ChatEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta | ReasoningDelta))


@pytest.mark.parametrize("kind", STREAMS)
@given(cuts=st.lists(st.integers(0, 4000), max_size=40))
@settings(max_examples=60, deadline=None)
def test_any_split_gives_the_same_events(kind: str, cuts: list[int]) -> None:
    """Chunk boundaries mean nothing."""
    assert play(kind, split(STREAMS[kind], cuts)) == play(kind, [STREAMS[kind]])


@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_cut_anywhere_gives_a_beginning(kind: str) -> None:
    """Text and calls are a prefix of the whole's, calls are whole, and a finish comes only with a stop reason."""
    whole, complete = play(kind, [STREAMS[kind]])
    assert complete
    assert len(sealed(whole)) == 2
    for at in range(len(STREAMS[kind])):
        events, answered = play(kind, [STREAMS[kind][:at]])
        assert text(whole).startswith(text(events))
        assert sealed(events) == sealed(whole)[: len(sealed(events))]
        assert any(isinstance(event, TurnFinished) for event in events) == answered
        if answered:
            assert sealed(events) == sealed(whole)


@pytest.mark.parametrize("kind", STREAMS)
@given(at=st.integers(0, 4000), removed=st.integers(0, 40), put=st.binary(max_size=40))
@settings(max_examples=150, deadline=None)
def test_mutated_streams_fail_typed(kind: str, at: int, removed: int, put: bytes) -> None:
    """Whatever is changed: events or a typed error, no empty delta, at most one finish, and that last."""
    data = STREAMS[kind]
    events, _ = play(kind, [data[:at] + put + data[at + removed :]])
    assert all(event.text for event in events if isinstance(event, TextDelta | ReasoningDelta))
    assert all(event.tool and event.arguments_json for event in sealed(events))
    assert [event for event in events[:-1] if isinstance(event, TurnFinished)] == []


@pytest.mark.parametrize("kind", [*STREAMS, "ollama"])
@given(payloads=st.lists(st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=4), max_size=4))
@settings(max_examples=80, deadline=None)
def test_invented_events_fail_typed(kind: str, payloads: list[dict[str, Any]]) -> None:
    """JSON of any shape never raises anything but a typed error."""
    play(kind, [b"".join(b"data: " + json.dumps(payload).encode() + b"\n\n" for payload in payloads)])


@given(
    parts=st.lists(st.lists(st.sampled_from(PIECES), max_size=6), max_size=4),
    vendor=st.sampled_from([Vendor.GENERIC, Vendor.OPENAI, Vendor.VLLM]),
)
@settings(max_examples=150, deadline=None)
def test_arguments_are_sealed_whole_whether_they_parse_or_not(parts: list[list[str]], vendor: Vendor) -> None:
    """Only the next call or the finish seals: what is sealed is all that was sent."""
    target = reader(vendor)

    def feed(payload: dict[str, Any]) -> list[ChatEvent]:
        return target.feed(ServerEvent("", json.dumps(payload).encode()))

    events: list[ChatEvent] = []
    for index, pieces in enumerate(parts):
        events += feed(call_delta("", index=index, call_id=f"id{index}", name="add"))
        for piece in pieces:
            assert feed(call_delta(piece, index=index)) == []
    events += feed(finish("tool_calls"))
    expected = ["".join(pieces).strip() or "{}" for pieces in parts]
    assert [event.arguments_json.decode() for event in sealed(events)] == expected


@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=20))
@settings(max_examples=200, deadline=None)
def test_any_bytes_any_split(data: bytes, cuts: list[int]) -> None:
    """The event parser gives the same for any bytes, however they are split."""

    def parse(chunks: list[bytes]) -> list[ServerEvent]:
        parser = ServerEventParser()
        return [event for piece in chunks for event in parser.feed(piece)] + parser.close()

    data = data.replace(b"\x00", b"\r").replace(b"\x01", b"\n").replace(b"\x02", b"data:")
    assert parse(split(data, cuts)) == parse([data])
