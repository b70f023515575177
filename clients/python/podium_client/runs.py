"""Runs as a caller sees them: frozen views of the messages, which stay at hand as `raw`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Self, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from podium.v1 import orchestrator_pb2, run_pb2
from podium_client.errors import RunFailed

__all__ = [
    "RunError",
    "RunLimits",
    "RunPage",
    "RunResult",
    "RunState",
    "ToolCall",
    "ToolCallFailure",
    "ToolCallState",
    "TurnFinishReason",
    "Usage",
]

_E = TypeVar("_E", bound=StrEnum)


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


class ToolCallState(StrEnum):
    """Where a tool call stands. `UNSPECIFIED` also stands for a state that this client does not know."""

    UNSPECIFIED = "UNSPECIFIED"
    SEALED = "SEALED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"

    @classmethod
    def of(cls, number: int) -> Self:
        """Return the state with this number on the wire."""
        return enum_of(cls, run_pb2.ToolCallState, "TOOL_CALL_STATE_", number)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """Bounds of one run, within the server's own; None leaves a bound to the server."""

    max_calls: int | None = None
    max_turns: int | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens read and written; `cached_tokens` are those of `prompt_tokens` that were not computed again."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    @classmethod
    def of(cls, raw: run_pb2.Usage) -> Self:
        """Return the view of the message."""
        return cls(
            prompt_tokens=raw.prompt_tokens,
            completion_tokens=raw.completion_tokens,
            cached_tokens=raw.cached_tokens,
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
class ToolCallFailure:
    """Why a call gave no result: the kind of failure, a more precise word, a sentence."""

    code: str
    reason: str
    message: str

    @classmethod
    def of(cls, raw: run_pb2.ToolCallFailure) -> Self:
        """Return the view of the message."""
        return cls(raw.code, raw.reason, raw.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One call of one tool. Times are None until they are known."""

    call_id: str
    tool: str
    version: str
    state: ToolCallState
    content_type: str
    seal_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    attempts: int
    depends_on: tuple[str, ...]
    failure: ToolCallFailure | None
    skipped_because: str
    correlation_id: str = ""
    raw: run_pb2.ToolCall = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: run_pb2.ToolCall, *, correlation_id: str = "") -> Self:
        """Return the view of the message."""
        return cls(
            call_id=raw.call_id,
            tool=raw.tool,
            version=raw.version,
            state=ToolCallState.of(raw.state),
            content_type=raw.content_type,
            seal_time=_time(raw, "seal_time"),
            start_time=_time(raw, "start_time"),
            end_time=_time(raw, "end_time"),
            attempts=raw.attempts,
            depends_on=tuple(raw.depends_on),
            failure=ToolCallFailure.of(raw.failure) if raw.HasField("failure") else None,
            skipped_because=raw.skipped_because,
            correlation_id=correlation_id,
            raw=raw,
        )

    @property
    def ok(self) -> bool:
        """Whether there is a result."""
        return self.state is ToolCallState.SUCCEEDED

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments, parsed."""
        return parse_arguments(self.raw.arguments_json)

    @property
    def result(self) -> Any:
        """The result, parsed; None when there is none (or when it is JSON's null: see `ok`)."""
        return parse_result(self.raw.result_json)

    @property
    def duration(self) -> timedelta | None:
        """How long the tool worked, once it has ended."""
        return _between(self.start_time, self.end_time)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """One run. `answer` is empty unless it succeeded; `error` says why it did not."""

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
            create_time=_time(raw, "create_time"),
            start_time=_time(raw, "start_time"),
            end_time=_time(raw, "end_time"),
            correlation_id=raw.correlation_id or correlation_id,
            raw=raw,
        )

    @property
    def ok(self) -> bool:
        """Whether the run succeeded."""
        return self.state is RunState.SUCCEEDED

    @property
    def duration(self) -> timedelta | None:
        """From acceptance to the end, once it has ended."""
        return _between(self.create_time, self.end_time)

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


def enum_of(cls: type[_E], wire: Any, prefix: str, number: int) -> _E:
    """Return the member for a number on the wire; `UNSPECIFIED` for one that came after this client."""
    name = wire.Name(number).removeprefix(prefix) if number in wire.values() else "UNSPECIFIED"
    return cls(name)


def when(stamp: Timestamp) -> datetime:
    """Return a time in UTC."""
    return stamp.ToDatetime(tzinfo=UTC)


def parse_arguments(payload: bytes) -> dict[str, Any]:
    """Return a call's arguments; no bytes mean none."""
    parsed: dict[str, Any] = json.loads(payload) if payload else {}
    return parsed


def parse_result(payload: bytes) -> Any:
    """Return a call's result; no bytes mean none."""
    return json.loads(payload) if payload else None


def _time(raw: run_pb2.Run | run_pb2.ToolCall, name: Any) -> datetime | None:
    return when(getattr(raw, name)) if raw.HasField(name) else None


def _between(start: datetime | None, end: datetime | None) -> timedelta | None:
    return None if start is None or end is None else end - start
