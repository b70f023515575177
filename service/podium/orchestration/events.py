"""What happens in a run, as a log of events; everything else about a run folds from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from podium.orchestration.chat import ModelAttempt, TurnFinishReason, Usage
from podium.orchestration.tool import ToolFailureCode

__all__ = [
    "CallFailed",
    "CallFinished",
    "CallOutcome",
    "CallSealed",
    "CallSkipped",
    "CallStarted",
    "CallSucceeded",
    "EventKind",
    "LoggedEvent",
    "RunEnded",
    "RunFailure",
    "RunLimits",
    "RunSpec",
    "RunStarted",
    "RunState",
    "TextWritten",
    "TurnEnded",
    "TurnStarted",
]


class RunState(StrEnum):
    """Where a run stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        return self in (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """Bounds of one run; None means the server's own."""

    max_calls: int | None = None
    max_turns: int | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """What to do, as the caller put it."""

    input: str
    model: str = ""
    tools: tuple[str, ...] = ()
    request_id: str = ""
    limits: RunLimits = RunLimits()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunFailure:
    """Why a run has no answer. `reason` is stable, `message` is for the caller."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The run was accepted and started."""

    spec: RunSpec
    model: str
    correlation_id: str


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """A model turn started; turns count from 0."""

    turn: int
    model: str


@dataclass(frozen=True, slots=True)
class TextWritten:
    """More text of a turn, from code point `offset` on. Never logged: `TurnEnded` has the whole text."""

    turn: int
    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class CallSealed:
    """A call is complete in the model's stream."""

    call_id: str
    tool: str
    arguments_json: bytes
    version: str
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The tool was started; attempts count from 1."""

    call_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class CallSucceeded:
    """The tool returned a result."""

    result_json: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class CallFailed:
    """The tool gave no result."""

    code: ToolFailureCode
    message: str


@dataclass(frozen=True, slots=True)
class CallSkipped:
    """The call was never started."""

    because: str


CallOutcome = CallSucceeded | CallFailed | CallSkipped


@dataclass(frozen=True, slots=True)
class CallFinished:
    """A call ended."""

    call_id: str
    outcome: CallOutcome


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """A model turn ended. `model` answered; `attempts` are all that were asked, where there was a choice."""

    turn: int
    text: str
    usage: Usage
    reason: TurnFinishReason
    model: str = ""
    attempts: tuple[ModelAttempt, ...] = ()


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run ended; always the last event."""

    state: RunState
    answer: str
    partial: bool
    usage: Usage
    failure: RunFailure | None = None


EventKind = RunStarted | TurnStarted | TextWritten | CallSealed | CallStarted | CallFinished | TurnEnded | RunEnded


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One entry of a run's log.

    `seq` counts from 1 without holes (a `TextWritten` repeats the last logged number); `time_ns`
    is nanoseconds since the epoch.
    """

    run_id: str
    seq: int
    time_ns: int
    kind: EventKind
