"""Explanations and simulations of runs as `podium.v1` messages."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf import duration_pb2

from podium.orchestration import explanation as ex
from podium.orchestration import simulate as sim
from podium.orchestration.run_history import PathSegment, SegmentKind
from podium.rpc.run_messages import (
    CALL_STATES,
    DEFAULT_CURRENCY,
    RUN_STATES,
    SOURCES,
    attempt_messages,
    set_waits,
    usage_message,
    wind_down_message,
)
from podium.rpc.times import duration_message
from podium.v1 import explanation_pb2 as pb

__all__ = ["explanation_message", "simulation_message"]

_KINDS = {kind: pb.PathSegmentKind.Value(f"PATH_SEGMENT_KIND_{kind.name}") for kind in SegmentKind}


def explanation_message(explained: ex.RunExplanation, currency: str = DEFAULT_CURRENCY) -> pb.RunExplanation:
    """Return an explanation as a message; `currency` (ISO 4217) is that of costs."""
    return pb.RunExplanation(
        run_id=explained.run_id,
        state=RUN_STATES[explained.state],
        turns=[_turn_message(row, currency) for row in explained.turns],
        calls=[_call_message(row) for row in explained.calls],
        critical_path=_path_messages(explained.path),
        time=_time_message(explained.time),
        path_totals=[
            pb.PathTotal(kind=_KINDS[total.kind], duration=duration_message(total.seconds))
            for total in explained.by_kind
        ],
        tools=[_tool_message(total) for total in explained.tools],
        predictions=[_prediction_message(row) for row in explained.predictions],
        prediction_totals=_ledger_message(explained.prediction_totals),
        usage=usage_message(explained.usage, currency),
        model_cost_micros=explained.model_cost_micros,
        tool_cost_micros=explained.tool_cost_micros,
        wind_down=wind_down_message(explained.wind_down) if explained.wind_down else None,
        estimate=simulation_message(explained.estimate, currency) if explained.estimate else None,
    )


def simulation_message(simulation: sim.Simulation, currency: str = DEFAULT_CURRENCY) -> pb.Simulation:
    """Return a simulation as a message; `currency` (ISO 4217) is that of costs."""
    return pb.Simulation(
        makespan=duration_message(simulation.makespan_seconds),
        slow_makespan=duration_message(simulation.slow_seconds),
        turns=[
            pb.SimulatedTurn(
                turn=turn.turn,
                start_offset=duration_message(turn.start_seconds),
                end_offset=duration_message(turn.end_seconds),
                usage=usage_message(turn.usage, currency),
            )
            for turn in simulation.turns
        ],
        calls=[_simulated_message(call) for call in simulation.calls],
        critical_path=_path_messages(simulation.path),
        usage=usage_message(simulation.usage, currency),
        tool_cost_micros=simulation.tool_cost_micros,
        verdicts=[_verdict_message(verdict) for verdict in simulation.verdicts],
        binds_first=simulation.binds_first,
        unknown_tools=simulation.unknown_tools,
    )


def _maybe(seconds: float | None) -> duration_pb2.Duration | None:
    return None if seconds is None else duration_message(seconds)


def _path_messages(path: Iterable[PathSegment]) -> list[pb.PathSegment]:
    return [
        pb.PathSegment(
            kind=_KINDS[segment.kind],
            node_id=segment.node_id,
            start_offset=duration_message(segment.start_seconds),
            duration=duration_message(segment.seconds),
            because=segment.because,
        )
        for segment in path
    ]


def _turn_message(row: ex.TurnRow, currency: str) -> pb.ExplainedTurn:
    return pb.ExplainedTurn(
        node_id=row.node_id,
        turn=row.turn,
        model=row.model,
        depends_on=row.depends_on,
        start_offset=duration_message(row.start_seconds),
        end_offset=duration_message(row.end_seconds),
        ended=row.ended,
        time_to_first_call=_maybe(row.first_call_seconds),
        usage=usage_message(row.usage, currency),
        attempts=attempt_messages(row.attempts),
        critical=row.critical,
    )


def _call_message(row: ex.CallRow) -> pb.ExplainedCall:
    message = pb.ExplainedCall(
        call_id=row.call_id,
        tool=row.tool,
        turn=row.turn,
        item_of=row.item_of,
        depends_on=row.depends_on,
        seal_offset=duration_message(row.seal_seconds),
        start_offset=_maybe(row.start_seconds),
        end_offset=duration_message(row.end_seconds),
        state=CALL_STATES[row.state],
        attempts=row.attempts,
        cost_micros=row.cost_micros,
        critical=row.critical,
        gathers=row.gathers,
    )
    if row.source is not None:
        message.source = SOURCES[row.source]
    set_waits(message.waits, row.waits)
    return message


def _time_message(totals: ex.TimeTotals) -> pb.TimeTotals:
    return pb.TimeTotals(
        wall=duration_message(totals.wall_seconds),
        tools=duration_message(totals.tool_seconds),
        models=duration_message(totals.model_seconds),
        parallelism=totals.parallelism,
        overlapped=duration_message(totals.overlapped_seconds),
        saved_by_cache=duration_message(totals.cache_saved_seconds),
        saved_by_prediction=duration_message(totals.prediction_saved_seconds),
    )


def _tool_message(total: ex.ToolTotal) -> pb.ToolTotal:
    return pb.ToolTotal(
        tool=total.tool,
        calls=total.calls,
        failed=total.failed,
        skipped=total.skipped,
        attempts=total.attempts,
        work=duration_message(total.work_seconds),
        cost_micros=total.cost_micros,
    )


def _prediction_message(row: ex.PredictionRow) -> pb.ExplainedPrediction:
    return pb.ExplainedPrediction(
        prediction_id=row.prediction_id,
        tool=row.tool,
        confidence=row.confidence,
        basis=row.basis,
        start_offset=duration_message(row.start_seconds),
        settled=row.settled,
        call_id=row.call_id,
        because=row.because,
        spent=duration_message(row.spent_seconds),
        saved=duration_message(row.saved_seconds),
        cost_micros=row.cost_micros,
    )


def _ledger_message(totals: ex.PredictionTotals) -> pb.PredictionTotals:
    return pb.PredictionTotals(
        hits=totals.hits,
        misses=totals.misses,
        saved=duration_message(totals.saved_seconds),
        wasted=duration_message(totals.wasted_seconds),
        wasted_micros=totals.wasted_micros,
    )


def _simulated_message(call: sim.SimulatedCall) -> pb.SimulatedCall:
    return pb.SimulatedCall(
        call_id=call.call_id,
        tool=call.tool,
        turn=call.turn,
        seal_offset=duration_message(call.seal_seconds),
        ready_offset=duration_message(call.ready_seconds),
        start_offset=duration_message(call.start_seconds),
        end_offset=duration_message(call.end_seconds),
        queue=duration_message(call.queue_seconds),
        estimated=call.estimated,
        cost_micros=call.cost_micros,
        critical=call.critical,
    )


def _verdict_message(verdict: sim.Verdict) -> pb.Verdict:
    return pb.Verdict(
        dimension=verdict.dimension,
        limit=verdict.limit,
        predicted=verdict.predicted,
        slow=verdict.slow,
        kept=verdict.kept,
        kept_when_slow=verdict.kept_when_slow,
        exceeded_offset=_maybe(verdict.exceeded_seconds),
    )
