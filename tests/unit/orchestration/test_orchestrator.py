"""The orchestrator and its runner, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from podium.errors import AlreadyExists, InvalidRequest, NotFound, ResourceExhausted, Unavailable
from podium.orchestration.chat import ChatEvent, ChatRequest, TextDelta, ToolCallSealed, TurnFinished, TurnFinishReason
from podium.orchestration.core import RunPolicy
from podium.orchestration.events import (
    CallFinished,
    CallSkipped,
    CallStarted,
    LoggedEvent,
    RunEnded,
    RunLimits,
    RunSpec,
    RunState,
    TextWritten,
)
from podium.orchestration.governor import GovernorLimits
from podium.orchestration.orchestrator import Submitter
from podium.orchestration.tool import ToolFailure, ToolFailureCode
from podium.orchestration.view import CallState, fold
from support.fakes import FakeTools, FunctionModel, call, make_orchestrator, scripted, sleeping, text
from support.virtual_time import run_virtual

ME = Submitter(owner="me", tenant="acme", correlation_id="corr-1")
SPEC = RunSpec(input="go")


async def collect(stream: AsyncIterator[LoggedEvent]) -> list[LoggedEvent]:
    return [event async for event in stream]


def test_calls_of_one_turn_overlap_and_start_when_sealed() -> None:
    """Two 1 s tools sealed at 0.1 and 0.2 s end at 1.2 s, not 2.3, and start while the turn goes on."""

    async def main() -> None:
        tools = FakeTools(work=sleeping(1.0))
        model = scripted(
            {"events": [call("work", 100), call("work", 200)], "end_ms": 900}, {"events": [text("both done")]}
        )
        async with make_orchestrator(model, tools) as orchestrator:
            events = await collect(orchestrator.stream(SPEC, ME))
            starts = [e.time_ns / 1e9 for e in events if isinstance(e.kind, CallStarted)]
            assert starts == pytest.approx([0.1, 0.2])
            assert events[-1].time_ns / 1e9 == pytest.approx(1.2)
            assert events[-1].kind == RunEnded(
                RunState.SUCCEEDED,
                "both done",
                False,
                events[-1].kind.usage,  # type: ignore[union-attr]
            )

    run_virtual(main())


def test_log_has_no_holes_and_folds_to_the_reply() -> None:
    """`seq` counts from 1 without holes, text deltas repeat the last number, and the view is the fold."""

    async def main() -> None:
        tools = FakeTools(work=sleeping(0.5, {"n": 7}))
        model = scripted(
            {"events": [text("Looking. "), call("work", 10)]}, {"events": [text("It is {{c0_0/n}}."), text(" Bye.", 5)]}
        )
        async with make_orchestrator(model, tools) as orchestrator:
            events = await collect(orchestrator.stream(SPEC, ME))
            logged = [e for e in events if not isinstance(e.kind, TextWritten)]
            assert [e.seq for e in logged] == list(range(1, len(logged) + 1))
            for before, event in itertools.pairwise(events):
                if isinstance(event.kind, TextWritten):
                    assert event.seq == before.seq
            view = await orchestrator.get(events[0].run_id, ME)
            assert view == fold(view.run_id, SPEC, view.create_ns, logged)
            assert view.answer == "It is 7. Bye."
            assert [c.state for c in view.calls.values()] == [CallState.SUCCEEDED]

    run_virtual(main())


def test_failing_call_leaves_its_siblings_alone() -> None:
    """One call fails; the other's result is kept, the model is told, and the answer is marked partial."""

    async def fail(_: dict[str, Any]) -> Any:
        raise ToolFailure(ToolFailureCode.RAISED, "no luck")

    async def main() -> None:
        tools = FakeTools(bad=fail, good=sleeping(0.2, 1))
        model = scripted({"events": [call("bad"), call("good")]}, {"events": [text("{{c0_0}} and {{c0_1}}")]})
        async with make_orchestrator(model, tools) as orchestrator:
            view = await orchestrator.execute(SPEC, ME)
            assert view.answer == "RAISED: no luck and 1"
            assert view.partial
            assert view.state is RunState.SUCCEEDED

    run_virtual(main())


def test_unknown_tool_is_told_to_the_model() -> None:
    """A call of a tool that does not exist fails with the names of those that do."""

    async def main() -> None:
        model = scripted({"events": [call("wrok")]}, {"events": [text("{{c0_0}}")]})
        async with make_orchestrator(model, FakeTools(work=sleeping(0))) as orchestrator:
            assert "use one of: work" in (await orchestrator.execute(SPEC, ME)).answer

    run_virtual(main())


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (GovernorLimits(per_process=50, per_run=3, per_type=10), 3),
        (GovernorLimits(per_process=50, per_run=30, per_type=4), 4),
        (GovernorLimits(per_process=2, per_run=30, per_type=10), 2),
    ],
)
def test_concurrency_limits_hold(limits: GovernorLimits, expected: int) -> None:
    """Never more calls at once than the tightest limit, and that many when there is work."""

    async def main() -> None:
        tools = FakeTools(work=sleeping(1.0))
        model = scripted({"events": [call("work") for _ in range(12)]}, {"events": [text("done")]})
        async with make_orchestrator(model, tools, concurrency=limits) as orchestrator:
            await orchestrator.execute(SPEC, ME)
            assert tools.most_running == expected

    run_virtual(main())


def test_process_limit_is_shared_by_runs() -> None:
    """Four runs of four calls share the process's slots."""

    async def main() -> None:
        tools = FakeTools(work=sleeping(1.0))
        model = scripted({"events": [call("work") for _ in range(4)]}, {"events": [text("done")]})
        limits = GovernorLimits(per_process=6, per_run=4, per_type=100)
        async with make_orchestrator(model, tools, concurrency=limits) as orchestrator, asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(orchestrator.execute(SPEC, ME))
        assert tools.most_running == 6

    run_virtual(main())


def test_call_limit_skips_the_rest() -> None:
    """Calls beyond the run's limit are skipped with the reason, and the answer is partial."""

    async def main() -> None:
        tools = FakeTools(work=sleeping(0))
        model = scripted({"events": [call("work"), call("work"), call("work")]}, {"events": [text("ok")]})
        spec = RunSpec(input="go", limits=RunLimits(max_calls=2))
        async with make_orchestrator(model, tools) as orchestrator:
            events = await collect(orchestrator.stream(spec, ME))
            skipped = [e.kind.outcome for e in events if isinstance(e.kind, CallFinished)]
            assert skipped.count(CallSkipped("the run's limit of 2 calls was reached")) == 1
            assert len(tools.invocations) == 2
            assert isinstance(events[-1].kind, RunEnded)
            assert events[-1].kind.partial

    run_virtual(main())


def test_last_turn_is_offered_no_tools() -> None:
    """A model that would call tools for ever has to answer in the last turn it may take."""

    async def greedy(request: ChatRequest) -> AsyncIterator[ChatEvent]:
        if request.tools:
            yield ToolCallSealed("work", b"{}")
        else:
            yield TextDelta("enough")
        yield TurnFinished(TurnFinishReason.STOP)

    async def main() -> None:
        model = FunctionModel(greedy)
        async with make_orchestrator(model, FakeTools(work=sleeping(0)), policy=RunPolicy(max_turns=3)) as orchestrator:
            view = await orchestrator.execute(SPEC, ME)
            assert (view.answer, view.partial, len(model.requests)) == ("enough", True, 3)

    run_virtual(main())


def test_deadline_ends_the_run_and_its_tools() -> None:
    """A run that takes longer than the caller's time fails with DEADLINE_EXCEEDED and leaves no tool working."""

    async def main() -> None:
        tools = FakeTools(work=sleeping(100))
        async with make_orchestrator(scripted({"events": [call("work")]}), tools) as orchestrator:
            view = await orchestrator.execute(SPEC, ME, seconds=2.0)
            assert view.failure is not None
            assert (view.state, view.failure.reason) == (RunState.FAILED, "DEADLINE_EXCEEDED")
            assert tools.running == 0
            assert asyncio.get_running_loop().time() <= 2.0

    run_virtual(main())


def test_cancel_reaches_model_and_tools_at_once() -> None:
    """CancelRun ends the run in no time; tools have cleaned up; the log says so."""
    cleaned = []

    async def slow(_: dict[str, Any]) -> Any:
        try:
            await asyncio.sleep(100)
        finally:
            cleaned.append("tool")

    async def endless(_: ChatRequest) -> AsyncIterator[ChatEvent]:
        try:
            yield ToolCallSealed("slow", b"{}")
            await asyncio.sleep(100)
        finally:
            cleaned.append("model")

    async def main() -> None:
        async with make_orchestrator(FunctionModel(endless), FakeTools(slow=slow)) as orchestrator:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(orchestrator.execute(SPEC, ME))
                await asyncio.sleep(1)
                run_id = (await orchestrator.list(ME)).runs[0].run_id
                view = await orchestrator.cancel(run_id, ME)
            assert asyncio.get_running_loop().time() == pytest.approx(1.0)
            assert view.state is RunState.CANCELLED
            assert next(iter(view.calls.values())).state is CallState.FAILED
            assert sorted(cleaned) == ["model", "tool"]
            assert (await task).state is RunState.CANCELLED

    run_virtual(main())


def test_reader_that_leaves_cancels_the_run() -> None:
    """Closing the stream of the only reader cancels the run."""

    async def main() -> None:
        tools = FakeTools(work=sleeping(100))
        async with make_orchestrator(scripted({"events": [call("work")]}), tools) as orchestrator:
            async with aclosing(orchestrator.stream(SPEC, ME)) as events:
                async for event in events:
                    if isinstance(event.kind, CallStarted):
                        break
            # Cancelling again only waits for the end.
            view = await orchestrator.cancel((await orchestrator.list(ME)).runs[0].run_id, ME)
            assert view.failure is not None
            assert view.failure.message == "the caller left"
            assert tools.running == 0

    run_virtual(main())


def test_cancel_before_the_first_step_is_recorded() -> None:
    """A run cancelled before its task ever ran still ends in its log."""

    async def main() -> None:
        async with make_orchestrator(scripted({"events": [text("x")]}), FakeTools()) as orchestrator:
            stream = orchestrator.stream(SPEC, ME)
            waiting = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            (run,) = (await orchestrator.list(ME)).runs
            assert (await orchestrator.cancel(run.run_id, ME)).state is RunState.CANCELLED
            await waiting
            await stream.aclose()  # type: ignore[attr-defined]

    run_virtual(main())


def test_same_request_id_gives_the_same_run() -> None:
    """A repeated submission joins the run; another body is refused; another owner is another run."""

    async def main() -> None:
        tools = FakeTools(work=sleeping(1))
        model = scripted({"events": [call("work")]}, {"events": [text("once")]})
        spec = RunSpec(input="go", request_id="r-1")
        async with make_orchestrator(model, tools) as orchestrator:
            async with asyncio.TaskGroup() as group:
                first = group.create_task(orchestrator.execute(spec, ME))
                second = group.create_task(orchestrator.execute(spec, ME))
            third = await orchestrator.execute(spec, ME)
            assert first.result().run_id == second.result().run_id == third.run_id
            assert len(tools.invocations) == 1
            replay = await collect(orchestrator.stream(spec, ME))
            assert isinstance(replay[-1].kind, RunEnded)
            with pytest.raises(AlreadyExists) as refused:
                await orchestrator.execute(RunSpec(input="else", request_id="r-1"), ME)
            assert refused.value.reason == "REQUEST_ID_REUSED"
            other = await orchestrator.execute(spec, Submitter(owner="you"))
            assert other.run_id != third.run_id

    run_virtual(main())


def test_one_of_two_readers_may_leave() -> None:
    """The run goes on while another caller with the same request_id still waits."""

    async def main() -> None:
        model = scripted({"events": [call("work")]}, {"events": [text("ok")]})
        spec = RunSpec(input="go", request_id="r-1")
        async with make_orchestrator(model, FakeTools(work=sleeping(5))) as orchestrator:
            async with asyncio.TaskGroup() as group:
                stays = group.create_task(orchestrator.execute(spec, ME))
                leaves = group.create_task(orchestrator.execute(spec, ME))
                await asyncio.sleep(1)
                leaves.cancel()
            assert stays.result().state is RunState.SUCCEEDED

    run_virtual(main())


def test_model_that_is_away_is_tried_again_only_while_silent() -> None:
    """Unavailable before the first output is retried; after it the run fails with the reason."""
    attempts = []

    async def flaky(_: ChatRequest) -> AsyncIterator[ChatEvent]:
        attempts.append(1)
        if len(attempts) < 3:
            raise Unavailable("restarting", reason="MODEL_NOT_READY", retry_after=0.5)
        yield TextDelta("hello")
        if len(attempts) == 3:
            raise Unavailable("gone", reason="MODEL_NOT_READY", retry_after=0.5)

    async def main() -> None:
        async with make_orchestrator(FunctionModel(flaky), FakeTools()) as orchestrator:
            view = await orchestrator.execute(SPEC, ME)
            assert len(attempts) == 3
            assert view.failure is not None
            assert view.failure.reason == "MODEL_NOT_READY"

    run_virtual(main())


def test_fault_in_a_model_is_an_internal_failure_without_its_text() -> None:
    """An unexpected exception becomes INTERNAL; its text stays in the log."""

    async def broken(_: ChatRequest) -> AsyncIterator[ChatEvent]:
        raise RuntimeError("secret detail")
        yield TextDelta("")

    async def main() -> None:
        async with make_orchestrator(FunctionModel(broken), FakeTools()) as orchestrator:
            view = await orchestrator.execute(SPEC, ME)
            assert view.failure is not None
            assert view.failure.reason == "INTERNAL"
            assert "secret" not in view.failure.message

    run_virtual(main())


def test_submissions_are_refused_before_anything_runs() -> None:
    """Unknown model, unknown tool, over-long input and too many runs are typed errors."""

    async def main() -> None:
        model = scripted({"events": [call("work")]})
        async with make_orchestrator(model, FakeTools(work=sleeping(9)), max_active_runs=1, max_input_chars=10) as o:
            with pytest.raises(NotFound):
                await o.execute(RunSpec(input="x", model="nope"), ME)
            with pytest.raises(InvalidRequest) as wrong_tool:
                await o.execute(RunSpec(input="x", tools=("wrok",)), ME)
            assert "did you mean 'work'" in wrong_tool.value.violations[0].description
            with pytest.raises(InvalidRequest):
                await o.execute(RunSpec(input="x" * 11), ME)
            async with asyncio.TaskGroup() as group:
                busy = group.create_task(o.execute(SPEC, ME))
                await asyncio.sleep(1)
                with pytest.raises(ResourceExhausted) as full:
                    await o.execute(SPEC, ME)
                assert full.value.retry_after == 1.0
                busy.cancel()

    run_virtual(main())


def test_shutdown_cancels_and_records_what_runs() -> None:
    """Leaving the orchestrator ends every run with a reason."""

    async def main() -> None:
        tools = FakeTools(work=sleeping(100))
        orchestrator = make_orchestrator(scripted({"events": [call("work")]}), tools)
        async with orchestrator:
            task = asyncio.ensure_future(orchestrator.execute(SPEC, ME))
            await asyncio.sleep(1)
        view = await task
        assert view.failure is not None
        assert (view.state, view.failure.message) == (RunState.CANCELLED, "the server is shutting down")

    run_virtual(main())


def test_runs_belong_to_their_owner() -> None:
    """Others neither see nor cancel a run."""

    async def main() -> None:
        async with make_orchestrator(scripted({"events": [text("hi")]}), FakeTools()) as orchestrator:
            view = await orchestrator.execute(SPEC, ME)
            other = Submitter(owner="you")
            with pytest.raises(NotFound):
                await orchestrator.get(view.run_id, other)
            with pytest.raises(NotFound):
                await orchestrator.cancel(view.run_id, other)
            assert not (await orchestrator.list(other)).runs

    run_virtual(main())
