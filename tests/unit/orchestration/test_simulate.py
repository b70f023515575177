"""What a run would take, worked out from plans and from logs made by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.errors import InvalidRequest
from podium.orchestration.chat import TurnFinishReason, Usage
from podium.orchestration.events import (
    CallFailed,
    CallFinished,
    CallOutcome,
    CallRetried,
    CallSealed,
    CallSkipped,
    CallStarted,
    CallSucceeded,
    EventKind,
    LoggedEvent,
    PredictionSettled,
    ResultSource,
    RunEnded,
    RunLimits,
    RunSpec,
    RunStarted,
    RunState,
    TurnEnded,
    TurnStarted,
    Waits,
)
from podium.orchestration.events import CallPredicted as Predicted
from podium.orchestration.plan import Plan, PlannedCall, PlannedTurn, plan_from_log
from podium.orchestration.run_history import SegmentKind
from podium.orchestration.simulate import Simulation, SlotLimits, simulate
from podium.orchestration.tool import SideEffects, ToolFailureCode, ToolSpec

_OK = CallSucceeded(b"{}", "application/json")
_USAGE = Usage(100, 20, 0, 7)

# Overlap: first token at 100 ms, call k sealed at 150 + 50k ms, tool 0 slow, all others quick.
E2_SEALED = [150.0 + 50 * k for k in range(8)]
E2_TAKES = [600.0, *[20.0] * 7]
E2_MS = 950.0

# A plan with references; one line each 20 ms from 120 ms on: name, what it uses, what it takes.
E3_LINES = [
    ("A", "", 100.0),
    ("B1", "A", 50.0),
    ("B2", "A", 80.0),
    ("B3", "A", 120.0),
    ("B4", "A", 200.0),
    ("C", "B1 B2 B3 B4", 40.0),
    ("D", "C", 60.0),
    ("E", "", 300.0),
]
E3_MS = 760.0


def log_of(*happened: tuple[float, EventKind], spec: RunSpec | None = None) -> list[LoggedEvent]:
    """A log of what happened at which millisecond."""
    started: tuple[float, EventKind] = (0.0, RunStarted(spec or RunSpec(input=""), "m", "exec_1"))
    ordered = sorted([started, *happened], key=lambda event: event[0])
    return [LoggedEvent("run_1", seq, 10**18 + round(ms * 1e6), kind) for seq, (ms, kind) in enumerate(ordered, 1)]


def turn(index: int, start: float, end: float, usage: Usage = _USAGE) -> list[tuple[float, EventKind]]:
    return [(start, TurnStarted(index, "m")), (end, TurnEnded(index, "", usage, TurnFinishReason.STOP))]


def sealed(ms: float, call_id: str, tool: str, *parents: str, item_of: str = "") -> tuple[float, EventKind]:
    return ms, CallSealed(call_id, tool, b"{}", "1", parents, item_of)


def worked(call_id: str, start: float, end: float, outcome: CallOutcome = _OK) -> list[tuple[float, EventKind]]:
    return [(start, CallStarted(call_id, 1)), (end, CallFinished(call_id, outcome))]


def ended(ms: float) -> tuple[float, EventKind]:
    return ms, RunEnded(RunState.SUCCEEDED, "done", False, Usage())


def overlap_log() -> list[LoggedEvent]:
    happened = [*turn(0, 0, 500), *turn(1, 750, 950), ended(950)]
    for k, (at, takes) in enumerate(zip(E2_SEALED, E2_TAKES, strict=True)):
        happened += [sealed(at, f"c0_{k}", f"tool{k}"), *worked(f"c0_{k}", at, at + takes)]
    return log_of(*happened)


def references_log(*, plan_only: bool) -> list[LoggedEvent]:
    happened = turn(0, 0, 280)
    ends: dict[str, float] = {}
    for line, (name, uses, takes) in enumerate(E3_LINES):
        at = 120.0 + 20 * line
        happened.append(sealed(at, name, f"tool_{name}", *uses.split()))
        start = max([at, *(ends[parent] for parent in uses.split())])
        ends[name] = start + takes
        if plan_only:
            happened.append((280.0, CallFinished(name, CallSkipped("plan only"))))
        else:
            happened += worked(name, start, ends[name])
    if plan_only:
        return log_of(*happened, ended(280), spec=RunSpec(input="", plan_only=True))
    return log_of(*happened, *turn(1, 560, 760), ended(760))


def usual_of(milliseconds: dict[str, float]) -> dict[str, float]:
    return {tool: takes / 1e3 for tool, takes in milliseconds.items()}


def calls_of(*calls: tuple[str, float, str], sealed_ms: float = 100.0, **fields: object) -> tuple[PlannedCall, ...]:
    """Calls as (name, milliseconds, parents), sealed one millisecond after the other."""
    return tuple(
        PlannedCall(
            call_id=name,
            tool=name,
            seal_seconds=(sealed_ms + index) / 1e3,
            depends_on=tuple(parents.split()),
            seconds=takes / 1e3,
            **fields,  # type: ignore[arg-type]
        )
        for index, (name, takes, parents) in enumerate(calls)
    )


def plan_of(calls: tuple[PlannedCall, ...], *, wrote_ms: float = 200.0, answer_ms: float = 100.0) -> Plan:
    first = PlannedTurn(seconds=wrote_ms / 1e3, calls=calls, usage=_USAGE)
    return Plan((first, PlannedTurn(seconds=answer_ms / 1e3, usage=_USAGE)))


def check_path(simulation: Simulation) -> None:
    at = 0.0
    for segment in simulation.path:
        assert segment.start_seconds == pytest.approx(at, abs=1e-9)
        at += segment.seconds
    assert at == pytest.approx(simulation.makespan_seconds, abs=1e-9)


def ms(seconds: float) -> float:
    return round(seconds * 1e3, 6)


def test_the_overlap_workload_is_predicted_from_its_log() -> None:
    simulation = simulate(plan_from_log(overlap_log()))
    assert ms(simulation.makespan_seconds) == pytest.approx(E2_MS, rel=0.001)
    assert [(segment.kind, segment.node_id, ms(segment.seconds)) for segment in simulation.path] == [
        (SegmentKind.MODEL, "t0", 150),
        (SegmentKind.WORK, "c0_0", 600),
        (SegmentKind.MODEL, "t1", 200),
    ]
    assert not any(call.estimated for call in simulation.calls)


def test_the_overlap_workload_is_predicted_before_it_runs() -> None:
    """From a plan alone, with what the tools usually take, or what they might."""
    events = [event for event in overlap_log() if not isinstance(event.kind, CallStarted | CallFinished)]
    events = [event for event in events if event.time_ns <= events[0].time_ns + 500 * 10**6]
    spec = RunSpec(input="", plan_only=True)
    events[0] = replace(events[0], kind=RunStarted(spec, "m", "exec_1"))
    usual = usual_of({f"tool{k}": takes for k, takes in enumerate(E2_TAKES)})
    plan = plan_from_log(events, answer_seconds=0.2)
    assert ms(simulate(plan, usual=lambda tool, _: usual[tool]).makespan_seconds) == pytest.approx(E2_MS, rel=0.001)
    assert ms(simulate(plan, durations=usual).makespan_seconds) == pytest.approx(E2_MS, rel=0.001)
    quick = simulate(plan, durations={**usual, "tool0": 0.02})
    assert ms(quick.makespan_seconds) == 500 + 20 + 200  # the last call is sealed when the turn ends


@pytest.mark.parametrize("plan_only", [True, False])
def test_the_workload_with_references_is_predicted(plan_only: bool) -> None:
    usual = usual_of({f"tool_{name}": takes for name, _, takes in E3_LINES})
    plan = plan_from_log(references_log(plan_only=plan_only), answer_seconds=0.2)
    simulation = simulate(plan, usual=lambda tool, _: usual[tool])
    assert ms(simulation.makespan_seconds) == pytest.approx(E3_MS, rel=0.001)
    assert {call.call_id: (ms(call.start_seconds), ms(call.end_seconds)) for call in simulation.calls} == {
        "A": (120, 220),
        "B1": (220, 270),
        "B2": (220, 300),
        "B3": (220, 340),
        "B4": (220, 420),
        "C": (420, 460),
        "D": (460, 520),
        "E": (260, 560),
    }
    assert [call.call_id for call in simulation.calls if call.critical] == ["E"]
    longer = simulate(plan, usual=lambda tool, _: usual[tool], durations={"tool_D": 0.2})
    assert ms(longer.makespan_seconds) == 460 + 200 + 200
    assert [call.call_id for call in longer.calls if call.critical] == ["A", "B4", "C", "D"]
    assert all(call.estimated is plan_only for call in simulation.calls)


def test_slots_are_given_in_order_past_types_that_have_none() -> None:
    calls = calls_of(("a", 100, ""), ("b", 100, ""), ("c", 100, ""))
    plan = plan_of((*calls, *calls_of(("other", 10, ""), sealed_ms=103, type="other")))
    simulation = simulate(plan, limits=SlotLimits(per_type=1))
    starts = {call.call_id: ms(call.start_seconds) for call in simulation.calls}
    assert starts == {"a": 100, "b": 200, "c": 300, "other": 103}
    assert [ms(call.queue_seconds) for call in simulation.calls] == [0, 99, 198, 0]
    check_path(simulation)
    assert (SegmentKind.QUEUE, "c", 198) in [
        (segment.kind, segment.node_id, ms(segment.seconds)) for segment in simulation.path
    ]
    of_run = simulate(plan, limits=SlotLimits(per_run=2))
    assert [ms(call.start_seconds) for call in of_run.calls] == [100, 101, 200, 201]
    one_tool = plan_of(tuple(replace(call, tool="same") for call in calls))
    of_tool = simulate(one_tool, limits=SlotLimits(tools={"same": 1, "other": 1}))
    assert [ms(call.start_seconds) for call in of_tool.calls] == [100, 200, 300]
    assert ms(simulate(plan, limits=SlotLimits(tools={"same": 1})).makespan_seconds) == 302


def test_effects_wait_for_the_end_of_their_turn() -> None:
    plan = plan_of((*calls_of(("a", 20, "")), *calls_of(("pay", 20, ""), effectful=True)))
    simulation = simulate(plan)
    assert [ms(call.start_seconds) for call in simulation.calls] == [100, 200]
    assert ms(simulation.makespan_seconds) == 320
    check_path(simulation)


def test_deadline_and_budget_are_judged() -> None:
    calls = calls_of(("a", 500, ""), ("b", 10, ""), cost_micros=40)
    plan = plan_of(calls)
    simulation = simulate(
        plan,
        deadline_seconds=0.65,
        budget=RunLimits(max_calls=1, max_tokens=30, max_cost_micros=1000, max_turns=2, max_seconds=0.71),
    )
    verdicts = {verdict.dimension: verdict for verdict in simulation.verdicts}
    assert {name: verdict.kept for name, verdict in verdicts.items()} == {
        "deadline": False,
        "seconds": True,
        "calls": False,
        "turns": True,
        "tokens": False,
        "cost_micros": True,
    }
    assert verdicts["deadline"].exceeded_seconds == 0.65
    assert verdicts["calls"].exceeded_seconds == pytest.approx(0.101)
    assert [verdicts["tokens"].predicted, verdicts["tokens"].exceeded_seconds] == pytest.approx([40, 0.7])
    assert verdicts["cost_micros"].predicted == 94
    assert simulation.binds_first == "calls"
    assert (simulation.usage.cost_micros, simulation.tool_cost_micros) == (94, 80)
    assert simulate(plan, deadline_seconds=0.65).binds_first == "deadline"
    assert simulate(plan, deadline_seconds=0.71).binds_first == ""
    spent = simulate(plan, budget=RunLimits(max_cost_micros=60))
    assert spent.binds_first == "cost_micros"
    assert spent.verdicts[0].exceeded_seconds == pytest.approx(0.101)


def test_slow_tools_are_considered_too() -> None:
    calls = tuple(replace(call, seconds=None) for call in calls_of(("a", 0, ""), ("b", 0, "")))
    simulation = simulate(
        plan_of(calls), usual=lambda tool, share: None if tool == "b" else share, deadline_seconds=0.75
    )
    assert (ms(simulation.makespan_seconds), ms(simulation.slow_seconds)) == (700, 1100)
    assert (simulation.verdicts[0].kept, simulation.verdicts[0].kept_when_slow) == (True, False)
    assert simulation.unknown_tools == ("b",)


def test_calls_that_wait_for_each_other_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="a, b"):
        simulate(plan_of(calls_of(("a", 1, "b"), ("b", 1, "a"), ("c", 1, "unknown"))))


def test_an_empty_plan_takes_no_time() -> None:
    assert simulate(Plan(())).makespan_seconds == 0
    assert plan_from_log([]) == Plan(())


def test_recorded_outcomes_are_played_again() -> None:
    """Retried, cached, joined, predicted, failed, dependent on a failure, cut off, with items."""
    failed = CallFailed(ToolFailureCode.RAISED, "broke")
    events = log_of(
        *turn(0, 0, 200),
        *[sealed(100, f"c0_{index}", f"tool{index}") for index in range(6)],
        (100, CallStarted("c0_0", 1)),
        (120, CallRetried("c0_0", 1, ToolFailureCode.UNAVAILABLE, "", 0.05)),
        (170, CallStarted("c0_0", 2)),
        (190, CallFinished("c0_0", _OK, Waits(queue=0.0, work=0.04, retry=0.05))),
        (100, CallFinished("c0_1", replace(_OK, source=ResultSource.CACHE))),
        (160, CallFinished("c0_2", replace(_OK, source=ResultSource.JOINED), Waits(cache=0.06))),
        (50, Predicted("p1", "tool3", b"{}", "1", 0.9, "")),
        (100, PredictionSettled("p1", "c0_3", "", 0.05, 0.05)),
        (130, CallFinished("c0_3", replace(_OK, source=ResultSource.PREDICTED), Waits(work=0.03))),
        *worked("c0_4", 100, 140, failed),
        *worked("c0_5", 100, 300, CallFailed(ToolFailureCode.CANCELLED, "late")),
        sealed(110, "c0_6", "tool6", "c0_4"),
        (140, CallFinished("c0_6", CallFailed(ToolFailureCode.RAISED, "c0_4 broke"), Waits(parents=0.03))),
        sealed(110, "c0_7", "tool7", "c0_0"),
        sealed(190, "c0_7_0", "tool7", item_of="c0_7"),
        sealed(190, "c0_7_1", "tool7", item_of="c0_7"),
        *worked("c0_7_0", 190, 200),
        *worked("c0_7_1", 190, 230),
        (230, CallFinished("c0_7", _OK, Waits(parents=0.08, work=0.04))),
        (120, CallSealed("c0_8", "tool8", b"{}", "1")),
        (120, CallFinished("c0_8", CallSkipped("the run was wound down"))),
        sealed(120, "c0_9", "tool9", "c0_4"),
        (140, CallFinished("c0_9", CallSkipped("c0_4 broke"))),
        *turn(1, 305, 400),
        ended(400),
    )
    tools = {
        f"tool{index}": ToolSpec(name=f"tool{index}", description="", input_schema={}, cost_micros=1)
        for index in range(9)
    }
    tools = {name: replace(spec, side_effects=SideEffects.NONE) for name, spec in tools.items()}
    plan = plan_from_log(events, tools=tools.get)
    simulation = simulate(plan, usual=lambda _tool, _share: 0.25)
    ends = {call.call_id: ms(call.end_seconds) for call in simulation.calls}
    assert ends == {
        "c0_0": 190,
        "c0_1": 100,
        "c0_2": 160,
        "c0_3": 130,
        "c0_4": 140,
        "c0_5": 350,  # longer than until it was cut off
        "c0_6": 140,
        "c0_7": 230,
        "c0_7_0": 200,
        "c0_7_1": 230,
        "c0_8": 370,
        "c0_9": 140,
    }
    assert [call.call_id for call in simulation.calls if call.estimated] == ["c0_5", "c0_8"]
    assert ms(simulation.makespan_seconds) == 370 + 5 + 95
    usually_quick = simulate(plan, usual=lambda _tool, _share: 0.15)
    assert [ms(call.end_seconds) for call in usually_quick.calls if call.call_id == "c0_5"] == [300]  # it was not done
    # One for each attempt; none for the cached, the joined, the never started and the gathering one.
    assert simulation.tool_cost_micros == 8
    counted = simulate(plan, budget=RunLimits(max_calls=1)).verdicts[0]
    assert counted.predicted == 11
    slower = simulate(plan, durations={"tool3": 1.0, "tool1": 5.0, "tool5": 0.0, "tool8": 0.0})
    assert ms(slower.makespan_seconds) == 50 + 1000 + 5 + 95  # it had a head start; the cache needs no tool
    check_path(slower)


def test_calls_that_waited_for_their_turn_do_so_again() -> None:
    finished = (220, CallFinished("c0_0", _OK, Waits(turn=0.15, work=0.02)))
    events = log_of(*turn(0, 0, 200), sealed(50, "c0_0", "pay"), (200, CallStarted("c0_0", 1)), finished, ended(220))
    assert ms(simulate(plan_from_log(events, answer_seconds=0)).makespan_seconds) == 220


def test_the_pauses_of_a_recorded_run_are_kept() -> None:
    pay = sealed(10, "c0_0", "pay"), (60, CallStarted("c0_0", 1))
    finished = (80, CallFinished("c0_0", _OK, Waits(question=0.05, work=0.02)))
    events = log_of(*turn(0, 0, 20), *pay, finished, *turn(1, 180, 200), ended(200))
    simulation = simulate(plan_from_log(events))
    assert ms(simulation.makespan_seconds) == 200
    assert [(segment.kind, ms(segment.seconds)) for segment in simulation.path] == [
        (SegmentKind.MODEL, 10),
        (SegmentKind.QUESTION, 50),
        (SegmentKind.WORK, 20),
        (SegmentKind.OTHER, 100),
        (SegmentKind.MODEL, 20),
    ]
    assert simulation.calls[0].queue_seconds == 0


def test_the_answer_to_come_is_taken_to_cost_what_the_last_turn_did() -> None:
    events = log_of(*turn(0, 0, 100), sealed(50, "c0_0", "a"), *worked("c0_0", 50, 150))
    assert plan_from_log(events).turns[1] == PlannedTurn(seconds=0.1, usage=_USAGE)
    assert plan_from_log(events, answer_seconds=0.3).turns[1].seconds == 0.3
    answered = log_of(*turn(0, 0, 100), ended(100))
    assert len(plan_from_log(answered).turns) == 1


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    turns = []
    for index in range(draw(st.integers(1, 3))):
        calls: list[PlannedCall] = []
        for position in range(draw(st.integers(0, 8))):
            parents = draw(st.sets(st.sampled_from([call.call_id for call in calls]))) if calls else set()
            calls.append(
                PlannedCall(
                    call_id=f"c{index}_{position}",
                    tool="a",
                    seal_seconds=draw(st.floats(0, 0.2)),
                    depends_on=tuple(sorted(parents)),
                    seconds=draw(st.floats(0, 0.5)),
                    pause_seconds=draw(st.sampled_from([0.0, 0.1])),
                    effectful=draw(st.booleans()),
                    type=draw(st.sampled_from(["x", "y"])),
                )
            )
        turns.append(PlannedTurn(seconds=draw(st.floats(0.2, 0.4)), calls=tuple(calls)))
    return Plan(tuple(turns))


@settings(max_examples=60, deadline=None)
@given(plan=plans(), per_run=st.integers(1, 4), per_type=st.integers(1, 3))
def test_any_schedule_keeps_the_rules(plan: Plan, per_run: int, per_type: int) -> None:
    simulation = simulate(plan, limits=SlotLimits(per_run=per_run, per_type=per_type))
    check_path(simulation)
    rows = {row.call_id: row for row in simulation.calls}
    planned = {call.call_id: call for turn in plan.turns for call in turn.calls}
    for call_id, row in rows.items():
        call, written = planned[call_id], simulation.turns[row.turn]
        assert row.start_seconds >= row.seal_seconds + call.pause_seconds - 1e-9
        assert all(row.start_seconds >= rows[parent].end_seconds for parent in call.depends_on)
        assert not call.effectful or row.start_seconds >= written.end_seconds
        assert row.end_seconds <= simulation.makespan_seconds
    for earlier, later in pairwise(simulation.turns):
        assert later.start_seconds >= max(
            [earlier.end_seconds, *(row.end_seconds for row in rows.values() if row.turn == earlier.turn)]
        )
    for moment in (row.start_seconds for row in rows.values()):
        busy = [row.call_id for row in rows.values() if row.start_seconds <= moment < row.end_seconds]
        assert len(busy) <= per_run
        assert all(sum(planned[name].type == kind for name in busy) <= per_type for kind in "xy")
    unlimited = simulate(plan, limits=SlotLimits(per_run=1000, per_type=1000))
    assert sum(row.queue_seconds for row in unlimited.calls) == pytest.approx(0, abs=1e-9)
