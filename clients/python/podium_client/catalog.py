"""What a server offers: its tools and its models."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Self

from podium.v1 import inference_pb2, tool_pb2
from podium_client._wire import enum_of, parse_arguments

__all__ = ["ModelInfo", "SideEffects", "ToolExample", "ToolInfo"]


class SideEffects(StrEnum):
    """Whether a tool's calls may be repeated."""

    UNSPECIFIED = "UNSPECIFIED"
    NONE = "NONE"
    IDEMPOTENT = "IDEMPOTENT"
    EFFECTFUL = "EFFECTFUL"


@dataclass(frozen=True, slots=True)
class ToolExample:
    """A request in a person's words and the arguments that it means."""

    request: str
    arguments: dict[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolInfo:
    """A tool. `cache_ttl` is None when results may not be reused.

    Attributes:
        fallback_tool: the tool that is called with the same arguments when this one fails for good.
        hedge: whether a call that takes unusually long is tried a second time beside the first.
        cost_micros: price of one call, in millionths of the server's currency.
    """

    name: str
    description: str
    version: str
    type: str
    side_effects: SideEffects
    timeout: timedelta
    cache_ttl: timedelta | None
    examples: tuple[ToolExample, ...]
    fallback_tool: str = ""
    hedge: bool = False
    cost_micros: int = 0
    raw: tool_pb2.Tool = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: tool_pb2.Tool) -> Self:
        """Return the view of the message."""
        return cls(
            name=raw.name,
            description=raw.description,
            version=raw.version,
            type=raw.type,
            side_effects=enum_of(SideEffects, tool_pb2.SideEffects, "SIDE_EFFECTS_", raw.side_effects),
            timeout=raw.timeout.ToTimedelta(),
            cache_ttl=raw.cache_ttl.ToTimedelta() if raw.HasField("cache_ttl") else None,
            examples=tuple(ToolExample(e.request, parse_arguments(e.arguments_json)) for e in raw.examples),
            fallback_tool=raw.fallback_tool,
            hedge=raw.hedge,
            cost_micros=raw.cost_micros,
            raw=raw,
        )

    @property
    def input_schema(self) -> dict[str, Any]:
        """JSON Schema of the arguments."""
        return parse_arguments(self.raw.input_schema_json)

    @property
    def output_schema(self) -> dict[str, Any] | None:
        """JSON Schema of the result; None when it is not known."""
        return json.loads(self.raw.output_schema_json) if self.raw.output_schema_json else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A configured model.

    Attributes:
        kind: of its settings, such as `embedded`, or `route` for a name that stands for several models.
        detail: why it is not ready.
        context_length, max_output_tokens: in tokens; 0 when unknown or without such a limit.
        tools, parallel_calls, json_schema, reasoning, token_input: what it can do.
        remote: whether requests to it leave the server's machine.
        default: whether requests that name no model get it.
    """

    name: str
    kind: str
    ready: bool
    detail: str
    context_length: int
    tools: bool
    json_schema: bool
    default: bool
    aliases: tuple[str, ...] = ()
    reasoning: bool = False
    parallel_calls: bool = False
    remote: bool = False
    max_output_tokens: int = 0
    token_input: bool = False

    @classmethod
    def of(cls, raw: inference_pb2.Model) -> Self:
        """Return the view of the message."""
        return cls(
            name=raw.name,
            kind=raw.kind,
            ready=raw.ready,
            detail=raw.detail,
            context_length=raw.context_length,
            tools=raw.tools,
            json_schema=raw.json_schema,
            default=raw.default,
            aliases=tuple(raw.aliases),
            reasoning=raw.reasoning,
            parallel_calls=raw.parallel_calls,
            remote=raw.remote,
            max_output_tokens=raw.max_output_tokens,
            token_input=raw.token_input,
        )
