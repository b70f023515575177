"""What is remembered of how long tools take, and where it goes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from podium.orchestration.chat import (
    AssistantMessage,
    ChatEvent,
    ChatRequest,
    ModelAttempt,
    TextDelta,
    ToolCallSealed,
    ToolMessage,
    TurnFinished,
    TurnFinishReason,
)
from podium.orchestration.events import RunSpec, TurnEnded
from podium.orchestration.orchestrator import Submitter
from podium.orchestration.tool_times import ToolTimes
from support.fakes import FakeTools, FunctionModel, make_orchestrator, sleeping
from support.virtual_time import run_virtual


def test_the_slowest_tool_that_may_be_called_decides() -> None:
    times = ToolTimes()
    assert times.p90(["a", "b"]) is None
    for tenth in range(1, 11):
        times.note("a", tenth / 10)
    times.note("b", 0.2)
    assert times.p90(["a"]) == 0.9
    assert times.p90(["b"]) == 0.2
    assert times.p90(["a", "b", "unknown"]) == 0.9
    assert times.p90([]) is None


def test_old_calls_are_forgotten_and_so_are_tools_nobody_calls() -> None:
    times = ToolTimes()
    for _ in range(128):
        times.note("a", 100.0)
    for _ in range(128):
        times.note("a", 1.0)
    assert times.p90(["a"]) == 1.0
    for number in range(4_096):
        times.note(f"t{number}", 1.0)
    assert times.p90(["a"]) is None


def test_no_cache_is_kept_for_ever() -> None:
    times = ToolTimes()
    times.note("a", 1e6)
    assert times.p90(["a"]) == 600.0


def test_turns_tell_the_model_whose_they_are_and_how_long_the_pause_will_be() -> None:
    """The first run knows nothing of the tool's time; the second does. Ids of the model's come back to it."""
    attempts = (ModelAttempt("big", "UNAVAILABLE", 0.5), ModelAttempt("small", "", 0.1))

    async def turns(request: ChatRequest) -> AsyncIterator[ChatEvent]:
        if isinstance(request.messages[-1], ToolMessage):
            yield TextDelta("done")
            yield TurnFinished(TurnFinishReason.STOP, model="small", attempts=attempts)
        else:
            yield ToolCallSealed("work", b"{}", provider_id="theirs-7")
            yield TurnFinished(TurnFinishReason.TOOL_CALLS)

    async def main() -> None:
        model = FunctionModel(turns)
        by = Submitter(owner="me", tenant="acme", correlation_id="c")
        async with make_orchestrator(model, FakeTools(work=sleeping(2.5))) as orchestrator:
            for _ in range(2):
                events = [e async for e in orchestrator.stream(RunSpec(input="go"), by)]
        first, second, third, _ = model.requests
        assert {request.tenant for request in model.requests} == {"acme"}
        assert first.retain_seconds is None
        assert second.retain_seconds == third.retain_seconds == pytest.approx(2.5)
        said, answered = second.messages[-2:]
        assert isinstance(said, AssistantMessage)
        assert isinstance(answered, ToolMessage)
        assert said.calls[0].provider_id == answered.provider_id == "theirs-7"
        ended = [e.kind for e in events if isinstance(e.kind, TurnEnded)]
        assert [(e.model, e.attempts) for e in ended] == [("function", ()), ("small", attempts)]

    run_virtual(main())
