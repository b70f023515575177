"""A turn in the words of Anthropic's Messages API."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from podium.inference.http.openai_wire import call_ids, schema_of
from podium.orchestration.chat import (
    AssistantMessage,
    ChatRequest,
    Message,
    SystemMessage,
    ToolChoice,
    ToolMessage,
    UserMessage,
)

__all__ = ["prompt_body", "turn_body"]

_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_CHOICES = {ToolChoice.AUTO: "auto", ToolChoice.NONE: "none", ToolChoice.REQUIRED: "any"}

Thoughts = Callable[[str], Sequence[dict[str, Any]]]
"""Gives the thinking blocks that came before the call with a provider's id."""


def turn_body(
    request: ChatRequest,
    *,
    model: str,
    max_tokens: int,
    thinking: dict[str, Any] | None,
    thoughts: Thoughts,
    sampling: bool = True,
) -> dict[str, Any]:
    """Return the body of a streamed turn. The API has no seed, so that is not sent.

    Args:
        request: the turn.
        model: the provider's name of the model.
        max_tokens: the limit of the output where the request has none; the API wants one.
        thinking: the API's `thinking` object, or None.
        thoughts: looks up earlier thinking.
        sampling: whether the model may be told how to sample.
    """
    body = prompt_body(request, model=model, thinking=thinking, thoughts=thoughts)
    body |= {"max_tokens": request.max_tokens or max_tokens, "stream": True}
    if sampling and thinking is None:
        # One or the other: newer models refuse both together.
        body |= {"temperature": request.temperature} if request.top_p is None else {"top_p": request.top_p}
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    return body


def prompt_body(
    request: ChatRequest, *, model: str, thinking: dict[str, Any] | None, thoughts: Thoughts
) -> dict[str, Any]:
    """Return what of a turn is prompt, which is what the counting endpoint takes.

    Raises:
        InvalidRequest: the JSON Schema is not one.
    """
    system = [m.text for m in request.messages if isinstance(m, SystemMessage) and m.text]
    body: dict[str, Any] = {"model": model, "messages": _messages(request.messages, thoughts)}
    if system:
        body["system"] = "\n\n".join(system)
    if request.tools:
        body["tools"] = [
            {"name": t.name, "description": t.description, "input_schema": {"type": "object", **t.input_schema}}
            for t in request.tools
        ]
        body["tool_choice"] = {"type": _CHOICES[request.tool_choice]}
    if thinking is not None:
        body["thinking"] = thinking
    if request.json_schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema_of(request.json_schema)}}
    return body


def _messages(messages: Sequence[Message], thoughts: Thoughts) -> list[dict[str, Any]]:
    """Return alternating messages: neighbours of one role become one, tool results first."""
    ids = call_ids(messages, usable=_ID.fullmatch)
    turns: list[dict[str, Any]] = []
    for message in messages:
        if isinstance(message, SystemMessage):
            continue
        role = "assistant" if isinstance(message, AssistantMessage) else "user"
        blocks = _blocks(message, ids, thoughts)
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(message: Message, ids: dict[str, str], thoughts: Thoughts) -> list[dict[str, Any]]:
    match message:
        case UserMessage(text=text):
            return [{"type": "text", "text": text}]
        case ToolMessage():
            call_id = ids.get(message.call_id) or message.call_id
            result = {"type": "tool_result", "tool_use_id": call_id, "content": message.content}
            return [result if message.ok else {**result, "is_error": True}]
        case AssistantMessage(text=text, calls=calls):
            blocks = list(thoughts(calls[0].provider_id)) if calls and calls[0].provider_id else []
            if text.strip():  # empty texts are refused
                blocks.append({"type": "text", "text": text})
            for call in calls:
                used = {"type": "tool_use", "id": ids[call.call_id], "name": call.tool}
                blocks.append({**used, "input": _input(call.arguments_json)})
            return blocks
        case _:
            return []


def _input(arguments: bytes) -> dict[str, Any]:
    """Return earlier arguments as the object that the API wants; those that were none as what they are."""
    try:
        parsed = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {"not_a_json_object": arguments.decode(errors="replace")}
