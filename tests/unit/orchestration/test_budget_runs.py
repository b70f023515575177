"""Budgets as runs meet them: reserved, settled, asked about, freed; in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from podium.errors import FailedPrecondition, InvalidRequest, PermissionDenied
from podium.orchestration.budget import BudgetLimits, Budgets, Entry, EntryKind, Scope
from podium.orchestration.chat import (
    ChatEvent,
    ChatRequest,
    ModelInfo,
    TextDelta,
    ToolCallSealed,
    TurnFinished,
    TurnFinishReason,
    Usage,
)
from podium.orchestration.events import (
    BudgetExhausted,
    CallFinished,
    CallSucceeded,
    Exhaustion,
    QuestionAsked,
    QuestionKind,
    RunLimits,
    RunSpec,
    RunState,
    WindDownCause,
)
from podium.orchestration.governor import GovernorLimits
from podium.orchestration.orchestrator import Orchestrator, Submitter
from podium.orchestration.prices import Price, PriceTable, UnknownPrice
from podium.orchestration.tool import ToolFailure, ToolFailureCode
from support.fakes import FakeTools, FunctionModel, loop_time, make_orchestrator, make_services, sleeping
from support.runs import collect, kinds
from support.virtual_time import run_virtual

USD = 1_000_000  # micros
PRICE = Price(3 * USD, None, 15 * USD)  # a million tokens
TENANT = "acme"
ME = Submitter(owner="me", tenant=TENANT)
ADMIN = replace(ME, admin=True)


class Remote(FunctionModel):
    """A model elsewhere."""

    async def info(self) -> ModelInfo:
        return replace(await super().info(), remote=True)


def spends(prompt: int, completion: int, *calls: str, seconds: float = 0.1) -> Any:
    """A model that asks for some calls first, then answers; both turns use as many tokens."""

    async def stream(request: ChatRequest) -> AsyncIterator[ChatEvent]:
        await asyncio.sleep(seconds)
        usage = Usage(prompt, min(completion, request.max_tokens or completion))
        if request.turn == 0 and calls and request.tools:
            for name in calls:
                yield ToolCallSealed(name, b"{}")
            yield TurnFinished(TurnFinishReason.TOOL_CALLS, usage)
        else:
            yield TextDelta("answer")
            yield TurnFinished(TurnFinishReason.STOP, usage)

    return stream


def within(entries: list[Entry]) -> None:
    """Nothing was ever above its limit."""
    for entry in entries:
        for field in ("tokens", "cost_micros", "calls"):
            limit = getattr(entry.limit, field)
            both = getattr(entry.spent, field) + getattr(entry.reserved, field)
            assert not limit or both <= limit, entry
            assert getattr(entry.reserved, field) >= 0


def spec(cost: int = 0, on: Exhaustion = Exhaustion.FINISH, **limits: int) -> RunSpec:
    return RunSpec(input="go", limits=RunLimits(max_cost_micros=cost or None, on_exhausted=on, **limits))


@pytest.mark.parametrize("seed", range(3))
def test_many_runs_share_one_budget_and_never_exceed_it(seed: int) -> None:
    """64 runs of random real cost on 1.00 USD of their tenant: spent and reserved stay below it at every entry."""
    chance = random.Random(seed)
    entries: list[Entry] = []

    async def stream(request: ChatRequest) -> AsyncIterator[ChatEvent]:
        await asyncio.sleep(chance.expovariate(2))
        wrote = chance.randrange(1, (request.max_tokens or 0) + 1)
        if request.turn < 2 and request.tools:
            for _ in range(chance.randrange(3)):
                yield ToolCallSealed("look", b'{"n": %d}' % chance.randrange(1000))
            yield ToolCallSealed("look", b"{}")
            yield TurnFinished(TurnFinishReason.TOOL_CALLS, Usage(chance.randrange(20), wrote))
        else:
            yield TextDelta("answer")
            yield TurnFinished(TurnFinishReason.STOP, Usage(chance.randrange(20), wrote))

    async def look(_: dict[str, Any]) -> Any:
        await asyncio.sleep(chance.expovariate(5))
        return 1

    async def main() -> None:
        tools = FakeTools(specs={"look": {"cost_micros": 2_000}}, look=look)
        budgets = Budgets(
            clock=loop_time, tenant=BudgetLimits(cost_micros_per_day=USD), on_entry=entries.append, alert_share=0.8
        )
        services = make_services(tools, budgets=budgets, prices=PriceTable({"function": PRICE}))
        asked = spec(max_tokens=1500)
        async with make_orchestrator(FunctionModel(stream), tools, services=services) as orchestrator:
            async with asyncio.TaskGroup() as group:
                runs = [group.create_task(orchestrator.execute(asked, ME)) for _ in range(64)]
            views = [run.result() for run in runs]
        tenant = budgets.standing(Scope.TENANT_DAY, TENANT)
        within(entries)
        assert tenant.reserved.cost_micros == 0
        assert tenant.spent.cost_micros == sum(view.usage.cost_micros for view in views)
        assert tenant.spent.cost_micros > 0.8 * USD, "the budget was used"
        assert budgets.overshoots == 0
        started = sum(found.start_ns > 0 for view in views for found in view.calls.values())
        assert tenant.spent.calls == started == len(tools.invocations)
        ended = {state: [v for v in views if v.state is state] for state in RunState}
        assert ended[RunState.SUCCEEDED]
        assert len(ended[RunState.SUCCEEDED]) + len(ended[RunState.FAILED]) == 64
        for view in ended[RunState.FAILED]:
            assert view.failure is not None
            assert view.failure.reason in {"BUDGET_EXHAUSTED", "LIMIT_REACHED"}
        wound_down = [v for v in views if v.wind_down is not None]
        assert wound_down
        assert all(v.wind_down and v.wind_down.cause is WindDownCause.BUDGET for v in wound_down)

    run_virtual(main())


async def question_of(orchestrator: Orchestrator, by: Submitter = ME) -> tuple[str, QuestionAsked]:
    """Wait until a question is open, and return its run's id and it."""
    async with asyncio.timeout(60):
        while not (found := orchestrator.questions(by)):  # noqa: ASYNC110 - a step of the clock
            await asyncio.sleep(0.01)
    run_id, question = found[0]
    return run_id, question.asked


def test_at_the_edge_of_a_turn_the_run_asks_and_a_top_up_goes_on() -> None:
    """The question names the budget; the calls of the turn before are not made again."""

    async def main() -> None:
        tools = FakeTools(specs={"look": {"cost_micros": 30_000}}, look=sleeping(0.2, 7))
        services = make_services(tools, prices=PriceTable({"function": PRICE}))
        model = FunctionModel(spends(100, 1000, "look"))
        async with make_orchestrator(model, tools, services=services) as orchestrator:
            asked = spec(46_000, Exhaustion.ASK, max_tokens=2000)
            task = asyncio.ensure_future(orchestrator.execute(asked, ME))
            run_id, question = await question_of(orchestrator)
            assert (question.kind, question.call_id) == (QuestionKind.BUDGET, "")
            view = await orchestrator.get(run_id, ME)
            assert view.state is RunState.WAITING
            await asyncio.sleep(5)
            assert not task.done()
            with pytest.raises(InvalidRequest) as wrong:
                await orchestrator.answer(run_id, question.question_id, b'{"cost_micros": "much"}', ME)
            assert [violation.field for violation in wrong.value.violations] == ["answer_json.cost_micros"]
            await orchestrator.answer(run_id, question.question_id, b'{"cost_micros": 50000}', ME)
            view = await task
        assert (view.state, view.answer, view.partial) == (RunState.SUCCEEDED, "answer", False)
        assert len(tools.invocations) == 1
        assert len(model.requests) == 2
        assert 46_000 < view.usage.cost_micros <= 96_000
        with pytest.raises(FailedPrecondition):
            await orchestrator.answer(run_id, question.question_id, b'{"cost_micros": 50000}', ME)

    run_virtual(main())


def test_at_the_edge_of_a_call_the_run_asks_and_what_ended_is_not_repeated() -> None:
    """Two of three calls are paid; the third waits for the answer, which its waits show, then runs."""

    async def main() -> None:
        tools = FakeTools(specs={"look": {"cost_micros": 30_000}}, look=sleeping(0.2, 7))
        services = make_services(tools)
        async with make_orchestrator(
            FunctionModel(spends(1, 1, "look", "look", "look")), tools, services=services
        ) as orchestrator:
            stream = asyncio.ensure_future(collect(orchestrator.stream(spec(60_000, Exhaustion.ASK), ME)))
            run_id, question = await question_of(orchestrator)
            await asyncio.sleep(3)
            assert len(tools.invocations) == 2
            await orchestrator.answer(run_id, question.question_id, b'{"cost_micros": 30000}', ME)
            events = await stream
        finished = kinds(events, CallFinished)
        assert len(tools.invocations) == len(finished) == 3
        assert all(isinstance(each.outcome, CallSucceeded) for each in finished)
        assert len(kinds(events, QuestionAsked)) == 1
        (exhausted,) = kinds(events, BudgetExhausted)
        assert (exhausted.scope, exhausted.dimension, exhausted.limit) == ("run", "cost", 60_000)
        waited = [each.waits.budget for each in finished]
        assert waited[:2] == [0, 0]
        assert waited[2] == pytest.approx(3.2, abs=0.02), "0.2 s for what was in progress, then for people"

    run_virtual(main())


def test_calls_at_the_edge_together_put_one_question() -> None:
    """Five calls that meet the same end wait for the one answer; with too little they ask again."""

    async def main() -> None:
        tools = FakeTools(specs={"look": {"cost_micros": 10_000}}, look=sleeping(0.2, 7))
        async with make_orchestrator(FunctionModel(spends(1, 1, *["look"] * 5)), tools) as orchestrator:
            stream = asyncio.ensure_future(collect(orchestrator.stream(spec(10_000, Exhaustion.ASK), ME)))
            for more in (b'{"cost_micros": 20000}', b'{"cost_micros": 20000}'):
                run_id, question = await question_of(orchestrator)
                await asyncio.sleep(1)
                assert len(orchestrator.questions(ME)) == 1
                await orchestrator.answer(run_id, question.question_id, more, ME)
                await asyncio.sleep(0.05)
            events = await stream
        assert len(kinds(events, QuestionAsked)) == 2
        assert len(tools.invocations) == 5

    run_virtual(main())


@pytest.mark.parametrize("how", ["nothing more", "skip", "expire"])
def test_without_a_top_up_the_run_ends_with_what_it_has(how: str) -> None:
    """An answer of nothing, a skipped question and one that nobody answered lead to a partial answer."""

    async def main() -> None:
        tools = FakeTools(specs={"look": {"cost_micros": 30_000}}, look=sleeping(0.2, 7))
        async with make_orchestrator(FunctionModel(spends(1, 1, "look", "look")), tools) as orchestrator:
            task = asyncio.ensure_future(orchestrator.execute(spec(30_000, Exhaustion.ASK), ME, seconds=20))
            run_id, question = await question_of(orchestrator)
            if how == "skip":
                await orchestrator.skip(run_id, question.question_id, ME)
            elif how == "nothing more":
                await orchestrator.answer(run_id, question.question_id, b'{"cost_micros": 0}', ME)
            view = await task
        assert (view.state, view.partial, len(tools.invocations)) == (RunState.SUCCEEDED, True, 1)
        assert view.wind_down is not None
        assert view.wind_down.cause is WindDownCause.BUDGET
        failed = view.calls["c0_1"].failed
        assert failed is not None
        assert failed.code is ToolFailureCode.BUDGET
        assert view.end_ns / 1e9 < 20

    run_virtual(main())


def test_only_an_administrator_raises_what_a_run_shares() -> None:
    """The tenant's budget is not the caller's to raise; an administrator's answer counts for the whole tenant."""

    async def main() -> None:
        tools = FakeTools(specs={"look": {"cost_micros": 30_000}}, look=sleeping(0.2, 7))
        budgets = Budgets(clock=loop_time, tenant=BudgetLimits(cost_micros_per_day=30_000))
        services = make_services(tools, budgets=budgets)
        async with make_orchestrator(
            FunctionModel(spends(1, 1, "look", "look")), tools, services=services
        ) as orchestrator:
            task = asyncio.ensure_future(orchestrator.execute(spec(0, Exhaustion.ASK), ME))
            run_id, question = await question_of(orchestrator)
            with pytest.raises(PermissionDenied):
                await orchestrator.answer(run_id, question.question_id, b'{"cost_micros": 30000}', ME)
            assert len(orchestrator.questions(ME)) == 1, "a refused answer settles nothing"
            await orchestrator.answer(run_id, question.question_id, b'{"cost_micros": 30000}', ADMIN)
            view = await task
        assert (view.state, view.partial, len(tools.invocations)) == (RunState.SUCCEEDED, False, 2)
        assert budgets.standing(Scope.TENANT_DAY, TENANT).limit.cost_micros == 60_000

    run_virtual(main())


def test_a_run_that_is_to_stop_ends_at_once() -> None:
    """Where a call may not be paid, STOP ends the run and its other calls, without another turn."""

    async def main() -> None:
        tools = FakeTools(
            specs={"look": {"cost_micros": 30_000}}, look=sleeping(0.2, 7), slow=sleeping(50), cheap=sleeping(0.1)
        )
        model = FunctionModel(spends(1, 1, "slow", "look", "look"))
        async with make_orchestrator(model, tools) as orchestrator:
            view = await orchestrator.execute(spec(30_000, Exhaustion.STOP), ME)
        assert view.state is RunState.FAILED
        assert view.failure is not None
        assert view.failure.reason == "BUDGET_EXHAUSTED"
        assert view.end_ns / 1e9 == pytest.approx(0.3), "as soon as nothing in progress can make room"
        assert len(model.requests) == 1
        assert tools.running == 0
        refused = view.calls["c0_2"].failed
        assert refused is not None
        assert refused.code is ToolFailureCode.BUDGET

    run_virtual(main())


@pytest.mark.parametrize("unknown", list(UnknownPrice))
def test_an_unknown_price_follows_the_rule(unknown: UnknownPrice) -> None:
    """Denied before the model is asked, or paid at the ceiling; without a budget of money it is used."""

    async def main() -> None:
        tools = FakeTools()
        ceiling = Price(100 * USD, None, 100 * USD)
        prices = PriceTable({}, unknown=unknown, ceiling=ceiling if unknown is UnknownPrice.CEILING else None)
        model = Remote(spends(10, 10))
        services = make_services(tools, prices=prices)
        async with make_orchestrator(model, tools, services=services) as orchestrator:
            bounded = await orchestrator.execute(spec(100_000), ME)
            if unknown is UnknownPrice.DENY:
                assert bounded.failure is not None
                assert "no price" in bounded.failure.message
                assert bounded.failure.reason == "FAILED_PRECONDITION"
                assert not model.requests
            else:
                assert bounded.state is RunState.SUCCEEDED
                assert bounded.usage.cost_micros == 20 * 100
                assert (model.requests[0].max_tokens or 0) <= 1000, "no more than the money is enough for"
            assert (await orchestrator.execute(RunSpec(input="go"), ME)).state is RunState.SUCCEEDED

    run_virtual(main())


def test_a_cancelled_run_frees_what_it_had_reserved() -> None:
    """Within 100 ms of the client's cancel nothing is reserved; a call that never started costs nothing."""
    entries: list[Entry] = []

    async def stream(request: ChatRequest) -> AsyncIterator[ChatEvent]:
        for _ in range(3):
            yield ToolCallSealed("look", b"{}")
        await asyncio.sleep(1000)

    async def main() -> None:
        tools = FakeTools(specs={"look": {"cost_micros": 1_000}}, look=sleeping(500))
        budgets = Budgets(clock=loop_time, tenant=BudgetLimits(cost_micros_per_day=USD), on_entry=entries.append)
        services = make_services(
            tools, GovernorLimits(per_run=2), budgets=budgets, prices=PriceTable({"function": PRICE})
        )
        async with make_orchestrator(FunctionModel(stream), tools, services=services) as orchestrator:
            task = asyncio.ensure_future(orchestrator.execute(spec(max_tokens=10_000), ME))
            await asyncio.sleep(1)
            standing = budgets.standing(Scope.TENANT_DAY, TENANT)
            assert standing.reserved.cost_micros > 150_000
            assert (standing.reserved.calls, standing.spent.calls) == (3, 0)
            cancelled = loop_time()
            task.cancel()
            while (standing := budgets.standing(Scope.TENANT_DAY, TENANT)).reserved.cost_micros:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            assert loop_time() - cancelled <= 0.1
            assert standing.spent.calls == 2, "what was started is paid for"
            assert standing.reserved.calls == 0
            assert any(entry.kind is EntryKind.RELEASED and entry.amount.calls == 1 for entry in entries)

    run_virtual(main())


def test_a_turn_that_was_broken_off_costs_what_it_can_have_taken_by_then() -> None:
    """Its prompt and what it had written, not the longest answer that it might have given."""

    async def stream(request: ChatRequest) -> AsyncIterator[ChatEvent]:
        if request.messages[-1].text == "hang":  # type: ignore[union-attr]
            yield TextDelta("word " * 20)
            await asyncio.sleep(1000)
        yield TextDelta("answer")
        yield TurnFinished(TurnFinishReason.STOP, Usage(10, 10))

    async def main() -> None:
        tools = FakeTools()
        budgets = Budgets(clock=loop_time, tenant=BudgetLimits(cost_micros_per_day=USD))
        services = make_services(tools, budgets=budgets, prices=PriceTable({"function": PRICE}))
        async with make_orchestrator(FunctionModel(stream), tools, services=services) as orchestrator:
            task = asyncio.ensure_future(orchestrator.execute(RunSpec(input="hang"), ME))
            await asyncio.sleep(1)
            task.cancel()
            await asyncio.sleep(0.1)
            standing = budgets.standing(Scope.TENANT_DAY, TENANT)
            assert standing.reserved.cost_micros == 0
            assert 0 < standing.spent.cost_micros < 10_000
            assert (await orchestrator.execute(RunSpec(input="go"), ME)).state is RunState.SUCCEEDED

    run_virtual(main())


def test_an_attempt_that_never_started_is_not_paid() -> None:
    """A second attempt that is cut off in the queue costs nothing; the first, which started, does."""

    async def fails(_: dict[str, Any]) -> Any:
        await asyncio.sleep(0.5)
        raise ToolFailure(ToolFailureCode.UNAVAILABLE, "away", retryable=True)

    async def main() -> None:
        tools = FakeTools(specs={"look": {"cost_micros": 1_000}}, look=fails, block=sleeping(30))
        services = make_services(tools, GovernorLimits(per_process=1))
        async with make_orchestrator(
            FunctionModel(spends(1, 1, "look", "block", seconds=0)), tools, services=services
        ) as orchestrator:
            view = await orchestrator.execute(spec(), ME, seconds=5)
        assert [invocation.tool for invocation in tools.invocations] == ["look", "block"]
        assert view.usage.cost_micros == 1_000
        assert services.budgets.standing(Scope.TENANT_DAY, TENANT).reserved.calls == 0

    run_virtual(main())
