"""Equal calls of runs: made once for a tenant, taken over, kept for a while; in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from podium.orchestration.chat import ChatEvent, ChatRequest, TextDelta, ToolCallSealed, TurnFinished, TurnFinishReason
from podium.orchestration.core import RunPolicy
from podium.orchestration.events import (
    CallFinished,
    CallStarted,
    CallSucceeded,
    Exhaustion,
    LoggedEvent,
    ResultSource,
    RunLimits,
    RunSpec,
    RunState,
)
from podium.orchestration.governor import GovernorLimits, Priority
from podium.orchestration.orchestrator import Orchestrator, Submitter
from podium.orchestration.tool import SideEffects, ToolFailure, ToolFailureCode
from podium.orchestration.view import RunView
from support.fakes import FakeTools, FunctionModel, call, make_orchestrator, make_services, scripted, sleeping, text
from support.runs import collect, kinds
from support.virtual_time import run_virtual

A = Submitter(owner="a", tenant="a")
B = Submitter(owner="b", tenant="b")
SPEC = RunSpec(input="go")
CACHED: dict[str, Any] = {"cache_ttl_seconds": 60.0}
WIDE = GovernorLimits(per_process=1000, per_run=1000, per_type=1000)


def asks(arguments: bytes = b"{}", *, times: int = 1, tool: str = "look") -> FunctionModel:
    """A model that makes the same call so many times, then answers."""

    async def stream(request: ChatRequest) -> AsyncIterator[ChatEvent]:
        if request.turn == 0:
            for _ in range(times):
                yield ToolCallSealed(tool, arguments)
            yield TurnFinished(TurnFinishReason.TOOL_CALLS)
        else:
            yield TextDelta(str(request.messages[-1].content))  # type: ignore[union-attr]
            yield TurnFinished(TurnFinishReason.STOP)

    return FunctionModel(stream)


def sources(*views: RunView) -> Counter[ResultSource]:
    """Count where the results of runs came from."""
    found = [call.succeeded for view in views for call in view.calls.values()]
    assert all(found)
    return Counter(succeeded.source for succeeded in found if succeeded)


async def together(orchestrator: Orchestrator, runs: int, by: Submitter) -> list[RunView]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(orchestrator.execute(SPEC, by)) for _ in range(runs)]
    return [task.result() for task in tasks]


def test_a_hundred_equal_calls_of_a_tenant_are_one() -> None:
    """100 calls in 10 runs are one call of the tool, by a leader that the others join; another tenant has its own."""

    async def main() -> None:
        tools = FakeTools(specs={"look": CACHED}, look=sleeping(1.0, {"n": 7}))
        policy = RunPolicy(max_repeats=1000)
        async with make_orchestrator(asks(times=10), tools, WIDE, policy=policy) as orchestrator:
            async with asyncio.TaskGroup() as group:
                first = group.create_task(together(orchestrator, 10, A))
                other = group.create_task(together(orchestrator, 1, B))
            assert Counter(call.tenant for call in tools.invocations) == {"a": 1, "b": 1}
            assert sources(*first.result()) == {ResultSource.TOOL: 1, ResultSource.JOINED: 99}
            assert sources(*other.result()) == {ResultSource.TOOL: 1, ResultSource.JOINED: 9}
            (later,) = await together(orchestrator, 1, A)
            assert sources(later) == {ResultSource.CACHE: 10}
            assert len(tools.invocations) == 2
            joined = next(c for c in first.result()[9].calls.values())
            assert joined.waits.cache == pytest.approx(1.0)
            assert joined.start_ns == 0, "a call that joins starts no tool"

    run_virtual(main())


def test_hits_misses_and_joins_are_events() -> None:
    """The result's event says where it came from, how old it is, and only the leader's call was started."""

    async def main() -> None:
        tools = FakeTools(specs={"look": CACHED}, look=sleeping(1.0, 7))
        async with make_orchestrator(asks(times=2), tools) as orchestrator:
            events = await collect(orchestrator.stream(SPEC, A))
            await asyncio.sleep(5)
            again = await collect(orchestrator.stream(SPEC, A))

        def told(found: list[LoggedEvent]) -> list[tuple[ResultSource, float]]:
            outcomes = [finished.outcome for finished in kinds(found, CallFinished)]
            return [(o.source, round(o.age_seconds, 3)) for o in outcomes if isinstance(o, CallSucceeded)]

        assert sorted(told(events)) == [(ResultSource.JOINED, 0.0), (ResultSource.TOOL, 0.0)]
        assert told(again) == [(ResultSource.CACHE, 5.0)] * 2
        assert len(kinds(events, CallStarted)) == 1
        assert not kinds(again, CallStarted)

    run_virtual(main())


def test_a_follower_takes_over_when_the_leader_is_cancelled() -> None:
    """The run that made the call is cancelled half-way; one of the others makes it anew, and all have the result."""

    async def main() -> None:
        tools = FakeTools(specs={"look": CACHED}, look=sleeping(1.0, 7))
        async with make_orchestrator(asks(), tools, WIDE) as orchestrator:
            leader = asyncio.ensure_future(orchestrator.execute(SPEC, A))
            await asyncio.sleep(0.1)
            others = asyncio.ensure_future(together(orchestrator, 5, A))
            await asyncio.sleep(0.4)
            leader.cancel()
            views = await others
        assert len(tools.invocations) == 2
        assert sources(*views) == {ResultSource.TOOL: 1, ResultSource.JOINED: 4}
        assert {view.end_ns / 1e9 for view in views} == {1.5}
        assert len({invocation.run_id for invocation in tools.invocations}) == 2

    run_virtual(main())


@pytest.mark.parametrize("trouble", ["time", "too late", "budget", "stop"])
def test_what_is_the_matter_with_the_leader_is_not_the_followers(trouble: str) -> None:
    """A leader without the time or the money fails by itself; who waited for its call makes it anew."""
    money = RunLimits(max_cost_micros=500, on_exhausted=Exhaustion.STOP if trouble == "stop" else Exhaustion.FINISH)
    hurried = trouble in ("time", "too late")
    made = 0

    async def held_to_its_time(_: dict[str, Any]) -> Any:
        nonlocal made
        made += 1
        seconds = tools.invocations[-1].seconds_left or 0.0
        await asyncio.sleep(min(seconds, 1.5))
        if seconds < 1.5:
            raise ToolFailure(ToolFailureCode.TIMEOUT, "too slow")
        return 7

    tools = FakeTools(specs={"look": {**CACHED, "cost_micros": 1000}}, look=held_to_its_time)

    async def main() -> None:
        services = make_services(tools, GovernorLimits(per_process=1))
        gate = services.governor.for_run("other", "other")
        held = gate.try_acquire("block", "general", Priority.WAITING)
        assert held is not None
        if trouble == "too late":
            for _ in range(5):
                services.tool_times.note("look", 1.5)
        async with make_orchestrator(asks(), tools, services=services) as orchestrator:
            spec = SPEC if hurried else RunSpec(input="go", limits=money)
            leader = asyncio.ensure_future(orchestrator.execute(spec, A, seconds=1.0 if hurried else 30.0))
            followers = asyncio.ensure_future(together(orchestrator, 3, A))
            await asyncio.sleep(0.1)
            held.release()
            views = await followers
            led = await leader
        assert led.partial or led.state is RunState.FAILED
        assert all((view.state, view.partial) == (RunState.SUCCEEDED, False) for view in views)
        assert made == (2 if trouble == "time" else 1)

    run_virtual(main())


def test_failures_are_not_kept() -> None:
    """Equal calls that wait share a failure; the next one tries again."""
    made = 0

    async def fails(_: dict[str, Any]) -> Any:
        nonlocal made
        made += 1
        await asyncio.sleep(0.1)
        if made == 1:
            raise ToolFailure(ToolFailureCode.RAISED, "no luck")
        return made

    async def main() -> None:
        tools = FakeTools(specs={"look": CACHED}, look=fails)
        async with make_orchestrator(asks(times=2), tools) as orchestrator:
            first = await orchestrator.execute(SPEC, A)
            assert made == 1
            assert all(call.failed and call.failed.message == "no luck" for call in first.calls.values())
            second = await orchestrator.execute(SPEC, A)
            assert made == 2
            assert sources(second) == {ResultSource.TOOL: 1, ResultSource.JOINED: 1}

    run_virtual(main())


@pytest.mark.parametrize(
    ("fields", "made"),
    [
        ({**CACHED, "side_effects": SideEffects.EFFECTFUL}, 4),
        ({**CACHED, "side_effects": SideEffects.IDEMPOTENT}, 1),
        ({}, 4),
        (CACHED, 1),
    ],
)
def test_only_what_may_be_repeated_and_says_so_is_kept(fields: dict[str, Any], made: int) -> None:
    """Calls with effects are all made, also beside an equal one; so are those of tools without a time to live."""

    async def main() -> None:
        tools = FakeTools(specs={"look": fields}, look=sleeping(0.1, 7))
        async with make_orchestrator(asks(times=2), tools) as orchestrator:
            for _ in range(2):
                assert (await orchestrator.execute(SPEC, A)).answer == "7"
        assert len(tools.invocations) == made

    run_virtual(main())


def test_results_are_kept_for_their_time_and_no_longer_than_the_server_allows() -> None:
    async def main() -> None:
        tools = FakeTools(
            specs={"look": {"cache_ttl_seconds": 10.0}, "long": {"cache_ttl_seconds": 1e6}},
            look=sleeping(0, 7),
            long=sleeping(0, 8),
        )
        model = scripted({"events": [call("look"), call("long")]}, {"events": [text("ok")]})
        async with make_orchestrator(model, tools, policy=RunPolicy(cache_ttl_seconds=100.0)) as orchestrator:
            made = []
            for pause in (9.9, 0.2, 80.0, 10.0):
                await orchestrator.execute(SPEC, A)
                await asyncio.sleep(pause)
                made.append(Counter(invocation.tool for invocation in tools.invocations))
            await orchestrator.execute(SPEC, A)
        assert [(each["look"], each["long"]) for each in made] == [(1, 1), (1, 1), (2, 1), (3, 1)]
        assert Counter(invocation.tool for invocation in tools.invocations) == {"look": 4, "long": 2}

    run_virtual(main())


def test_the_key_is_the_tool_its_version_and_the_canonical_arguments() -> None:
    """The order and spacing of arguments make no difference; a value and another version do."""

    async def main() -> None:
        tools = FakeTools(specs={"look": CACHED}, look=sleeping(0, 7))
        services = make_services(tools)

        async def runs(arguments: bytes, toolbox: FakeTools = tools) -> int:
            async with make_orchestrator(asks(arguments), toolbox, services=services) as orchestrator:
                assert (await orchestrator.execute(SPEC, A)).answer == "7"
            return len(tools.invocations)

        assert await runs(b'{"a": 1, "b": [1, 2]}') == 1
        assert await runs(b'{"b":[1,2],"a":1}') == 1
        assert await runs(b'{"b":[2,1],"a":1}') == 2
        assert await runs(b"{}") == 3
        assert await runs(b"{ }") == 3
        newer = FakeTools(specs={"look": {**CACHED, "version": "2"}}, look=sleeping(0, 7))
        assert await runs(b"{}", newer) == 4

    run_virtual(main())


def test_arguments_that_are_no_json_are_told_by_the_tool() -> None:
    """A call that cannot be a key is made all the same, so that the model hears what is wrong with it."""

    class Strict(FakeTools):
        async def invoke(self, invocation: Any) -> Any:
            if invocation.arguments_json == b'{"a":':
                raise ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, "that is not JSON")
            return await super().invoke(invocation)

    async def main() -> None:
        tools = Strict(specs={"look": CACHED}, look=sleeping(0, 7))
        async with make_orchestrator(asks(b'{"a":'), tools) as orchestrator:
            view = await orchestrator.execute(SPEC, A)
        assert view.answer == "INVALID_ARGUMENTS: that is not JSON"

    run_virtual(main())


def test_a_run_may_pass_the_cache_by() -> None:
    """Neither taken from it nor kept in it."""

    async def main() -> None:
        tools = FakeTools(specs={"look": CACHED}, look=sleeping(0, 7))
        async with make_orchestrator(asks(), tools) as orchestrator:
            bypass = RunSpec(input="go", bypass_cache=True)
            for spec, made in ((bypass, 1), (SPEC, 2), (SPEC, 2), (bypass, 3)):
                await orchestrator.execute(spec, A)
                assert len(tools.invocations) == made

    run_virtual(main())
