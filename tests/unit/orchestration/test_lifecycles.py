"""Runs that are planned only, left, watched, go in circles, or are not taken at all; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from podium.errors import NotFound, ResourceExhausted
from podium.orchestration.chat import (
    ChatEvent,
    ChatRequest,
    TextDelta,
    ToolCallSealed,
    TurnFinished,
    TurnFinishReason,
    UserMessage,
)
from podium.orchestration.events import RunSpec, RunState, TextWritten, WindDownCause, WindDownStarted
from podium.orchestration.orchestrator import Submitter
from podium.orchestration.tool import SideEffects
from podium.store.memory import MemoryRunStore
from support.fakes import FakeTools, FunctionModel, call, make_orchestrator, scripted, sleeping, text
from support.virtual_time import run_virtual

ME = Submitter(owner="me", tenant="acme", correlation_id="c")
TWO_TURNS = ({"events": [text("Let me see. "), call("work", 100)]}, {"events": [text("done")]})


def test_a_plan_runs_nothing() -> None:
    """The calls of the first turn are the result, references and all; no tool runs, no second turn is asked for."""

    async def main() -> None:
        tools = FakeTools(work=sleeping(1), other=sleeping(1))
        reference = {"$from": "c0", "path": "/id"}
        model = scripted({"events": [call("work"), call("other", id=reference)]}, {"events": [text("no")]})
        async with make_orchestrator(model, tools) as orchestrator:
            view = await orchestrator.execute(RunSpec(input="go", plan_only=True), ME)
            explained = await orchestrator.explain(view.run_id, ME)
        assert view.state is RunState.SUCCEEDED
        assert not view.partial
        assert [one.sealed.depends_on for one in view.calls.values()] == [(), ("c0_0",)]
        assert all(one.skipped is not None for one in view.calls.values())
        assert not tools.invocations
        assert [row.call_id for row in explained.calls] == ["c0_0", "c0_1"]

    run_virtual(main())


@pytest.mark.parametrize("detach", [False, True])
def test_a_caller_who_leaves_ends_the_run_unless_it_is_detached(detach: bool) -> None:
    async def main() -> None:
        tools = FakeTools(work=sleeping(5))
        async with make_orchestrator(scripted(*TWO_TURNS), tools) as orchestrator:
            async with aclosing(orchestrator.stream(RunSpec(input="go", detach=detach), ME)) as events:
                run_id = (await anext(events)).run_id
                await asyncio.sleep(1)
            await asyncio.sleep(0.1)
            left = await orchestrator.get(run_id, ME)
            assert left.state is (RunState.RUNNING if detach else RunState.CANCELLED)
            assert tools.running == (1 if detach else 0)
            if detach:
                seen = [event async for event in orchestrator.watch(run_id, ME, after_seq=2)]
                logged = [event.seq for event in seen if not isinstance(event.kind, TextWritten)]
                assert logged == list(range(3, logged[-1] + 1))
                assert (await orchestrator.get(run_id, ME)).answer == "done"

    run_virtual(main())


def test_whoever_watches_changes_nothing() -> None:
    """A watcher sees what it missed and what follows; its leaving ends nothing; others' runs are not found."""

    async def main() -> None:
        async with make_orchestrator(scripted(*TWO_TURNS), FakeTools(work=sleeping(5))) as orchestrator:
            async with asyncio.TaskGroup() as group:
                running = group.create_task(orchestrator.execute(RunSpec(input="go"), ME))
                await asyncio.sleep(1)
                run_id = f"run_{1:026d}"
                async with aclosing(orchestrator.watch(run_id, ME)) as events:
                    assert [(await anext(events)).seq for _ in range(3)] == [1, 2, 3]
                with pytest.raises(NotFound):
                    await anext(orchestrator.watch(run_id, Submitter(owner="somebody else")))
            assert running.result().answer == "done"
            after = [event async for event in orchestrator.watch(run_id, ME, after_seq=3)]
            assert [event.seq for event in after] == list(range(4, after[-1].seq + 1))

    run_virtual(main())


@pytest.mark.parametrize(("arguments", "turns"), [(b'{"n": 1}', 4), (None, 6)], ids=["the same", "different ones"])
def test_a_model_that_goes_in_circles_has_to_answer(arguments: bytes | None, turns: int) -> None:
    """Three times the same call with the same result is enough; different calls go on up to the limit of turns."""

    async def circling(request: ChatRequest) -> AsyncIterator[ChatEvent]:
        if request.tools:
            yield ToolCallSealed("work", arguments or b'{"n": %d}' % request.turn)
            yield TurnFinished(TurnFinishReason.TOOL_CALLS)
        else:
            yield TextDelta("what I know")
            yield TurnFinished(TurnFinishReason.STOP)

    async def main() -> None:
        model, tools = FunctionModel(circling), FakeTools(work=sleeping(0.1, "same"))
        async with make_orchestrator(model, tools) as orchestrator:
            view = await orchestrator.execute(RunSpec(input="go"), ME, seconds=30)
            wind_down = view.wind_down
        assert wind_down is not None
        assert view.answer == "what I know"
        assert view.partial
        if arguments is not None:
            assert len(model.requests) == turns
            assert wind_down.cause is WindDownCause.LOOP
            assert "3 times" in wind_down.because
        else:
            assert isinstance(wind_down, WindDownStarted)
            assert wind_down.cause is WindDownCause.TURNS

    run_virtual(main())


def test_a_turn_that_breaks_off_starts_no_effects() -> None:
    """Effects wait for the end of the turn; one that never comes leaves them alone. Reads had begun."""

    async def broken(_request: ChatRequest) -> AsyncIterator[ChatEvent]:
        yield ToolCallSealed("pay", b"{}")
        yield ToolCallSealed("read", b"{}")
        await asyncio.sleep(1)
        raise RuntimeError("the connection is gone")

    async def main() -> None:
        tools = FakeTools(specs={"pay": {"side_effects": SideEffects.EFFECTFUL}}, pay=sleeping(0), read=sleeping(0))
        async with make_orchestrator(FunctionModel(broken), tools) as orchestrator:
            view = await orchestrator.execute(RunSpec(input="go"), ME)
        assert view.state is RunState.FAILED
        assert [invocation.tool for invocation in tools.invocations] == ["read"]
        assert view.calls["c0_0"].skipped is not None

    run_virtual(main())


def test_a_long_run_is_told_to_its_caller_however_many_came_and_went_meanwhile() -> None:
    """The store keeps three ended runs; a run that began before twenty others still comes back, and is kept."""

    async def uneven(request: ChatRequest) -> AsyncIterator[ChatEvent]:
        (asked,) = request.messages
        assert isinstance(asked, UserMessage)
        await asyncio.sleep(float(asked.text))
        yield TextDelta("done")
        yield TurnFinished(TurnFinishReason.STOP)

    async def main() -> None:
        store = MemoryRunStore(max_runs=3)
        async with make_orchestrator(FunctionModel(uneven), FakeTools(), store=store) as orchestrator:
            async with asyncio.TaskGroup() as group:
                long = group.create_task(orchestrator.execute(RunSpec(input="10"), ME))
                for _ in range(20):
                    await orchestrator.execute(RunSpec(input="0.4"), ME)
                await asyncio.sleep(1.9)
                last = group.create_task(orchestrator.execute(RunSpec(input="0.2"), ME))
            assert (long.result().answer, last.result().answer) == ("done", "done")
            assert (await orchestrator.get(long.result().run_id, ME)).answer == "done"

    run_virtual(main())


def test_nothing_is_taken_while_memory_is_short() -> None:
    async def main() -> None:
        async with make_orchestrator(scripted({"events": [text("hi")]}), FakeTools()) as orchestrator:
            orchestrator.shed("short of memory")
            with pytest.raises(ResourceExhausted, match="short of memory") as refused:
                await orchestrator.execute(RunSpec(input="go"), ME)
            assert refused.value.retry_after
            orchestrator.shed("")
            assert (await orchestrator.execute(RunSpec(input="go"), ME)).answer == "hi"

    run_virtual(main())
