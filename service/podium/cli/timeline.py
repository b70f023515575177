"""What is known of a run while its events arrive: rows on a time line, text, usage. Pure.

Times are seconds from the run's first event, by the server's clock; a caller that draws adds what
has passed since the last event by its own clock, so clocks need not agree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from podium_client import (
    BudgetExhausted,
    CallPredicted,
    ModelTurnFinished,
    ModelTurnStarted,
    PredictionSettled,
    QuestionAsked,
    QuestionSettled,
    ResultSource,
    RunEvent,
    RunFinished,
    RunStarted,
    TextDelta,
    ToolCallFinished,
    ToolCallRetried,
    ToolCallSealed,
    ToolCallStarted,
    TurnFinishReason,
    WindDownStarted,
)

__all__ = ["Row", "RowState", "Timeline"]


class RowState(StrEnum):
    """Where the thing on a row stands."""

    WAITING = "waiting"
    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(slots=True)
class Row:
    """One bar: a model turn (then `call_id` is empty), a tool call, or a call that was predicted and not asked for.

    `note` says why there is no result, or none yet.
    """

    name: str
    call_id: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    state: RowState = RowState.WAITING
    start: float = 0.0
    end: float | None = None
    result: Any = None
    note: str = ""
    source: ResultSource = ResultSource.UNSPECIFIED
    predicted: bool = False

    @property
    def is_call(self) -> bool:
        """Whether this is a tool call and not a model turn."""
        return bool(self.call_id)

    def until(self, now: float) -> float:
        """Return where the bar ends; `now` while it still grows."""
        return max(self.start, now) if self.end is None else self.end


class Timeline:
    """Folds events; `apply` each in order and read the attributes.

    `questions` are those that wait for an answer; `notes` tell what changed the run's course.
    """

    def __init__(self) -> None:
        self.run_id = ""
        self.model = ""
        self.rows: list[Row] = []
        self.text = ""
        self.finished: RunFinished | None = None
        self.questions: dict[str, QuestionAsked] = {}
        self.notes: list[str] = []
        self.latest = 0.0
        self._first: datetime | None = None
        self._calls: dict[str, Row] = {}
        self._turns: dict[int, Row] = {}
        self._predictions: dict[str, Row] = {}
        self._text_turn = -1

    @property
    def calls(self) -> list[Row]:
        """The rows of tool calls."""
        return [row for row in self.rows if row.is_call]

    def call(self, call_id: str) -> Row:
        """Return the row of a call; an unknown one is added."""
        row = self._calls.get(call_id)
        if row is None:
            row = self._calls[call_id] = Row("?", call_id, start=self.latest)
            self.rows.append(row)
        return row

    def apply(self, event: RunEvent) -> None:
        """Take the next event in."""
        if self._first is None:
            self._first = event.time
        self.latest = max(self.latest, (event.time - self._first).total_seconds())
        self.run_id = event.run_id
        match event:
            case RunStarted(model=model):
                self.model = model
            case ModelTurnStarted(turn=turn, model=model):
                self._turns[turn] = Row(model, state=RowState.RUNNING, start=self.latest)
                self.rows.append(self._turns[turn])
            case TextDelta():
                self._add_text(event)
            case ToolCallSealed() | ToolCallStarted() | ToolCallRetried() | ToolCallFinished():
                self._change_call(event)
            case ModelTurnFinished():
                self._end_turn(event)
            case RunFinished():
                self._end(event)
            case _:
                self._note(event)

    def _change_call(self, event: ToolCallSealed | ToolCallStarted | ToolCallRetried | ToolCallFinished) -> None:
        row = self.call(event.call_id)
        match event:
            case ToolCallSealed():
                row.name, row.arguments = event.tool, event.arguments
            case ToolCallStarted():
                row.start = row.start if row.state is RowState.RUNNING else self.latest
                row.state, row.note = RowState.RUNNING, ""
                row.arguments = row.arguments if event.arguments is None else event.arguments
            case ToolCallRetried():
                delay = event.delay.total_seconds()
                row.note = f"{event.failure.reason}: {event.failure.message}; again in {delay:.3g} s"
            case ToolCallFinished():
                self._end_call(row, event)

    def _note(self, event: RunEvent) -> None:
        match event:
            case CallPredicted():
                row = Row(event.tool, "", event.arguments, RowState.RUNNING, self.latest, predicted=True)
                self._predictions[event.prediction_id] = row
                self.rows.append(row)
            case PredictionSettled():
                self._settle(event)
            case QuestionAsked():
                self.questions[event.question_id] = event
            case QuestionSettled():
                self.questions.pop(event.question_id, None)
            case BudgetExhausted():
                self.notes.append(
                    f"the {event.dimension} of the {event.scope} are used up: {event.used:,} of {event.limit:,}"
                )
            case WindDownStarted():
                without = f" without {', '.join(event.missing)}" if event.missing else ""
                self.notes.append(f"{event.because}; answers{without}")

    def _settle(self, event: PredictionSettled) -> None:
        row = self._predictions.pop(event.prediction_id, None)
        if row is None:
            return
        if not event.call_id:
            row.state, row.end, row.note = RowState.SKIPPED, self.latest, event.because
            return
        # From here on the call's own row stands for it, with the head start that it had.
        self.rows.remove(row)
        call = self.call(event.call_id)
        call.start = row.start
        if call.state is RowState.WAITING:
            call.state = RowState.RUNNING

    def _add_text(self, delta: TextDelta) -> None:
        if delta.turn != self._text_turn:
            self._text_turn, self.text = delta.turn, ""
        self.text = self.text[: delta.offset] + delta.text

    def _end_call(self, row: Row, event: ToolCallFinished) -> None:
        row.end, row.note, row.source = self.latest, "", event.source
        if event.ok:
            row.state, row.result = RowState.OK, event.result
        elif event.failure is not None:
            row.state, row.note = RowState.FAILED, f"{event.failure.reason}: {event.failure.message}"
        else:
            row.state, row.note = RowState.SKIPPED, event.skipped_because

    def _end_turn(self, event: ModelTurnFinished) -> None:
        row = self._turns.get(event.turn)
        if row is not None:
            row.state, row.end = RowState.OK, self.latest
        if event.finish_reason is TurnFinishReason.TOOL_CALLS and event.turn == self._text_turn:
            self.text = ""  # what it said while planning is not the answer

    def _end(self, event: RunFinished) -> None:
        self.finished = event
        self.text = event.answer
        self.questions.clear()
        for row in self.rows:
            if row.end is None:
                row.end = self.latest
                row.state = RowState.FAILED if row.state is RowState.RUNNING else RowState.SKIPPED
