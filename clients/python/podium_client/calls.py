"""Calls of tools as a caller sees them: frozen views of the messages, which stay at hand as `raw`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from podium.v1 import run_pb2
from podium_client._wire import between, enum_of, parse_arguments, parse_result, time_in

__all__ = ["CallWaits", "Prediction", "ResultSource", "ToolCall", "ToolCallFailure", "ToolCallState"]


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


class ResultSource(StrEnum):
    """Where a result came from. `UNSPECIFIED` without a result, or for a source that this client does not know."""

    UNSPECIFIED = "UNSPECIFIED"
    TOOL = "TOOL"
    CACHE = "CACHE"
    JOINED = "JOINED"
    PREDICTED = "PREDICTED"
    FALLBACK = "FALLBACK"

    @classmethod
    def of(cls, number: int) -> Self:
        """Return the source with this number on the wire."""
        return enum_of(cls, run_pb2.ResultSource, "RESULT_SOURCE_", number)


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
class CallWaits:
    """Where a call's time went, from the moment the model had written it to its end.

    Attributes:
        turn: for the model's turn to end, which calls with side effects wait for.
        parents: for the calls whose results it uses.
        question: for an answer from the caller.
        budget: for somebody to allow the run more.
        cache: for an equal call that was going on.
        queue: for a slot.
        retry: between attempts.
        work: for the tool itself.
    """

    turn: timedelta = timedelta()
    parents: timedelta = timedelta()
    question: timedelta = timedelta()
    budget: timedelta = timedelta()
    cache: timedelta = timedelta()
    queue: timedelta = timedelta()
    retry: timedelta = timedelta()
    work: timedelta = timedelta()

    @classmethod
    def of(cls, raw: run_pb2.CallWaits) -> Self:
        """Return the view of the message."""
        return cls(**{part.name: getattr(raw, part.name).ToTimedelta() for part in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One call of one tool. Times are None until they are known.

    `item_of` is the call whose item this is, when that is made for each of a list; `age` how old a
    result from the cache was.
    """

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
    item_of: str = ""
    source: ResultSource = ResultSource.UNSPECIFIED
    age: timedelta = timedelta()
    waits: CallWaits = CallWaits()
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
            seal_time=time_in(raw, "seal_time"),
            start_time=time_in(raw, "start_time"),
            end_time=time_in(raw, "end_time"),
            attempts=raw.attempts,
            depends_on=tuple(raw.depends_on),
            failure=ToolCallFailure.of(raw.failure) if raw.HasField("failure") else None,
            skipped_because=raw.skipped_because,
            item_of=raw.item_of,
            source=ResultSource.of(raw.source),
            age=raw.age.ToTimedelta(),
            waits=CallWaits.of(raw.waits),
            correlation_id=correlation_id,
            raw=raw,
        )

    @property
    def ok(self) -> bool:
        """Whether there is a result."""
        return self.state is ToolCallState.SUCCEEDED

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments as the model wrote them, parsed."""
        return parse_arguments(self.raw.arguments_json)

    @property
    def used_arguments(self) -> dict[str, Any]:
        """The arguments that the tool got, parsed: with results of other calls filled in."""
        return parse_arguments(self.raw.used_arguments_json or self.raw.arguments_json)

    @property
    def result(self) -> Any:
        """The result, parsed; None when there is none (or when it is JSON's null: see `ok`)."""
        return parse_result(self.raw.result_json)

    @property
    def duration(self) -> timedelta | None:
        """How long the tool worked, once it has ended."""
        return between(self.start_time, self.end_time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A call that was started before the model asked for it, and what came of it.

    Attributes:
        confidence: how likely the call seemed, from 0 to 1; `basis` says why, in words.
        settled: whether it is known what came of it; the rest tells nothing before.
        call_id: the call that got its result; empty when the model did not ask for it.
        because: why it was for nothing.
        spent: how long the tool had worked when the model asked, or in all when it was for nothing.
        saved: how much earlier the result was there.
        cost_micros: what it cost, in millionths of the server's currency.
    """

    prediction_id: str
    tool: str
    version: str
    confidence: float
    basis: str
    start_time: datetime | None
    settled: bool
    call_id: str
    because: str
    spent: timedelta
    saved: timedelta
    cost_micros: int
    raw: run_pb2.Prediction = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: run_pb2.Prediction) -> Self:
        """Return the view of the message."""
        made, end = raw.predicted, raw.settled
        return cls(
            prediction_id=made.prediction_id,
            tool=made.tool,
            version=made.version,
            confidence=made.confidence,
            basis=made.basis,
            start_time=time_in(raw, "start_time"),
            settled=raw.HasField("settled"),
            call_id=end.call_id,
            because=end.because,
            spent=end.spent.ToTimedelta(),
            saved=end.saved.ToTimedelta(),
            cost_micros=end.cost_micros,
            raw=raw,
        )

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments, parsed."""
        return parse_arguments(self.raw.predicted.arguments_json)
