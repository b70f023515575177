"""What the orchestrator knows of models: messages and tools in; text, sealed calls and usage out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from podium.orchestration.tool import ToolSpec

__all__ = [
    "AssistantMessage",
    "CallRequest",
    "ChatEvent",
    "ChatModel",
    "ChatRequest",
    "Message",
    "ModelCatalog",
    "ModelInfo",
    "SystemMessage",
    "TextDelta",
    "ToolCallSealed",
    "ToolMessage",
    "TurnFinishReason",
    "TurnFinished",
    "Usage",
    "UserMessage",
]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more model turns. `cached_tokens` are those of the prompt that were not computed again."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )


@dataclass(frozen=True, slots=True)
class SystemMessage:
    """Standing instructions."""

    text: str


@dataclass(frozen=True, slots=True)
class UserMessage:
    """What the person asked."""

    text: str


@dataclass(frozen=True, slots=True)
class CallRequest:
    """A call that the model asked for."""

    call_id: str
    tool: str
    arguments_json: bytes


@dataclass(frozen=True, slots=True)
class AssistantMessage:
    """What the model said in an earlier turn."""

    text: str = ""
    calls: tuple[CallRequest, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolMessage:
    """The result of one call, or why it failed (`ok` false, `content` a message for the model)."""

    call_id: str
    tool: str
    content: str
    ok: bool = True


Message = SystemMessage | UserMessage | AssistantMessage | ToolMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One model turn. `max_tokens` of None means the model's own limit."""

    messages: Sequence[Message]
    tools: Sequence[ToolSpec] = ()
    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float | None = None
    seed: int | None = None
    stop: Sequence[str] = ()
    json_schema: str | None = None
    turn: int = 0
    correlation_id: str = ""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallSealed:
    """A complete call: nothing that the model still writes can change it, so it may start now."""

    tool: str
    arguments_json: bytes


class TurnFinishReason(StrEnum):
    """Why a turn ended."""

    STOP = "stop"
    TOOL_CALLS = "tool_calls"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The last event of every turn that did not raise."""

    reason: TurnFinishReason
    usage: Usage = field(default_factory=Usage)


ChatEvent = TextDelta | ToolCallSealed | TurnFinished


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A model as callers see it. `detail` says why it is not ready, without internals."""

    name: str
    kind: str
    ready: bool
    detail: str = ""
    context_length: int = 0
    tools: bool = True
    json_schema: bool = False
    aliases: tuple[str, ...] = ()


class ChatModel(Protocol):
    """A model that can use tools. Safe for many turns at once on one event loop."""

    name: str

    def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        """Stream one turn; the last event is `TurnFinished`. Closing it early stops the generation.

        Raises:
            InvalidRequest: the turn cannot be served as it is (too long, a refused schema).
            ResourceExhausted: too many turns at once; has `retry_after`.
            Unavailable: the model cannot answer just now; retryable.
        """
        ...

    async def info(self) -> ModelInfo:
        """Describe the model, with whether it can answer now. Never raises for an unready model."""
        ...


class ModelCatalog(Protocol):
    """The configured models by name and alias."""

    @property
    def default(self) -> str:
        """Name of the model used when a request names none."""
        ...

    def get(self, name: str) -> ChatModel:
        """Return a model; an empty name means the default.

        Raises:
            NotFound: no model has this name or alias.
        """
        ...

    def list(self) -> Sequence[ChatModel]:
        """Return every model, by name."""
        ...
