"""Runs as a caller sees them: frozen views of the messages, which stay at hand as `raw`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, Self

from podium.v1 import orchestrator_pb2, run_pb2
from podium_client._wire import between, enum_of, time_in
from podium_client.calls import Prediction, ToolCall
from podium_client.clarifications import Clarification
from podium_client.errors import RunFailed

__all__ = [
    "RunError",
    "RunLimits",
    "RunPage",
    "RunResult",
    "RunState",
    "TurnFinishReason",
    "Usage",
    "WindDown",
    "WindDownCause",
]


class RunState(StrEnum):
    """Where a run stands. `UNSPECIFIED` also stands for a state that this client does not know."""

    UNSPECIFIED = "UNSPECIFIED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @classmethod
    def of(cls, number: int) -> Self:
        """Return the state with this number on the wire."""
        return enum_of(cls, run_pb2.RunState, "RUN_STATE_", number)

    @property
    def ended(self) -> bool:
        """Whether a run in this state changes no more."""
        return self in (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED)

    def number(self) -> run_pb2.RunState.ValueType:
        """Return the state's number on the wire."""
        return run_pb2.RunState.Value(f"RUN_STATE_{self.value}")


class TurnFinishReason(StrEnum):
    """Why a model stopped writing. `UNSPECIFIED` also stands for a reason that this client does not know."""

    UNSPECIFIED = "UNSPECIFIED"
    STOP = "STOP"
    TOOL_CALLS = "TOOL_CALLS"
    LENGTH = "LENGTH"
    CONTENT_FILTER = "CONTENT_FILTER"

    @classmethod
    def of(cls, number: int) -> Self:
        """Return the reason with this number on the wire."""
        return enum_of(cls, run_pb2.TurnFinishReason, "TURN_FINISH_REASON_", number)


class WindDownCause(StrEnum):
    """Why a run stopped starting work. `UNSPECIFIED` also stands for a cause that this client does not know."""

    UNSPECIFIED = "UNSPECIFIED"
    DEADLINE = "DEADLINE"
    BUDGET = "BUDGET"
    TURNS = "TURNS"
    LOOP = "LOOP"
    MEMORY = "MEMORY"

    @classmethod
    def of(cls, number: int) -> Self:
        """Return the cause with this number on the wire."""
        return enum_of(cls, run_pb2.WindDownCause, "WIND_DOWN_CAUSE_", number)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """Bounds of one run, within the server's own; None leaves a bound to the server.

    Attributes:
        max_cost_micros: in millionths of the server's currency.
        max_duration: seconds, or a timedelta, from acceptance to the end.
        on_exhausted: what the run does when a budget is used up: it stops, failed; it finishes with
            what it has; or it asks whether it may use more.
    """

    max_calls: int | None = None
    max_turns: int | None = None
    max_tokens: int | None = None
    max_cost_micros: int | None = None
    max_duration: float | timedelta | None = None
    on_exhausted: Literal["stop", "finish", "ask"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens read and written; `cached_tokens` are those of `prompt_tokens` that were not computed again.

    `cost_micros` is in millionths of `currency` (ISO 4217), which is empty without a cost.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost_micros: int = 0
    currency: str = ""

    @classmethod
    def of(cls, raw: run_pb2.Usage) -> Self:
        """Return the view of the message."""
        return cls(
            prompt_tokens=raw.prompt_tokens,
            completion_tokens=raw.completion_tokens,
            cached_tokens=raw.cached_tokens,
            cost_micros=raw.cost_micros,
            currency=raw.currency,
        )

    @property
    def total_tokens(self) -> int:
        """Tokens read and written."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class RunError:
    """Why a run failed: a stable word and a sentence."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class WindDown:
    """Why a run stopped starting work before it was done; `missing` are the calls it did without."""

    cause: WindDownCause
    because: str
    missing: tuple[str, ...]

    @classmethod
    def of(cls, raw: run_pb2.WindDownStarted) -> Self:
        """Return the view of the message."""
        return cls(WindDownCause.of(raw.cause), raw.because, tuple(raw.missing))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One run. `answer` is empty unless it succeeded; `error` says why it did not.

    `degraded` says that something stood in for a tool or a model that failed.
    """

    run_id: str
    state: RunState
    input: str
    model: str
    answer: str
    partial: bool
    calls: tuple[ToolCall, ...]
    usage: Usage
    error: RunError | None
    labels: Mapping[str, str] = field(hash=False)
    create_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    correlation_id: str
    degraded: bool = False
    wind_down: WindDown | None = None
    predictions: tuple[Prediction, ...] = ()
    questions: tuple[Clarification, ...] = ()
    raw: run_pb2.Run = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: run_pb2.Run, *, correlation_id: str = "") -> Self:
        """Return the view of the message."""
        return cls(
            run_id=raw.run_id,
            state=RunState.of(raw.state),
            input=raw.spec.input,
            model=raw.model,
            answer=raw.answer,
            partial=raw.partial,
            calls=tuple(ToolCall.of(call) for call in raw.calls),
            usage=Usage.of(raw.usage),
            error=RunError(raw.error.reason, raw.error.message) if raw.HasField("error") else None,
            labels=dict(raw.spec.labels),
            create_time=time_in(raw, "create_time"),
            start_time=time_in(raw, "start_time"),
            end_time=time_in(raw, "end_time"),
            correlation_id=raw.correlation_id or correlation_id,
            degraded=raw.degraded,
            wind_down=WindDown.of(raw.wind_down) if raw.HasField("wind_down") else None,
            predictions=tuple(Prediction.of(each) for each in raw.predictions),
            questions=tuple(Clarification.of(each) for each in raw.questions),
            raw=raw,
        )

    @property
    def ok(self) -> bool:
        """Whether the run succeeded."""
        return self.state is RunState.SUCCEEDED

    @property
    def duration(self) -> timedelta | None:
        """From acceptance to the end, once it has ended."""
        return between(self.create_time, self.end_time)

    def raise_for_state(self) -> Self:
        """Return the run itself if it succeeded, else raise `RunFailed`."""
        if not self.ok:
            raise RunFailed(self)
        return self


@dataclass(frozen=True, slots=True)
class RunPage:
    """Some runs, newest first; pass `next_page_token` on for more, empty when there are none."""

    runs: tuple[RunResult, ...]
    next_page_token: str

    @classmethod
    def of(cls, raw: orchestrator_pb2.ListRunsResponse) -> Self:
        """Return the view of the message."""
        return cls(tuple(RunResult.of(run) for run in raw.runs), raw.next_page_token)
