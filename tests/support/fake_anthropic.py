"""The shapes of Anthropic's Messages API, for `support.fake_openai.FakeServer`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from support.fake_openai import Reply, Step

__all__ = ["block", "delta", "error", "message", "named_sse", "ping", "start", "stop", "stop_block", "text", "use"]

Payload = dict[str, Any]


def start(**usage: int) -> Payload:
    """Return the first event."""
    counts = {"input_tokens": 12, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 1}
    body: Payload = {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
    }
    return {"type": "message_start", "message": {**body, "stop_sequence": None, "usage": {**counts, **usage}}}


def block(index: int, kind: str, **fields: Any) -> Payload:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}}


def delta(index: int, kind: str, **fields: Any) -> Payload:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def stop_block(index: int) -> Payload:
    return {"type": "content_block_stop", "index": index}


def ping() -> Payload:
    return {"type": "ping"}


def stop(reason: str, output_tokens: int = 9) -> list[Payload]:
    """Return the last two events."""
    ended = {"stop_reason": reason, "stop_sequence": None}
    return [
        {"type": "message_delta", "delta": ended, "usage": {"output_tokens": output_tokens}},
        {"type": "message_stop"},
    ]


def text(index: int, *pieces: str) -> list[Payload]:
    """Return a whole text block."""
    deltas = [delta(index, "text_delta", text=piece) for piece in pieces]
    return [block(index, "text", text=""), *deltas, stop_block(index)]


def use(index: int, call_id: str, name: str, *pieces: str) -> list[Payload]:
    """Return a whole call, its arguments in pieces."""
    deltas = [delta(index, "input_json_delta", partial_json=piece) for piece in ("", *pieces)]
    return [block(index, "tool_use", id=call_id, name=name, input={}), *deltas, stop_block(index)]


def error(kind: str, message_text: str = "no") -> Payload:
    return {"type": "error", "error": {"type": kind, "message": message_text}, "request_id": "req_1"}


def named_sse(*payloads: Mapping[str, Any]) -> list[bytes]:
    """Return payloads as the chunks of a body, named as the API names them."""
    return [f"event: {p['type']}\ndata: {json.dumps(p, ensure_ascii=False)}\n\n".encode() for p in payloads]


def message(*payloads: Mapping[str, Any], then: Sequence[Step] = ()) -> Reply:
    """Return a streamed reply."""
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return Reply(headers=headers, steps=[*named_sse(*payloads), *then])
