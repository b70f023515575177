"""The events of a run as a caller sees them, one class a kind.

    RunEvent
    ├── RunStarted            accepted and started
    ├── ModelTurnStarted      the model begins to write
    ├── TextDelta             it wrote some text (not part of the log: `seq` is the last event's)
    ├── ToolCallSealed        it wrote a call; nothing can change it any more
    ├── ToolCallStarted       the tool was started
    ├── ToolCallFinished      the tool ended: `ok`, or `failure`, or `skipped_because`
    ├── ModelTurnFinished     the model ended its turn
    └── RunFinished           always the last

A kind that this client does not know is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from podium.v1 import run_pb2
from podium_client.errors import RunFailed
from podium_client.runs import (
    RunError,
    RunResult,
    RunState,
    ToolCallFailure,
    TurnFinishReason,
    Usage,
    parse_arguments,
    parse_result,
    when,
)

__all__ = [
    "ModelTurnFinished",
    "ModelTurnStarted",
    "RunEvent",
    "RunFinished",
    "RunStarted",
    "TextDelta",
    "ToolCallFinished",
    "ToolCallSealed",
    "ToolCallStarted",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """What all events have: the run, the number in its log (from 1, without holes), the time."""

    run_id: str
    seq: int
    time: datetime
    raw: run_pb2.RunEvent = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(RunEvent):
    """The run was accepted and started."""

    model: str
    input: str
    correlation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTurnStarted(RunEvent):
    """A model turn started; turns count from 0."""

    turn: int
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta(RunEvent):
    """More text of a turn, from `offset` (in code points) on."""

    turn: int
    offset: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallSealed(RunEvent):
    """A call is complete in the model's stream."""

    call_id: str
    tool: str
    version: str
    depends_on: tuple[str, ...]

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments, parsed."""
        return parse_arguments(self.raw.tool_call_sealed.arguments_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallStarted(RunEvent):
    """The tool was started; attempts count from 1."""

    call_id: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallFinished(RunEvent):
    """A call ended: with a result when `ok`, else with a failure or because it was skipped."""

    call_id: str
    ok: bool
    content_type: str
    failure: ToolCallFailure | None
    skipped_because: str

    @property
    def result(self) -> Any:
        """The result, parsed; None when there is none."""
        return parse_result(self.raw.tool_call_finished.ok.result_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTurnFinished(RunEvent):
    """A model turn ended; `text` is all of it."""

    turn: int
    text: str
    usage: Usage
    finish_reason: TurnFinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(RunEvent):
    """The run ended."""

    state: RunState
    answer: str
    partial: bool
    usage: Usage
    error: RunError | None

    def raise_for_state(self) -> RunFinished:
        """Return the event itself if the run succeeded, else raise `RunFailed`."""
        if self.state is RunState.SUCCEEDED:
            return self
        end = self.raw.run_finished
        run = run_pb2.Run(
            run_id=self.run_id,
            state=end.state,
            partial=end.partial,
            usage=end.usage,
            error=end.error if end.HasField("error") else None,
            last_seq=self.seq,
        )
        raise RunFailed(RunResult.of(run))


def event_of(raw: run_pb2.RunEvent) -> RunEvent | None:
    """Return the view of the message, or None for a kind that came after this client."""
    kind = raw.WhichOneof("kind")
    read = _READERS.get(kind) if kind else None
    if read is None:
        return None
    make, fields = read(raw)
    return make(run_id=raw.run_id, seq=raw.seq, time=when(raw.time), raw=raw, **fields)


_Read = tuple[type[RunEvent], dict[str, Any]]


def _run_started(raw: run_pb2.RunEvent) -> _Read:
    body = raw.run_started
    return RunStarted, {"model": body.model, "input": body.spec.input, "correlation_id": body.correlation_id}


def _turn_started(raw: run_pb2.RunEvent) -> _Read:
    return ModelTurnStarted, {"turn": raw.model_turn_started.turn, "model": raw.model_turn_started.model}


def _text(raw: run_pb2.RunEvent) -> _Read:
    body = raw.text_delta
    return TextDelta, {"turn": body.turn, "offset": body.offset, "text": body.text}


def _sealed(raw: run_pb2.RunEvent) -> _Read:
    body = raw.tool_call_sealed
    return ToolCallSealed, {
        "call_id": body.call_id,
        "tool": body.tool,
        "version": body.version,
        "depends_on": tuple(body.depends_on),
    }


def _started(raw: run_pb2.RunEvent) -> _Read:
    return ToolCallStarted, {"call_id": raw.tool_call_started.call_id, "attempt": raw.tool_call_started.attempt}


def _finished(raw: run_pb2.RunEvent) -> _Read:
    body = raw.tool_call_finished
    return ToolCallFinished, {
        "call_id": body.call_id,
        "ok": body.HasField("ok"),
        "content_type": body.ok.content_type,
        "failure": ToolCallFailure.of(body.failed) if body.HasField("failed") else None,
        "skipped_because": body.skipped.because,
    }


def _turn_finished(raw: run_pb2.RunEvent) -> _Read:
    body = raw.model_turn_finished
    return ModelTurnFinished, {
        "turn": body.turn,
        "text": body.text,
        "usage": Usage.of(body.usage),
        "finish_reason": TurnFinishReason.of(body.finish_reason),
    }


def _run_finished(raw: run_pb2.RunEvent) -> _Read:
    body = raw.run_finished
    return RunFinished, {
        "state": RunState.of(body.state),
        "answer": body.answer,
        "partial": body.partial,
        "usage": Usage.of(body.usage),
        "error": RunError(body.error.reason, body.error.message) if body.HasField("error") else None,
    }


_READERS: Mapping[str, Callable[[run_pb2.RunEvent], _Read]] = {
    "run_started": _run_started,
    "model_turn_started": _turn_started,
    "text_delta": _text,
    "tool_call_sealed": _sealed,
    "tool_call_started": _started,
    "tool_call_finished": _finished,
    "model_turn_finished": _turn_finished,
    "run_finished": _run_finished,
}
