"""Real runs explained and played on paper, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest
import stamina.instrumentation

from podium.errors import NotFound
from podium.orchestration.core import RunPolicy
from podium.orchestration.events import Exhaustion, ResultSource, RunLimits, RunSpec, RunState, Speculation
from podium.orchestration.explanation import RunExplanation
from podium.orchestration.governor import GovernorLimits
from podium.orchestration.orchestrator import Orchestrator, Submitter
from podium.orchestration.run_history import SegmentKind
from podium.orchestration.tool import Fallback, SideEffects, ToolFailure, ToolFailureCode
from podium.orchestration.view import CallState
from support.fakes import FakeTools, call, make_orchestrator, scripted, sleeping, text
from support.runs import DAG_MS, OVERLAP_MS, dag_tools, dag_turns, overlap_tools, overlap_turns, ref
from support.virtual_time import run_virtual

ME = Submitter(owner="me", tenant="acme")
SPEC = RunSpec(input="go")
PLAN = RunSpec(input="go", plan_only=True)
WORKLOADS = {
    "overlap": (overlap_tools, overlap_turns, OVERLAP_MS, {"t0", "c0_0", "t1"}),
    "references": (dag_tools, dag_turns, DAG_MS, {"t0", "c0_7", "t1"}),
}


@pytest.fixture(autouse=True)
def _quiet_retries() -> Iterator[None]:
    """Retries log nothing, as in a server, and pause alike in every round."""
    random.seed(1)
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)


def check(explained: RunExplanation) -> None:
    """Every call's waits add up to its wall time, and the path's segments follow each other from start to end."""
    for row in explained.calls:
        assert row.waits.total == pytest.approx(row.end_seconds - row.seal_seconds, abs=0.001), row
        assert min(getattr(row.waits, name) for name in row.waits.__slots__) >= 0
    at = 0.0
    for segment in explained.path:
        assert segment.start_seconds == pytest.approx(at, abs=1e-6)
        at += segment.seconds
    assert at == pytest.approx(explained.time.wall_seconds, abs=1e-6)
    on_path = {segment.node_id for segment in explained.path}
    assert {row.call_id for row in explained.calls if row.critical} == on_path & {r.call_id for r in explained.calls}
    assert {row.node_id for row in explained.turns if row.critical} == on_path & {r.node_id for r in explained.turns}


@pytest.mark.parametrize("name", WORKLOADS)
def test_waits_add_up_and_the_critical_path_is_marked(name: str) -> None:
    tools, turns, wall, critical = WORKLOADS[name]

    async def main() -> None:
        async with make_orchestrator(scripted(*turns()), tools()) as orchestrator:
            view = await orchestrator.execute(SPEC, ME)
            explained = await orchestrator.explain(view.run_id, ME)
            with pytest.raises(NotFound):
                await orchestrator.explain(view.run_id, Submitter(owner="you"))
        assert view.state is RunState.SUCCEEDED
        assert explained.time.wall_seconds * 1e3 == pytest.approx(wall, abs=0.01)
        check(explained)
        assert {segment.node_id for segment in explained.path} == critical

    run_virtual(main())


def test_every_kind_of_wait_is_told() -> None:
    """Turn, parents, question, budget, cache, queue, retry and work, each in some call, and nothing between them."""
    broken = 0

    async def flaky(_: dict[str, Any]) -> Any:
        nonlocal broken
        broken += 1
        await asyncio.sleep(0.2)
        if broken == 1:
            raise ToolFailure(ToolFailureCode.UNAVAILABLE, "away", retryable=True)
        return 1

    async def fails(_: dict[str, Any]) -> Any:
        await asyncio.sleep(0.1)
        raise ToolFailure(ToolFailureCode.RAISED, "no luck")

    async def main() -> None:
        tools = FakeTools(
            types={"one": "single"},
            specs={
                "effect": {"side_effects": SideEffects.EFFECTFUL},
                "kept": {"cache_ttl_seconds": 60.0},
                "dear": {"cost_micros": 2_000},
                "fails": {"fallback": Fallback(tool="list")},
            },
            effect=sleeping(0.3),
            kept=sleeping(0.5),
            one=sleeping(0.4),
            flaky=flaky,
            fails=fails,
            dear=sleeping(0.1),
            list=sleeping(0.1, [1, 2, 3]),
            use=sleeping(0.2),
        )
        calls = [
            call("effect", 10),  # 0
            call("kept", 20),
            call("kept", 30),
            call("one", 40),
            call("one", 50),
            call("one", 60),  # 5
            call("flaky", 70),
            call("ask_user", 80, question="?", default="x"),
            call("use", 90, x=ref("c7")),
            call("dear", 100),
            call("dear", 110),  # 10
            call("list", 120),
            call("use", 130, x={"$each": {"from": "c11"}}),
            call("fails", 140),
            call("use", 150, x=ref("c13", "/0")),
            call("nothing", 160),  # 15
        ]
        limits = GovernorLimits(tools={"one": 1})
        spec = RunSpec(input="go", may_ask=True, limits=RunLimits(max_cost_micros=3_000, on_exhausted=Exhaustion.ASK))
        model = scripted({"events": calls, "end_ms": 400}, {"events": [text("ok", 100)]})
        async with make_orchestrator(model, tools, limits, policy=RunPolicy(question_seconds=2.0)) as orchestrator:
            task = asyncio.ensure_future(orchestrator.execute(spec, ME))
            await asyncio.sleep(1.0)
            for run_id, question in orchestrator.questions(ME):
                if question.asked.kind == "BUDGET":
                    await orchestrator.answer(run_id, question.asked.question_id, b'{"cost_micros": 9000}', ME)
            view = await task
            explained = await orchestrator.explain(view.run_id, ME)
        check(explained)
        rows = {row.call_id: row for row in explained.calls}
        assert rows["c0_0"].waits.turn == pytest.approx(0.39)
        assert rows["c0_2"].waits.cache == pytest.approx(0.49)
        assert rows["c0_5"].waits.queue == pytest.approx(0.78)
        assert rows["c0_6"].waits.retry > 0.09
        assert rows["c0_6"].waits.work == pytest.approx(0.4)
        assert rows["c0_7"].waits.question == pytest.approx(2.0, abs=0.01)
        assert rows["c0_8"].waits.parents == pytest.approx(1.99, abs=0.01)
        assert rows["c0_10"].waits.budget == pytest.approx(0.89, abs=0.01)
        assert rows["c0_12"].gathers
        assert [rows[f"c0_12_{item}"].item_of for item in range(3)] == ["c0_12"] * 3
        assert (rows["c0_13"].attempts, rows["c0_13"].state) == (2, CallState.SUCCEEDED)
        assert rows["c0_15"].state is CallState.FAILED
        assert explained.time.wall_seconds == pytest.approx(0.08 + 2.0 + 0.2 + 0.1, abs=0.01)
        kinds = {total.kind: total.seconds for total in explained.by_kind}
        assert kinds[SegmentKind.QUESTION] == pytest.approx(2.0, abs=0.01)
        assert explained.tool_cost_micros == view.usage.cost_micros == 4_000

    run_virtual(main())


@pytest.mark.parametrize("seed", range(8))
def test_waits_add_up_in_any_run(seed: int) -> None:
    """Random plans with references, failures, effects, few slots and too little time."""
    chance = random.Random(seed)

    async def work(arguments: dict[str, Any]) -> Any:
        await asyncio.sleep(arguments["ms"] / 1000)
        if arguments["ms"] % 7 == 0:
            raise ToolFailure(ToolFailureCode.UNAVAILABLE, "away", retryable=arguments["ms"] % 2 == 0)
        return [1, 2]

    async def main() -> None:
        tools = FakeTools(
            specs={"effect": {"side_effects": SideEffects.EFFECTFUL}, "kept": {"cache_ttl_seconds": 1.0}},
            work=work,
            effect=work,
            kept=work,
        )
        turns: list[dict[str, Any]] = []
        for _ in range(3):
            calls = []
            for index in range(chance.randrange(1, 12)):
                more: dict[str, Any] = {}
                if index and chance.random() < 0.5:
                    more["x"] = ref(f"c{chance.randrange(index)}", "/0")
                elif index and chance.random() < 0.2:
                    more["x"] = {"$each": {"from": f"c{chance.randrange(index)}"}}
                name = chance.choice(["work", "effect", "kept"])
                calls.append(call(name, 10 * index, ms=chance.randrange(1, 200), **more))
            turns.append({"events": calls, "end_ms": 10 * len(calls) + chance.randrange(100)})
        turns.append({"events": [text("ok", 50)]})
        limits = GovernorLimits(per_run=chance.randrange(1, 6))
        async with make_orchestrator(scripted(*turns), tools, limits) as orchestrator:
            view = await orchestrator.execute(SPEC, ME, seconds=chance.choice([0.5, 1.0, 60.0]))
            check(await orchestrator.explain(view.run_id, ME))

    run_virtual(main())


async def recorded(orchestrator: Orchestrator) -> str:
    """Run the workload often enough for its times to be known; return the last run's id."""
    for _ in range(6):
        view = await orchestrator.execute(RunSpec(input="go", speculation=Speculation.OFF), ME)
    return view.run_id


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_plan_is_played_with_recorded_times_and_without_a_call(name: str) -> None:
    """The makespan of a run that was only planned is predicted within 10 %, with verdicts on time and money."""
    make_tools, turns, wall, critical = WORKLOADS[name]

    async def main() -> None:
        tools = make_tools()
        async with make_orchestrator(scripted(*turns()), tools) as orchestrator:
            await recorded(orchestrator)
            tools.invocations.clear()
            planned = await orchestrator.execute(PLAN, ME)
            simulation = await orchestrator.simulate(planned.run_id, ME, deadline_seconds=wall / 1e3 + 0.05)
            tight = await orchestrator.simulate(planned.run_id, ME, deadline_seconds=wall / 1e3 - 0.05)
            explained = await orchestrator.explain(planned.run_id, ME)
        assert not tools.invocations
        print(f"{name}: predicted {simulation.makespan_seconds * 1e3:.0f} ms, measured {wall:.0f} ms")
        assert simulation.makespan_seconds * 1e3 == pytest.approx(wall, rel=0.10)
        assert not simulation.unknown_tools
        assert {segment.node_id for segment in simulation.path} == critical
        assert [(v.dimension, v.kept, v.kept_when_slow) for v in simulation.verdicts] == [("deadline", True, True)]
        assert [(v.dimension, v.kept) for v in tight.verdicts] == [("deadline", False)]
        assert tight.binds_first == "deadline"
        assert explained.estimate is not None
        assert explained.estimate.makespan_seconds * 1e3 == pytest.approx(wall, rel=0.10)

    run_virtual(main())


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_run_that_ran_is_played_again(name: str) -> None:
    """Its own times give its own makespan; what if a tool were quicker, or one call ran at a time."""
    make_tools, turns, wall, _ = WORKLOADS[name]

    async def main() -> None:
        tools = make_tools()
        async with make_orchestrator(scripted(*turns()), tools) as orchestrator:
            run_id = await recorded(orchestrator)
            tools.invocations.clear()
            again = await orchestrator.simulate(run_id, ME)
            quicker = await orchestrator.simulate(run_id, ME, durations={"slow": 0.02, "e": 0.02})
            alone = await orchestrator.simulate(run_id, ME, parallel=1)
        assert not tools.invocations
        assert again.makespan_seconds * 1e3 == pytest.approx(wall, rel=0.01)
        assert quicker.makespan_seconds < again.makespan_seconds + 1e-9
        assert alone.makespan_seconds > again.makespan_seconds + 0.1

    run_virtual(main())


def test_a_run_with_predicted_calls_is_played_again() -> None:
    """What had a head start has it in the play too, and the rows of the explanation add up."""

    async def main() -> None:
        async with make_orchestrator(scripted(*overlap_turns()), overlap_tools()) as orchestrator:
            await recorded(orchestrator)
            view = await orchestrator.execute(SPEC, ME)
            again = await orchestrator.simulate(view.run_id, ME)
            explained = await orchestrator.explain(view.run_id, ME)
        check(explained)
        assert ResultSource.PREDICTED in {row.source for row in explained.calls}
        assert explained.time.wall_seconds < OVERLAP_MS / 1e3 - 0.1
        assert again.makespan_seconds == pytest.approx(explained.time.wall_seconds, rel=0.01)
        assert explained.prediction_totals.saved_seconds > 0.1

    run_virtual(main())


def test_a_plan_that_costs_too_much_is_known_before_it_runs() -> None:
    """Verdicts on money and calls, by the tools' prices."""

    async def main() -> None:
        tools = FakeTools(specs={"look": {"cost_micros": 400}}, look=sleeping(0.1))
        model = scripted({"events": [call("look", 10 * n, n=n) for n in range(5)]}, {"events": [text("ok")]})
        async with make_orchestrator(model, tools) as orchestrator:
            await recorded(orchestrator)
            tools.invocations.clear()
            verdicts = {}
            for money in (1_000, 3_000):
                limits = RunLimits(max_cost_micros=money, max_calls=5)
                planned = await orchestrator.execute(RunSpec(input="go", plan_only=True, limits=limits), ME)
                simulation = await orchestrator.simulate(planned.run_id, ME)
                verdicts[money] = {v.dimension: (v.predicted, v.kept) for v in simulation.verdicts}
                assert simulation.tool_cost_micros == 2_000
                assert simulation.binds_first == ("cost_micros" if money == 1_000 else "")
        assert verdicts[1_000] == {"calls": (5, True), "cost_micros": (2_000, False)}
        assert verdicts[3_000] == {"calls": (5, True), "cost_micros": (2_000, True)}
        assert not tools.invocations

    run_virtual(main())
