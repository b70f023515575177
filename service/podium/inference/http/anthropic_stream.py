"""Reads a streamed message of Anthropic's API: content blocks to text, sealed calls and one finish."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from podium.inference.http.http_chat import decoded_event
from podium.inference.http.http_errors import Upstream, fault_of, not_understood
from podium.inference.http.open_call import OpenCall, Sealer
from podium.inference.http.sse import ServerEvent
from podium.orchestration.chat import (
    ChatEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallSealed,
    TurnFinished,
    TurnFinishReason,
    Usage,
)

__all__ = ["MessageReader"]

_REASONS = {
    "max_tokens": TurnFinishReason.LENGTH,
    "model_context_window_exceeded": TurnFinishReason.LENGTH,
    "refusal": TurnFinishReason.CONTENT_FILTER,
}
_MOST_THOUGHT_BYTES = 1 << 20


class MessageReader:
    """A `TurnReader` for `/v1/messages`. The end of its content block seals a call.

    The API ends the block of a call that it cut at the token limit, too. Such a call is not whole JSON,
    so one that does not parse waits for the stop reason, and is dropped when that says that it was cut.

    Args:
        upstream: whom the answer is from, for messages.
        most_call_bytes: the most that the arguments of one call may hold.
        keep_thoughts: given, at the end of a turn with calls, the id of the first one and the thinking
            blocks before it, signatures included, as the next turn has to send them.
    """

    def __init__(
        self,
        upstream: Upstream,
        *,
        most_call_bytes: int = 1 << 20,
        keep_thoughts: Callable[[str, list[dict[str, Any]]], None] = lambda _call_id, _blocks: None,
    ) -> None:
        self._upstream = upstream
        self._keep_thoughts = keep_thoughts
        self._sealer = Sealer(upstream.model, most_call_bytes)
        self._calls: dict[int, OpenCall] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._doubtful: OpenCall | None = None
        self._prompt = self._cached = self._completion = 0
        self._reason: str | None = None
        self._ended = False
        self._thought_bytes = 0
        self._first_call_id = ""
        self._thoughts: list[dict[str, Any]] = []

    @property
    def answered(self) -> bool:
        """Whether the stop reason was seen."""
        return self._reason is not None

    @property
    def ended(self) -> bool:
        """Whether the message has stopped."""
        return self._ended

    def feed(self, event: ServerEvent) -> list[ChatEvent]:
        """Take one event; see `TurnReader.feed`."""
        payload = decoded_event(self._upstream.model, event)
        match payload.get("type") or event.name:
            case "message_start":
                self._take_usage(_dict(payload.get("message")).get("usage"))
            case "content_block_start":
                return self._begin(_index(payload), _dict(payload.get("content_block")))
            case "content_block_delta":
                return self._grow(_index(payload), _dict(payload.get("delta")))
            case "content_block_stop":
                return self._end_block(_index(payload))
            case "message_delta":
                self._take_usage(payload.get("usage"))
                reason = _dict(payload.get("delta")).get("stop_reason")
                if isinstance(reason, str) and reason:
                    self._reason = reason
                    return self._resolve_doubt()
            case "message_stop":
                self._ended = True
                if self._reason is None:
                    self._reason = "end_turn"
                    return self._resolve_doubt()
            case "error":
                raise fault_of(0, payload).to_domain(self._upstream)
        return []  # pings, and events that later versions bring

    def finish(self) -> list[ChatEvent]:
        """Return `TurnFinished`; see `TurnReader.finish`."""
        if self._first_call_id and self._thoughts:
            self._keep_thoughts(self._first_call_id, self._thoughts)
        reason = _REASONS.get(self._reason or "")
        if reason is None:
            reason = TurnFinishReason.TOOL_CALLS if self._sealer.count else TurnFinishReason.STOP
        return [TurnFinished(reason, Usage(self._prompt, self._completion, self._cached))]

    def _begin(self, index: int, block: dict[str, Any]) -> list[ChatEvent]:
        kind = block.get("type")
        if kind == "tool_use":
            call = OpenCall(index, str(block.get("id") or ""), str(block.get("name") or ""))
            if given := block.get("input"):  # a server that does not stream arguments
                self._sealer.grow(call, orjson.dumps(given).decode())
            self._calls[index] = call
            self._first_call_id = self._first_call_id or call.call_id
        elif kind in ("thinking", "redacted_thinking"):
            self._blocks[index] = dict(block)
        if kind == "thinking" and (thought := _text(block, "thinking")):
            return [ReasoningDelta(thought)]
        return [TextDelta(text)] if kind == "text" and (text := _text(block, "text")) else []

    def _grow(self, index: int, delta: dict[str, Any]) -> list[ChatEvent]:
        match delta.get("type"):
            case "text_delta":
                return [TextDelta(text)] if (text := _text(delta, "text")) else []
            case "thinking_delta":
                thought = _text(delta, "thinking")
                self._think(index, "thinking", thought)
                return [ReasoningDelta(thought)] if thought else []
            case "signature_delta":
                self._think(index, "signature", _text(delta, "signature"))
            case "input_json_delta":
                if index not in self._calls:
                    raise not_understood(self._upstream.model, "arguments outside any call")
                self._sealer.grow(self._calls[index], _text(delta, "partial_json"))
        return []

    def _think(self, index: int, field: str, text: str) -> None:
        self._thought_bytes += len(text)
        if self._thought_bytes > _MOST_THOUGHT_BYTES:
            raise not_understood(self._upstream.model, "more reasoning than a turn may hold")
        if (block := self._blocks.get(index)) is not None:
            block[field] = _text(block, field) + text

    def _end_block(self, index: int) -> list[ChatEvent]:
        if (block := self._blocks.pop(index, None)) is not None and not self._first_call_id:
            self._thoughts.append(block)
        call = self._calls.pop(index, None)
        if call is None:
            return []
        found: list[ChatEvent] = list(self._seal_doubtful())
        if _parses(call.arguments):
            return [*found, self._sealer.seal(call)]
        self._doubtful = call
        return found

    def _resolve_doubt(self) -> list[ChatEvent]:
        if self._reason in _REASONS:
            return []
        return list(self._seal_doubtful())

    def _seal_doubtful(self) -> list[ToolCallSealed]:
        call, self._doubtful = self._doubtful, None
        return [] if call is None else [self._sealer.seal(call)]

    def _take_usage(self, usage: Any) -> None:
        usage = _dict(usage)
        cached, written = _count(usage, "cache_read_input_tokens"), _count(usage, "cache_creation_input_tokens")
        prompt = _count(usage, "input_tokens") + cached + written
        if prompt:  # both the first and the last event may tell it; the last is right
            self._prompt, self._cached = prompt, cached
        self._completion = max(self._completion, _count(usage, "output_tokens"))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _index(payload: dict[str, Any]) -> int:
    index = payload.get("index")
    return index if isinstance(index, int) else 0


def _text(holder: dict[str, Any], field: str) -> str:
    value = holder.get(field)
    return value if isinstance(value, str) else ""


def _count(usage: dict[str, Any], field: str) -> int:
    value = usage.get(field)
    return value if isinstance(value, int) and value > 0 else 0


def _parses(arguments: bytes) -> bool:
    try:
        orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return False
    return True
