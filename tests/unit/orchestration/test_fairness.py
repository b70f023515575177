"""Who goes next when slots are scarce, through whole runs in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from podium.orchestration.chat import ChatEvent, ChatRequest, TextDelta, ToolCallSealed, TurnFinished, TurnFinishReason
from podium.orchestration.core import RunPolicy
from podium.orchestration.events import CallSucceeded, RunSpec, RunState
from podium.orchestration.governor import GovernorLimits
from podium.orchestration.orchestrator import Submitter
from podium.orchestration.tool import ToolInvocation, ToolResult
from podium.orchestration.view import RunView
from support.fakes import FakeTools, FunctionModel, loop_time, make_orchestrator, make_services, sleeping
from support.virtual_time import run_virtual

A = Submitter(owner="a", tenant="A")
B = Submitter(owner="b", tenant="B")
BACKENDS = tuple(f"backend_{number}" for number in range(8))
POLICY = RunPolicy(max_calls=1000, max_repeats=10_000)


async def calls_named(request: ChatRequest) -> AsyncIterator[ChatEvent]:
    """A model that makes the calls that the request names, then answers."""
    if request.turn == 0:
        for name in request.messages[0].text.split():  # type: ignore[union-attr]
            yield ToolCallSealed(name, b"{}")
        yield TurnFinished(TurnFinishReason.TOOL_CALLS)
    else:
        yield TextDelta("ok")
        yield TurnFinished(TurnFinishReason.STOP)


def backends(seed: int) -> FakeTools:
    """Eight backends whose calls take 1 s on average, each with a type of its own."""
    chance = random.Random(seed)

    async def work(_: dict[str, Any]) -> int:
        await asyncio.sleep(chance.uniform(0.5, 1.5))
        return 1

    bodies: dict[str, Any] = dict.fromkeys(BACKENDS, work)
    return FakeTools(types={name: name for name in BACKENDS}, **bodies)


def queued(views: Sequence[RunView]) -> list[float]:
    """Return what each call waited for a slot."""
    assert all(view.state is RunState.SUCCEEDED and not view.partial for view in views)
    return [call.waits.queue for view in views for call in view.calls.values()]


def p95(waits: list[float]) -> float:
    return sorted(waits)[int(len(waits) * 0.95) - 1]


def waits_of_b(wide: str, seed: int, limits: GovernorLimits) -> list[float]:
    """Run B's twenty runs of five calls, beside a run of A if it has calls; return B's waits."""
    asked = [" ".join(BACKENDS[(5 * run + each) % 8] for each in range(5)) for run in range(20)]
    random.Random(seed).shuffle(asked)

    async def main() -> list[float]:
        tools = backends(seed)
        async with make_orchestrator(
            FunctionModel(calls_named), tools, limits, policy=POLICY, run_seconds=600.0
        ) as orchestrator:
            async with asyncio.TaskGroup() as group:
                wide_run = group.create_task(orchestrator.execute(RunSpec(input=wide or "none"), A)) if wide else None
                await asyncio.sleep(0.1)
                runs = [group.create_task(orchestrator.execute(RunSpec(input=each), B)) for each in asked]
            if wide_run is not None:
                queued([wide_run.result()])
            return queued([run.result() for run in runs])

    return run_virtual(main())


@pytest.mark.parametrize("seed", range(3))
def test_many_small_runs_hardly_notice_a_wide_one_of_another_tenant(seed: int) -> None:
    """A has one run of 500 calls, B twenty runs of five; 32 calls at once, eight of each backend."""
    limits = GovernorLimits(per_process=32, per_run=1000, per_type=8, adaptive=False)
    alone = waits_of_b("", seed, limits)
    beside = waits_of_b(" ".join([BACKENDS[0]] * 500), seed, limits)
    print(f"p95 wait alone {p95(alone):.2f} s, beside the wide run {p95(beside):.2f} s")
    assert p95(beside) <= 2 * p95(alone)


@pytest.mark.parametrize("seed", range(3))
def test_beside_a_wide_run_on_every_backend_half_is_left(seed: int) -> None:
    """Where A waits for everything, B is as well off as with half of every limit, and one call in progress."""
    whole = GovernorLimits(per_process=32, per_run=1000, per_type=8, adaptive=False)
    half = GovernorLimits(per_process=16, per_run=1000, per_type=4, adaptive=False)
    beside = waits_of_b(" ".join(BACKENDS * 62), seed, whole)
    fair = waits_of_b("", seed, half)
    print(f"p95 wait with half of everything {p95(fair):.2f} s, beside the wide run {p95(beside):.2f} s")
    assert p95(beside) <= p95(fair) + 1.6


def test_weights_share_what_is_scarce() -> None:
    """With weights of 1 and 3, B gets three quarters of the calls while both wait; A's come to their end too."""
    limits = GovernorLimits(per_process=8, per_run=1000, per_type=1000, weights={"A": 1.0, "B": 3.0}, adaptive=False)

    async def main() -> None:
        tools = FakeTools(work=sleeping(0.1))
        model = FunctionModel(calls_named)
        async with make_orchestrator(model, tools, limits, policy=POLICY) as orchestrator:
            asked = RunSpec(input=" ".join(["work"] * 200))
            async with asyncio.TaskGroup() as group:
                runs = [group.create_task(orchestrator.execute(asked, by)) for by in (A, B)]
                await asyncio.sleep(0.05)
                many = [group.create_task(orchestrator.execute(asked, by)) for by in (A, B)]
        first = Counter(invocation.tenant for invocation in tools.invocations[:400])
        print(first)
        assert first["B"] / 400 == pytest.approx(0.75, abs=0.05)
        assert len(tools.invocations) == 800, "nothing waits for ever"
        queued([run.result() for run in (*runs, *many)])

    run_virtual(main())


def test_a_steady_stream_of_others_keeps_nobody_waiting_for_ever() -> None:
    """One call of A beside a B that always has more waiting than there are slots."""
    limits = GovernorLimits(per_process=4, per_run=1000, per_type=1000, weights={"B": 3.0})

    async def main() -> None:
        tools = FakeTools(work=sleeping(0.5))
        async with (
            make_orchestrator(FunctionModel(calls_named), tools, limits, policy=POLICY) as orchestrator,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(40):
                group.create_task(orchestrator.execute(RunSpec(input="work " * 5), B))
            await asyncio.sleep(2.1)
            (wait,) = queued([await orchestrator.execute(RunSpec(input="work"), A)])
        assert wait <= 0.5 + 1e-9, "the next slot is A's"

    run_virtual(main())


def test_background_runs_give_way_and_come_to_their_end() -> None:
    """Calls that somebody waits for go first, whatever came before them."""
    limits = GovernorLimits(per_process=2, per_run=1000, per_type=1000)

    async def main() -> None:
        tools = FakeTools(work=sleeping(1.0))
        async with make_orchestrator(FunctionModel(calls_named), tools, limits, policy=POLICY) as orchestrator:
            async with asyncio.TaskGroup() as group:
                behind = group.create_task(
                    orchestrator.execute(RunSpec(input="work " * 20, background=True, detach=True), A)
                )
                await asyncio.sleep(0.1)
                waited = queued([await orchestrator.execute(RunSpec(input="work " * 4), A)])
            assert max(waited) < 2.0
            queued([behind.result()])

    run_virtual(main())


def test_calls_of_a_cancelled_run_leave_the_queue_at_once() -> None:
    """Within 10 ms of the cancel none of them waits; those of others move up, and no tool is started for them."""
    started: list[tuple[str, float]] = []

    class Noting(FakeTools):
        async def invoke(self, invocation: ToolInvocation) -> ToolResult:
            started.append((invocation.tenant, loop_time()))
            return await super().invoke(invocation)

    async def main() -> None:
        tools = Noting(work=sleeping(10.0))
        services = make_services(tools, GovernorLimits(per_process=4, per_run=1000, per_type=1000), policy=POLICY)
        async with make_orchestrator(FunctionModel(calls_named), tools, services=services) as orchestrator:
            task = asyncio.ensure_future(orchestrator.execute(RunSpec(input="work " * 300), A))
            await asyncio.sleep(1)
            other = asyncio.ensure_future(orchestrator.execute(RunSpec(input="work " * 4), B))
            await asyncio.sleep(1)
            assert services.governor.queued == 300
            began = loop_time()
            task.cancel()
            while services.governor.queued or services.governor.in_flight != 4:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            assert loop_time() - began <= 0.010
            view = await other
        assert Counter(tenant for tenant, _ in started) == {"A": 4, "B": 4}
        assert {at for tenant, at in started if tenant == "B"} == {2.0}
        assert all(isinstance(call.succeeded, CallSucceeded) for call in view.calls.values())

    run_virtual(main())
