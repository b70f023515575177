"""A turn in the words of the Chat Completions API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from podium.errors import FieldViolation, InvalidRequest
from podium.inference.http.openai_quirks import Quirks
from podium.orchestration.chat import (
    AssistantMessage,
    ChatRequest,
    Message,
    SystemMessage,
    ToolChoice,
    ToolMessage,
    UserMessage,
)
from podium.orchestration.tool import ToolSpec

__all__ = ["call_ids", "chat_body", "chat_messages", "chat_tools", "schema_of"]

_SCHEMA_NAME = "answer"


def chat_body(request: ChatRequest, *, model: str, quirks: Quirks, sampling: bool = True) -> dict[str, Any]:
    """Return the body of a streamed turn.

    Args:
        request: the turn.
        model: the provider's name of the model.
        quirks: of the server.
        sampling: whether the model may be told how to sample.

    Raises:
        InvalidRequest: the server cannot be asked for this.
    """
    body: dict[str, Any] = {"model": model, "messages": chat_messages(request.messages, quirks), "stream": True}
    if quirks.include_usage:
        body["stream_options"] = {"include_usage": True}
    if request.max_tokens is not None:
        body[quirks.max_tokens] = request.max_tokens
    if sampling:
        body["temperature"] = request.temperature
        if request.top_p is not None:
            body["top_p"] = request.top_p
    if request.seed is not None:
        body["seed"] = request.seed
    if request.stop:
        body["stop"] = list(request.stop)
    body |= _choice(request, quirks)
    if request.json_schema is not None:
        body["response_format"] = _response_format(schema_of(request.json_schema), quirks)
    return body


def chat_messages(messages: Sequence[Message], quirks: Quirks) -> list[dict[str, Any]]:
    """Return the messages of a turn."""
    ids = call_ids(messages)
    return [_message(message, ids, quirks) for message in messages]


def chat_tools(tools: Sequence[ToolSpec]) -> list[dict[str, Any]]:
    """Return the tools of a turn."""
    return [
        {
            "type": "function",
            "function": {"name": t.name, "description": t.description, "parameters": _parameters(t.input_schema)},
        }
        for t in tools
    ]


def call_ids(messages: Sequence[Message], *, usable: Any = None) -> dict[str, str]:
    """Return the provider's id of each call by ours.

    An id that is missing, was used before, or is not `usable` is replaced by ours, which is unique.
    """
    ids: dict[str, str] = {}
    used: set[str] = set()
    for message in messages:
        if not isinstance(message, AssistantMessage):
            continue
        for call in message.calls:
            given = call.provider_id
            if not given or given in used or (usable is not None and not usable(given)):
                given = call.call_id
            ids[call.call_id] = given
            used.add(given)
    return ids


def schema_of(text: str) -> dict[str, Any]:
    """Return a request's JSON Schema.

    Raises:
        InvalidRequest: it is not a JSON object.
    """
    try:
        schema = orjson.loads(text)
    except orjson.JSONDecodeError:
        schema = None
    if not isinstance(schema, dict):
        violation = FieldViolation("json_schema", "must be a JSON Schema, which is a JSON object", "json_schema.object")
        raise InvalidRequest("the JSON Schema of the answer is not a JSON object", violations=[violation])
    return schema


def _message(message: Message, ids: Mapping[str, str], quirks: Quirks) -> dict[str, Any]:
    match message:
        case SystemMessage(text=text):
            return {"role": quirks.system_role, "content": text}
        case UserMessage(text=text):
            return {"role": "user", "content": text}
        case ToolMessage():
            call_id = ids.get(message.call_id) or message.provider_id or message.call_id
            content = message.content if message.ok else f"ERROR: {message.content}"
            return {"role": "tool", "tool_call_id": call_id, "content": content}
        case AssistantMessage(text=text, calls=calls):
            said: dict[str, Any] = {"role": "assistant", "content": text or None}
            if calls:
                said["tool_calls"] = [
                    {
                        "id": ids[call.call_id],
                        "type": "function",
                        "function": {"name": call.tool, "arguments": _arguments(call.arguments_json)},
                    }
                    for call in calls
                ]
            else:
                said["content"] = text  # null is for messages with calls only
            return said


def _arguments(text: bytes) -> str:
    """Return earlier arguments. Those that were no JSON would make some servers refuse the whole turn."""
    try:
        given = orjson.loads(text)
    except orjson.JSONDecodeError:
        given = None
    if isinstance(given, dict):
        return text.decode()
    return orjson.dumps({"not_a_json_object": text.decode(errors="replace")}).decode()


def _choice(request: ChatRequest, quirks: Quirks) -> dict[str, Any]:
    if not request.tools:
        return {}
    none = request.tool_choice is ToolChoice.NONE
    if none and not quirks.choice:
        return {}
    tools: dict[str, Any] = {"tools": chat_tools(request.tools)}
    if none:
        return {**tools, "tool_choice": "none"}
    if request.tool_choice is ToolChoice.REQUIRED:
        return {**tools, "tool_choice": _required(request, quirks)}
    return tools


def _required(request: ChatRequest, quirks: Quirks) -> Any:
    if quirks.required_choice:
        return "required"
    if quirks.named_choice and len(request.tools) == 1:
        return {"type": "function", "function": {"name": request.tools[0].name}}
    what = "auto, or offer a single tool" if quirks.named_choice else "auto"
    violation = FieldViolation("tool_choice", f"use {what}", "tool_choice.supported")
    raise InvalidRequest(f"this model's server cannot be made to call a tool: use {what}", violations=[violation])


def _response_format(schema: dict[str, Any], quirks: Quirks) -> dict[str, Any]:
    if quirks.schema_form == "json":
        return {"type": "json", "schema": schema}
    strict = not quirks.strict_when_closed or _is_closed(schema)
    return {"type": "json_schema", "json_schema": {"name": _SCHEMA_NAME, "schema": schema, "strict": strict}}


def _is_closed(schema: Any) -> bool:
    """Return whether every object names all its members as required and allows no others."""
    if isinstance(schema, list):
        return all(_is_closed(item) for item in schema)
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        members = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(members):
            return False
    return all(_is_closed(value) for value in schema.values())


def _parameters(schema: Mapping[str, Any]) -> dict[str, Any]:
    return dict(schema) if schema else {"type": "object", "properties": {}}
