"""How a conversation becomes what a model's own chat template expects."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podium.orchestration.chat import (
    AssistantMessage,
    CallRequest,
    Message,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from podium.orchestration.tool import ToolSpec

__all__ = [
    "CallWriter",
    "Rendering",
    "any_id",
    "indexed_id",
    "nine_characters_id",
    "plain_messages",
    "tool_entries",
    "with_tools_in_words",
]

CallWriter = Callable[[str, Mapping[str, Any]], str]
IdRule = Callable[[CallRequest, int], str]

_FALLBACK = """You can use tools. To call one, write exactly this and nothing else, once for each call:
{example}
The results then come in the next message. Without need of a tool, answer directly.
The tools, each with the JSON Schema of its arguments:
{tools}"""


def any_id(call: CallRequest, index: int) -> str:  # noqa: ARG001  the rule's signature
    """Name a call as the model did, or as we do."""
    return call.provider_id or call.call_id


def indexed_id(call: CallRequest, index: int) -> str:
    """Name a call as Kimi does, by tool and place in the conversation."""
    return call.provider_id or f"functions.{call.tool}:{index}"


def nine_characters_id(call: CallRequest, index: int) -> str:  # noqa: ARG001  the rule's signature
    """Name a call by nine letters and digits, which is all that Mistral's templates take."""
    given = call.provider_id or call.call_id
    return given if re.fullmatch(r"[a-zA-Z0-9]{9}", given) else hashlib.sha256(given.encode()).hexdigest()[:9]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """What a family of templates wants of messages.

    Attributes:
        text_arguments: arguments are JSON text, not an object.
        one_call: a message may hold one call only, so several are told one after another.
        no_text: the content of a message that holds nothing but calls.
        call_id: the rule by which calls are named.
    """

    text_arguments: bool = False
    one_call: bool = False
    no_text: str | None = ""
    call_id: IdRule = any_id

    def messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """Return the messages as template entries; each result bears the id that its call was given."""
        ids: dict[str, str] = {}
        entries: list[dict[str, Any]] = []
        for message in _one_by_one(messages) if self.one_call else messages:
            match message:
                case SystemMessage(text):
                    entries.append({"role": "system", "content": text})
                case UserMessage(text):
                    entries.append({"role": "user", "content": text})
                case AssistantMessage(text, calls):
                    ids |= {call.call_id: self.call_id(call, len(ids) + i) for i, call in enumerate(calls)}
                    entries.append(self._assistant(text, calls, ids))
                case ToolMessage():
                    given = ids.get(message.call_id) or message.provider_id or message.call_id
                    entries.append(
                        {"role": "tool", "name": message.tool, "tool_call_id": given, "content": message.content}
                    )
        return entries

    def _assistant(self, text: str, calls: Sequence[CallRequest], ids: Mapping[str, str]) -> dict[str, Any]:
        if not calls:
            return {"role": "assistant", "content": text}
        entries = [
            {
                "id": ids[call.call_id],
                "type": "function",
                "function": {"name": call.tool, "arguments": self._arguments(call)},
            }
            for call in calls
        ]
        return {"role": "assistant", "content": text or self.no_text, "tool_calls": entries}

    def _arguments(self, call: CallRequest) -> Any:
        return call.arguments_json.decode(errors="replace") if self.text_arguments else _object(call)


def tool_entries(tools: Sequence[ToolSpec]) -> list[dict[str, Any]]:
    """Return tools in the form that templates share."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": _plain(tool.input_schema),
            },
        }
        for tool in tools
    ]


def with_tools_in_words(messages: Sequence[Message], tools: Sequence[ToolSpec], write: CallWriter) -> list[Message]:
    """Return messages whose first tells of the tools, and how to call them, beside all other instructions."""
    system = [message.text for message in messages if isinstance(message, SystemMessage)]
    if tools:
        described = "\n".join(json.dumps(entry["function"], ensure_ascii=False) for entry in tool_entries(tools))
        system.append(_FALLBACK.format(example=write("TOOL", {"ARGUMENT": "VALUE"}), tools=described))
    others: list[Message] = [message for message in messages if not isinstance(message, SystemMessage)]
    return [SystemMessage("\n\n".join(system)), *others] if system else others


def plain_messages(messages: Sequence[Message], tools: Sequence[ToolSpec], write: CallWriter) -> list[dict[str, Any]]:
    """Return messages for a template that knows no tools: they are described in words, results come from the user."""
    entries: list[dict[str, Any]] = []
    for message in with_tools_in_words(messages, tools, write):
        match message:
            case SystemMessage(text):
                entries.append({"role": "system", "content": text})
            case UserMessage(text):
                _append(entries, "user", text)
            case AssistantMessage(text, calls):
                written = [write(call.tool, _object(call)) for call in calls]
                _append(entries, "assistant", "\n".join([text, *written] if text else written))
            case ToolMessage():
                outcome = "Result" if message.ok else "Failure"
                _append(entries, "user", f"{outcome} of {message.tool}: {message.content}")
    return entries


def _append(entries: list[dict[str, Any]], role: str, text: str) -> None:
    # Many such templates want roles to take turns.
    if entries and entries[-1]["role"] == role:
        entries[-1]["content"] += "\n" + text
    else:
        entries.append({"role": role, "content": text})


def _one_by_one(messages: Sequence[Message]) -> list[Message]:
    """Return messages with each call directly before its own result."""
    results = {message.call_id: message for message in messages if isinstance(message, ToolMessage)}
    told: list[Message] = []
    placed: set[str] = set()
    for message in messages:
        if isinstance(message, AssistantMessage) and len(message.calls) > 1:
            for index, call in enumerate(message.calls):
                told.append(AssistantMessage("" if index else message.text, (call,)))
                if call.call_id in results:
                    told.append(results[call.call_id])
                    placed.add(call.call_id)
        elif not (isinstance(message, ToolMessage) and message.call_id in placed):
            told.append(message)
    return told


def _object(call: CallRequest) -> dict[str, Any]:
    # Arguments that a tool refused may be anything, and templates take only objects.
    try:
        value = json.loads(call.arguments_json)
    except (ValueError, RecursionError):
        value = call.arguments_json.decode(errors="replace")
    return value if isinstance(value, dict) else {"arguments": value}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
