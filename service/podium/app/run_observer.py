"""Turns the events of runs into metrics and one log line a run."""

from __future__ import annotations

from dataclasses import dataclass

from podium.observability.logging import get_logger
from podium.observability.metrics import Metrics, ToolOutcome
from podium.orchestration.events import (
    BudgetExhausted,
    CallFailed,
    CallFinished,
    CallRetried,
    CallSkipped,
    CallStarted,
    CallSucceeded,
    LoggedEvent,
    PredictionSettled,
    RunEnded,
    RunStarted,
    RunState,
    TurnEnded,
    TurnStarted,
    WindDownStarted,
)
from podium.orchestration.tool import ToolFailureCode
from podium.orchestration.view import RunView

__all__ = ["RunReporter"]

_OUTCOMES: dict[ToolFailureCode, ToolOutcome] = {
    ToolFailureCode.TIMEOUT: "timeout",
    ToolFailureCode.CANCELLED: "cancelled",
}


@dataclass(slots=True)
class _Progress:
    """What a run's events do not say again at its end."""

    turns: int = 0
    turn_start_ns: int = 0
    turn_open: bool = False


class RunReporter:
    """A `RunObserver`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._progress: dict[str, _Progress] = {}
        self._log = get_logger("podium.runs")

    def observe(self, view: RunView, event: LoggedEvent) -> None:
        """Take note of one event."""
        kind = event.kind
        if isinstance(kind, RunStarted):
            self._progress[view.run_id] = _Progress()
            self._metrics.runs.started()
            return
        progress = self._progress.get(view.run_id)
        if progress is None:
            return
        match kind:
            case TurnStarted():
                progress.turns, progress.turn_start_ns, progress.turn_open = progress.turns + 1, event.time_ns, True
            case TurnEnded():
                self._turn_ended(view.model, kind, progress, event.time_ns)
            case CallStarted(attempt=1):
                self._metrics.tools.started()
            case CallRetried():
                self._metrics.tools.retried(view.calls[kind.call_id].sealed.tool)
            case PredictionSettled():
                self._metrics.predictions.settled(
                    hit=bool(kind.call_id), spent=kind.spent_seconds, saved=kind.saved_seconds
                )
            case BudgetExhausted():
                self._metrics.runs.budget_exhausted(kind.scope, kind.dimension)
            case WindDownStarted():
                self._metrics.runs.wound_down(kind.cause.value.lower())
            case CallFinished():
                self._call_finished(view, kind)
            case RunEnded():
                del self._progress[view.run_id]
                self._run_ended(view, progress)

    def _turn_ended(self, model: str, ended: TurnEnded, progress: _Progress, now_ns: int) -> None:
        progress.turn_open = False
        self._metrics.models.finished(
            model,
            "ok",
            seconds=(now_ns - progress.turn_start_ns) / 1e9,
            prompt_tokens=ended.usage.prompt_tokens,
            completion_tokens=ended.usage.completion_tokens,
            cached_tokens=ended.usage.cached_tokens,
        )

    def _call_finished(self, view: RunView, finished: CallFinished) -> None:
        call = view.calls[finished.call_id]
        if isinstance(finished.outcome, CallSucceeded):
            self._metrics.tools.answered(call.sealed.tool, finished.outcome.source.value.lower())
        if not call.start_ns:
            if not isinstance(finished.outcome, CallSucceeded):
                self._metrics.tools.refused(call.sealed.tool)
            return
        match finished.outcome:
            case CallSucceeded():
                outcome: ToolOutcome = "ok"
            case CallFailed(code=code):
                outcome = _OUTCOMES.get(code, "failed")
            case CallSkipped():
                outcome = "refused"
        self._metrics.tools.finished(call.sealed.tool, outcome, seconds=(call.end_ns - call.start_ns) / 1e9)

    def _run_ended(self, view: RunView, progress: _Progress) -> None:
        seconds = (view.end_ns - view.start_ns) / 1e9
        if progress.turn_open:
            self._metrics.models.finished(
                view.model,
                "cancelled" if view.state is RunState.CANCELLED else "failed",
                seconds=(view.end_ns - progress.turn_start_ns) / 1e9,
            )
        match view.state:
            case RunState.SUCCEEDED:
                self._metrics.runs.finished("succeeded", seconds=seconds, turns=progress.turns)
            case RunState.CANCELLED:
                self._metrics.runs.finished("cancelled", seconds=seconds, turns=progress.turns)
            case _:
                self._metrics.runs.finished("failed", seconds=seconds, turns=progress.turns)
        self._log.info(
            "run ended",
            run_id=view.run_id,
            status=view.state.value,
            reason=view.failure.reason if view.failure else "",
            duration_ms=round(seconds * 1000, 1),
            turns=progress.turns,
            calls=len(view.calls),
            tokens=view.usage.completion_tokens,
            model=view.model,
        )
