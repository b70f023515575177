"""Attempts, pauses, fallbacks and second attempts of single calls, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from podium.orchestration.core import RunPolicy
from podium.orchestration.events import (
    CallFailed,
    CallFinished,
    CallRetried,
    CallSkipped,
    CallStarted,
    CallSucceeded,
    LoggedEvent,
    ResultSource,
    RunEnded,
    RunSpec,
)
from podium.orchestration.orchestrator import Submitter
from podium.orchestration.tool import Fallback, SideEffects, ToolFailure, ToolFailureCode
from support.fakes import FakeTools, ToolBody, call, make_orchestrator, make_services, scripted, sleeping, text
from support.virtual_time import run_virtual

ME = Submitter(owner="me", tenant="acme", correlation_id="c")
AWAY = ToolFailure(ToolFailureCode.UNAVAILABLE, "away", retryable=True)


def failing(*failures: ToolFailure | None) -> ToolBody:
    """Return a tool that fails so often, and then answers with the number of the attempt."""
    attempts = iter(enumerate([*failures, None]))

    async def body(_arguments: dict[str, Any]) -> Any:
        number, failure = next(attempts)
        if failure is not None:
            raise failure
        return number

    return body


def run_one(tools: FakeTools, **options: Any) -> list[LoggedEvent]:
    """Run one call of `work` and return the run's events."""

    async def main() -> list[LoggedEvent]:
        model = scripted({"events": [call("work")]}, {"events": [text("answer")]})
        async with make_orchestrator(model, tools, **options) as orchestrator:
            return [event async for event in orchestrator.stream(RunSpec(input="go"), ME)]

    return run_virtual(main())


def outcome(events: list[LoggedEvent]) -> Any:
    (found,) = [event.kind for event in events if isinstance(event.kind, CallFinished)]
    return found.outcome


def kinds(events: list[LoggedEvent], kind: type) -> list[Any]:
    return [event.kind for event in events if isinstance(event.kind, kind)]


@pytest.mark.parametrize("effects", list(SideEffects))
def test_a_call_that_never_began_is_tried_again(effects: SideEffects) -> None:
    """What was refused before it began may be repeated whatever it does; pauses grow and are in the events."""
    tools = FakeTools(specs={"work": {"side_effects": effects}}, work=failing(AWAY, AWAY))
    events = run_one(tools)
    assert outcome(events) == CallSucceeded(b"2", "application/json")
    assert [started.attempt for started in kinds(events, CallStarted)] == [1, 2, 3]
    retried = kinds(events, CallRetried)
    assert [one.attempt for one in retried] == [1, 2]
    assert 0 < retried[0].seconds < retried[1].seconds


@pytest.mark.parametrize(
    ("failure", "effects"),
    [
        (ToolFailure(ToolFailureCode.TIMEOUT, "slow", retryable=True), SideEffects.NONE),
        (ToolFailure(ToolFailureCode.RAISED, "broken"), SideEffects.NONE),
        (ToolFailure(ToolFailureCode.RAISED, "busy", retryable=True), SideEffects.EFFECTFUL),
        (ToolFailure(ToolFailureCode.UNAVAILABLE, "open", retryable=True, retry_after=60), SideEffects.NONE),
    ],
    ids=["a timeout", "a bug", "an effect", "an open breaker"],
)
def test_what_is_no_use_or_no_good_is_not_repeated(failure: ToolFailure, effects: SideEffects) -> None:
    events = run_one(FakeTools(specs={"work": {"side_effects": effects}}, work=failing(failure)))
    assert outcome(events) == CallFailed(failure.code, failure.message)
    assert not kinds(events, CallRetried)


def test_attempts_end_after_the_retries_that_are_allowed() -> None:
    tools = FakeTools(work=failing(*[AWAY] * 9))
    events = run_one(tools, policy=RunPolicy(tool_retries=2))
    assert outcome(events) == CallFailed(AWAY.code, "away")
    assert len(tools.invocations) == 3


def test_no_pause_goes_beyond_the_end_of_the_run() -> None:
    """A call is given up when its next attempt would come too late."""

    async def main() -> None:
        tools = FakeTools(work=failing(*[AWAY] * 9))
        model = scripted({"events": [call("work")]}, {"events": [text("answer")]})
        async with make_orchestrator(model, tools, policy=RunPolicy(tool_retries=20)) as orchestrator:
            view = await orchestrator.execute(RunSpec(input="go"), ME, seconds=1.0)
        assert view.partial
        assert view.answer == "answer"
        assert asyncio.get_running_loop().time() < 1.0

    run_virtual(main())


def test_a_fallback_tool_stands_in_and_the_run_says_so() -> None:
    broken = failing(*[ToolFailure(ToolFailureCode.RAISED, "broken")] * 2)
    tools = FakeTools(specs={"work": {"fallback": Fallback(tool="other")}}, work=broken, other=sleeping(0.1, "instead"))
    events = run_one(tools)
    assert outcome(events) == CallSucceeded(b'"instead"', "application/json", ResultSource.FALLBACK)
    assert [started.tool for started in kinds(events, CallStarted)] == ["", "other"]
    (ended,) = kinds(events, RunEnded)
    assert ended.degraded
    assert not ended.partial


def test_a_fallback_value_stands_in_where_there_is_no_tool() -> None:
    broken = failing(ToolFailure(ToolFailureCode.RAISED, "broken"))
    fallback = Fallback(tool="gone", result_json=b'{"known": false}')
    events = run_one(FakeTools(specs={"work": {"fallback": fallback}}, work=broken))
    assert outcome(events) == CallSucceeded(b'{"known": false}', "application/json", ResultSource.FALLBACK)


def test_wrong_arguments_have_no_fallback() -> None:
    """The model is to mend them."""
    wrong = failing(ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, "city is missing"))
    events = run_one(FakeTools(specs={"work": {"fallback": Fallback(result_json=b"0")}}, work=wrong))
    assert outcome(events) == CallFailed(ToolFailureCode.INVALID_ARGUMENTS, "city is missing")


def test_a_second_attempt_overtakes_a_slow_first() -> None:
    """It starts past the tool's usual 95th percentile, the first result counts, the other attempt is stopped."""
    stopped = []
    durations = iter([*[0.1] * 20, 9.0, 0.1])

    async def uneven(_arguments: dict[str, Any]) -> Any:
        seconds = next(durations)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            stopped.append(seconds)
            raise
        return seconds

    async def main() -> None:
        tools = FakeTools(specs={"work": {"hedge": True, "timeout_seconds": 20.0}}, work=uneven)
        calls = [call("work", n=number) for number in range(20)]
        model = scripted({"events": calls}, {"events": [call("work", n=99)]}, {"events": [text("done")]})
        async with make_orchestrator(model, tools) as orchestrator:
            view = await orchestrator.execute(RunSpec(input="go"), ME)
        last = view.calls["c1_0"]
        assert last.succeeded is not None
        assert orjson.loads(last.succeeded.result_json) == 0.1
        assert last.waits.work == pytest.approx(0.2, abs=0.01)
        assert stopped == [9.0]

    run_virtual(main())


def test_a_tool_that_takes_longer_than_what_is_left_is_not_started() -> None:
    async def main() -> None:
        tools = FakeTools(work=sleeping(3.0))
        services = make_services(tools)
        for _ in range(5):
            services.tool_times.note("work", 3.0)
        model = scripted({"events": [call("work")]}, {"events": [text("without it")]})
        async with make_orchestrator(model, tools, services=services) as orchestrator:
            view = await orchestrator.execute(RunSpec(input="go"), ME, seconds=2.0)
        skipped = view.calls["c0_0"].skipped
        assert isinstance(skipped, CallSkipped)
        assert "usually takes 3 s" in skipped.because
        assert view.partial
        assert not tools.invocations

    run_virtual(main())


def test_tools_are_told_how_long_anybody_waits() -> None:
    async def main() -> None:
        tools = FakeTools(specs={"work": {"timeout_seconds": 100.0}}, work=sleeping(0.1))
        model = scripted({"events": [call("work")]}, {"events": [text("done")]})
        async with make_orchestrator(model, tools) as orchestrator:
            await orchestrator.execute(RunSpec(input="go"), ME, seconds=10.0)
        (invocation,) = tools.invocations
        assert invocation.seconds_left == pytest.approx(8.0)  # a fifth is kept for the answer

    run_virtual(main())


def test_a_bug_of_an_executor_is_the_end_of_its_call_only() -> None:
    """Whatever a call raises, its siblings keep their results."""

    async def broken(_arguments: dict[str, Any]) -> Any:
        raise ZeroDivisionError

    async def main() -> None:
        tools = FakeTools(work=sleeping(0.2, "kept"), bug=broken)
        model = scripted({"events": [call("work"), call("bug")]}, {"events": [text("done")]})
        async with make_orchestrator(model, tools) as orchestrator:
            view = await orchestrator.execute(RunSpec(input="go"), ME)
        assert view.calls["c0_0"].succeeded is not None
        failed = view.calls["c0_1"].failed
        assert failed is not None
        assert failed.code is ToolFailureCode.RAISED
        assert view.answer == "done"

    run_virtual(main())
