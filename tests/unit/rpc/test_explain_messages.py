"""Explanations and simulations cross the wire whole."""

from __future__ import annotations

from datetime import timedelta

import podium_client as client
from podium.orchestration import explanation as ex
from podium.orchestration import simulate as sim
from podium.orchestration.events import ResultSource, RunState
from podium.orchestration.run_history import PathSegment, SegmentKind
from podium.orchestration.view import CallState
from podium.rpc.explain_messages import explanation_message, simulation_message
from podium.v1 import explanation_pb2
from unit.rpc.wire_samples import ATTEMPT, RUN_ID, USAGE, WAITS, WIND_DOWN, unset_fields

SEGMENT = PathSegment(SegmentKind.QUEUE, "c0_0", 0.25, 0.5, "c0_0 waited 0.5 s for a slot")
SIMULATION = sim.Simulation(
    makespan_seconds=2.5,
    slow_seconds=4.0,
    turns=(sim.SimulatedTurn(1, 0.5, 1.5, USAGE),),
    calls=(
        sim.SimulatedCall(
            call_id="c1_0",
            tool="calculate",
            turn=1,
            seal_seconds=0.5,
            ready_seconds=0.75,
            start_seconds=1.0,
            end_seconds=2.5,
            queue_seconds=0.25,
            estimated=True,
            cost_micros=10,
            critical=True,
        ),
    ),
    path=(SEGMENT,),
    usage=USAGE,
    tool_cost_micros=10,
    verdicts=(sim.Verdict("deadline", 2.0, 1.0, 1.5, None), sim.Verdict("calls", 1.0, 2.0, 3.0, 0.75)),
    binds_first="calls",
    unknown_tools=("current_time",),
)
EXPLANATION = ex.RunExplanation(
    run_id=RUN_ID,
    state=RunState.SUCCEEDED,
    turns=(ex.TurnRow("t1", 1, "small", ("c0_0",), 0.5, 1.5, True, 0.25, USAGE, (ATTEMPT,), True),),
    calls=(
        ex.CallRow(
            call_id="c1_0",
            tool="calculate",
            turn=1,
            item_of="c1_1",
            gathers=True,
            depends_on=("t1", "c0_0"),
            seal_seconds=0.5,
            start_seconds=0.75,
            end_seconds=2.5,
            state=CallState.SUCCEEDED,
            source=ResultSource.PREDICTED,
            attempts=2,
            waits=WAITS,
            cost_micros=10,
            critical=True,
        ),
    ),
    path=(SEGMENT,),
    time=ex.TimeTotals(
        wall_seconds=2.5,
        tool_seconds=3.0,
        model_seconds=1.0,
        parallelism=1.2,
        overlapped_seconds=0.5,
        cache_saved_seconds=0.125,
        prediction_saved_seconds=0.25,
    ),
    by_kind=(ex.KindTotal(SegmentKind.WORK, 1.5),),
    tools=(ex.ToolTotal("calculate", 3, 1, 1, 4, 2.0, 30),),
    predictions=(
        ex.PredictionRow("p0", "calculate", 0.75, "often", 0.25, True, "c1_0", "never set together", 0.5, 0.25, 10),
    ),
    prediction_totals=ex.PredictionTotals(1, 2, 0.25, 0.5, 20),
    usage=USAGE,
    model_cost_micros=1_500,
    tool_cost_micros=50,
    wind_down=WIND_DOWN,
    estimate=SIMULATION,
)


def received() -> client.RunExplanation:
    raw = explanation_pb2.RunExplanation.FromString(explanation_message(EXPLANATION, "EUR").SerializeToString())
    return client.RunExplanation.of(raw)


def test_an_explanation_says_everything() -> None:
    """A verdict that holds has no moment of excess, and one that does not is not kept."""
    assert set(unset_fields(explanation_message(EXPLANATION))) == {
        "estimate.verdicts.exceeded_offset",
        "estimate.verdicts.kept",
        "estimate.verdicts.kept_when_slow",
    }


def test_every_kind_of_segment_is_told() -> None:
    for kind in SegmentKind:
        path = (PathSegment(kind, "", 0.0, 1.0, "x"),)
        raw = simulation_message(sim.Simulation(1.0, 1.0, (), (), path, USAGE, 0, (), "", ()))
        assert client.Simulation.of(raw).critical_path[0].kind == kind.name


def test_a_clients_view_of_an_explanation() -> None:
    seen = received()
    assert (seen.run_id, seen.state, seen.usage.currency) == (RUN_ID, client.RunState.SUCCEEDED, "EUR")
    (turn,) = seen.turns
    assert (turn.node_id, turn.model, turn.depends_on, turn.critical) == ("t1", "small", ("c0_0",), True)
    assert (turn.start_offset, turn.end_offset, turn.time_to_first_call) == (
        timedelta(seconds=0.5),
        timedelta(seconds=1.5),
        timedelta(seconds=0.25),
    )
    (call,) = seen.calls
    assert (call.call_id, call.item_of, call.depends_on) == ("c1_0", "c1_1", ("t1", "c0_0"))
    assert (call.gathers, call.critical) == (True, True)
    assert (call.state, call.source, call.attempts) == (
        client.ToolCallState.SUCCEEDED,
        client.ResultSource.PREDICTED,
        2,
    )
    assert (call.seal_offset, call.start_offset, call.end_offset) == (
        timedelta(seconds=0.5),
        timedelta(seconds=0.75),
        timedelta(seconds=2.5),
    )
    assert call.waits.parents == timedelta(seconds=1.25)
    (segment,) = seen.critical_path
    assert (segment.kind, segment.node_id, segment.because) == ("QUEUE", "c0_0", "c0_0 waited 0.5 s for a slot")
    assert (segment.start_offset, segment.duration) == (timedelta(seconds=0.25), timedelta(seconds=0.5))
    assert seen.path_totals == ((client.PathSegmentKind.WORK, timedelta(seconds=1.5)),)
    assert (seen.time.wall, seen.time.parallelism) == (timedelta(seconds=2.5), 1.2)
    assert seen.time.saved_by_cache == timedelta(seconds=0.125)
    assert seen.tools[0].failed == seen.tools[0].skipped == 1
    assert (seen.predictions[0].call_id, seen.predictions[0].saved) == ("c1_0", timedelta(seconds=0.25))
    assert (seen.model_cost_micros, seen.tool_cost_micros) == (1_500, 50)
    assert seen.wind_down is not None
    assert seen.wind_down.cause is client.WindDownCause.DEADLINE


def test_a_clients_view_of_a_simulation() -> None:
    seen = received().estimate
    assert seen is not None
    assert (seen.makespan, seen.slow_makespan) == (timedelta(seconds=2.5), timedelta(seconds=4))
    assert (seen.turns[0].turn, seen.turns[0].end_offset) == (1, timedelta(seconds=1.5))
    (call,) = seen.calls
    assert (call.estimated, call.critical, call.queue) == (True, True, timedelta(seconds=0.25))
    assert (call.ready_offset, call.start_offset) == (timedelta(seconds=0.75), timedelta(seconds=1))
    kept, broken = seen.verdicts
    assert (kept.kept, kept.kept_when_slow, kept.exceeded_offset) == (True, True, None)
    assert (broken.kept, broken.kept_when_slow, broken.exceeded_offset) == (False, False, timedelta(seconds=0.75))
    assert (seen.binds_first, seen.unknown_tools, seen.tool_cost_micros) == ("calls", ("current_time",), 10)


def test_what_did_not_happen_is_absent() -> None:
    plain = ex.RunExplanation(
        RUN_ID,
        RunState.RUNNING,
        (ex.TurnRow("t0", 0, "small", (), 0.0, 1.0, False, None, USAGE, (), False),),
        (ex.CallRow("c0_0", "x", 0, "", False, ("t0",), 0.0, None, 1.0, CallState.SKIPPED, None, 0, WAITS, 0, False),),
        (),
        EXPLANATION.time,
        (),
        (),
        (),
        ex.PredictionTotals(),
        USAGE,
        0,
        0,
    )
    seen = client.RunExplanation.of(explanation_message(plain))
    assert (seen.wind_down, seen.estimate) == (None, None)
    assert seen.turns[0].time_to_first_call is None
    assert seen.calls[0].start_offset is None
    assert seen.calls[0].source is client.ResultSource.UNSPECIFIED
