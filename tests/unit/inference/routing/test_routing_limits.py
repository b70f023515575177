"""What a provider lets us ask of it: never more, nothing lost, nobody starved."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.errors import ResourceExhausted, Unavailable
from podium.inference.routing.provider_limits import LimitedModel, ProviderLimits, ProviderQuota
from podium.orchestration.chat import ChatRequest, TurnFinished, TurnFinishReason, UserMessage
from support.virtual_time import run_virtual

sys.path.insert(0, str(Path(__file__).resolve().parent))
from routing_doubles import REQUEST, Hang, PlannedModel, away, loop_time, take


def limits(**quota: Any) -> ProviderLimits:
    return ProviderLimits("acme", ProviderQuota(**quota), clock=loop_time)


def request_of(tenant: str) -> ChatRequest:
    return ChatRequest(messages=[UserMessage("hi")], max_tokens=10, tenant=tenant)


def test_calls_a_minute() -> None:
    async def main() -> None:
        model = LimitedModel(PlannedModel("m"), limits(calls_per_minute=2))
        await take(model)
        await take(model)
        with pytest.raises(ResourceExhausted, match="limit of 2 calls a minute; try again in 30 s") as raised:
            await take(model)
        assert (raised.value.retry_after, raised.value.quota) == (pytest.approx(30), "acme/calls_per_minute")
        await asyncio.sleep(30)
        await take(model)

    run_virtual(main())


def test_tokens_are_reserved_by_estimate_and_settled_by_usage() -> None:
    async def main() -> None:
        inner = PlannedModel("m", ["x", 1.0], tokens=40)
        model = LimitedModel(inner, limits(tokens_per_minute=140))
        request = ChatRequest(messages=[UserMessage("hi")], max_tokens=50)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(take(model, request))
            await asyncio.sleep(0.5)
            with pytest.raises(ResourceExhausted, match="tokens a minute"):
                await take(model, request)  # 40 + 50 are set aside
        assert first.result()[0] == "x"
        await take(model, request)  # but only 40 + 2 were used
        with pytest.raises(ResourceExhausted):
            await take(model, request)

    run_virtual(main())


def test_more_than_estimated_is_owed() -> None:
    async def main() -> None:
        end = TurnFinished(TurnFinishReason.STOP)

        class Greedy(PlannedModel):
            async def stream(self, request: ChatRequest) -> Any:
                yield TurnFinished(end.reason, usage=type(end.usage)(40, 120))

        kept = limits(tokens_per_minute=60)
        model = LimitedModel(Greedy("m", tokens=40), kept)
        await take(model)
        with pytest.raises(ResourceExhausted) as raised:
            await take(model)
        # 60 - 160 is 100 owed, and 50 needed: 150 at one a second.
        assert raised.value.retry_after == pytest.approx(150)

    run_virtual(main())


def test_nothing_is_charged_for_a_turn_that_was_refused() -> None:
    async def main() -> None:
        inner = PlannedModel("m", away(), away(), ["x"], tokens=40)
        model = LimitedModel(inner, limits(tokens_per_minute=50))
        for _ in range(2):
            with pytest.raises(Unavailable):
                await take(model)
        assert (await take(model))[0] == "x"

    run_virtual(main())


def test_answer_cut_short_costs_what_came_of_it() -> None:
    async def main() -> None:
        model = LimitedModel(PlannedModel("m", ["x" * 40, 9.0], tokens=40), limits(tokens_per_minute=110))
        stream: Any = model.stream(ChatRequest(messages=[UserMessage("hi")], max_tokens=60))
        await anext(stream)
        await stream.aclose()
        assert await take(model)  # 40 + 10 were used: 60 of 110 are left

    run_virtual(main())


def test_prompt_longer_than_a_minutes_tokens_is_not_to_be_retried() -> None:
    async def main() -> None:
        model = LimitedModel(PlannedModel("m", tokens=101), limits(tokens_per_minute=100))
        with pytest.raises(ResourceExhausted, match="shorten") as raised:
            await take(model)
        assert raised.value.retry_after is None
        # An answer that may be longer than that is a different thing.
        large = ChatRequest(messages=[UserMessage("hi")], max_tokens=10_000)
        assert (await take(LimitedModel(PlannedModel("m"), limits(tokens_per_minute=100)), large))[0] == "from m"

    run_virtual(main())


def test_prompt_is_estimated_where_it_cannot_be_counted() -> None:
    async def main() -> None:
        model = LimitedModel(PlannedModel("m", tokens=away()), limits(tokens_per_minute=100))
        assert (await take(model))[0] == "from m"
        with pytest.raises(ResourceExhausted):
            await take(model, ChatRequest(messages=[UserMessage("x" * 500)]))

    run_virtual(main())


def test_turns_at_once_wait_and_tenants_take_turns() -> None:
    async def main() -> None:
        order: list[str] = []
        model = LimitedModel(PlannedModel("m", seconds=1.0), limits(concurrent=1, wait_seconds=30))

        async def one(name: str) -> None:
            await take(model, request_of(name[0]))
            order.append(name)

        async with asyncio.TaskGroup() as group:
            for name in ("a1", "a2", "a3", "a4", "b1", "c1"):
                group.create_task(one(name))
        assert order == ["a1", "a2", "b1", "c1", "a3", "a4"]
        assert loop_time() == pytest.approx(6)

    run_virtual(main())


def test_queue_is_bounded_in_length_and_time() -> None:
    async def main() -> None:
        inner = PlannedModel("m", Hang)
        model = LimitedModel(inner, limits(concurrent=1, max_waiting=1, wait_seconds=3))
        async with asyncio.TaskGroup() as group:
            running = group.create_task(take(model))
            await asyncio.sleep(0)
            waiting = group.create_task(_refused(model))
            await asyncio.sleep(0.1)
            assert (await _refused(model)).message.startswith("acme is at its limit of 1 turns at once, and the queue")
            assert loop_time() == pytest.approx(0.1)
            assert "within 3 s" in (await waiting).message
            running.cancel()
        assert loop_time() == pytest.approx(3)
        inner.plan = [["ok"]]
        assert (await take(model))[0] == "ok"

    run_virtual(main())


async def _refused(model: LimitedModel) -> ResourceExhausted:
    with pytest.raises(ResourceExhausted) as raised:
        await take(model)
    assert raised.value.reason == "OVERLOADED"
    return raised.value


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 3), st.booleans()), max_size=30))
@settings(max_examples=60, deadline=None)
def test_slots_are_never_lost_nor_exceeded(jobs: list[tuple[str, float, bool]]) -> None:
    """Whatever is cancelled when, at most two work at once and both slots are there in the end."""

    async def main() -> None:
        inner = PlannedModel("m", seconds=1.0)
        most = 0
        model = LimitedModel(inner, limits(concurrent=2, wait_seconds=2, max_waiting=8))

        async def one(tenant: str, after: float, cancel: bool) -> None:
            nonlocal most
            await asyncio.sleep(after)
            try:
                async with asyncio.timeout(0.75 if cancel else None):
                    async for _ in model.stream(request_of(tenant)):
                        most = max(most, inner.open)
            except (TimeoutError, ResourceExhausted):
                return

        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(one(*job))
        assert most <= 2
        assert inner.open == 0
        began = loop_time()
        await asyncio.gather(take(model), take(model))
        assert loop_time() == pytest.approx(began + 1)

    run_virtual(main())


async def test_info_and_count_are_the_models() -> None:
    model = LimitedModel(PlannedModel("m", context_length=7), limits())
    assert (await model.info()).context_length == 7
    assert (await model.count_tokens(REQUEST)).tokens == 5


def test_slot_handed_to_somebody_who_is_cancelled_in_the_same_moment_goes_on() -> None:
    async def main() -> None:
        kept = limits(concurrent=1, wait_seconds=5)

        async def work(started: asyncio.Event, end: asyncio.Event) -> None:
            async with kept.turn("t", 0, 0):
                started.set()
                await end.wait()

        end, started = asyncio.Event(), [asyncio.Event() for _ in range(3)]
        async with asyncio.TaskGroup() as group:
            group.create_task(work(started[0], end))
            await started[0].wait()
            handed = group.create_task(work(started[1], end))
            last = group.create_task(work(started[2], end))
            await asyncio.sleep(1)
            end.set()
            await asyncio.sleep(0)  # the first gives its slot to the second, which has not woken up yet
            handed.cancel()
            await last
        assert handed.cancelled()
        assert not started[1].is_set()
        assert loop_time() == 1.0

    run_virtual(main())


def test_quotas_are_checked() -> None:
    for wrong in ({"calls_per_minute": 0}, {"tokens_per_minute": float("inf")}, {"max_waiting": -1}):
        with pytest.raises(ValueError, match="must"):
            ProviderQuota(**wrong)  # type: ignore[arg-type]
