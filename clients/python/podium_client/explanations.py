"""Where the time and the money of runs went.

All spans are timedeltas; those called `..._offset` are counted from the run's start. Costs are in
millionths of the server's currency.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

from podium.v1 import explanation_pb2
from podium_client._wire import span_in
from podium_client.calls import CallWaits, ResultSource, ToolCallState
from podium_client.runs import RunState, Usage, WindDown
from podium_client.simulations import PathSegment, PathSegmentKind, Simulation

__all__ = [
    "ExplainedCall",
    "ExplainedPrediction",
    "ExplainedTurn",
    "RunExplanation",
    "TimeTotals",
    "ToolTotal",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedTurn:
    """One model turn. `time_to_first_call` is None without calls."""

    node_id: str
    turn: int
    model: str
    depends_on: tuple[str, ...]
    start_offset: timedelta
    end_offset: timedelta
    ended: bool
    time_to_first_call: timedelta | None
    usage: Usage
    critical: bool

    @classmethod
    def of(cls, raw: explanation_pb2.ExplainedTurn) -> Self:
        """Return the view of the message."""
        return cls(
            node_id=raw.node_id,
            turn=raw.turn,
            model=raw.model,
            depends_on=tuple(raw.depends_on),
            start_offset=raw.start_offset.ToTimedelta(),
            end_offset=raw.end_offset.ToTimedelta(),
            ended=raw.ended,
            time_to_first_call=span_in(raw, "time_to_first_call"),
            usage=Usage.of(raw.usage),
            critical=raw.critical,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedCall:
    """One call. `start_offset` is None when the tool was not started.

    One that `gathers` is made for each of a list: its items, which name it in `item_of`, do the work.
    """

    call_id: str
    tool: str
    turn: int
    item_of: str
    depends_on: tuple[str, ...]
    seal_offset: timedelta
    start_offset: timedelta | None
    end_offset: timedelta
    state: ToolCallState
    source: ResultSource
    attempts: int
    waits: CallWaits
    cost_micros: int
    critical: bool
    gathers: bool

    @classmethod
    def of(cls, raw: explanation_pb2.ExplainedCall) -> Self:
        """Return the view of the message."""
        return cls(
            call_id=raw.call_id,
            tool=raw.tool,
            turn=raw.turn,
            item_of=raw.item_of,
            depends_on=tuple(raw.depends_on),
            seal_offset=raw.seal_offset.ToTimedelta(),
            start_offset=span_in(raw, "start_offset"),
            end_offset=raw.end_offset.ToTimedelta(),
            state=ToolCallState.of(raw.state),
            source=ResultSource.of(raw.source),
            attempts=raw.attempts,
            waits=CallWaits.of(raw.waits),
            cost_micros=raw.cost_micros,
            critical=raw.critical,
            gathers=raw.gathers,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeTotals:
    """Where the time went.

    Attributes:
        wall: from the run's start to its end, or to its last event so far.
        tools, models: work of all tools; all turns.
        parallelism: work of tools for each second of the run.
        overlapped: work of tools while the turn that asked for it was still being written.
        saved_by_cache, saved_by_prediction: how much longer it would have taken without.
    """

    wall: timedelta
    tools: timedelta
    models: timedelta
    parallelism: float
    overlapped: timedelta
    saved_by_cache: timedelta
    saved_by_prediction: timedelta

    @classmethod
    def of(cls, raw: explanation_pb2.TimeTotals) -> Self:
        """Return the view of the message."""
        return cls(
            wall=raw.wall.ToTimedelta(),
            tools=raw.tools.ToTimedelta(),
            models=raw.models.ToTimedelta(),
            parallelism=raw.parallelism,
            overlapped=raw.overlapped.ToTimedelta(),
            saved_by_cache=raw.saved_by_cache.ToTimedelta(),
            saved_by_prediction=raw.saved_by_prediction.ToTimedelta(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolTotal:
    """All calls of one tool."""

    tool: str
    calls: int
    failed: int
    skipped: int
    attempts: int
    work: timedelta
    cost_micros: int

    @classmethod
    def of(cls, raw: explanation_pb2.ToolTotal) -> Self:
        """Return the view of the message."""
        return cls(
            tool=raw.tool,
            calls=raw.calls,
            failed=raw.failed,
            skipped=raw.skipped,
            attempts=raw.attempts,
            work=raw.work.ToTimedelta(),
            cost_micros=raw.cost_micros,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedPrediction:
    """One call that was started before the model asked for it; the fields are those of `Prediction`."""

    prediction_id: str
    tool: str
    confidence: float
    basis: str
    start_offset: timedelta
    settled: bool
    call_id: str
    because: str
    spent: timedelta
    saved: timedelta
    cost_micros: int

    @classmethod
    def of(cls, raw: explanation_pb2.ExplainedPrediction) -> Self:
        """Return the view of the message."""
        return cls(
            prediction_id=raw.prediction_id,
            tool=raw.tool,
            confidence=raw.confidence,
            basis=raw.basis,
            start_offset=raw.start_offset.ToTimedelta(),
            settled=raw.settled,
            call_id=raw.call_id,
            because=raw.because,
            spent=raw.spent.ToTimedelta(),
            saved=raw.saved.ToTimedelta(),
            cost_micros=raw.cost_micros,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunExplanation:
    """Where the time and the money of a run went; one that goes on is measured up to its last event.

    Attributes:
        critical_path: what decided when it ended; without holes, it adds up to `time.wall`.
        path_totals: `critical_path` summed by kind, the greatest first.
        model_cost_micros, tool_cost_micros: what turns and calls cost.
        estimate: what running it would take; only of a run with `plan_only`.
    """

    run_id: str
    state: RunState
    turns: tuple[ExplainedTurn, ...]
    calls: tuple[ExplainedCall, ...]
    critical_path: tuple[PathSegment, ...]
    time: TimeTotals
    path_totals: tuple[tuple[PathSegmentKind, timedelta], ...]
    tools: tuple[ToolTotal, ...]
    predictions: tuple[ExplainedPrediction, ...]
    usage: Usage
    model_cost_micros: int
    tool_cost_micros: int
    wind_down: WindDown | None
    estimate: Simulation | None
    raw: explanation_pb2.RunExplanation = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: explanation_pb2.RunExplanation) -> Self:
        """Return the view of the message."""
        return cls(
            run_id=raw.run_id,
            state=RunState.of(raw.state),
            turns=tuple(ExplainedTurn.of(turn) for turn in raw.turns),
            calls=tuple(ExplainedCall.of(call) for call in raw.calls),
            critical_path=tuple(PathSegment.of(segment) for segment in raw.critical_path),
            time=TimeTotals.of(raw.time),
            path_totals=tuple(
                (PathSegmentKind.of(total.kind), total.duration.ToTimedelta()) for total in raw.path_totals
            ),
            tools=tuple(ToolTotal.of(total) for total in raw.tools),
            predictions=tuple(ExplainedPrediction.of(each) for each in raw.predictions),
            usage=Usage.of(raw.usage),
            model_cost_micros=raw.model_cost_micros,
            tool_cost_micros=raw.tool_cost_micros,
            wind_down=WindDown.of(raw.wind_down) if raw.HasField("wind_down") else None,
            estimate=Simulation.of(raw.estimate) if raw.HasField("estimate") else None,
            raw=raw,
        )
