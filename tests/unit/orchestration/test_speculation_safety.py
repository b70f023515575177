"""Which calls may start early, and what is booked of those that nobody asked for; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from podium.app.run_observer import RunReporter
from podium.observability.metrics import Metrics
from podium.orchestration.chat import ChatEvent, ChatRequest, TextDelta, ToolCallSealed, TurnFinished, TurnFinishReason
from podium.orchestration.core import Services
from podium.orchestration.events import (
    CallFinished,
    CallPredicted,
    CallSealed,
    CallStarted,
    CallSucceeded,
    LoggedEvent,
    PredictionSettled,
    ResultSource,
    RunEnded,
    RunSpec,
    RunState,
    Speculation,
    TurnEnded,
)
from podium.orchestration.governor import GovernorLimits
from podium.orchestration.orchestrator import Orchestrator, Submitter
from podium.orchestration.prediction_ledger import PredictionLedger
from podium.orchestration.tool import SideEffects, ToolFailure, ToolFailureCode
from support.fakes import FakeTools, FunctionModel, ToolBody, loop_time, make_orchestrator, make_services, sleeping
from support.runs import collect, kinds, seconds_of
from support.virtual_time import run_virtual

ME = Submitter(owner="me", tenant="acme")
SPEC = RunSpec(input="find 1")
SEARCH, OPEN, TTFT = 0.3, 0.4, 0.5
COST = 1_000


class Habit:
    """A model that searches, then opens the first result, then answers; unless it is told otherwise.

    The call of the second turn is sealed 0.5 s after its start, 0.2 s before its end.
    """

    def __init__(self) -> None:
        self.opens = True
        self.url: str | None = None

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        await asyncio.sleep(TTFT)
        if request.turn == 0:
            yield ToolCallSealed("search", b"{}")
            yield TurnFinished(TurnFinishReason.TOOL_CALLS)
        elif request.turn == 1 and self.opens:
            url = self.url or orjson.loads(request.messages[-1].content)["urls"][0]  # type: ignore[union-attr]
            yield ToolCallSealed("open", orjson.dumps({"url": url}))
            await asyncio.sleep(0.2)
            yield TurnFinished(TurnFinishReason.TOOL_CALLS)
        else:
            yield TextDelta("done")
            yield TurnFinished(TurnFinishReason.STOP)


def latest(body: dict[str, ToolBody]) -> ToolBody:
    """Return a tool body that does what `body` says at the time."""

    async def work(arguments: dict[str, Any]) -> Any:
        return await body["now"](arguments)

    return work


def toolbox(effects: SideEffects, opens: ToolBody | None = None) -> FakeTools:
    number = 0

    async def search(_: dict[str, Any]) -> Any:
        nonlocal number
        number += 1
        await asyncio.sleep(SEARCH)
        return {"urls": [f"https://site/{number}", f"https://other/{number}"]}

    return FakeTools(
        specs={
            "search": {"side_effects": SideEffects.IDEMPOTENT},
            "open": {"side_effects": effects, "cost_micros": COST},
        },
        search=search,
        open=opens or sleeping(OPEN, "page"),
    )


async def trained(orchestrator: Orchestrator, runs: int = 8) -> None:
    """Let the predictor see what the model does."""
    for _ in range(runs):
        view = await orchestrator.execute(RunSpec(input="find 1", speculation=Speculation.OFF), ME)
        assert view.state is RunState.SUCCEEDED


def opened(events: list[LoggedEvent]) -> str:
    """Return the id of the call that opens a page."""
    return next(sealed.call_id for sealed in kinds(events, CallSealed) if sealed.tool == "open")


def play(
    effects: SideEffects,
    habit: Habit | None = None,
    services: dict[str, Any] | None = None,
    *,
    opens: ToolBody | None = None,
    then: ToolBody | None = None,
) -> tuple[list[LoggedEvent], FakeTools, Services]:
    """Train with one body of `open`, then return the events of one more run, with another body if there is one."""
    habit = habit or Habit()
    body = {"now": opens or sleeping(OPEN, "page")}
    tools = toolbox(effects, latest(body))
    wanted, url = habit.opens, habit.url

    async def main() -> tuple[list[LoggedEvent], Services]:
        shared = make_services(tools, **(services or {}))
        async with make_orchestrator(FunctionModel(habit.stream), tools, services=shared) as orchestrator:
            habit.opens, habit.url = True, None
            await trained(orchestrator)
            habit.opens, habit.url = wanted, url
            body["now"] = then or body["now"]
            tools.invocations.clear()
            return await collect(orchestrator.stream(SPEC, ME)), shared

    events, shared = run_virtual(main())
    return events, tools, shared


def test_a_call_without_effects_is_predicted_and_its_result_is_there_earlier() -> None:
    """It starts when the turn before has ended, is adopted when the model asks, and runs once."""
    events, tools, services = play(SideEffects.NONE)
    (predicted,) = kinds(events, CallPredicted)
    assert (predicted.tool, predicted.prediction_id) == ("open", "p0")
    at = next(event.time_ns / 1e9 for event in events if event.kind is predicted)
    searched = seconds_of(events, CallFinished)["c0_0"]
    assert at == pytest.approx(searched)
    assert [invocation.tool for invocation in tools.invocations] == ["search", "open"]
    (settled,) = kinds(events, PredictionSettled)
    assert (settled.prediction_id, settled.call_id, settled.because, settled.cost_micros) == ("p0", "c1_0", "", COST)
    assert [settled.spent_seconds, settled.saved_seconds] == pytest.approx([OPEN, OPEN])
    finished = next(each for each in kinds(events, CallFinished) if each.call_id == "c1_0")
    assert isinstance(finished.outcome, CallSucceeded)
    assert finished.outcome.source is ResultSource.PREDICTED
    assert seconds_of(events, CallFinished)["c1_0"] == pytest.approx(searched + TTFT)
    totals = services.ledger.totals
    assert (totals.started, totals.hits, totals.misses, totals.hit_cost_micros) == (1, 1, 0, COST)


def test_an_idempotent_call_starts_when_it_is_sealed_and_is_never_predicted() -> None:
    events, _, services = play(SideEffects.IDEMPOTENT)
    assert not kinds(events, CallPredicted)
    assert services.ledger.totals.started == 0
    call_id = opened(events)
    start = seconds_of(events, CallStarted)[call_id]
    assert start == pytest.approx(seconds_of(events, CallSealed)[call_id])
    ended = [event.time_ns / 1e9 for event in events if isinstance(event.kind, TurnEnded)]
    assert start == pytest.approx(ended[1] - 0.2)


def test_a_call_with_effects_waits_for_the_end_of_its_turn() -> None:
    events, _, services = play(SideEffects.EFFECTFUL)
    assert not kinds(events, CallPredicted)
    assert services.ledger.totals.started == 0
    call_id = opened(events)
    start = seconds_of(events, CallStarted)[call_id]
    ended = [event.time_ns / 1e9 for event in events if isinstance(event.kind, TurnEnded)]
    assert start == pytest.approx(ended[1])
    assert start == pytest.approx(seconds_of(events, CallSealed)[call_id] + 0.2)
    waits = next(each.waits for each in kinds(events, CallFinished) if each.call_id == call_id)
    assert waits.turn == pytest.approx(0.2)


@pytest.mark.parametrize("effects", list(SideEffects))
def test_a_turn_that_is_broken_off_starts_nothing_with_effects(effects: SideEffects) -> None:
    """A call that was written before the model failed has run only if nothing changes by it for good."""

    async def broken(_: ChatRequest) -> AsyncIterator[ChatEvent]:
        yield ToolCallSealed("open", b"{}")
        await asyncio.sleep(1)
        raise RuntimeError("gone")

    async def main() -> None:
        tools = toolbox(effects)
        async with make_orchestrator(FunctionModel(broken), tools) as orchestrator:
            view = await orchestrator.execute(SPEC, ME)
        assert view.state is RunState.FAILED
        assert len(tools.invocations) == (0 if effects is SideEffects.EFFECTFUL else 1)
        assert (view.calls["c0_0"].skipped is not None) == (effects is SideEffects.EFFECTFUL)

    run_virtual(main())


@pytest.mark.parametrize("what", ["no call", "other arguments"])
def test_a_prediction_that_was_wrong_is_given_up_and_booked(what: str) -> None:
    """Its tool is stopped at the end of the turn; the model's own call is made."""
    habit = Habit()
    habit.opens, habit.url = what != "no call", "https://elsewhere" if what == "other arguments" else None
    events, tools, services = play(SideEffects.NONE, habit, then=sleeping(2, "page"))
    (settled,) = kinds(events, PredictionSettled)
    spent = TTFT if what == "no call" else TTFT + 0.2
    assert (settled.call_id, settled.because, settled.cost_micros) == ("", "the model did not ask for it", COST)
    assert [settled.spent_seconds, settled.saved_seconds] == pytest.approx([spent, 0.0])
    totals = services.ledger.totals
    assert (totals.started, totals.misses, totals.wasted_cost_micros) == (1, 1, COST)
    assert totals.wasted_seconds == pytest.approx(spent)
    assert tools.running == 0
    sent = [orjson.loads(i.arguments_json)["url"] for i in tools.invocations if i.tool == "open"]
    assert len(sent) == (1 if what == "no call" else 2)


def test_a_prediction_that_fails_leaves_the_call_to_the_model() -> None:
    """Its failure is nobody's but its own: the call is made when the model asks for it."""
    made = 0

    async def flaky(_: dict[str, Any]) -> Any:
        nonlocal made
        made += 1
        await asyncio.sleep(0.1)
        if made == 9:
            raise ToolFailure(ToolFailureCode.RAISED, "no luck")
        return "page"

    events, _, services = play(SideEffects.NONE, opens=flaky)
    (settled,) = kinds(events, PredictionSettled)
    assert (settled.call_id, settled.because) == ("", "the tool failed")
    assert made == 10
    end = events[-1].kind
    assert isinstance(end, RunEnded)
    assert (end.state, end.partial) == (RunState.SUCCEEDED, False)
    assert len([each for each in kinds(events, CallStarted) if each.call_id == "c1_0"]) == 1
    assert services.ledger.totals.misses == 1


def test_predictions_never_take_a_slot_from_anybody() -> None:
    """They start only where a slot is free, and the model's own call does not wait behind them."""

    async def main() -> None:
        tools = toolbox(SideEffects.NONE)
        shared = make_services(tools, GovernorLimits(per_process=1))
        habit = Habit()
        async with make_orchestrator(FunctionModel(habit.stream), tools, services=shared) as orchestrator:
            await trained(orchestrator)
            other = shared.governor.for_run("other", "other")
            task = asyncio.ensure_future(collect(orchestrator.stream(SPEC, ME)))
            await asyncio.sleep(TTFT + SEARCH - 0.05)
            waiting = asyncio.ensure_future(other.request("t", "general", 0).wait())  # type: ignore[arg-type]
            await asyncio.sleep(0.1)
            assert waiting.done(), "it goes before the prediction"
            await asyncio.sleep(0.3)
            waiting.result().release()
            events = await task
        (predicted,) = [event for event in events if isinstance(event.kind, CallPredicted)]
        assert predicted.time_ns / 1e9 == pytest.approx(seconds_of(events, CallFinished)["c0_0"] + 0.35)

    run_virtual(main())


def test_every_prediction_has_one_row_and_the_rows_add_up_to_the_metrics() -> None:
    """Hits, misses, failures and runs that are cancelled half-way: log, ledger, metrics and view agree."""
    metrics = Metrics.create(version="0")
    made = 0

    async def sometimes(_: dict[str, Any]) -> Any:
        nonlocal made
        made += 1
        await asyncio.sleep(0.1 * (made % 9 + 1))
        if made % 5 == 0:
            raise ToolFailure(ToolFailureCode.RAISED, "no luck")
        return "page"

    async def main() -> tuple[list[list[LoggedEvent]], Services]:
        tools = toolbox(SideEffects.NONE, sometimes)
        shared = make_services(tools, ledger=PredictionLedger(clock=loop_time, max_waste_share=1.0, free_seconds=30.0))
        habit = Habit()
        logs = []
        async with make_orchestrator(
            FunctionModel(habit.stream), tools, services=shared, observers=[RunReporter(metrics)]
        ) as orchestrator:
            await trained(orchestrator)
            for number in range(30):
                habit.opens = number % 6 != 5
                habit.url = "https://elsewhere" if number % 7 == 6 else None
                task = asyncio.ensure_future(orchestrator.execute(SPEC, ME))
                if number % 5 == 0:
                    await asyncio.sleep(TTFT + SEARCH + 0.01 * number)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    run_id = (await orchestrator.list(ME)).runs[0].run_id
                    view = await orchestrator.cancel(run_id, ME)
                else:
                    view = await task
                logs.append(await collect(orchestrator.watch(view.run_id, ME)))
        return logs, shared

    logs, shared = run_virtual(main())
    predicted = [each for log in logs for each in kinds(log, CallPredicted)]
    rows = [each for log in logs for each in kinds(log, PredictionSettled)]
    for log in logs:
        ids = [each.prediction_id for each in kinds(log, CallPredicted)]
        assert sorted(ids) == sorted(each.prediction_id for each in kinds(log, PredictionSettled))
        assert isinstance(log[-1].kind, RunEnded)
    hits = [row for row in rows if row.call_id]
    misses = [row for row in rows if not row.call_id]
    assert len(hits) > 3
    assert {row.because for row in misses} == {"the model did not ask for it", "the tool failed", "the run ended"}
    totals = shared.ledger.totals
    assert (totals.started, totals.hits, totals.misses) == (len(predicted), len(hits), len(misses))
    assert totals.saved_seconds == pytest.approx(sum(row.saved_seconds for row in hits))
    assert totals.hit_seconds == pytest.approx(sum(row.spent_seconds for row in hits))
    assert totals.wasted_seconds == pytest.approx(sum(row.spent_seconds for row in misses))
    assert totals.hit_cost_micros + totals.wasted_cost_micros == sum(row.cost_micros for row in rows)

    def shown(name: str, **labels: str) -> float:
        value = metrics.registry.get_sample_value(name, labels)
        assert value is not None
        return value

    assert shown("podium_predictions_total", outcome="hit") == len(hits)
    assert shown("podium_predictions_total", outcome="miss") == len(misses)
    assert shown("podium_prediction_saved_seconds_total") == pytest.approx(totals.saved_seconds)
    assert shown("podium_prediction_wasted_seconds_total") == pytest.approx(totals.wasted_seconds)
    assert shown("podium_tools_in_flight") == 0


@pytest.mark.parametrize("cap", [{"max_waste_share": 0.0}, {"max_waste_seconds": 0.0}])
def test_a_waste_cap_of_nothing_starts_nothing(cap: dict[str, float]) -> None:
    events, tools, shared = play(SideEffects.NONE, services={"ledger": PredictionLedger(**cap, clock=loop_time)})
    assert not kinds(events, CallPredicted)
    assert shared.ledger.totals.started == 0
    assert [invocation.tool for invocation in tools.invocations] == ["search", "open"]


def test_waste_stays_below_its_cap() -> None:
    """A model that stopped doing what it used to do: predictions end once a second or two was wasted."""

    async def main() -> None:
        body = {"now": sleeping(0.1, "page")}
        tools = toolbox(SideEffects.NONE, latest(body))
        ledger = PredictionLedger(clock=loop_time, max_waste_share=0.25, free_seconds=2.0, window_seconds=1e6)
        shared = make_services(tools, ledger=ledger)
        habit = Habit()
        async with make_orchestrator(
            FunctionModel(habit.stream), tools, services=shared, run_seconds=1e5
        ) as orchestrator:
            await trained(orchestrator)
            body["now"] = sleeping(60, "page")
            habit.opens = False
            for _ in range(40):
                await orchestrator.execute(SPEC, ME)
        totals = ledger.totals
        assert 0 < totals.misses < 10
        assert totals.wasted_seconds <= 2.0 + TTFT

    run_virtual(main())
