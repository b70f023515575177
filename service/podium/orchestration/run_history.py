"""A run's log, sorted by turns and calls, and the words for what its time went into."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from podium.orchestration.events import (
    CallRetried,
    CallSealed,
    CallStarted,
    LoggedEvent,
    QuestionAsked,
    QuestionSettled,
    RunSpec,
    RunStarted,
    TurnEnded,
    TurnStarted,
    WindDownStarted,
)
from podium.orchestration.tool import ToolSpec
from podium.orchestration.view import RunView, fold

__all__ = [
    "PathSegment",
    "RunHistory",
    "SegmentKind",
    "ToolLookup",
    "TurnHistory",
    "as_seconds",
    "read_log",
    "turn_id",
]

ToolLookup = Callable[[str], ToolSpec | None]

_NS = 1_000_000_000


class SegmentKind(StrEnum):
    """What a stretch of time went into; all but MODEL and OTHER are the parts of a call's `Waits`."""

    MODEL = "MODEL"  # the model wrote
    TURN = "TURN"
    PARENTS = "PARENTS"
    QUESTION = "QUESTION"
    BUDGET = "BUDGET"
    CACHE = "CACHE"
    QUEUE = "QUEUE"
    RETRY = "RETRY"
    WORK = "WORK"
    OTHER = "OTHER"  # the orchestrator itself, between two of the others


@dataclass(frozen=True, slots=True)
class PathSegment:
    """One stretch of the path that decided when the run ended.

    Attributes:
        node_id: the call or turn (see `turn_id`) it belongs to; "" for none.
        start_seconds: from the run's start.
        because: what it was, in words.
    """

    kind: SegmentKind
    node_id: str
    start_seconds: float
    seconds: float
    because: str


@dataclass(slots=True)
class TurnHistory:
    """One turn of a log. `end_ns` is 0 while it is being written; `calls` include the items of its calls."""

    index: int
    model: str
    start_ns: int
    end_ns: int = 0
    ended: TurnEnded | None = None
    calls: list[str] = field(default_factory=list)


@dataclass(slots=True)
class RunHistory:
    """A log, sorted by turns and calls. Times are nanoseconds since the epoch.

    Attributes:
        end_ns: the last event.
        turn_of: each call's turn.
        marks: the starts and retries of each call, in order.
        items: of each call that is made for each of a list.
        questions: each with the times when it was asked and settled, 0 while it is open.
        wind_down_ns: 0 when there was none.
    """

    view: RunView
    start_ns: int
    end_ns: int
    turns: list[TurnHistory] = field(default_factory=list)
    turn_of: dict[str, TurnHistory] = field(default_factory=dict)
    marks: dict[str, list[tuple[int, CallStarted | CallRetried]]] = field(default_factory=dict)
    items: dict[str, list[str]] = field(default_factory=dict)
    questions: dict[str, tuple[QuestionAsked, int, int]] = field(default_factory=dict)
    wind_down_ns: int = 0

    def price(self, call_id: str, tools: ToolLookup | None) -> int:
        """Return what a call's attempts cost, in micros: each that was started is paid for."""
        tool = self.view.calls[call_id].sealed.tool
        started = [mark.tool or tool for _, mark in self.marks.get(call_id, ()) if isinstance(mark, CallStarted)]
        specs = [tools(name) for name in started] if tools else []
        return sum(spec.cost_micros for spec in specs if spec is not None)


def turn_id(turn: int) -> str:
    """Return the id of a turn among a run's nodes; calls have their own."""
    return f"t{turn}"


def as_seconds(span_ns: int) -> float:
    """Return a span of nanoseconds in seconds."""
    return span_ns / _NS


def read_log(events: Sequence[LoggedEvent]) -> RunHistory:
    """Sort a log, complete or not. A clock that was set back counts as one that stood still."""
    events = _monotonic(events)
    spec = next((event.kind.spec for event in events if isinstance(event.kind, RunStarted)), RunSpec(input=""))
    first, last = (events[0].time_ns, events[-1].time_ns) if events else (0, 0)
    history = RunHistory(fold(events[0].run_id if events else "", spec, first, events), first, last)
    for event in events:
        match event.kind:
            case TurnStarted(turn=turn, model=model):
                history.turns.append(TurnHistory(turn, model, event.time_ns))
            case TurnEnded() as ended:
                history.turns[-1].ended, history.turns[-1].end_ns = ended, event.time_ns
            case CallSealed(call_id=call_id, item_of=item_of):
                turn_of = history.turn_of.get(item_of, history.turns[-1])
                history.turn_of[call_id] = turn_of
                turn_of.calls.append(call_id)
                if item_of:
                    history.items.setdefault(item_of, []).append(call_id)
            case CallStarted() | CallRetried() as mark:
                history.marks.setdefault(mark.call_id, []).append((event.time_ns, mark))
            case QuestionAsked(question_id=question_id) as asked:
                history.questions[question_id] = (asked, event.time_ns, 0)
            case QuestionSettled(question_id=question_id):
                asked, ask_ns, _ = history.questions[question_id]
                history.questions[question_id] = (asked, ask_ns, event.time_ns)
            case WindDownStarted():
                history.wind_down_ns = event.time_ns
            case _:
                continue
    return history


def _monotonic(events: Sequence[LoggedEvent]) -> Sequence[LoggedEvent]:
    # Views take 0 for not yet, so a clock that starts at 0 is moved on a little.
    moved = 1 if events and events[0].time_ns <= 0 else 0
    if not moved and all(earlier.time_ns <= later.time_ns for earlier, later in itertools.pairwise(events)):
        return events
    latest, mended = 1, []
    for event in events:
        latest = max(latest, event.time_ns + moved)
        mended.append(replace(event, time_ns=latest))
    return mended
