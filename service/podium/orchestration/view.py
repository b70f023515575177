"""Folds a run's log into the run as it stands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from podium.orchestration.chat import Usage
from podium.orchestration.events import (
    BudgetExhausted,
    CallFailed,
    CallFinished,
    CallPredicted,
    CallRetried,
    CallSealed,
    CallSkipped,
    CallStarted,
    CallSucceeded,
    LoggedEvent,
    PredictionSettled,
    QuestionAsked,
    QuestionSettled,
    RunEnded,
    RunFailure,
    RunSpec,
    RunStarted,
    RunState,
    TextWritten,
    TurnEnded,
    TurnStarted,
    Waits,
    WindDownStarted,
)

__all__ = ["CallState", "CallView", "PredictionView", "QuestionView", "RunView", "fold"]


_NO_WAITS = Waits()


class CallState(StrEnum):
    """Where a call stands."""

    SEALED = "SEALED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


@dataclass(slots=True)
class CallView:
    """One call as it stands. Times are nanoseconds since the epoch, 0 for not yet.

    `arguments_json` is what the tool got, where references were filled in.
    """

    sealed: CallSealed
    seal_ns: int
    state: CallState = CallState.SEALED
    start_ns: int = 0
    end_ns: int = 0
    attempts: int = 0
    arguments_json: bytes = b""
    succeeded: CallSucceeded | None = None
    failed: CallFailed | None = None
    skipped: CallSkipped | None = None
    waits: Waits = _NO_WAITS


@dataclass(slots=True)
class PredictionView:
    """One predicted call as it stands."""

    predicted: CallPredicted
    start_ns: int
    settled: PredictionSettled | None = None


@dataclass(slots=True)
class QuestionView:
    """One question as it stands."""

    asked: QuestionAsked
    ask_ns: int
    settled: QuestionSettled | None = None


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
    predictions: dict[str, PredictionView] = field(default_factory=dict)
    questions: dict[str, QuestionView] = field(default_factory=dict)
    wind_down: WindDownStarted | None = None
    degraded: bool = False
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
            case CallStarted() as started:
                call = self.calls[started.call_id]
                call.state, call.attempts = CallState.RUNNING, started.attempt
                call.start_ns = call.start_ns or event.time_ns
                call.arguments_json = started.arguments_json or call.arguments_json
            case CallFinished() as finished:
                self._finish_call(finished, event.time_ns)
            case TurnEnded(usage=usage):
                self.usage += usage
            case RunEnded() as ended:
                self.state, self.answer, self.partial = ended.state, ended.answer, ended.partial
                self.usage, self.failure, self.end_ns = ended.usage, ended.failure, event.time_ns
                self.degraded = ended.degraded
            case WindDownStarted() as wind_down:
                self.wind_down = wind_down
            case TurnStarted() | TextWritten() | CallRetried() | BudgetExhausted():
                return
            case _:
                self._apply_aside(event)

    def _apply_aside(self, event: LoggedEvent) -> None:
        """Take account of what happens beside the calls: predictions and questions."""
        match event.kind:
            case CallPredicted() as predicted:
                self.predictions[predicted.prediction_id] = PredictionView(predicted, event.time_ns)
            case PredictionSettled() as settled:
                self.predictions[settled.prediction_id].settled = settled
            case QuestionAsked() as asked:
                self.questions[asked.question_id] = QuestionView(asked, event.time_ns)
                self.state = RunState.WAITING
            case QuestionSettled() as answered:
                self.questions[answered.question_id].settled = answered
                if all(question.settled for question in self.questions.values()):
                    self.state = RunState.RUNNING

    def _finish_call(self, finished: CallFinished, time_ns: int) -> None:
        call = self.calls[finished.call_id]
        call.end_ns, call.waits = time_ns, finished.waits
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
