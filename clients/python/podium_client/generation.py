"""Talking to a model directly: messages and tools in; text, calls and how the generation ended out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, Self

from podium.v1 import inference_pb2
from podium_client._wire import parse_arguments
from podium_client.catalog import ToolExample
from podium_client.runs import TurnFinishReason, Usage

__all__ = [
    "ChatResult",
    "Generation",
    "GenerationPart",
    "Message",
    "ModelAttempt",
    "ModelCall",
    "ReasoningPart",
    "TextPart",
    "TokenCount",
    "ToolDefinition",
]


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A tool call that a model asks for. It has not been run: do so, and send `result` back.

    `arguments_json` is what the model wrote, one JSON object.
    """

    call_id: str
    tool: str
    arguments_json: bytes

    @classmethod
    def of(cls, raw: inference_pb2.ChatToolCall) -> Self:
        """Return the view of the message."""
        return cls(raw.call_id, raw.tool, raw.arguments_json)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments, parsed."""
        return parse_arguments(self.arguments_json)

    def result(self, content: Any, *, failed: bool = False) -> Message:
        """Return the message that tells the model what the call gave, or why it failed.

        Args:
            content: text as it is; anything else is sent as JSON.
            failed: whether the call failed; `content` then says why.
        """
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        return Message("tool", text, call_id=self.call_id, failed=failed)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Attributes:
        role: who speaks.
        text: what they say; of a tool, its result.
        calls: the calls that the assistant asked for.
        call_id: of a tool: the call whose result this is; `ModelCall.result` makes such messages.
        failed: of a tool: whether the call failed.
    """

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    calls: Sequence[ModelCall] = ()
    call_id: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool that the caller runs.

    Attributes:
        name: unique in the request.
        description: what it does, for the model.
        input_schema: JSON Schema of the arguments.
        examples: requests and the arguments that they mean; small models plan by these.
    """

    name: str
    description: str = ""
    input_schema: Mapping[str, Any] = field(default_factory=dict, hash=False)
    examples: Sequence[ToolExample] = ()


@dataclass(frozen=True, slots=True)
class TextPart:
    """More text of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningPart:
    """More of what the model thinks before it answers; no part of the answer."""

    text: str


GenerationPart = TextPart | ReasoningPart | ModelCall


@dataclass(frozen=True, slots=True)
class ModelAttempt:
    """One model that was asked. `reason` says why it did not answer; empty for the one that did."""

    model: str
    reason: str
    time: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How a generation ended: why, what it cost, how long it took, which model wrote it.

    `time_to_first_output` counts reasoning, calls and token ids as well as text; None when nothing was
    written. `time_per_token` is the mean after the first output; None when it cannot be told.
    `attempts` are all models that were asked, where there was a choice.
    """

    finish_reason: TurnFinishReason
    usage: Usage
    model: str
    time_to_first_text: timedelta
    time: timedelta
    time_to_first_output: timedelta | None = None
    time_per_token: timedelta | None = None
    attempts: tuple[ModelAttempt, ...] = ()

    @classmethod
    def of(cls, raw: inference_pb2.GenerateFinished) -> Self:
        """Return the view of the message."""
        timings = raw.timings
        return cls(
            finish_reason=TurnFinishReason.of(raw.finish_reason),
            usage=Usage.of(raw.usage),
            model=raw.model,
            time_to_first_text=timings.first_text.ToTimedelta(),
            time=timings.total.ToTimedelta(),
            time_to_first_output=timings.first_output.ToTimedelta() if timings.HasField("first_output") else None,
            time_per_token=timings.per_token.ToTimedelta() if timings.HasField("per_token") else None,
            attempts=tuple(ModelAttempt(a.model, a.reason, a.duration.ToTimedelta()) for a in raw.attempts),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatResult:
    """One whole answer: what the model said, thought and asked for, and how it ended."""

    text: str
    reasoning: str
    calls: tuple[ModelCall, ...]
    finished: Generation

    @property
    def message(self) -> Message:
        """The answer as a message, to go on with the conversation."""
        return Message("assistant", self.text, self.calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCount:
    """How long a prompt is, in tokens; `exact` is false for an estimate.

    `context_length` is how many tokens prompt and answer may have together; 0 when unknown.
    """

    tokens: int
    exact: bool
    context_length: int
    model: str

    @classmethod
    def of(cls, raw: inference_pb2.CountTokensResponse) -> Self:
        """Return the view of the message."""
        return cls(tokens=raw.tokens, exact=raw.exact, context_length=raw.context_length, model=raw.model)


class Collected:
    """What a generation has given so far.

    Attributes:
        text: of the answer.
        reasoning: what the model thought.
        calls: the calls that it asks for.
        token_ids: its output, when it was asked with token ids.
        finished: how it ended; None until it has.
    """

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[ModelCall] = []
        self.token_ids: list[int] = []
        self.finished: Generation | None = None

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        """The reasoning so far."""
        return "".join(self._reasoning)

    @property
    def calls(self) -> tuple[ModelCall, ...]:
        """The calls so far."""
        return tuple(self._calls)

    def take(self, raw: inference_pb2.GenerateResponse) -> GenerationPart | tuple[int, ...] | None:
        """Keep one message and return its part; None for the end, and for what came after this client."""
        match raw.WhichOneof("part"):
            case "text":
                self._text.append(raw.text)
                return TextPart(raw.text)
            case "reasoning":
                self._reasoning.append(raw.reasoning)
                return ReasoningPart(raw.reasoning)
            case "tool_call":
                call = ModelCall.of(raw.tool_call)
                self._calls.append(call)
                return call
            case "tokens":
                ids = tuple(raw.tokens.ids)
                self.token_ids.extend(ids)
                return ids
            case "finished":
                self.finished = Generation.of(raw.finished)
                return None
            case _:
                return None

    def result(self) -> ChatResult:
        """Return the whole answer; the generation must have ended."""
        if self.finished is None:
            raise RuntimeError("the generation has not ended")
        return ChatResult(text=self.text, reasoning=self.reasoning, calls=self.calls, finished=self.finished)
