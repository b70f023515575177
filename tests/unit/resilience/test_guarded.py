"""Models and tools behind breakers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from podium.errors import CircuitOpen, InvalidRequest, Unavailable
from podium.orchestration.chat import ChatEvent, ChatRequest, TextDelta, TurnFinished, TurnFinishReason, UserMessage
from podium.orchestration.tool import ToolFailure, ToolFailureCode, ToolInvocation, ToolResult
from podium.resilience.breaker import BreakerPolicy
from podium.resilience.breakers import Breakers
from podium.resilience.guarded import GuardedExecutor, GuardedModel
from support.fakes import FunctionModel

REQUEST = ChatRequest(messages=[UserMessage("hi")])


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def make_breakers() -> tuple[Breakers, Clock]:
    clock = Clock()
    return Breakers(BreakerPolicy(failures=3, recovery_seconds=10, successes=1), clock=clock), clock


async def take(model: GuardedModel) -> list[ChatEvent]:
    return [event async for event in model.stream(REQUEST)]


async def test_failing_model_is_left_alone_and_tried_again() -> None:
    """Three failures open the breaker; after the recovery time one good turn closes it."""
    broken = True

    async def stream(_: ChatRequest) -> AsyncIterator[ChatEvent]:
        if broken:
            raise Unavailable("gone")
        yield TextDelta("ok")
        yield TurnFinished(TurnFinishReason.STOP)

    breakers, clock = make_breakers()
    inner = FunctionModel(stream, name="m")
    model = GuardedModel(inner, breakers)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await take(model)
    with pytest.raises(CircuitOpen):
        await take(model)
    assert len(inner.requests) == 3
    clock.now, broken = 10.1, False
    assert (await take(model))[0] == TextDelta("ok")
    assert breakers.get("model:m").status().state == "closed"


@pytest.mark.parametrize(
    "error", [Unavailable("loading", reason="MODEL_NOT_READY", retry_after=1), InvalidRequest("too long")]
)
async def test_loading_and_callers_mistakes_open_nothing(error: Exception) -> None:
    """Neither a model that is still loading nor a bad request says anything about the model's health."""

    async def stream(_: ChatRequest) -> AsyncIterator[ChatEvent]:
        raise error
        yield TextDelta("")

    breakers, _ = make_breakers()
    model = GuardedModel(FunctionModel(stream, name="m"), breakers)
    for _ in range(10):
        with pytest.raises(type(error)) as raised:
            await take(model)
        assert raised.value is error
    assert breakers.get("model:m").status().state == "closed"


async def test_reader_that_leaves_closes_the_model_and_counts_for_nothing() -> None:
    """Closing the stream early reaches the model and leaves the breaker as it was."""
    closed = []

    async def stream(_: ChatRequest) -> AsyncIterator[ChatEvent]:
        try:
            yield TextDelta("a")
            yield TextDelta("b")
        finally:
            closed.append(True)

    breakers, _ = make_breakers()
    events = GuardedModel(FunctionModel(stream, name="m"), breakers).stream(REQUEST)
    await anext(events)
    await events.aclose()  # type: ignore[attr-defined]
    assert closed == [True]
    assert breakers.get("model:m").status().failures == 0


class FailingTools:
    def __init__(self, code: ToolFailureCode) -> None:
        self.code = code
        self.calls = 0

    async def invoke(self, invocation: ToolInvocation) -> ToolResult:
        self.calls += 1
        raise ToolFailure(self.code, "no")


INVOCATION = ToolInvocation(run_id="r", call_id="c", tool="t", arguments_json=b"{}")


@pytest.mark.parametrize(
    ("code", "calls"),
    [
        (ToolFailureCode.TIMEOUT, 3),
        (ToolFailureCode.UNAVAILABLE, 3),
        (ToolFailureCode.INVALID_ARGUMENTS, 5),
        (ToolFailureCode.RAISED, 5),
    ],
)
async def test_only_ill_tools_are_left_alone(code: ToolFailureCode, calls: int) -> None:
    """A tool that hangs or is away is no longer started after three failures; bad arguments never count."""
    breakers, _ = make_breakers()
    tools = FailingTools(code)
    guarded = GuardedExecutor(tools, breakers)
    for _ in range(5):
        with pytest.raises(ToolFailure) as failed:
            await guarded.invoke(INVOCATION)
    assert tools.calls == calls
    if calls == 3:
        assert failed.value.code is ToolFailureCode.UNAVAILABLE
        assert failed.value.retryable


async def test_the_breakers_time_limit_holds_for_every_tool() -> None:
    """A tool that allows itself more than the limit of any call is ended at it, and that counts as a failure."""
    ended = asyncio.Event()

    class Endless:
        async def invoke(self, invocation: ToolInvocation) -> ToolResult:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            raise AssertionError

    breakers = Breakers(BreakerPolicy(failures=1, recovery_seconds=10, call_seconds=0.01))
    with pytest.raises(ToolFailure) as late:
        await GuardedExecutor(Endless(), breakers).invoke(INVOCATION)
    assert late.value.code is ToolFailureCode.TIMEOUT
    assert ended.is_set()
    assert breakers.get("tool:t").status().state == "open"


async def test_first_output_is_timed_once_a_turn() -> None:
    """The first event of a turn, and no other, is told with its time."""

    async def stream(_: ChatRequest) -> AsyncIterator[ChatEvent]:
        yield TextDelta("a")
        yield TextDelta("b")

    told: list[tuple[str, float]] = []
    breakers, _ = make_breakers()
    model = GuardedModel(
        FunctionModel(stream, name="m"), breakers, first_output=lambda name, seconds: told.append((name, seconds))
    )
    await take(model)
    ((name, seconds),) = told
    assert name == "m"
    assert seconds >= 0
