"""Runs and their events as `podium.v1` messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from podium.orchestration import events as ev
from podium.orchestration.chat import ModelAttempt, TurnFinishReason, Usage
from podium.orchestration.view import CallState, CallView, RunView
from podium.rpc.times import duration_message, time_message
from podium.v1 import run_pb2

__all__ = ["attempt_messages", "call_message", "event_message", "run_message", "spec_from_message"]

_RUN_STATES = {state: run_pb2.RunState.Value(f"RUN_STATE_{state.name}") for state in ev.RunState}
_CALL_STATES = {state: run_pb2.ToolCallState.Value(f"TOOL_CALL_STATE_{state.name}") for state in CallState}
FINISH_REASONS = {
    reason: run_pb2.TurnFinishReason.Value(f"TURN_FINISH_REASON_{reason.name}") for reason in TurnFinishReason
}
STATES_BY_NUMBER = {number: state for state, number in _RUN_STATES.items()}


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
        ),
        labels=dict(message.labels),
    )


def usage_message(usage: Usage) -> run_pb2.Usage:
    """Return token counts as a message."""
    return run_pb2.Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
    )


def run_message(view: RunView, *, payloads: bool = True) -> run_pb2.Run:
    """Return a run as a message; without `payloads`, arguments and results of calls are left out."""
    return run_pb2.Run(
        run_id=view.run_id,
        state=_RUN_STATES[view.state],
        spec=_spec_message(view.spec),
        answer=view.answer,
        partial=view.partial,
        calls=[call_message(call, payloads=payloads) for call in view.calls.values()],
        usage=usage_message(view.usage),
        error=_error_message(view.failure),
        create_time=time_message(view.create_ns),
        start_time=time_message(view.start_ns),
        end_time=time_message(view.end_ns),
        model=view.model,
        last_seq=view.last_seq,
        correlation_id=view.correlation_id,
    )


def call_message(call: CallView, *, payloads: bool = True) -> run_pb2.ToolCall:
    """Return a call as a message."""
    message = run_pb2.ToolCall(
        call_id=call.sealed.call_id,
        tool=call.sealed.tool,
        version=call.sealed.version,
        state=_CALL_STATES[call.state],
        seal_time=time_message(call.seal_ns),
        start_time=time_message(call.start_ns),
        end_time=time_message(call.end_ns),
        attempts=call.attempts,
        depends_on=call.sealed.depends_on,
        failure=_failure_message(call.failed) if call.failed else None,
        skipped_because=call.skipped.because if call.skipped else "",
    )
    if payloads:
        message.arguments_json = call.sealed.arguments_json
    if call.succeeded:
        message.content_type = call.succeeded.content_type
        if payloads:
            message.result_json = call.succeeded.result_json
    return message


def event_message(event: ev.LoggedEvent) -> run_pb2.RunEvent:
    """Return an event as a message."""
    message = run_pb2.RunEvent(run_id=event.run_id, seq=event.seq, time=time_message(event.time_ns))
    kind = event.kind
    match kind:
        case ev.TextWritten():
            message.text_delta.turn, message.text_delta.offset = kind.turn, kind.offset
            message.text_delta.text = kind.text
        case ev.CallStarted():
            message.tool_call_started.call_id, message.tool_call_started.attempt = kind.call_id, kind.attempt
        case ev.CallSealed():
            message.tool_call_sealed.CopyFrom(_sealed_message(kind))
        case ev.CallFinished():
            message.tool_call_finished.CopyFrom(_finished_message(kind))
        case ev.TurnStarted():
            message.model_turn_started.turn, message.model_turn_started.model = kind.turn, kind.model
        case ev.TurnEnded():
            message.model_turn_finished.CopyFrom(_turn_message(kind))
        case ev.RunStarted():
            message.run_started.CopyFrom(
                run_pb2.RunStarted(spec=_spec_message(kind.spec), model=kind.model, correlation_id=kind.correlation_id)
            )
        case ev.RunEnded():
            message.run_finished.CopyFrom(_ended_message(kind))
        case _:
            assert_never(kind)
    return message


def _sealed_message(kind: ev.CallSealed) -> run_pb2.ToolCallSealed:
    return run_pb2.ToolCallSealed(
        call_id=kind.call_id,
        tool=kind.tool,
        arguments_json=kind.arguments_json,
        version=kind.version,
        depends_on=kind.depends_on,
    )


def _finished_message(kind: ev.CallFinished) -> run_pb2.ToolCallFinished:
    message = run_pb2.ToolCallFinished(call_id=kind.call_id)
    match kind.outcome:
        case ev.CallSucceeded(result_json=result, content_type=content_type):
            message.ok.result_json, message.ok.content_type = result, content_type
        case ev.CallFailed() as failed:
            message.failed.CopyFrom(_failure_message(failed))
        case ev.CallSkipped(because=because):
            message.skipped.because = because
    return message


def _turn_message(kind: ev.TurnEnded) -> run_pb2.ModelTurnFinished:
    return run_pb2.ModelTurnFinished(
        turn=kind.turn,
        text=kind.text,
        usage=usage_message(kind.usage),
        finish_reason=FINISH_REASONS[kind.reason],
        model=kind.model,
        attempts=attempt_messages(kind.attempts),
    )


def attempt_messages(attempts: Iterable[ModelAttempt]) -> list[run_pb2.ModelAttempt]:
    """Return the models that were asked, as messages."""
    return [
        run_pb2.ModelAttempt(model=each.model, reason=each.reason, duration=duration_message(each.seconds))
        for each in attempts
    ]


def _ended_message(kind: ev.RunEnded) -> run_pb2.RunFinished:
    return run_pb2.RunFinished(
        state=_RUN_STATES[kind.state],
        answer=kind.answer,
        partial=kind.partial,
        usage=usage_message(kind.usage),
        error=_error_message(kind.failure),
    )


def _failure_message(failed: ev.CallFailed) -> run_pb2.ToolCallFailure:
    return run_pb2.ToolCallFailure(code=failed.code, reason=failed.code, message=failed.message)


def _error_message(failure: ev.RunFailure | None) -> run_pb2.RunError | None:
    return run_pb2.RunError(reason=failure.reason, message=failure.message) if failure else None


def _spec_message(spec: ev.RunSpec) -> run_pb2.RunSpec:
    limits = spec.limits
    return run_pb2.RunSpec(
        input=spec.input,
        model=spec.model,
        tools=spec.tools,
        request_id=spec.request_id,
        limits=run_pb2.RunLimits(
            max_calls=limits.max_calls or 0, max_turns=limits.max_turns or 0, max_tokens=limits.max_tokens or 0
        ),
        labels=spec.labels,
    )
