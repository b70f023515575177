"""Reads a streamed chat completion: deltas to text, sealed calls and one finish."""

from __future__ import annotations

from typing import Any

import orjson

from podium.errors import Unavailable
from podium.inference.http.http_chat import decoded_event, estimated_tokens, estimated_tokens_of_text
from podium.inference.http.http_errors import Upstream, fault_of, not_understood
from podium.inference.http.open_call import OpenCall, Sealer
from podium.inference.http.openai_quirks import Quirks
from podium.inference.http.sse import ServerEvent
from podium.orchestration.chat import (
    ChatEvent,
    ChatRequest,
    ReasoningDelta,
    TextDelta,
    TurnFinished,
    TurnFinishReason,
    Usage,
)

__all__ = ["ChatCompletionReader"]

_REASONS = {
    "length": TurnFinishReason.LENGTH,
    "max_tokens": TurnFinishReason.LENGTH,
    "content_filter": TurnFinishReason.CONTENT_FILTER,
}


class ChatCompletionReader:
    """A `TurnReader` for `/chat/completions`.

    A call is sealed when the next one begins or when the turn finishes, never because its arguments
    parse: `{"a": 1}` may be the beginning of `{"a": 1} ` and so may any other text be of a longer one.

    Args:
        upstream: whom the answer is from, for messages.
        quirks: of the server.
        request: the turn, to estimate usage where the server tells none.
        most_call_bytes: the most that the arguments of one call may hold.
    """

    def __init__(
        self, upstream: Upstream, quirks: Quirks, request: ChatRequest, *, most_call_bytes: int = 1 << 20
    ) -> None:
        self._upstream = upstream
        self._quirks = quirks
        self._request = request
        self._sealer = Sealer(upstream.model, most_call_bytes)
        self._call: OpenCall | None = None
        self._past: set[int] = set()
        self._usage: Usage | None = None
        self._written = 0
        self._refused = False
        self._reason: str | None = None
        self._done = False

    @property
    def answered(self) -> bool:
        """Whether the finish reason, or the end marker, was seen."""
        return self._reason is not None or self._done

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self._done

    def feed(self, event: ServerEvent) -> list[ChatEvent]:
        """Take one event; see `TurnReader.feed`."""
        data = event.data.strip()
        if not data:
            return []
        if data == b"[DONE]":
            self._done = True
            return self._seal_last() if self._reason is None else []
        payload = decoded_event(self._upstream.model, event)
        if "choices" not in payload and (
            payload.get("error") or event.name == "error" or payload.get("object") == "error"
        ):
            raise fault_of(0, payload).to_domain(self._upstream)
        if payload.get("error"):
            raise fault_of(0, payload).to_domain(self._upstream)
        found: list[ChatEvent] = []
        self._take_usage(payload.get("usage"))
        for choice in _dicts(payload.get("choices")):
            if choice.get("index") in (0, None):
                self._take_choice(choice, found)
        if event.name == "json":
            self._done = True
        return found

    def finish(self) -> list[ChatEvent]:
        """Return `TurnFinished`; see `TurnReader.finish`."""
        usage = self._usage
        if usage is None:
            usage = Usage(estimated_tokens(self._request), max(self._written, self._sealer.count))
        return [TurnFinished(self._finish_reason(), usage)]

    def _finish_reason(self) -> TurnFinishReason:
        if self._refused:
            return TurnFinishReason.CONTENT_FILTER
        if self._reason in _REASONS:
            return _REASONS[self._reason]
        return TurnFinishReason.TOOL_CALLS if self._sealer.count else TurnFinishReason.STOP

    def _take_choice(self, choice: dict[str, Any], found: list[ChatEvent]) -> None:
        delta = choice.get("delta") or choice.get("message")  # a server that does not stream sends a message
        if isinstance(delta, dict) and self._reason is None:
            self._take_delta(delta, found)
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason and self._reason is None:
            if reason in ("error", "abort"):
                message = f"model {self._upstream.model!r} failed in the middle of its answer: try again"
                raise Unavailable(message, retry_after=1.0)
            self._reason = reason
            found += self._seal_last()

    def _take_delta(self, delta: dict[str, Any], found: list[ChatEvent]) -> None:
        for field in ("reasoning_content", "reasoning"):
            if isinstance(thought := delta.get(field), str) and thought:
                self._count(thought)
                found.append(ReasoningDelta(thought))
                break  # servers in transition send both
        for text in _texts(delta.get("content")):
            self._count(text)
            found.append(TextDelta(text))
        if isinstance(refusal := delta.get("refusal"), str) and refusal:
            self._refused = True
            self._count(refusal)
            found.append(TextDelta(refusal))
        for part in _dicts(delta.get("tool_calls")):
            self._take_call_part(part, found)

    def _take_call_part(self, part: dict[str, Any], found: list[ChatEvent]) -> None:
        function = part.get("function")
        function = function if isinstance(function, dict) else {}
        name, call_id = function.get("name"), part.get("id")
        index = part.get("index")
        name = name if isinstance(name, str) else ""
        call_id = call_id if isinstance(call_id, str) else str(call_id or "")
        index = index if isinstance(index, int) else None
        text = _argument_text(function.get("arguments"))
        call = self._call
        if call is None or self._begins(call, index, call_id, name):
            if call is not None:
                if call.index is not None:
                    self._past.add(call.index)
                found.append(self._sealer.seal(call))
            elif not (name or call_id or text):
                return
            call = self._call = OpenCall(index, call_id, name)
        self._count(text)
        self._sealer.grow(call, text, name=name, call_id=call_id)

    def _begins(self, call: OpenCall, index: int | None, call_id: str, name: str) -> bool:
        """Return whether a part belongs to another call than the one that is open."""
        if index is not None and call.index is not None and index != call.index:
            if index in self._past:
                raise not_understood(self._upstream.model, "more of a call that had ended")
            return True
        if call_id and call.call_id and call_id != call.call_id:
            return True
        if not name or not call.name:
            return False
        same_place = index is not None and index == call.index
        same_call = bool(call_id) and call_id == call.call_id
        if self._quirks.whole_calls or name != call.name:
            return True
        return not (same_place or same_call)

    def _seal_last(self) -> list[ChatEvent]:
        """Seal the call that is open, unless the model was stopped while it wrote it."""
        call, self._call = self._call, None
        if call is None or self._reason in _REASONS:
            return []
        return [self._sealer.seal(call)]

    def _take_usage(self, usage: Any) -> None:
        if not isinstance(usage, dict):
            return
        details = usage.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else usage.get("prompt_cache_hit_tokens")
        counted = Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), _count(cached))
        if counted != Usage():
            self._usage = counted

    def _count(self, text: str) -> None:
        self._written += estimated_tokens_of_text([text])


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _texts(content: Any) -> list[str]:
    """Return the texts of a content, which is a string or, with some servers, a list of parts."""
    if isinstance(content, str):
        return [content] if content else []
    return [t for part in _dicts(content) if isinstance(t := part.get("text"), str) and t]


def _argument_text(arguments: Any) -> str:
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
