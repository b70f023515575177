"""A run's time is shared out so that a caller always gets an answer in it, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
import pytest
import stamina.instrumentation

from podium.orchestration.chat import ChatEvent, ChatRequest, TextDelta, ToolCallSealed, TurnFinished, TurnFinishReason
from podium.orchestration.core import RunPolicy
from podium.orchestration.events import (
    CallFailed,
    CallFinished,
    CallRetried,
    CallSkipped,
    CallSucceeded,
    RunEnded,
    RunSpec,
    RunState,
    WindDownCause,
    WindDownStarted,
)
from podium.orchestration.orchestrator import Orchestrator, Submitter
from podium.orchestration.tool import ToolFailure, ToolFailureCode
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
from support.runs import collect, kinds, outcome_of
from support.virtual_time import run_virtual

ME = Submitter(owner="me", tenant="acme")
SPEC = RunSpec(input="go")
RPC_SECONDS = 1.0
RUN_SECONDS = 0.9  # what a call of a second leaves to its run


@pytest.fixture(autouse=True)
def _quiet_retries() -> Iterator[None]:
    """Retries log nothing, as in a server, and pause alike in every round."""
    random.seed(1)
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)


def test_a_partial_answer_comes_in_time_and_names_what_is_missing() -> None:
    """Tools of 200, 400 and 2,000 ms and a final turn of 150 ms within a deadline of 1,000 ms."""
    cleaned: list[float] = []

    async def endless(_: dict[str, Any]) -> Any:
        try:
            await asyncio.sleep(2.0)
        finally:
            cleaned.append(loop_time())

    async def main() -> None:
        tools = FakeTools(fast=sleeping(0.2, 1), medium=sleeping(0.4, 2), endless=endless)
        model = scripted(
            {"events": [call("fast"), call("medium"), call("endless")]},
            {"events": [text("{{c0_0}} {{c0_1}} {{c0_2}}", 150)]},
        )
        async with make_orchestrator(model, tools) as orchestrator:
            events = await collect(orchestrator.stream(SPEC, ME, seconds=RUN_SECONDS))
        end = events[-1]
        assert isinstance(end.kind, RunEnded)
        assert (end.kind.state, end.kind.partial) == (RunState.SUCCEEDED, True)
        assert end.kind.answer.startswith("1 2 TIMEOUT")
        assert end.time_ns / 1e9 <= RPC_SECONDS - 0.05
        (wind_down,) = kinds(events, WindDownStarted)
        assert (wind_down.cause, wind_down.missing) == (WindDownCause.DEADLINE, ("c0_2",))
        missing = outcome_of(events, "c0_2")
        assert isinstance(missing, CallFailed)
        assert (missing.code, missing.message) == (
            ToolFailureCode.TIMEOUT,
            "it did not end before the run's time was up",
        )
        assert len(cleaned) == 1
        assert cleaned[0] <= end.time_ns / 1e9
        assert tools.running == 0

    run_virtual(main())


def test_no_call_carries_more_time_than_is_left() -> None:
    """First attempts, retries, second attempts beside slow ones and calls in later turns alike."""
    seen: list[tuple[str, float, float | None]] = []
    broken = 0

    class Noting(FakeTools):
        async def invoke(self, invocation: Any) -> Any:
            seen.append((invocation.tool, loop_time(), invocation.seconds_left))
            return await super().invoke(invocation)

    async def flaky(_: dict[str, Any]) -> Any:
        nonlocal broken
        await asyncio.sleep(0.5)
        broken += 1
        if broken < 3:
            raise ToolFailure(ToolFailureCode.UNAVAILABLE, "away", retryable=True)
        return broken

    async def main() -> None:
        tools = Noting(
            specs={"slow": {"hedge": True}, "work": {"timeout_seconds": 0.25}},
            flaky=flaky,
            slow=sleeping(3.0),
            work=sleeping(0.2),
        )
        services = make_services(tools)
        for _ in range(20):
            services.tool_times.note("slow", 1.0)
        model = scripted(
            {"events": [call("flaky"), call("slow"), call("work", 700), text("", 900)]},
            {"events": [call("work"), call("work", 1500)]},
            {"events": [text("ok")]},
        )
        async with make_orchestrator(model, tools, services=services) as orchestrator:
            events = await collect(orchestrator.stream(SPEC, ME, seconds=5.0))
        assert kinds(events, CallRetried)
        assert [tool for tool, _, _ in seen].count("slow") == 2, "the second attempt beside the first"
        cutoff = 4.0
        for tool, at, left in seen:
            assert left is not None
            assert left <= cutoff - at + 1e-9, (tool, at, left)
        assert max(left or 0.0 for tool, _, left in seen if tool == "work") == 0.25

    run_virtual(main())


def test_what_cannot_end_in_time_is_not_started() -> None:
    """A call whose tool usually takes longer than is left is skipped at once, and the rest of the answer is there."""

    async def main() -> None:
        tools = FakeTools(fast=sleeping(0.1, 1), heavy=sleeping(2.0))
        services = make_services(tools)
        for _ in range(8):
            services.tool_times.note("heavy", 2.0)
        model = scripted({"events": [call("fast"), call("heavy")]}, {"events": [text("{{c0_0}}")]})
        async with make_orchestrator(model, tools, services=services) as orchestrator:
            events = await collect(orchestrator.stream(SPEC, ME, seconds=RUN_SECONDS))
        skipped = outcome_of(events, "c0_1")
        assert isinstance(skipped, CallSkipped)
        assert skipped.because.startswith("heavy usually takes 2 s")
        assert [invocation.tool for invocation in tools.invocations] == ["fast"]
        assert events[-1].time_ns / 1e9 == pytest.approx(0.1)

    run_virtual(main())


def test_a_model_that_hangs_in_its_answer_is_stood_in_for() -> None:
    """What the tools gave is the answer, marked partial, when the model says nothing any more."""

    async def stream(request: ChatRequest) -> AsyncIterator[ChatEvent]:
        if request.turn == 0:
            yield ToolCallSealed("fast", b"{}")
            yield TurnFinished(TurnFinishReason.TOOL_CALLS)
        else:
            await asyncio.sleep(1000)

    async def main() -> None:
        tools = FakeTools(fast=sleeping(0.1, {"sky": "blue"}))
        async with make_orchestrator(FunctionModel(stream), tools) as orchestrator:
            view = await orchestrator.execute(SPEC, ME, seconds=RUN_SECONDS)
        assert (view.state, view.partial) == (RunState.SUCCEEDED, True)
        assert "blue" in view.answer
        assert view.end_ns / 1e9 <= RUN_SECONDS
        assert view.wind_down is not None

    run_virtual(main())


def test_calls_in_progress_are_not_waited_for_when_the_model_hangs_while_it_plans() -> None:
    """What has ended by the deadline is told, what has not is named as missing."""

    async def stream(_: ChatRequest) -> AsyncIterator[ChatEvent]:
        yield ToolCallSealed("fast", b"{}")
        yield ToolCallSealed("slow", b"{}")
        await asyncio.sleep(1000)

    async def main() -> None:
        tools = FakeTools(fast=sleeping(0.1, "quick result"), slow=sleeping(60))
        async with make_orchestrator(FunctionModel(stream), tools) as orchestrator:
            view = await orchestrator.execute(SPEC, ME, seconds=RUN_SECONDS)
        assert (view.state, view.partial) == (RunState.SUCCEEDED, True)
        assert "quick result" in view.answer
        assert view.wind_down is not None
        assert view.wind_down.missing == ("c0_1",)
        assert tools.running == 0
        assert view.end_ns / 1e9 <= RUN_SECONDS

    run_virtual(main())


async def uncertain(arguments: dict[str, Any]) -> Any:
    """A tool that takes as long as it is told, or is away."""
    if arguments["fails"]:
        raise ToolFailure(ToolFailureCode.UNAVAILABLE, "away", retryable=True)
    await asyncio.sleep(arguments["seconds"])
    return arguments["seconds"]


def capricious(chance: random.Random) -> FunctionModel:
    """A model that takes one to three turns of random calls and times, and hangs now and then."""

    async def plans() -> AsyncIterator[ChatEvent]:
        for _ in range(chance.randrange(1, 6)):
            await asyncio.sleep(chance.expovariate(20))
            arguments = {"seconds": chance.expovariate(3), "fails": chance.random() < 0.1}
            yield ToolCallSealed("work", orjson.dumps(arguments))
        if chance.random() < 0.05:
            await asyncio.sleep(1000)
        yield TurnFinished(TurnFinishReason.TOOL_CALLS)

    async def answers() -> AsyncIterator[ChatEvent]:
        if chance.random() < 0.1:
            await asyncio.sleep(1000)
        for _ in range(5):
            await asyncio.sleep(chance.expovariate(40))
            yield TextDelta("word ")
        yield TurnFinished(TurnFinishReason.STOP)

    async def stream(request: ChatRequest) -> AsyncIterator[ChatEvent]:
        more = request.turn < chance.randrange(1, 4) and request.tools
        async for event in plans() if more else answers():
            yield event

    return FunctionModel(stream)


def test_a_thousand_runs_end_in_time() -> None:
    """Random tools and models, some of which hang: fewer than one run in a thousand is late."""
    chance = random.Random(5)
    late: list[float] = []
    states: Counter[RunState] = Counter()

    async def one(orchestrator: Orchestrator) -> None:
        await asyncio.sleep(chance.uniform(0, 100))
        rpc = chance.uniform(0.3, 3.0)
        began = loop_time()
        view = await orchestrator.execute(SPEC, ME, seconds=rpc - min(0.25, rpc / 10))
        states[view.state] += 1
        if loop_time() - began > rpc:
            late.append(loop_time() - began)
        assert view.partial or view.state is RunState.FAILED or view.wind_down is None
        assert all(found.end_ns for found in view.calls.values()), "no call is left open"

    async def main() -> None:
        tools = FakeTools(work=uncertain)
        policy = RunPolicy(max_repeats=100)
        async with (
            make_orchestrator(capricious(chance), tools, policy=policy) as orchestrator,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(1000):
                group.create_task(one(orchestrator))
        assert tools.running == 0

    run_virtual(main())
    print(f"late {len(late)} of 1000; {dict(states)}")
    assert not late
    assert states[RunState.SUCCEEDED] > 900


def test_every_cancelled_call_is_in_the_log_once() -> None:
    """Calls that were cut off have one end each, and nothing follows the run's end."""

    async def main() -> None:
        tools = FakeTools(slow=sleeping(9), fast=sleeping(0.1))
        model = scripted({"events": [call("slow"), call("fast"), call("slow", x={"$from": "c0"})]}, {"events": []})
        async with make_orchestrator(model, tools) as orchestrator:
            events = await collect(orchestrator.stream(SPEC, ME, seconds=1.0))
        ends = [finished.call_id for finished in kinds(events, CallFinished)]
        assert sorted(ends) == ["c0_0", "c0_1", "c0_2"]
        assert isinstance(outcome_of(events, "c0_1"), CallSucceeded)
        assert isinstance(outcome_of(events, "c0_2"), CallSkipped)
        assert isinstance(events[-1].kind, RunEnded)

    run_virtual(main())
