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
    ModelTurnFinished,
    ModelTurnStarted,
    RunEvent,
    RunFinished,
    RunStarted,
    TextDelta,
    ToolCallFinished,
    ToolCallSealed,
    ToolCallStarted,
    TurnFinishReason,
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
    """One bar: a model turn (then `call_id` is empty) or a tool call. `note` says why there is no result."""

    name: str
    call_id: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    state: RowState = RowState.WAITING
    start: float = 0.0
    end: float | None = None
    result: Any = None
    note: str = ""

    @property
    def is_call(self) -> bool:
        """Whether this is a tool call and not a model turn."""
        return bool(self.call_id)

    def until(self, now: float) -> float:
        """Return where the bar ends; `now` while it still grows."""
        return max(self.start, now) if self.end is None else self.end


class Timeline:
    """Folds events; `apply` each in order and read the attributes."""

    def __init__(self) -> None:
        self.run_id = ""
        self.model = ""
        self.rows: list[Row] = []
        self.text = ""
        self.finished: RunFinished | None = None
        self.latest = 0.0
        self._first: datetime | None = None
        self._calls: dict[str, Row] = {}
        self._turns: dict[int, Row] = {}
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
            case ToolCallSealed():
                row = self.call(event.call_id)
                row.name, row.arguments = event.tool, event.arguments
            case ToolCallStarted(call_id=call_id):
                row = self.call(call_id)
                row.state, row.start = RowState.RUNNING, self.latest
            case ToolCallFinished():
                self._end_call(event)
            case ModelTurnFinished():
                self._end_turn(event)
            case RunFinished():
                self._end(event)

    def _add_text(self, delta: TextDelta) -> None:
        if delta.turn != self._text_turn:
            self._text_turn, self.text = delta.turn, ""
        self.text = self.text[: delta.offset] + delta.text

    def _end_call(self, event: ToolCallFinished) -> None:
        row = self.call(event.call_id)
        row.end = self.latest
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
        for row in self.rows:
            if row.end is None:
                row.end = self.latest
                row.state = RowState.FAILED if row.state is RowState.RUNNING else RowState.SKIPPED
