"""Folds a run's log into the run as it stands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from podium.orchestration.chat import Usage
from podium.orchestration.events import (
    CallFailed,
    CallFinished,
    CallSealed,
    CallSkipped,
    CallStarted,
    CallSucceeded,
    LoggedEvent,
    RunEnded,
    RunFailure,
    RunSpec,
    RunStarted,
    RunState,
    TextWritten,
    TurnEnded,
    TurnStarted,
)

__all__ = ["CallState", "CallView", "RunView", "fold"]


class CallState(StrEnum):
    """Where a call stands."""

    SEALED = "SEALED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


@dataclass(slots=True)
class CallView:
    """One call as it stands. Times are nanoseconds since the epoch, 0 for not yet."""

    sealed: CallSealed
    seal_ns: int
    state: CallState = CallState.SEALED
    start_ns: int = 0
    end_ns: int = 0
    attempts: int = 0
    succeeded: CallSucceeded | None = None
    failed: CallFailed | None = None
    skipped: CallSkipped | None = None


@dataclass(slots=True)
class RunView:
    """One run as it stands. Times are nanoseconds since the epoch, 0 for not yet."""

    run_id: str
    spec: RunSpec
    create_ns: int
    state: RunState = RunState.PENDING
    model: str = ""
    correlation_id: str = ""
    start_ns: int = 0
    end_ns: int = 0
    answer: str = ""
    partial: bool = False
    usage: Usage = field(default_factory=Usage)
    failure: RunFailure | None = None
    calls: dict[str, CallView] = field(default_factory=dict)
    last_seq: int = 0

    def apply(self, event: LoggedEvent) -> None:
        """Take one more event into account; events come in order of `seq`."""
        self.last_seq = event.seq
        match event.kind:
            case RunStarted(model=model, correlation_id=correlation_id):
                self.state, self.model, self.correlation_id = RunState.RUNNING, model, correlation_id
                self.start_ns = event.time_ns
            case CallSealed() as sealed:
                self.calls[sealed.call_id] = CallView(sealed, event.time_ns)
            case CallStarted(call_id=call_id, attempt=attempt):
                call = self.calls[call_id]
                call.state, call.attempts = CallState.RUNNING, attempt
                call.start_ns = call.start_ns or event.time_ns
            case CallFinished() as finished:
                self._finish_call(finished, event.time_ns)
            case TurnEnded(usage=usage):
                self.usage += usage
            case RunEnded() as ended:
                self.state, self.answer, self.partial = ended.state, ended.answer, ended.partial
                self.usage, self.failure, self.end_ns = ended.usage, ended.failure, event.time_ns
            case TurnStarted() | TextWritten():
                return

    def _finish_call(self, finished: CallFinished, time_ns: int) -> None:
        call = self.calls[finished.call_id]
        call.end_ns = time_ns
        match finished.outcome:
            case CallSucceeded() as succeeded:
                call.state, call.succeeded = CallState.SUCCEEDED, succeeded
            case CallFailed() as failed:
                call.state, call.failed = CallState.FAILED, failed
            case CallSkipped() as skipped:
                call.state, call.skipped = CallState.SKIPPED, skipped


def fold(run_id: str, spec: RunSpec, create_ns: int, events: Iterable[LoggedEvent]) -> RunView:
    """Return the run that these events describe."""
    view = RunView(run_id, spec, create_ns)
    for event in events:
        view.apply(event)
    return view
