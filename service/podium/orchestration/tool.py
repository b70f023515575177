"""What the orchestrator knows of tools: their description, and a way to run one.

Tools come from many sources; each source implements `ToolCatalog` and `ToolExecutor`. Arguments
and results cross these protocols as JSON text in UTF-8, the form in which they travel and are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

__all__ = [
    "Fallback",
    "SideEffects",
    "ToolCatalog",
    "ToolExample",
    "ToolExecutor",
    "ToolFailure",
    "ToolFailureCode",
    "ToolInvocation",
    "ToolResult",
    "ToolSpec",
]


class SideEffects(StrEnum):
    """What running a tool changes in the world, and so whether it may be repeated or guessed."""

    NONE = "none"
    IDEMPOTENT = "idempotent"
    EFFECTFUL = "effectful"


@dataclass(frozen=True, slots=True)
class ToolExample:
    """A request in a person's words, and the arguments it means."""

    request: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """What stands in for a tool that fails: another tool with the same arguments, or else a fixed result."""

    tool: str = ""
    result_json: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool's description.

    Attributes:
        name: unique; `[a-z][a-z0-9_]{0,63}`.
        description: what it does, for a model and for people.
        input_schema: JSON Schema (2020-12) of the arguments object.
        output_schema: JSON Schema of the result, when it is known.
        side_effects: whether calls may be repeated.
        timeout_seconds: limit of one call.
        type: the class of resource it uses (`compute`, `files`, `http`, ...); limits apply per type.
        cache_ttl_seconds: how long a result may be reused; None when it may not.
        version: changes when the same arguments may give another kind of result.
        examples: requests and their arguments: for retrieval, few-shot filling, documentation.
        normalise: turns arguments as people write them into canonical ones (a city into a time zone);
            raises `ToolFailure` with code INVALID_ARGUMENTS and a message that a model can act on.
        fallback: what stands in when the tool fails for good; None for nothing.
        hedge: whether a call that takes longer than the tool's usual 95th percentile is tried a second
            time beside the first; only for tools that may be repeated.
        cost_micros: price of one call in millionths of the budget's currency.
    """

    name: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None = None
    side_effects: SideEffects = SideEffects.EFFECTFUL
    timeout_seconds: float = 5.0
    type: str = "general"
    cache_ttl_seconds: float | None = None
    version: str = "1"
    examples: tuple[ToolExample, ...] = ()
    normalise: Callable[[Mapping[str, Any]], dict[str, Any]] | None = field(default=None, compare=False, repr=False)
    fallback: Fallback | None = None
    hedge: bool = False
    cost_micros: int = 0

    @property
    def repeatable(self) -> bool:
        """Whether the same call may be made twice without harm."""
        return self.side_effects is not SideEffects.EFFECTFUL


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolInvocation:
    """One call of one tool.

    Attributes:
        call_id: unique in its run.
        arguments_json: a JSON object.
        seconds_left: how long anybody will wait for the result; None without limit. Calls that the tool
            makes should not take longer.
    """

    run_id: str
    call_id: str
    tool: str
    arguments_json: bytes
    correlation_id: str = ""
    tenant: str = ""
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a call returned."""

    result_json: bytes
    content_type: str = "application/json"


class ToolFailureCode(StrEnum):
    """Why a call failed, by what can be done about it."""

    INVALID_ARGUMENTS = "INVALID_ARGUMENTS"
    UNKNOWN_TOOL = "UNKNOWN_TOOL"
    NOT_ALLOWED = "NOT_ALLOWED"
    TIMEOUT = "TIMEOUT"
    TOO_LARGE = "TOO_LARGE"
    RAISED = "RAISED"
    UNAVAILABLE = "UNAVAILABLE"
    CANCELLED = "CANCELLED"
    DEPENDENCY_FAILED = "DEPENDENCY_FAILED"
    BUDGET = "BUDGET"


class ToolFailure(Exception):
    """A call failed. It ends that call; the run goes on and the model is told.

    `message` is shown to the model and to the caller: it says what to do, and holds no secret.
    `retryable` says whether the same call may succeed later, `retry_after` after how many seconds at the
    earliest, where that is known.
    """

    def __init__(
        self, code: ToolFailureCode, message: str, *, retryable: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.retry_after = retry_after


class ToolCatalog(Protocol):
    """The tools that exist."""

    def list(self) -> Sequence[ToolSpec]:
        """Return every tool, by name."""
        ...

    def get(self, name: str) -> ToolSpec | None:
        """Return one tool, or None."""
        ...


class ToolExecutor(Protocol):
    """Runs calls. Holds each to its own timeout; limits across calls are the orchestrator's."""

    async def invoke(self, invocation: ToolInvocation) -> ToolResult:
        """Run one call to its end.

        Cancelling stops the tool where it can be stopped, and always returns promptly.

        Raises:
            ToolFailure: the call did not give a result.
        """
        ...
