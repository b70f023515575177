"""A run, explained: what it did, where its time and its money went, and what decided when it ended."""

from __future__ import annotations

from dataclasses import dataclass

from podium.orchestration.chat import ModelAttempt, Usage
from podium.orchestration.events import ResultSource, RunState, Waits, WindDownStarted
from podium.orchestration.run_history import PathSegment, SegmentKind
from podium.orchestration.simulate import Simulation
from podium.orchestration.view import CallState

__all__ = [
    "CallRow",
    "KindTotal",
    "PredictionRow",
    "PredictionTotals",
    "RunExplanation",
    "TimeTotals",
    "ToolTotal",
    "TurnRow",
]


@dataclass(frozen=True, slots=True)
class TurnRow:
    """One model turn; times are seconds from the run's start.

    Attributes:
        depends_on: the calls it waited for; the turn before when that had none.
        end_seconds: the last event while it is being written.
        first_call_seconds: from its start to its first sealed call; None without calls.
        critical: whether it is on the critical path.
    """

    node_id: str
    turn: int
    model: str
    depends_on: tuple[str, ...]
    start_seconds: float
    end_seconds: float
    ended: bool
    first_call_seconds: float | None
    usage: Usage
    attempts: tuple[ModelAttempt, ...]
    critical: bool


@dataclass(frozen=True, slots=True)
class CallRow:
    """One call; times are seconds from the run's start.

    Attributes:
        gathers: it is made for each of a list: its items (their `item_of` names it) do the work.
        depends_on: the turn that wrote it, then the calls whose results it uses.
        start_seconds: when the tool was first started; None when it was not.
        end_seconds: the last event while it goes on.
        source: None while there is no result.
        waits: as the scheduler booked them; derived from the events where it did not.
        cost_micros: of all attempts, by the tools' present prices.
        critical: whether it is on the critical path.
    """

    call_id: str
    tool: str
    turn: int
    item_of: str
    gathers: bool
    depends_on: tuple[str, ...]
    seal_seconds: float
    start_seconds: float | None
    end_seconds: float
    state: CallState
    source: ResultSource | None
    attempts: int
    waits: Waits
    cost_micros: int
    critical: bool


@dataclass(frozen=True, slots=True)
class KindTotal:
    """Time on the critical path of one kind, in seconds."""

    kind: SegmentKind
    seconds: float


@dataclass(frozen=True, slots=True)
class TimeTotals:
    """Where the time went, in seconds.

    Attributes:
        tool_seconds: all tools' work, for predicted calls too, whether they were wanted or not.
        model_seconds: all turns.
        parallelism: `tool_seconds` for each second of the run.
        overlapped_seconds: work of tools while the turn that asked for it was still being written.
        cache_saved_seconds: what calls answered from the cache would usually have taken longer.
        prediction_saved_seconds: how much earlier results were there.
    """

    wall_seconds: float
    tool_seconds: float
    model_seconds: float
    parallelism: float
    overlapped_seconds: float
    cache_saved_seconds: float
    prediction_saved_seconds: float


@dataclass(frozen=True, slots=True)
class ToolTotal:
    """All calls of one tool, items one by one; predicted calls that nobody wanted count in its cost only."""

    tool: str
    calls: int
    failed: int
    skipped: int
    attempts: int
    work_seconds: float
    cost_micros: int


@dataclass(frozen=True, slots=True)
class PredictionRow:
    """One predicted call. `call_id` is the call it served, "" for none; `settled` is false while that is open."""

    prediction_id: str
    tool: str
    confidence: float
    basis: str
    start_seconds: float
    settled: bool
    call_id: str
    because: str
    spent_seconds: float
    saved_seconds: float
    cost_micros: int


@dataclass(frozen=True, slots=True)
class PredictionTotals:
    """The ledger's sums. What was wasted is the work and the cost of the misses."""

    hits: int = 0
    misses: int = 0
    saved_seconds: float = 0.0
    wasted_seconds: float = 0.0
    wasted_micros: int = 0


@dataclass(frozen=True, slots=True)
class RunExplanation:
    """A run, explained; flat rows, in the order in which things began.

    Attributes:
        path: the critical path: contiguous segments from the run's start to its end (or its last event
            so far); they add up to `time.wall_seconds`.
        by_kind: `path` summed by kind, the greatest first.
        model_cost_micros: of all turns.
        tool_cost_micros: of all calls, predicted ones that nobody wanted included.
        estimate: of a run that only planned: what running it would take.
    """

    run_id: str
    state: RunState
    turns: tuple[TurnRow, ...]
    calls: tuple[CallRow, ...]
    path: tuple[PathSegment, ...]
    time: TimeTotals
    by_kind: tuple[KindTotal, ...]
    tools: tuple[ToolTotal, ...]
    predictions: tuple[PredictionRow, ...]
    prediction_totals: PredictionTotals
    usage: Usage
    model_cost_micros: int
    tool_cost_micros: int
    wind_down: WindDownStarted | None = None
    estimate: Simulation | None = None
