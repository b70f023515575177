"""What happens in a run as `podium.v1` messages."""

from __future__ import annotations

from typing import assert_never

from podium.orchestration import events as ev
from podium.rpc.clarification_messages import QUESTION_KINDS, SETTLED_STATES
from podium.rpc.run_messages import (
    DEFAULT_CURRENCY,
    EXHAUSTIONS,
    FINISH_REASONS,
    RUN_STATES,
    SOURCES,
    attempt_messages,
    error_message,
    failure_message,
    predicted_message,
    set_waits,
    settled_message,
    spec_message,
    usage_message,
    wind_down_message,
)
from podium.rpc.times import duration_message, set_duration, time_message
from podium.v1 import run_pb2

__all__ = ["event_message"]


def event_message(event: ev.LoggedEvent, currency: str = DEFAULT_CURRENCY) -> run_pb2.RunEvent:
    """Return an event as a message; `currency` (ISO 4217) is that of costs."""
    message = run_pb2.RunEvent(run_id=event.run_id, seq=event.seq, time=time_message(event.time_ns))
    kind = event.kind
    # The frequent kinds come first, and fill in the message's own fields: nothing is copied.
    match kind:
        case ev.TextWritten():
            message.text_delta.turn, message.text_delta.offset = kind.turn, kind.offset
            message.text_delta.text = kind.text
        case ev.CallStarted():
            _fill_started(message.tool_call_started, kind)
        case ev.CallSealed():
            _fill_sealed(message.tool_call_sealed, kind)
        case ev.CallFinished():
            _fill_finished(message.tool_call_finished, kind)
        case ev.TurnStarted():
            message.model_turn_started.turn, message.model_turn_started.model = kind.turn, kind.model
        case ev.TurnEnded():
            message.model_turn_finished.CopyFrom(_turn_message(kind, currency))
        case ev.RunStarted():
            message.run_started.CopyFrom(
                run_pb2.RunStarted(spec=spec_message(kind.spec), model=kind.model, correlation_id=kind.correlation_id)
            )
        case ev.RunEnded():
            message.run_finished.CopyFrom(_ended_message(kind, currency))
        case _:
            _fill_seldom(message, kind)
    return message


_Seldom = (
    ev.CallRetried
    | ev.CallPredicted
    | ev.PredictionSettled
    | ev.QuestionAsked
    | ev.QuestionSettled
    | ev.BudgetExhausted
    | ev.WindDownStarted
)


def _fill_seldom(message: run_pb2.RunEvent, kind: _Seldom) -> None:
    match kind:
        case ev.CallRetried():
            message.tool_call_retried.CopyFrom(_retried_message(kind))
        case ev.CallPredicted():
            message.call_predicted.CopyFrom(predicted_message(kind))
        case ev.PredictionSettled():
            message.prediction_settled.CopyFrom(settled_message(kind))
        case ev.QuestionAsked():
            message.question_asked.CopyFrom(_asked_message(kind))
        case ev.QuestionSettled():
            message.question_settled.CopyFrom(
                run_pb2.QuestionSettled(
                    question_id=kind.question_id, state=SETTLED_STATES[kind.source], answer_json=kind.answer_json
                )
            )
        case ev.BudgetExhausted():
            message.budget_exhausted.CopyFrom(_exhausted_message(kind))
        case ev.WindDownStarted():
            message.wind_down_started.CopyFrom(wind_down_message(kind))
        case _:
            assert_never(kind)


def _fill_started(message: run_pb2.ToolCallStarted, kind: ev.CallStarted) -> None:
    message.call_id, message.attempt = kind.call_id, kind.attempt
    if kind.arguments_json:
        message.arguments_json = kind.arguments_json
    if kind.tool:
        message.tool = kind.tool


def _fill_sealed(message: run_pb2.ToolCallSealed, kind: ev.CallSealed) -> None:
    message.call_id, message.tool, message.version = kind.call_id, kind.tool, kind.version
    message.arguments_json = kind.arguments_json
    if kind.depends_on:
        message.depends_on.extend(kind.depends_on)
    if kind.item_of:
        message.item_of = kind.item_of


def _fill_finished(message: run_pb2.ToolCallFinished, kind: ev.CallFinished) -> None:
    message.call_id = kind.call_id
    match kind.outcome:
        case ev.CallSucceeded() as succeeded:
            ok = message.ok
            ok.result_json, ok.content_type = succeeded.result_json, succeeded.content_type
            ok.source = SOURCES[succeeded.source]
            if succeeded.age_seconds:
                set_duration(ok.age, succeeded.age_seconds)
        case ev.CallFailed() as failed:
            message.failed.CopyFrom(failure_message(failed.code, failed.message))
        case ev.CallSkipped(because=because):
            message.skipped.because = because
    set_waits(message.waits, kind.waits)


def _turn_message(kind: ev.TurnEnded, currency: str) -> run_pb2.ModelTurnFinished:
    return run_pb2.ModelTurnFinished(
        turn=kind.turn,
        text=kind.text,
        usage=usage_message(kind.usage, currency),
        finish_reason=FINISH_REASONS[kind.reason],
        model=kind.model,
        attempts=attempt_messages(kind.attempts),
    )


def _ended_message(kind: ev.RunEnded, currency: str) -> run_pb2.RunFinished:
    return run_pb2.RunFinished(
        state=RUN_STATES[kind.state],
        answer=kind.answer,
        partial=kind.partial,
        usage=usage_message(kind.usage, currency),
        error=error_message(kind.failure),
        degraded=kind.degraded,
    )


def _retried_message(kind: ev.CallRetried) -> run_pb2.ToolCallRetried:
    return run_pb2.ToolCallRetried(
        call_id=kind.call_id,
        attempt=kind.attempt,
        failure=failure_message(kind.code, kind.message),
        delay=duration_message(kind.seconds),
    )


def _asked_message(kind: ev.QuestionAsked) -> run_pb2.QuestionAsked:
    return run_pb2.QuestionAsked(
        question_id=kind.question_id,
        call_id=kind.call_id,
        kind=QUESTION_KINDS[kind.kind],
        prompt=kind.prompt,
        schema_json=kind.schema_json,
        default_json=kind.default_json,
        expire_time=time_message(kind.expire_ns),
    )


def _exhausted_message(kind: ev.BudgetExhausted) -> run_pb2.BudgetExhausted:
    return run_pb2.BudgetExhausted(
        scope=kind.scope,
        dimension=kind.dimension,
        limit=kind.limit,
        used=kind.used,
        action=EXHAUSTIONS[kind.action],
    )
