"""The router: which model is asked, when the next one is, and what the caller is told."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from podium.errors import (
    CircuitOpen,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidRequest,
    ResourceExhausted,
    Unavailable,
)
from podium.inference.routing.latency import LatencyBook
from podium.inference.routing.policy import Capability, Order, Route
from podium.orchestration.chat import (
    ChatRequest,
    ModelAttempt,
    ReasoningDelta,
    TextDelta,
    ToolCallSealed,
    ToolChoice,
    UserMessage,
)
from podium.orchestration.tool import ToolSpec
from support.virtual_time import run_virtual

sys.path.insert(0, str(Path(__file__).resolve().parent))
from routing_doubles import REQUEST, Hang, PlannedModel, away, loop_time, make_breakers, routed, take

ADD = ToolSpec(name="add", description="Add.", input_schema={"type": "object"})


def test_first_model_answers_and_is_named() -> None:
    async def main() -> None:
        a, b = PlannedModel("a"), PlannedModel("b")
        text, finished = await take(routed(a, b))
        assert (text, finished.model, finished.attempts) == ("from a", "a", (ModelAttempt("a", "", 0.0),))
        assert not b.requests

    run_virtual(main())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (away(), "UNAVAILABLE"),
        (ResourceExhausted("busy", retry_after=9), "RESOURCE_EXHAUSTED"),
        (FailedPrecondition("set the key"), "FAILED_PRECONDITION"),
        (ConnectionResetError("gone"), "UNAVAILABLE"),
        (KeyError("bug"), "INTERNAL"),
        (DeadlineExceeded("slow"), "DEADLINE_EXCEEDED"),
    ],
)
def test_failure_before_output_goes_to_the_next(error: Exception, reason: str) -> None:
    async def main() -> None:
        a, b = PlannedModel("a", error, seconds=0.5), PlannedModel("b", seconds=0.25)
        text, finished = await take(routed(a, b))
        assert text == "from b"
        assert finished.attempts == (ModelAttempt("a", reason, 0.5), ModelAttempt("b", "", 0.25))

    run_virtual(main())


@pytest.mark.parametrize("output", ["text", ReasoningDelta("hm"), ToolCallSealed("add", b"{}")])
def test_failure_after_output_goes_to_the_caller(output: Any) -> None:
    async def main() -> None:
        error = away()
        a, b = PlannedModel("a", [output, error]), PlannedModel("b")
        with pytest.raises(Unavailable) as raised:
            await take(routed(a, b))
        assert raised.value is error
        assert not b.requests

    run_virtual(main())


def test_answer_that_ends_without_an_end_is_an_error() -> None:
    class Broken(PlannedModel):
        async def stream(self, request: ChatRequest) -> Any:
            for piece in self.plan:
                yield TextDelta(piece)

    async def main() -> None:
        with pytest.raises(Unavailable, match="broke off"):
            await take(routed(Broken("a", "x")))
        silent, b = Broken("a"), PlannedModel("b")
        silent.plan = []
        assert (await take(routed(silent, b)))[0] == "from b"

    run_virtual(main())


def test_hanging_model_is_left_in_time_and_counted_by_its_breaker() -> None:
    async def main() -> None:
        breakers = make_breakers(failures=2)
        a, b = PlannedModel("a", Hang), PlannedModel("b")
        model = routed(a, b, breakers=breakers, first_output_seconds=3.0)
        for expected in (3.0, 6.0, 6.0):  # the third finds the breaker open
            _, finished = await take(model)
            assert finished.model == "b"
            assert loop_time() == pytest.approx(expected)
        assert breakers.get("model:a").status().state == "open"
        assert a.open == 0
        assert len(a.requests) == 2

    run_virtual(main())


def test_time_that_the_caller_lacks_is_not_held_against_the_model() -> None:
    async def main() -> None:
        breakers = make_breakers(failures=1)
        a = PlannedModel("a", Hang)
        with pytest.raises(DeadlineExceeded, match="within 2 s"):
            await take(routed(a, breakers=breakers, deadline=lambda: 2.0))
        assert loop_time() == pytest.approx(2.0)
        assert breakers.get("model:a").status().state == "closed"

    run_virtual(main())


def test_whole_turn_has_a_limit() -> None:
    async def main() -> None:
        a = PlannedModel("a", ["x", 30.0, "y", 30.0, "z"])
        events: Any = routed(a, total_seconds=40.0).stream(REQUEST)
        assert [await anext(events), await anext(events)] == [TextDelta("x"), TextDelta("y")]
        with pytest.raises(DeadlineExceeded, match="did not finish within 40 s"):
            await anext(events)
        assert loop_time() == pytest.approx(40.0)
        assert a.open == 0

    run_virtual(main())


def test_time_that_the_reader_takes_does_not_cancel_the_reader() -> None:
    """The limit is on waiting for the model: a slow reader meets it at the next event, as an error."""

    async def main() -> None:
        events: Any = routed(PlannedModel("a", ["x", 1.0, "y"]), total_seconds=5.0).stream(REQUEST)
        assert await anext(events) == TextDelta("x")
        await asyncio.sleep(10)
        with pytest.raises(DeadlineExceeded):
            await anext(events)

    run_virtual(main())


def test_open_breaker_and_unready_models_come_last() -> None:
    async def main() -> None:
        breakers = make_breakers()
        a, b, c = PlannedModel("a"), PlannedModel("b", ready=False), PlannedModel("c")
        breakers.get("model:a").open()
        _, finished = await take(routed(a, b, c, breakers=breakers))
        assert [attempt.model for attempt in finished.attempts] == ["c"]
        _, finished = await take(routed(a, b, breakers=breakers, retries=0))
        assert [attempt.model for attempt in finished.attempts] == ["a", "b"]  # nothing else is possible

    run_virtual(main())


def test_recovered_model_is_tried_again_in_its_place() -> None:
    async def main() -> None:
        breakers = make_breakers(recovery=60)
        a, b = PlannedModel("a"), PlannedModel("b")
        breakers.get("model:a").open()
        model = routed(a, b, breakers=breakers)
        assert (await take(model))[1].model == "b"
        await asyncio.sleep(61)
        assert (await take(model))[1].model == "a"
        assert breakers.get("model:a").status().state == "closed"

    run_virtual(main())


def test_retries_wait_as_told_and_then_succeed() -> None:
    async def main() -> None:
        a = PlannedModel("a", away(7.0), away(), ["ok"])
        text, finished = await take(routed(a))
        assert text == "ok"
        assert [attempt.reason for attempt in finished.attempts] == ["UNAVAILABLE", "UNAVAILABLE", ""]
        assert loop_time() == pytest.approx(7.25)  # as told, then half of 0.5 s

    run_virtual(main())


def test_no_pause_is_begun_that_would_outlast_the_limit() -> None:
    async def main() -> None:
        a, b = PlannedModel("a", away(50.0)), PlannedModel("b", ResourceExhausted("busy", retry_after=45.0))
        with pytest.raises(Unavailable) as raised:
            await take(routed(a, b, total_seconds=30.0))
        assert loop_time() == 0.0
        assert raised.value.retry_after == 45.0
        assert "a: it is away" in raised.value.message
        assert "b: busy" in raised.value.message

    run_virtual(main())


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ((ResourceExhausted("full", retry_after=200), ResourceExhausted("full", retry_after=300)), ResourceExhausted),
        ((CircuitOpen("open", retry_after=200), CircuitOpen("open", retry_after=300)), CircuitOpen),
        ((FailedPrecondition("no key"), FailedPrecondition("no key")), FailedPrecondition),
        ((FailedPrecondition("no key"), Unavailable("away", retry_after=200)), Unavailable),
        ((ValueError("secret-detail"), ValueError("secret-detail")), Unavailable),
    ],
)
def test_error_names_every_model_and_its_kind_says_what_to_do(
    errors: tuple[Exception, Exception], expected: type[Exception]
) -> None:
    async def main() -> None:
        model = routed(PlannedModel("one", errors[0]), PlannedModel("two", errors[1]))
        with pytest.raises(expected) as raised:
            await take(model)
        assert type(raised.value) is expected
        assert "one: " in str(raised.value)
        assert "two: " in str(raised.value)
        assert "secret-detail" not in str(raised.value)

    run_virtual(main())


def test_callers_mistake_does_not_fall_back() -> None:
    async def main() -> None:
        error = InvalidRequest("stop has an empty string")
        a, b = PlannedModel("a", error), PlannedModel("b")
        with pytest.raises(InvalidRequest) as raised:
            await take(routed(a, b))
        assert raised.value is error
        assert not b.requests

    run_virtual(main())


def test_refusal_for_length_falls_back_to_a_model_that_holds_more() -> None:
    async def main() -> None:
        error = InvalidRequest("too long", metadata={"limit": "context_length"})
        small, large = PlannedModel("small", error, context_length=8192), PlannedModel("large", context_length=32768)
        assert (await take(routed(small, large)))[0] == "from large"
        large.plan = [error]
        with pytest.raises(InvalidRequest):
            await take(routed(large, small))
        assert len(small.requests) == 1

    run_virtual(main())


def test_models_that_cannot_hold_the_prompt_are_not_asked() -> None:
    async def main() -> None:
        small = PlannedModel("small", context_length=1000, tokens=1200)
        large = PlannedModel("large", context_length=100_000, tokens=1200)
        long = ChatRequest(messages=[UserMessage("word " * 1200)], max_tokens=100)
        _, finished = await take(routed(small, large), long)
        assert [attempt.model for attempt in finished.attempts] == ["large"]
        assert large.counted == 0  # so short for it that it need not be counted
        with pytest.raises(InvalidRequest, match="small: holds 1000 tokens and the prompt has 1200"):
            await take(routed(small), long)

    run_virtual(main())


def test_model_without_room_for_the_whole_answer_comes_last() -> None:
    async def main() -> None:
        tight = PlannedModel("tight", context_length=1000, tokens=900)
        roomy = PlannedModel("roomy", context_length=5000, tokens=900)
        request = ChatRequest(messages=[UserMessage("w" * 4000)], max_tokens=400)
        assert (await take(routed(tight, roomy), request))[1].model == "roomy"
        assert (await take(routed(tight), request))[1].model == "tight"

    run_virtual(main())


def test_capabilities_decide() -> None:
    async def main() -> None:
        plain = PlannedModel("plain", tools=False, json_schema=False, parallel_calls=False)
        able = PlannedModel("able", json_schema=True)
        with_tools = ChatRequest(messages=[UserMessage("hi")], tools=[ADD])
        assert (await take(routed(plain, able), with_tools))[1].model == "able"
        schema = ChatRequest(messages=[UserMessage("hi")], json_schema="{}")
        assert (await take(routed(plain, able), schema))[1].model == "able"
        unused = ChatRequest(messages=[UserMessage("hi")], tools=[ADD], tool_choice=ToolChoice.NONE)
        assert (await take(routed(plain, able), unused))[1].model == "plain"
        needing = routed(plain, able, needs=frozenset({Capability.PARALLEL_CALLS}))
        assert (await take(needing))[1].model == "able"
        with pytest.raises(InvalidRequest, match="plain: cannot use tools"):
            await take(routed(plain), with_tools)
        assert len(plain.requests) == 1

    run_virtual(main())


def test_remote_models_are_asked_only_where_allowed() -> None:
    async def main() -> None:
        remote, local = PlannedModel("remote", remote=True), PlannedModel("local")
        model = routed(remote, local, remote_allowed=lambda tenant: tenant == "open")
        assert (await take(model))[1].model == "local"
        with pytest.raises(FailedPrecondition, match="remote: would leave this machine"):
            await take(routed(remote, remote_allowed=lambda _: False))
        assert not remote.requests
        assert (await take(model, ChatRequest(messages=REQUEST.messages, tenant="open")))[1].model == "remote"

    run_virtual(main())


def test_fastest_model_is_asked_first_and_slow_ones_are_tried_again_later() -> None:
    async def main() -> None:
        slow, fast = PlannedModel("slow", seconds=2.0), PlannedModel("fast", seconds=0.1)
        model = routed(slow, fast, order=Order.FASTEST, latencies=LatencyBook(half_life=60))
        first = [(await take(model))[1].model for _ in range(4)]
        assert first == ["slow", "fast", "fast", "fast"]
        slow.seconds = 0.01
        await asyncio.sleep(3600)
        assert "slow" in [(await take(model))[1].model for _ in range(3)]

    run_virtual(main())


def test_failing_model_falls_behind_a_slow_one() -> None:
    book = LatencyBook(half_life=10, failure_seconds=30)
    book.failed("flaky", 0)
    book.succeeded("slow", 5, 0)
    assert book.score("unknown", 0) == 0
    assert book.score("flaky", 0) > book.score("slow", 0) > 0
    assert book.score("flaky", 200) < 0.01
    book.keep(["slow"])
    assert book.score("flaky", 0) == 0


def test_model_that_does_not_describe_itself_is_still_asked_last() -> None:
    class Mute(PlannedModel):
        async def info(self) -> Any:
            await asyncio.Event().wait()

    async def main() -> None:
        mute, b = Mute("mute"), PlannedModel("b", away())
        model = routed(mute, b)
        text, finished = await take(model)
        assert text == "from mute"
        assert [attempt.model for attempt in finished.attempts] == ["b", "mute"]
        assert loop_time() == pytest.approx(1.0)  # the limit for descriptions

    run_virtual(main())


def test_closing_early_and_cancelling_reach_the_model() -> None:
    async def main() -> None:
        a = PlannedModel("a", ["x", 100.0])
        stream: Any = routed(a).stream(REQUEST)
        await anext(stream)
        assert a.open == 1
        await stream.aclose()
        assert a.open == 0
        hanging = PlannedModel("h", Hang)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await take(routed(hanging))
        assert hanging.open == 0
        assert len(asyncio.all_tasks()) == 1

    run_virtual(main())


def test_info_and_count_speak_for_the_route() -> None:
    async def main() -> None:
        a = PlannedModel("a", ready=False, context_length=10, tools=False, tokens=away())
        b = PlannedModel("b", context_length=99, remote=True, tokens=42)
        info = await routed(a, b).info()
        assert (info.kind, info.ready, info.context_length, info.tools, info.remote) == ("route", True, 99, True, True)
        assert not (await routed(a).info()).ready
        assert (await routed(b, a).count_tokens(REQUEST)).tokens == 42
        with pytest.raises(Unavailable, match="a: it is away"):
            await routed(a).count_tokens(REQUEST)

    run_virtual(main())


def test_route_is_checked() -> None:
    for wrong in ({"models": ()}, {"models": ("a", "a")}, {"models": ("a",), "total_seconds": 0.0}):
        with pytest.raises(ValueError, match="route"):
            Route(name="best", **wrong)  # type: ignore[arg-type]
