"""Some 5,500 random runs of the whole orchestration core in virtual time, held against the rules.

Everything is the real thing but for the model and the tools. A failure names its world: `plan(seed, profile)`
plays it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import stamina.instrumentation

from podium.orchestration.chat import ChatRequest, ToolCallSealed, TurnFinished, TurnFinishReason
from podium.orchestration.core import RunPolicy
from podium.orchestration.events import Exhaustion, PredictionSettled, RunLimits, RunSpec, RunState, Speculation
from podium.orchestration.governor import GovernorLimits
from podium.orchestration.orchestrator import Submitter
from podium.orchestration.prediction import Prediction
from podium.orchestration.view import CallState
from support.fakes import (
    FakeTools,
    FunctionModel,
    call,
    loop_time,
    make_orchestrator,
    make_services,
    scripted,
    sleeping,
    text,
)
from support.random_plans import Profile, World, plan
from support.random_runs import Played, outcomes, play
from support.run_fates import check_makespan
from support.run_oracle import check
from support.virtual_time import run_virtual

ME = Submitter(owner="me", tenant="acme")


@pytest.fixture(autouse=True)
def _no_word_of_retries() -> Iterator[None]:
    """Keep the retry library from logging, as the application does."""
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)


def _played(seed: int, profile: Profile, *, predict: bool = False) -> tuple[World, Played]:
    world = plan(seed, profile)
    try:
        played = play(world, predict=predict)
        check(world, played)
    except BaseException as error:
        error.add_note(f"plan({seed}, {profile!r}), predict={predict}")
        raise
    return world, played


@pytest.mark.parametrize("chunk", range(8))
def test_runs_that_are_cut_short_keep_every_rule(chunk: int) -> None:
    """Order, limits, logs and books hold with failures, deadlines, cancellations and budgets; some predict."""
    runs = 0
    for seed in range(chunk * 110, (chunk + 1) * 110):
        world, played = _played(seed, "rough", predict=seed % 3 == 0)
        runs += len(played.ids)
        assert len(played.ids) >= len([run for run in world.runs if run.cancel_after is None])
    assert runs > 220


@pytest.mark.parametrize("chunk", range(8))
def test_every_call_comes_to_what_the_plan_says_predicted_or_not(chunk: int) -> None:
    """Results, failures and answers follow from the plan alone, and are the same with predictions."""
    runs, hits = 0, 0
    for seed in range(chunk * 50, (chunk + 1) * 50):
        _, without = _played(seed, "exact")
        _, predicted = _played(seed, "exact", predict=True)
        assert outcomes(predicted) == outcomes(without), f"plan({seed}, 'exact')"
        assert predicted.services is not None
        hits += predicted.services.ledger.totals.hits
        runs += len(without.ids) + len(predicted.ids)
    assert runs > 200
    assert hits > 20


@pytest.mark.parametrize("chunk", range(4))
def test_makespan_is_the_critical_path_or_within_the_bound_of_the_limits(chunk: int) -> None:
    """One planning turn without failures: nothing is slower than a list schedule may be."""
    for seed in range(chunk * 300, (chunk + 1) * 300):
        world, played = _played(seed, "clean")
        check_makespan(world, played)


@pytest.mark.parametrize("seed", range(4))
def test_saturating_tenants_of_equal_weight_get_equal_shares(seed: int) -> None:
    """Two tenants that always have more calls waiting get the same slot time, however long their calls are."""
    draw = random.Random(seed)
    longest = {"a": 2.0, "b": draw.choice([1.0, 2.0, 4.0])}
    worked: Counter[str] = Counter()

    async def work(arguments: dict[str, Any]) -> Any:
        began = loop_time()
        try:
            await asyncio.sleep(arguments["s"])
        finally:
            worked[arguments["tenant"]] += loop_time() - began  # type: ignore[assignment]

    async def greedy(request: ChatRequest) -> Any:
        tenant = request.tenant
        for _ in range(60):
            seconds = round(draw.uniform(0.1, longest[tenant]), 3)
            yield ToolCallSealed("work", f'{{"tenant": "{tenant}", "s": {seconds}}}'.encode())
        yield TurnFinished(TurnFinishReason.TOOL_CALLS)

    async def main() -> None:
        limits = GovernorLimits(per_process=6, per_run=1000, per_type=1000, adaptive=False)
        policy = RunPolicy(speculation=Speculation.OFF)
        async with make_orchestrator(
            FunctionModel(greedy), FakeTools(work=work), limits, policy=policy, run_seconds=1e4
        ) as orchestrator:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                    for tenant, runs in (("a", 5), ("b", draw.randint(2, 5))):
                        for _ in range(runs):
                            by = Submitter(owner=tenant, tenant=tenant)
                            group.create_task(orchestrator.execute(RunSpec(input="go"), by))

    run_virtual(main())
    assert sum(worked.values()) == pytest.approx(6 * 60, rel=0.01)
    assert abs(worked["a"] - worked["b"]) <= 0.1 * worked["a"]


def test_a_prediction_is_used_though_the_turn_ends_with_the_call() -> None:
    """A call that is sealed in the very moment in which its turn ends still gets what was predicted."""
    hits = 0
    for seed in range(60):
        world, played = _played(seed, "clean", predict=True)
        turn = world.runs[0].turns[0]
        assert played.services is not None
        if turn.calls[-1].at == turn.seconds > 0:
            last = f"c0_{len(turn.calls) - 1}"
            kinds = [event.kind for event in played.logs[played.ids[0]]]
            hits += any(isinstance(kind, PredictionSettled) and kind.call_id == last for kind in kinds)
    assert hits > 0


def test_a_call_cut_short_lets_nothing_start_any_more() -> None:
    """One item has ended when the time is up, so the call for each item has a result; what uses it is not begun."""
    ran = []

    async def each(arguments: dict[str, Any]) -> Any:
        await asyncio.sleep(1000.0 * arguments["x"])

    async def after(_: dict[str, Any]) -> Any:
        ran.append(loop_time())

    async def main() -> None:
        tools = FakeTools(listed=sleeping(0.0, [0, 1]), each=each, after=after)
        calls = [
            call("listed"),
            call("each", x={"$each": {"from": "c0"}}),
            call("after", x={"$from": "c1"}),
        ]
        async with make_orchestrator(scripted({"events": calls}, {"events": [text("done")]}), tools) as orchestrator:
            view = await orchestrator.execute(RunSpec(input="go"), ME, seconds=10.0)
            states = {call_id: each.state for call_id, each in view.calls.items()}
            assert states == {
                "c0_0": CallState.SUCCEEDED,
                "c0_1": CallState.SUCCEEDED,
                "c0_2": CallState.SKIPPED,
                "c0_1_0": CallState.SUCCEEDED,
                "c0_1_1": CallState.FAILED,
            }
            assert (view.state, view.partial, ran) == (RunState.SUCCEEDED, True, [])

    run_virtual(main())


def test_nothing_is_predicted_for_a_run_that_stops() -> None:
    """The last call of a turn is cut because a budget is used up: nobody asks what comes next."""
    asked = []

    class Curious:
        def predict(self, tenant: str, request: str, calls: Any, *, tools: Any) -> list[Prediction]:
            asked.append(loop_time())
            return [Prediction("work", {"x": len(asked)}, 0.9, "why not")]

        def learn(self, tenant: str, request: str, calls: Any) -> None:
            """Learn nothing."""

    async def main() -> None:
        tools = FakeTools(specs={"dear": {"cost_micros": 30}}, work=sleeping(5.0), dear=sleeping(1.0))
        calls = [call("dear", x=1), call("dear", x=2), call("work", x=3)]
        model = scripted({"events": calls}, {"events": [text("done")]})
        services = make_services(tools, predictor=Curious())
        limits = RunLimits(max_cost_micros=50, on_exhausted=Exhaustion.STOP)
        async with make_orchestrator(model, tools, services=services) as orchestrator:
            view = await orchestrator.execute(RunSpec(input="go", limits=limits), ME)
            assert view.failure is not None
            assert (view.state, view.failure.reason) == (RunState.FAILED, "BUDGET_EXHAUSTED")
            assert all(prediction.settled for prediction in view.predictions.values())
            assert asked == [0.0]

    run_virtual(main())


def test_a_run_without_time_does_not_fail_others_that_wait_for_its_call() -> None:
    """The run that makes a shared call finds that its own time is too short; the one that joined makes it then."""

    async def main() -> None:
        tools = FakeTools(specs={"work": {"cache_ttl_seconds": 60.0}}, work=sleeping(3.0, 7), block=sleeping(0.5))
        services = make_services(tools, GovernorLimits(per_type=1))
        for _ in range(5):
            services.tool_times.note("work", 3.0)

        async def told(request: ChatRequest) -> Any:
            name = request.messages[0].text  # type: ignore[union-attr]
            if request.turn == 0:
                yield ToolCallSealed(name, b"{}")
            yield TurnFinished(TurnFinishReason.STOP)

        async with make_orchestrator(FunctionModel(told), tools, services=services) as orchestrator:
            runs = []
            for name, seconds in (("block", None), ("work", 2.0), ("work", None)):
                runs.append(asyncio.create_task(orchestrator.execute(RunSpec(input=name), ME, seconds=seconds)))
                await asyncio.sleep(0.1)
            _, hasty, patient = await asyncio.gather(*runs)
            assert [each.state for each in hasty.calls.values()] == [CallState.SKIPPED]
            assert [each.state for each in patient.calls.values()] == [CallState.SUCCEEDED]
            assert loop_time() == pytest.approx(3.5)

    run_virtual(main())
