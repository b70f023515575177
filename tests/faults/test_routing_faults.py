"""Routes over models that hang, refuse and die: requests are answered, in time, and nothing is left behind."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from podium.errors import PodiumError, Unavailable
from podium.inference.catalog import DynamicModels
from podium.inference.context_window import FittedModel
from podium.inference.routing.policy import Order, Route
from podium.inference.routing.provider_limits import LimitedModel, ProviderLimits, ProviderQuota
from podium.inference.structured import StructuredModel
from podium.orchestration.chat import ChatModel, ChatRequest, TextDelta, UserMessage
from podium.resilience.breakers import Breakers
from podium.resilience.guarded import GuardedModel
from support.virtual_time import run_virtual

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "inference" / "routing"))
from routing_doubles import REQUEST, Hang, PlannedModel, loop_time, make_breakers, take

FIRST_OUTPUT = 5.0
TOTAL = 20.0


def built(model: PlannedModel, breakers: Breakers) -> ChatModel:
    """Put everything around a model that a configured one has around it."""
    quota = ProviderQuota(calls_per_minute=1e6, tokens_per_minute=1e9, concurrent=400, max_waiting=2000, wait_seconds=3)
    guarded = GuardedModel(model, breakers)
    return FittedModel(StructuredModel(LimitedModel(guarded, ProviderLimits(model.name, quota, clock=loop_time))))


def catalog(breakers: Breakers, *models: PlannedModel, order: Order = Order.LISTED) -> DynamicModels:
    names = tuple(model.name for model in models)
    route = Route(
        name="main", models=names, order=order, first_output_seconds=FIRST_OUTPUT, total_seconds=TOTAL, retries=1
    )
    made = DynamicModels(breakers)
    made.replace({model.name: built(model, breakers) for model in models}, [route], default="main")
    return made


@pytest.mark.parametrize(
    ("fault", "longest_each"),
    [
        (Hang, FIRST_OUTPUT),
        (Unavailable("503 from upstream", retry_after=30.0), 0.0),
        (ConnectionResetError("the worker died"), 0.0),
    ],
    ids=["hangs", "answers 503", "dies"],
)
def test_failing_primary_is_left_and_then_left_alone(fault: Any, longest_each: float) -> None:
    """Every request succeeds on the fallback; the breaker opens at its threshold; later ones lose no time."""

    async def main() -> None:
        breakers = make_breakers(failures=3, recovery=600)
        primary, fallback = PlannedModel("primary", fault), PlannedModel("fallback", seconds=0.1)
        model = catalog(breakers, primary, fallback).get("")
        for number in range(10):
            began = loop_time()
            text, finished = await take(model)
            assert (text, finished.model) == ("from fallback", "fallback")
            limit = longest_each if number < 3 else 0.0
            assert loop_time() - began == pytest.approx(limit + 0.1)
        assert len(primary.requests) == 3
        assert breakers.get("model:primary").status().state == "open"
        primary.plan = [["well again"]]
        await asyncio.sleep(600)
        assert (await take(model))[0] == "well again"
        assert breakers.get("model:primary").status().state == "closed"

    run_virtual(main())


def test_model_that_dies_while_it_answers_is_not_mixed_with_another() -> None:
    async def main() -> None:
        primary = PlannedModel("primary", ["half an ", ConnectionResetError("the worker died")])
        fallback = PlannedModel("fallback")
        stream: Any = catalog(make_breakers(), primary, fallback).get("").stream(REQUEST)
        assert await anext(stream) == TextDelta("half an ")
        with pytest.raises(ConnectionResetError):
            await anext(stream)
        assert not fallback.requests

    run_virtual(main())


def test_answer_held_back_until_it_is_checked_is_waited_for_while_it_grows() -> None:
    """It takes longer than the limit for a first output; a model that falls silent meanwhile is left."""

    async def main() -> None:
        growing = PlannedModel("growing", ['{"a": ', 4.0, "1, ", 4.0, '"b": 2}'], context_length=4000)
        stuck = PlannedModel("stuck", ['{"a": ', 4.0, "1, ", 60.0, "2}"])
        request = ChatRequest(messages=REQUEST.messages, json_schema='{"type": "object"}')
        breakers = make_breakers()
        model = catalog(breakers, stuck, growing).get("")
        text, finished = await take(model, request)
        assert (text, finished.model) == ('{"a": 1, "b": 2}', "growing")
        assert loop_time() == pytest.approx(4.0 + FIRST_OUTPUT + 8.0)
        assert breakers.get("model:stuck").status().failures == 1

    run_virtual(main())


@pytest.mark.parametrize("order", list(Order))
def test_nobody_waits_longer_than_the_limit_when_everything_hangs(order: Order) -> None:
    async def main() -> None:
        models = [PlannedModel(name, Hang) for name in "abc"]
        model = catalog(make_breakers(failures=1000), *models, order=order).get("")

        async def one() -> float:
            began = loop_time()
            with pytest.raises(PodiumError) as raised:
                await take(model)
            assert all(name in raised.value.metadata["models"] for name in "abc")
            return loop_time() - began

        waited = await asyncio.gather(*(one() for _ in range(200)))
        assert max(waited) <= TOTAL + 0.001
        assert sum(model.open for model in models) == 0
        assert len(asyncio.all_tasks()) == 1

    run_virtual(main())


def test_a_thousand_mixed_requests_leave_nothing_behind() -> None:
    """Some hang, some fail early or late, some are cancelled or closed; models are exchanged meanwhile."""

    async def main() -> None:
        rng = random.Random(4)
        breakers = make_breakers(failures=5, recovery=7)
        steps: list[Any] = [
            Hang, Unavailable("503"), ConnectionResetError("died"), KeyError("bug"), ["a", Unavailable("cut")],
            ["a", 3.0, "b"], [0.5, '{"n": 1}'], ['{"n": 2}'], ["fine"], [], [9.0, "late"],
        ]  # fmt: skip
        models = [PlannedModel(name, *rng.choices(steps, k=1000), context_length=4000) for name in ("a", "b")]
        sound = PlannedModel("c", ['{"n": 3}'], seconds=0.2, context_length=100_000)
        made = catalog(breakers, *models, sound, order=Order.FASTEST)
        outcomes: Counter[str] = Counter()
        longest = 0.0

        async def one(number: int) -> None:
            nonlocal longest
            await asyncio.sleep(number * 0.05)
            schema = '{"type": "object"}' if number % 3 == 0 else None
            text = "word " * (3000 if number % 7 == 0 else 3)
            request = ChatRequest(
                messages=[UserMessage(text)], max_tokens=50, json_schema=schema, tenant=f"t{number % 5}"
            )
            began = loop_time()
            stream: Any = made.get("").stream(request)
            try:
                async with asyncio.timeout(0.3 if number % 10 == 1 else None):
                    if number % 10 == 2:
                        await anext(stream)
                    else:
                        outcomes[type([event async for event in stream][-1]).__name__] += 1
            except TimeoutError:
                outcomes["cancelled"] += 1
            except (PodiumError, ConnectionResetError) as error:
                outcomes[type(error).__name__] += 1
            finally:
                await stream.aclose()
                longest = max(longest, loop_time() - began)

        async with asyncio.TaskGroup() as group:
            for number in range(1000):
                group.create_task(one(number))
            await asyncio.sleep(20)
            replaced = [built(model, breakers) for model in (*models, sound)]
            route = Route(name="main", models=("a", "b", "c"), first_output_seconds=FIRST_OUTPUT, total_seconds=TOTAL)
            retired = made.replace({model.name: model for model in replaced}, [route], default="main")
            assert len(retired) == 3
            assert all([await one.wait_idle(TOTAL + 1) for one in retired])
        assert outcomes["TurnFinished"] > 600, outcomes
        assert outcomes["cancelled"] > 0
        assert longest <= TOTAL + 0.001
        assert [model.open for model in (*models, sound)] == [0, 0, 0]
        assert len(asyncio.all_tasks()) == 1

    run_virtual(main())
