"""Runs and their calls as `podium.v1` messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from podium.orchestration import events as ev
from podium.orchestration.chat import ModelAttempt, TurnFinishReason, Usage
from podium.orchestration.view import CallState, CallView, PredictionView, RunView
from podium.rpc.clarification_messages import clarification_message
from podium.rpc.times import duration_message, set_duration, time_message
from podium.v1 import run_pb2

__all__ = [
    "CALL_STATES",
    "DEFAULT_CURRENCY",
    "EXHAUSTIONS",
    "FINISH_REASONS",
    "RUN_STATES",
    "SOURCES",
    "STATES_BY_NUMBER",
    "attempt_messages",
    "call_message",
    "error_message",
    "failure_message",
    "predicted_message",
    "run_message",
    "set_waits",
    "settled_message",
    "spec_from_message",
    "spec_message",
    "usage_message",
    "wind_down_message",
]

DEFAULT_CURRENCY: Final = "USD"

RUN_STATES: Final = {state: run_pb2.RunState.Value(f"RUN_STATE_{state.name}") for state in ev.RunState}
CALL_STATES = {state: run_pb2.ToolCallState.Value(f"TOOL_CALL_STATE_{state.name}") for state in CallState}
FINISH_REASONS = {
    reason: run_pb2.TurnFinishReason.Value(f"TURN_FINISH_REASON_{reason.name}") for reason in TurnFinishReason
}
STATES_BY_NUMBER = {number: state for state, number in RUN_STATES.items()}
SOURCES: Final = {source: run_pb2.ResultSource.Value(f"RESULT_SOURCE_{source.name}") for source in ev.ResultSource}
EXHAUSTIONS: Final = {each: run_pb2.Exhaustion.Value(f"EXHAUSTION_{each.name}") for each in ev.Exhaustion}
_EXHAUSTIONS_BY_NUMBER = {number: each for each, number in EXHAUSTIONS.items()}
_SPECULATIONS = {each: run_pb2.Speculation.Value(f"SPECULATION_{each.name}") for each in ev.Speculation}
_SPECULATIONS_BY_NUMBER = {number: each for each, number in _SPECULATIONS.items()}
_CAUSES = {cause: run_pb2.WindDownCause.Value(f"WIND_DOWN_CAUSE_{cause.name}") for cause in ev.WindDownCause}


def spec_from_message(message: run_pb2.RunSpec) -> ev.RunSpec:
    """Return the domain's form of a validated spec."""
    limits = message.limits
    return ev.RunSpec(
        input=message.input,
        model=message.model,
        tools=tuple(message.tools),
        request_id=message.request_id,
        limits=ev.RunLimits(
            max_calls=limits.max_calls or None,
            max_turns=limits.max_turns or None,
            max_tokens=limits.max_tokens or None,
            max_cost_micros=limits.max_cost_micros or None,
            max_seconds=limits.max_duration.ToNanoseconds() / 1e9 or None,
            on_exhausted=_EXHAUSTIONS_BY_NUMBER.get(limits.on_exhausted),
        ),
        labels=dict(message.labels),
        plan_only=message.plan_only,
        detach=message.detach,
        background=message.background,
        bypass_cache=message.bypass_cache,
        may_ask=message.may_ask,
        speculation=_SPECULATIONS_BY_NUMBER.get(message.speculation),
    )


def spec_message(spec: ev.RunSpec) -> run_pb2.RunSpec:
    """Return a spec as a message."""
    limits = spec.limits
    message = run_pb2.RunSpec(
        input=spec.input,
        model=spec.model,
        tools=spec.tools,
        request_id=spec.request_id,
        limits=run_pb2.RunLimits(
            max_calls=limits.max_calls or 0,
            max_turns=limits.max_turns or 0,
            max_tokens=limits.max_tokens or 0,
            max_cost_micros=limits.max_cost_micros or 0,
        ),
        labels=spec.labels,
        plan_only=spec.plan_only,
        detach=spec.detach,
        background=spec.background,
        bypass_cache=spec.bypass_cache,
        may_ask=spec.may_ask,
    )
    if limits.max_seconds:
        set_duration(message.limits.max_duration, limits.max_seconds)
    if limits.on_exhausted is not None:
        message.limits.on_exhausted = EXHAUSTIONS[limits.on_exhausted]
    if spec.speculation is not None:
        message.speculation = _SPECULATIONS[spec.speculation]
    return message


def usage_message(usage: Usage, currency: str = DEFAULT_CURRENCY) -> run_pb2.Usage:
    """Return what was used up as a message; `currency` (ISO 4217) is sent with a cost only."""
    message = run_pb2.Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
    )
    if usage.cost_micros:
        message.cost_micros, message.currency = usage.cost_micros, currency
    return message


def run_message(view: RunView, *, payloads: bool = True, currency: str = DEFAULT_CURRENCY) -> run_pb2.Run:
    """Return a run as a message; without `payloads`, arguments, results and answers to questions are left out."""
    return run_pb2.Run(
        run_id=view.run_id,
        state=RUN_STATES[view.state],
        spec=spec_message(view.spec),
        answer=view.answer,
        partial=view.partial,
        calls=[call_message(call, payloads=payloads) for call in view.calls.values()],
        usage=usage_message(view.usage, currency),
        error=error_message(view.failure),
        create_time=time_message(view.create_ns),
        start_time=time_message(view.start_ns),
        end_time=time_message(view.end_ns),
        model=view.model,
        last_seq=view.last_seq,
        correlation_id=view.correlation_id,
        degraded=view.degraded,
        wind_down=wind_down_message(view.wind_down) if view.wind_down else None,
        predictions=[_prediction_message(each, payloads) for each in view.predictions.values()],
        questions=[
            clarification_message(view.run_id, question, payloads=payloads) for question in view.questions.values()
        ],
    )


def call_message(call: CallView, *, payloads: bool = True) -> run_pb2.ToolCall:
    """Return a call as a message."""
    sealed = call.sealed
    message = run_pb2.ToolCall(
        call_id=sealed.call_id,
        tool=sealed.tool,
        version=sealed.version,
        state=CALL_STATES[call.state],
        seal_time=time_message(call.seal_ns),
        start_time=time_message(call.start_ns),
        end_time=time_message(call.end_ns),
        attempts=call.attempts,
        depends_on=sealed.depends_on,
        failure=failure_message(call.failed.code, call.failed.message) if call.failed else None,
        skipped_because=call.skipped.because if call.skipped else "",
        item_of=sealed.item_of,
    )
    if call.end_ns:
        set_waits(message.waits, call.waits)
    if payloads:
        message.arguments_json = sealed.arguments_json
        message.used_arguments_json = call.arguments_json
    if (succeeded := call.succeeded) is not None:
        message.content_type = succeeded.content_type
        message.source = SOURCES[succeeded.source]
        if succeeded.age_seconds:
            set_duration(message.age, succeeded.age_seconds)
        if payloads:
            message.result_json = succeeded.result_json
    return message


def set_waits(message: run_pb2.CallWaits, waits: ev.Waits) -> None:
    """Fill in where a call's time went; parts that took none stay absent."""
    for name in _WAITS:
        if seconds := getattr(waits, name):
            set_duration(getattr(message, name), seconds)


_WAITS = tuple(field.name for field in run_pb2.CallWaits.DESCRIPTOR.fields)


def attempt_messages(attempts: Iterable[ModelAttempt]) -> list[run_pb2.ModelAttempt]:
    """Return the models that were asked, as messages."""
    return [
        run_pb2.ModelAttempt(model=each.model, reason=each.reason, duration=duration_message(each.seconds))
        for each in attempts
    ]


def failure_message(code: str, message: str) -> run_pb2.ToolCallFailure:
    """Return why a call, or an attempt of it, failed."""
    return run_pb2.ToolCallFailure(code=code, reason=code, message=message)


def error_message(failure: ev.RunFailure | None) -> run_pb2.RunError | None:
    """Return why a run failed; None when it did not."""
    return run_pb2.RunError(reason=failure.reason, message=failure.message) if failure else None


def wind_down_message(wind_down: ev.WindDownStarted) -> run_pb2.WindDownStarted:
    """Return why a run stopped starting work, as a message."""
    return run_pb2.WindDownStarted(cause=_CAUSES[wind_down.cause], because=wind_down.because, missing=wind_down.missing)


def predicted_message(predicted: ev.CallPredicted, *, payloads: bool = True) -> run_pb2.CallPredicted:
    """Return a predicted call as a message."""
    return run_pb2.CallPredicted(
        prediction_id=predicted.prediction_id,
        tool=predicted.tool,
        arguments_json=predicted.arguments_json if payloads else b"",
        version=predicted.version,
        confidence=predicted.confidence,
        basis=predicted.basis,
    )


def settled_message(settled: ev.PredictionSettled) -> run_pb2.PredictionSettled:
    """Return what came of a predicted call, as a message."""
    return run_pb2.PredictionSettled(
        prediction_id=settled.prediction_id,
        call_id=settled.call_id,
        because=settled.because,
        spent=duration_message(settled.spent_seconds),
        saved=duration_message(settled.saved_seconds),
        cost_micros=settled.cost_micros,
    )


def _prediction_message(prediction: PredictionView, payloads: bool) -> run_pb2.Prediction:
    return run_pb2.Prediction(
        predicted=predicted_message(prediction.predicted, payloads=payloads),
        start_time=time_message(prediction.start_ns),
        settled=settled_message(prediction.settled) if prediction.settled else None,
    )
