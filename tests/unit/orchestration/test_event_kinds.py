"""Every kind of event has a scenario that needs it: its check passes, and fails once the log loses that kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from typing import Any, TypeVar, get_args

import pytest

from podium.orchestration.budget import Dimension, Scope
from podium.orchestration.call_bindings import PastCall
from podium.orchestration.chat import ChatEvent, ChatRequest, TextDelta, ToolCallSealed, TurnFinished, TurnFinishReason
from podium.orchestration.chat import Usage as TokenUsage
from podium.orchestration.core import Services
from podium.orchestration.events import (
    AnswerSource,
    BudgetExhausted,
    CallFinished,
    CallPredicted,
    CallRetried,
    CallSealed,
    CallStarted,
    CallSucceeded,
    EventKind,
    Exhaustion,
    LoggedEvent,
    PredictionSettled,
    QuestionAsked,
    QuestionKind,
    QuestionSettled,
    ResultSource,
    RunEnded,
    RunLimits,
    RunSpec,
    RunStarted,
    RunState,
    Speculation,
    TextWritten,
    TurnEnded,
    TurnStarted,
    Waits,
    WindDownCause,
    WindDownStarted,
)
from podium.orchestration.orchestrator import Orchestrator, Submitter
from podium.orchestration.prediction import Prediction
from podium.orchestration.run_log import RunLog
from podium.orchestration.tool import SideEffects, ToolFailure, ToolFailureCode
from support.fakes import FakeTools, FunctionModel, call, make_orchestrator, make_services, scripted, sleeping, text
from support.virtual_time import run_virtual

ME = Submitter(owner="me", tenant="acme", correlation_id="corr-1")
SPEC = RunSpec(input="go")
Kind = TypeVar("Kind")
Scenario = Callable[[], Awaitable[None]]
Listener = Callable[[Orchestrator, LoggedEvent], Awaitable[None]]

SCENARIOS: dict[Any, Scenario] = {}


def _shows(kind: type[Any]) -> Callable[[Scenario], Scenario]:
    def register(scenario: Scenario) -> Scenario:
        SCENARIOS[kind] = scenario
        return scenario

    return register


async def _run(
    model: Any,
    tools: FakeTools,
    spec: RunSpec = SPEC,
    *,
    seconds: float | None = None,
    services: Services | None = None,
    listener: Listener | None = None,
) -> list[tuple[float, EventKind]]:
    """Run a request; return what happened, each with its second."""
    found, began = [], asyncio.get_running_loop().time()
    async with (
        make_orchestrator(model, tools, services=services) as orchestrator,
        aclosing(orchestrator.stream(spec, ME, seconds=seconds)) as events,
    ):
        async for event in events:
            found.append((asyncio.get_running_loop().time() - began, event.kind))
            if listener is not None:
                await listener(orchestrator, event)
    return found


def _of(kind: type[Kind], events: Sequence[tuple[float, EventKind]]) -> list[tuple[float, Kind]]:
    return [(round(at, 6), each) for at, each in events if isinstance(each, kind)]


def _one(kind: type[Kind], events: Sequence[tuple[float, EventKind]]) -> tuple[float, Kind]:
    found = _of(kind, events)
    assert len(found) == 1
    return found[0]


def _ended_well(events: Sequence[tuple[float, EventKind]]) -> bool:
    return bool(events) and isinstance(events[-1][1], RunEnded) and events[-1][1].state is RunState.SUCCEEDED


@_shows(RunStarted)
async def _a_run_starts() -> None:
    events = await _run(scripted({"events": [text("hello")]}), FakeTools())
    assert events[0] == (0.0, RunStarted(SPEC, "scripted", "corr-1"))


@_shows(TurnStarted)
async def _turns_start() -> None:
    model = scripted({"events": [call("work", 100)]}, {"events": [text("done")]})
    events = await _run(model, FakeTools(work=sleeping(1.0)))
    assert _of(TurnStarted, events) == [(0.0, TurnStarted(0, "scripted")), (1.1, TurnStarted(1, "scripted"))]


@_shows(TextWritten)
async def _text_comes_as_it_is_written() -> None:
    events = await _run(scripted({"events": [text("one ", 100), text("two", 600)]}), FakeTools())
    assert _of(TextWritten, events) == [(0.1, TextWritten(0, 0, "one ")), (0.6, TextWritten(0, 4, "two"))]


@_shows(CallSealed)
async def _calls_are_sealed_with_what_they_use() -> None:
    model = scripted(
        {"events": [call("work", 100, x=1), call("work", 200, x={"$from": "c0"})], "end_ms": 300},
        {"events": [text("done")]},
    )
    for plan_only in (False, True):
        events = await _run(model, FakeTools(work=sleeping(1.0)), RunSpec(input="go", plan_only=plan_only))
        assert [(at, each.call_id, each.tool, each.depends_on) for at, each in _of(CallSealed, events)] == [
            (0.1, "c0_0", "work", ()),
            (0.2, "c0_1", "work", ("c0_0",)),
        ]


@_shows(CallStarted)
async def _calls_start_when_nothing_stands_in_their_way() -> None:
    tools = FakeTools(
        specs={"write": {"side_effects": SideEffects.EFFECTFUL}}, read=sleeping(1.0, 7), write=sleeping(0.0)
    )
    calls = [call("read", 100), call("write", 200), call("read", 300, x={"$from": "c0"})]
    events = await _run(scripted({"events": calls, "end_ms": 500}, {"events": [text("done")]}), tools)
    assert _of(CallStarted, events) == [
        (0.1, CallStarted("c0_0", 1)),
        (0.5, CallStarted("c0_1", 1)),
        (1.1, CallStarted("c0_2", 1, b'{"x":7}')),
    ]


@_shows(CallRetried)
async def _a_call_is_tried_again() -> None:
    tried = []

    async def shaky(_: dict[str, Any]) -> Any:
        tried.append(asyncio.get_running_loop().time())
        if len(tried) == 1:
            raise ToolFailure(ToolFailureCode.RAISED, "not yet", retryable=True)
        return 1

    events = await _run(scripted({"events": [call("shaky")]}, {"events": [text("done")]}), FakeTools(shaky=shaky))
    at, retried = _one(CallRetried, events)
    assert (at, retried.call_id, retried.attempt) == (0.0, "c0_0", 1)
    assert (retried.code, retried.message) == (ToolFailureCode.RAISED, "not yet")
    assert tried[1] == pytest.approx(retried.seconds, abs=0.11)


@_shows(CallFinished)
async def _calls_end_with_what_they_waited_for() -> None:
    model = scripted({"events": [call("work"), call("work", 0, x={"$from": "c0"})]}, {"events": [text("done")]})
    events = await _run(model, FakeTools(work=sleeping(1.0, [3])))
    outcome = CallSucceeded(b"[3]", "application/json")
    assert _of(CallFinished, events) == [
        (1.0, CallFinished("c0_0", outcome, Waits(work=1.0))),
        (2.0, CallFinished("c0_1", outcome, Waits(parents=1.0, work=1.0))),
    ]


class _Sure:
    """Predicts one call at the start of a run."""

    def predict(
        self, tenant: str, request: str, calls: Sequence[PastCall], *, tools: Collection[str]
    ) -> list[Prediction]:
        return [] if calls else [Prediction("work", {"x": 1}, 0.9, "as always")]

    def learn(self, tenant: str, request: str, calls: Sequence[PastCall]) -> None:
        """Learn nothing."""


async def _predicted() -> list[tuple[float, EventKind]]:
    tools = FakeTools(work=sleeping(1.0, 3))
    services = make_services(tools, predictor=_Sure())
    model = scripted({"events": [call("work", 400, x=1)]}, {"events": [text("done")]})
    return await _run(model, tools, RunSpec(input="go", speculation=Speculation.SAFE), services=services)


@_shows(CallPredicted)
async def _a_call_is_predicted() -> None:
    events = _of(CallPredicted, await _predicted())
    assert events == [(0.0, CallPredicted("p0", "work", b'{"x":1}', "1", 0.9, "as always"))]


@_shows(PredictionSettled)
async def _a_prediction_comes_true() -> None:
    events = await _predicted()
    at, settled = _one(PredictionSettled, events)
    assert (at, settled.prediction_id, settled.call_id) == (1.0, "p0", "c0_0")
    assert settled.saved_seconds == settled.spent_seconds == pytest.approx(0.4)
    (finished,) = [each.outcome for _, each in _of(CallFinished, events)]
    assert finished == CallSucceeded(b"3", "application/json", ResultSource.PREDICTED)


async def _asked() -> list[tuple[float, EventKind]]:
    async def answer(orchestrator: Orchestrator, event: LoggedEvent) -> None:
        if isinstance(event.kind, QuestionAsked):
            await asyncio.sleep(2.0)
            await orchestrator.answer(event.run_id, event.kind.question_id, b'"red"', ME)

    question = call("ask_user", question="Which colour?", choices=["red", "blue"])
    model = scripted({"events": [question]}, {"events": [text("done")]})
    return await _run(model, FakeTools(), RunSpec(input="go", may_ask=True), listener=answer)


@_shows(QuestionAsked)
async def _a_question_is_asked() -> None:
    at, asked = _one(QuestionAsked, await _asked())
    assert (at, asked.question_id, asked.call_id) == (0.0, "q0", "c0_0")
    assert (asked.kind, asked.prompt, asked.schema_json) == (
        QuestionKind.CHOICE,
        "Which colour?",
        b'{"enum":["red","blue"]}',
    )


@_shows(QuestionSettled)
async def _a_question_is_answered() -> None:
    events = await _asked()
    assert _of(QuestionSettled, events) == [(2.0, QuestionSettled("q0", AnswerSource.ANSWERED, b'"red"'))]
    assert _ended_well(events)


@_shows(BudgetExhausted)
async def _a_budget_is_used_up() -> None:
    tools = FakeTools(specs={"work": {"cost_micros": 30}}, work=sleeping(1.0))
    limits = RunLimits(max_cost_micros=50, on_exhausted=Exhaustion.FINISH)
    model = scripted({"events": [call("work", 0, x=1), call("work", 1500, x=2)]}, {"events": [text("done")]})
    events = await _run(model, tools, RunSpec(input="go", limits=limits))
    assert _of(BudgetExhausted, events) == [
        (1.5, BudgetExhausted(Scope.RUN, Dimension.COST, 50, 30, Exhaustion.FINISH))
    ]


@_shows(WindDownStarted)
async def _a_run_does_without_what_takes_too_long() -> None:
    tools = FakeTools(quick=sleeping(1.0), slow=sleeping(1000.0))
    model = scripted({"events": [call("quick"), call("slow")]}, {"events": [text("done")]})
    events = await _run(model, tools, seconds=10.0)
    at, started = _one(WindDownStarted, events)
    assert (at, started.cause, started.missing) == (8.0, WindDownCause.DEADLINE, ("c0_1",))
    assert _ended_well(events)


@_shows(TurnEnded)
async def _turns_end_with_their_text_and_price() -> None:
    async def stream(_: ChatRequest) -> AsyncIterator[ChatEvent]:
        yield TextDelta("a")
        await asyncio.sleep(1.0)
        yield TextDelta("b")
        yield TurnFinished(TurnFinishReason.STOP, TokenUsage(5, 2))

    events = await _run(FunctionModel(stream), FakeTools())
    ended = TurnEnded(0, "ab", TokenUsage(5, 2), TurnFinishReason.STOP, "function")
    assert _of(TurnEnded, events) == [(1.0, ended)]


@_shows(RunEnded)
async def _a_run_ends() -> None:
    async def stream(request: ChatRequest) -> AsyncIterator[ChatEvent]:
        if request.turn == 0:
            yield ToolCallSealed("work", b"{}")
        else:
            yield TextDelta("done")
        yield TurnFinished(TurnFinishReason.STOP)

    events = await _run(FunctionModel(stream), FakeTools(work=sleeping(1.0)))
    assert events[-1] == (1.0, RunEnded(RunState.SUCCEEDED, "done", False, TokenUsage()))
    assert len(_of(RunEnded, events)) == 1


def test_every_kind_has_a_scenario() -> None:
    """A new kind of event needs one."""
    assert set(SCENARIOS) == set(get_args(EventKind))


@pytest.mark.parametrize("kind", get_args(EventKind), ids=lambda kind: kind.__name__)
def test_the_scenario_of_a_kind_holds(kind: type[Any]) -> None:
    """Each scenario goes as it should."""
    run_virtual(SCENARIOS[kind]())  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", get_args(EventKind), ids=lambda kind: kind.__name__)
def test_the_scenario_of_a_kind_fails_without_it(kind: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that loses a kind of event is noticed by that kind's scenario."""
    append = RunLog.append

    async def losing(self: RunLog, event: EventKind) -> None:
        if not isinstance(event, kind):
            await append(self, event)

    monkeypatch.setattr(RunLog, "append", losing)
    if kind is TextWritten:  # the only kind that is shown but never logged
        monkeypatch.setattr(RunLog, "text", lambda _self, _chunk: None)
    with pytest.raises(AssertionError):
        run_virtual(SCENARIOS[kind]())  # type: ignore[arg-type]
