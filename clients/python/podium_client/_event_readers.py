"""Reads the events of a run from their messages. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from podium.v1 import run_pb2
from podium_client._wire import when
from podium_client.calls import CallWaits, ResultSource, ToolCallFailure
from podium_client.clarifications import ClarificationState, QuestionKind
from podium_client.events import (
    BudgetExhausted,
    CallPredicted,
    ModelTurnFinished,
    ModelTurnStarted,
    PredictionSettled,
    QuestionAsked,
    QuestionSettled,
    RunEvent,
    RunFinished,
    RunStarted,
    TextDelta,
    ToolCallFinished,
    ToolCallRetried,
    ToolCallSealed,
    ToolCallStarted,
    WindDownStarted,
)
from podium_client.runs import RunError, RunState, TurnFinishReason, Usage, WindDownCause

_EXHAUSTIONS = {
    run_pb2.EXHAUSTION_STOP: "stop",
    run_pb2.EXHAUSTION_FINISH: "finish",
    run_pb2.EXHAUSTION_ASK: "ask",
}


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
        "item_of": body.item_of,
    }


def _started(raw: run_pb2.RunEvent) -> _Read:
    body = raw.tool_call_started
    return ToolCallStarted, {"call_id": body.call_id, "attempt": body.attempt, "tool": body.tool}


def _retried(raw: run_pb2.RunEvent) -> _Read:
    body = raw.tool_call_retried
    return ToolCallRetried, {
        "call_id": body.call_id,
        "attempt": body.attempt,
        "failure": ToolCallFailure.of(body.failure),
        "delay": body.delay.ToTimedelta(),
    }


def _finished(raw: run_pb2.RunEvent) -> _Read:
    body = raw.tool_call_finished
    return ToolCallFinished, {
        "call_id": body.call_id,
        "ok": body.HasField("ok"),
        "content_type": body.ok.content_type,
        "failure": ToolCallFailure.of(body.failed) if body.HasField("failed") else None,
        "skipped_because": body.skipped.because,
        "source": ResultSource.of(body.ok.source),
        "age": body.ok.age.ToTimedelta(),
        "waits": CallWaits.of(body.waits),
    }


def _predicted(raw: run_pb2.RunEvent) -> _Read:
    body = raw.call_predicted
    return CallPredicted, {
        "prediction_id": body.prediction_id,
        "tool": body.tool,
        "version": body.version,
        "confidence": body.confidence,
        "basis": body.basis,
    }


def _prediction_settled(raw: run_pb2.RunEvent) -> _Read:
    body = raw.prediction_settled
    return PredictionSettled, {
        "prediction_id": body.prediction_id,
        "call_id": body.call_id,
        "because": body.because,
        "spent": body.spent.ToTimedelta(),
        "saved": body.saved.ToTimedelta(),
        "cost_micros": body.cost_micros,
    }


def _asked(raw: run_pb2.RunEvent) -> _Read:
    body = raw.question_asked
    return QuestionAsked, {
        "question_id": body.question_id,
        "call_id": body.call_id,
        "kind": QuestionKind.of(body.kind),
        "prompt": body.prompt,
        "expire_time": when(body.expire_time),
    }


def _question_settled(raw: run_pb2.RunEvent) -> _Read:
    body = raw.question_settled
    return QuestionSettled, {"question_id": body.question_id, "state": ClarificationState.of(body.state)}


def _exhausted(raw: run_pb2.RunEvent) -> _Read:
    body = raw.budget_exhausted
    return BudgetExhausted, {
        "scope": body.scope,
        "dimension": body.dimension,
        "limit": body.limit,
        "used": body.used,
        "action": _EXHAUSTIONS.get(body.action, ""),
    }


def _wind_down(raw: run_pb2.RunEvent) -> _Read:
    body = raw.wind_down_started
    return WindDownStarted, {
        "cause": WindDownCause.of(body.cause),
        "because": body.because,
        "missing": tuple(body.missing),
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
        "degraded": body.degraded,
    }


_READERS: Mapping[str, Callable[[run_pb2.RunEvent], _Read]] = {
    "run_started": _run_started,
    "model_turn_started": _turn_started,
    "text_delta": _text,
    "tool_call_sealed": _sealed,
    "tool_call_started": _started,
    "tool_call_retried": _retried,
    "tool_call_finished": _finished,
    "call_predicted": _predicted,
    "prediction_settled": _prediction_settled,
    "question_asked": _asked,
    "question_settled": _question_settled,
    "budget_exhausted": _exhausted,
    "wind_down_started": _wind_down,
    "model_turn_finished": _turn_finished,
    "run_finished": _run_finished,
}
