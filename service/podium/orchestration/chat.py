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
    "ModelAttempt",
    "ModelCatalog",
    "ModelInfo",
    "ReasoningDelta",
    "SystemMessage",
    "TextDelta",
    "TokenCount",
    "ToolCallSealed",
    "ToolChoice",
    "ToolMessage",
    "TurnFinishReason",
    "TurnFinished",
    "Usage",
    "UserMessage",
]


@dataclass(frozen=True, slots=True)
class Usage:
    """What one or more model turns, or a whole run, used up.

    `cached_tokens` are those of the prompt that were not computed again; `cost_micros` is the price in
    millionths of the budget's currency.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost_micros: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cost_micros + other.cost_micros,
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
    """A call that the model asked for. `provider_id` is the id that the model itself gave it, or ""."""

    call_id: str
    tool: str
    arguments_json: bytes
    provider_id: str = ""


@dataclass(frozen=True, slots=True)
class AssistantMessage:
    """What the model said in an earlier turn."""

    text: str = ""
    calls: tuple[CallRequest, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolMessage:
    """The result of one call, or why it failed (`ok` false, `content` a message for the model).

    `provider_id` is the call's own: models that name their calls are told results under that name.
    """

    call_id: str
    tool: str
    content: str
    ok: bool = True
    provider_id: str = ""


Message = SystemMessage | UserMessage | AssistantMessage | ToolMessage


class ToolChoice(StrEnum):
    """Whether the model may, must or must not call tools."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One model turn. `max_tokens` of None means the model's own limit.

    Attributes:
        tenant: whose data it is: engines share cached prefixes only within a tenant.
        priority: 0 (background) to 1 (somebody waits), for engines that queue by it; None for usual.
        retain_seconds: how long the prompt's cached prefix is worth keeping after this turn, because
            another turn will follow it: the expected wait for the tools; None when unknown.
        seconds_left: how long anybody waits for the turn; None without limit.
    """

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
    tool_choice: ToolChoice = ToolChoice.AUTO
    tenant: str = ""
    priority: float | None = None
    retain_seconds: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More of what the model thinks before it answers. Not part of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallSealed:
    """A complete call: nothing that the model still writes can change it, so it may start now.

    `provider_id` is the id that the model gave the call, or "". `confidence` is the probability that the
    model gave the call as a whole, 0 to 1; None where it does not tell.
    """

    tool: str
    arguments_json: bytes
    provider_id: str = ""
    confidence: float | None = None


class TurnFinishReason(StrEnum):
    """Why a turn ended."""

    STOP = "stop"
    TOOL_CALLS = "tool_calls"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"


@dataclass(frozen=True, slots=True)
class ModelAttempt:
    """One model that was asked for a turn.

    Attributes:
        model: its name.
        reason: the reason of the error that ended the attempt, "" for the one that answered.
        seconds: how long it took to fail, or to its first output.
    """

    model: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The last event of every turn that did not raise.

    Attributes:
        model: name of the model that answered, when it is not the one that was asked.
        attempts: every model that was asked, in order, when there was a choice.
    """

    reason: TurnFinishReason
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    attempts: tuple[ModelAttempt, ...] = ()


ChatEvent = TextDelta | ReasoningDelta | ToolCallSealed | TurnFinished


@dataclass(frozen=True, slots=True)
class TokenCount:
    """How long a prompt is. `exact` is false where the model's tokenizer is not at hand."""

    tokens: int
    exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A model as callers see it.

    Attributes:
        kind: of its settings table, such as `embedded`, or `route` for an alias over several.
        detail: why it is not ready, without internals.
        context_length, max_output_tokens: in tokens; 0 when unknown or without such a limit.
        tools, json_schema, reasoning, parallel_calls: what it can do.
        remote: whether requests leave this machine.
    """

    name: str
    kind: str
    ready: bool
    detail: str = ""
    context_length: int = 0
    tools: bool = True
    json_schema: bool = False
    aliases: tuple[str, ...] = ()
    reasoning: bool = False
    parallel_calls: bool = True
    remote: bool = False
    max_output_tokens: int = 0


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

    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        """Count the tokens of the prompt that `request` would send: messages, tools and template.

        Raises:
            InvalidRequest: the messages cannot be rendered for this model.
            Unavailable: the model cannot tell just now; retryable.
        """
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

    def for_tenant(self, tenant: str) -> ModelCatalog:
        """Return the catalog as a tenant may use it: `get` then refuses others' models with PermissionDenied."""
        ...
