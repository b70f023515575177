"""What a caller may ask of runs, and do with those that go on: watch, explain, simulate, answer."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import grpc
import pytest

import podium_client
from podium.v1 import run_pb2
from podium_client import (
    AsyncPodium,
    ClarificationState,
    PathSegmentKind,
    Podium,
    QuestionKind,
    ResultSource,
    RunFinished,
    RunLimits,
    RunState,
    WindDownCause,
)
from unit.client.fake_podium import RUN_ID, FakePodium, refusal, sample_events, serving

OPTIONS: dict[str, Any] = {
    "plan_only": True,
    "detach": True,
    "background": True,
    "bypass_cache": True,
    "may_ask": True,
    "speculation": "safe",
    "limits": RunLimits(max_cost_micros=7, max_duration=timedelta(seconds=1.5), on_exhausted="ask"),
}


def check_options(spec: run_pb2.RunSpec) -> None:
    assert (spec.plan_only, spec.detach, spec.background, spec.bypass_cache, spec.may_ask) == (True,) * 5
    assert spec.speculation == run_pb2.SPECULATION_SAFE
    assert spec.limits.max_cost_micros == 7
    assert spec.limits.max_duration.ToTimedelta() == timedelta(seconds=1.5)
    assert spec.limits.on_exhausted == run_pb2.EXHAUSTION_ASK


async def test_the_options_of_a_run_are_sent() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        await podium.run("x", **OPTIONS)
        async with podium.stream("x", **OPTIONS) as events:
            await anext(events)
        await podium.run("x", limits=RunLimits(max_duration=0.25))
        await podium.run("x")
    run, stream, short, plain = (request.spec for request in fake.requests)  # type: ignore[attr-defined]
    check_options(run)
    check_options(stream)
    assert short.limits.max_duration.ToMilliseconds() == 250
    plain.ClearField("request_id")
    assert plain == run_pb2.RunSpec(input="x"), "what is not asked for is left to the server"


@pytest.mark.parametrize("bad", [{"speculation": "always"}, {"limits": RunLimits(on_exhausted="no")}])  # type: ignore[arg-type]
async def test_a_word_that_means_nothing_is_refused_here(bad: Any) -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        with pytest.raises(ValueError, match="not '"):
            await podium.run("x", **bad)
    assert fake.requests == []


async def test_watching_gives_the_events_after_a_number() -> None:
    async with (
        serving(FakePodium()) as fake,
        AsyncPodium.connect(fake.address) as podium,
        podium.watch(RUN_ID, after_seq=9) as events,
    ):
        got = [event async for event in events]
    request: Any = fake.requests[0]
    assert (request.run_id, request.after_seq) == (RUN_ID, 9)
    assert [event.seq for event in got] == [10, 10, 10, 11, 12]
    assert isinstance(got[-1], RunFinished)
    assert events.finished is got[-1]
    assert events.last_seq == 12


async def test_a_stream_that_broke_off_is_gone_on_with() -> None:
    """Events of kinds that the client does not know count for where it stands."""

    class BreaksOff(FakePodium):
        async def ExecuteStream(self, request: Any, context: Any) -> Any:  # noqa: N802  the contract's
            async for response in super().ExecuteStream(request, context):
                yield response
                if response.event.seq == 4:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "lost")

    async with serving(BreaksOff()) as fake, AsyncPodium.connect(fake.address) as podium:
        fake.events = [*sample_events()[:3], run_pb2.RunEvent(run_id=RUN_ID, seq=4), *sample_events()[4:]]
        async with podium.stream("x") as events:
            seen = [(await anext(events)).seq for _ in range(3)]
            with pytest.raises(podium_client.Unavailable):
                await anext(events)
        assert (events.run_id, events.last_seq) == (RUN_ID, 4)
        async with podium.watch(events.run_id, after_seq=events.last_seq) as rest:
            seen += [event.seq async for event in rest]
    assert list(dict.fromkeys(seen)) == [1, 2, 3, *range(5, 13)]


async def test_an_explanation() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        explained = await podium.explain_run(RUN_ID)
    assert fake.requests[0].run_id == RUN_ID  # type: ignore[attr-defined]
    assert (explained.run_id, explained.state) == (RUN_ID, RunState.SUCCEEDED)
    slow, cached = explained.calls
    assert (slow.critical, slow.attempts, slow.waits.queue) == (True, 2, timedelta(milliseconds=60))
    assert (cached.critical, cached.source, cached.start_offset) == (False, ResultSource.CACHE, None)
    assert [segment.kind for segment in explained.critical_path] == [
        PathSegmentKind.MODEL,
        PathSegmentKind.QUEUE,
        PathSegmentKind.WORK,
    ]
    assert sum((segment.duration for segment in explained.critical_path), timedelta()) == explained.time.wall
    assert explained.wind_down is not None
    assert explained.wind_down.cause is WindDownCause.DEADLINE
    assert explained.estimate is None


async def test_a_simulation() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        simulation = await podium.simulate_run(
            RUN_ID, run_deadline=2.5, durations={"calculate": timedelta(seconds=1), "x": 0.5}, parallel_calls=3
        )
        await podium.simulate_run(RUN_ID)
    asked: Any = fake.requests[0]
    plain: Any = fake.requests[1]
    assert (asked.deadline.ToMilliseconds(), asked.parallel_calls) == (2500, 3)
    assert {tool: span.ToMilliseconds() for tool, span in asked.durations.items()} == {"calculate": 1000, "x": 500}
    assert not plain.HasField("deadline")
    assert (simulation.makespan, simulation.binds_first) == (timedelta(milliseconds=500), "deadline")
    assert [verdict.kept for verdict in simulation.verdicts] == [False, True, True]


async def test_questions_are_listed_and_answered() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        page = await podium.list_clarifications(RUN_ID, page_size=5, page_token="t")
        asked = await podium.get_clarification(RUN_ID, "q0")
        await podium.answer_clarification(RUN_ID, "q0", {"where": "Ohio"})
        await podium.answer_clarification(RUN_ID, "q0", b'"Ohio"')
        await podium.skip_clarification(RUN_ID, "q0")
    assert page.clarifications == (asked,)
    assert (asked.kind, asked.state) == (QuestionKind.CHOICE, ClarificationState.OPEN)
    assert asked.schema["enum"] == ["Germany", "Ohio"]
    assert (asked.default, asked.answer) == ("Germany", None)
    assert asked.expire_time is not None
    assert asked.create_time is not None
    assert asked.expire_time - asked.create_time == timedelta(minutes=1)
    listed: Any = fake.requests[0]
    assert (listed.run_id, listed.page_size, listed.page_token) == (RUN_ID, 5, "t")
    value: Any = fake.requests[2]
    assert json.loads(value.answer_json) == {"where": "Ohio"}
    assert fake.requests[3].answer_json == b'"Ohio"'  # type: ignore[attr-defined]
    assert all(request.question_id == "q0" for request in fake.requests[1:])  # type: ignore[attr-defined]


async def test_an_answer_is_sent_once_and_reads_are_retried() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        gone = refusal(grpc.StatusCode.UNAVAILABLE, "draining", "DRAINING")
        fake.refusals = [gone]
        assert (await podium.list_clarifications()).clarifications
        fake.refusals = [gone]
        assert (await podium.explain_run(RUN_ID)).calls
        fake.refusals = [gone]
        with pytest.raises(podium_client.Unavailable):
            await podium.answer_clarification(RUN_ID, "q0", 1)
    assert len(fake.requests) == 2 + 2 + 1


async def test_the_sync_client_does_the_same() -> None:
    def script(address: str) -> None:
        with Podium.connect(address, timeout=20) as podium:
            assert podium.run("x", **OPTIONS).ok
            with podium.stream("x", **OPTIONS) as started:
                next(started)
            with podium.watch(RUN_ID, after_seq=9) as events:
                assert [event.seq for event in events] == [10, 10, 10, 11, 12]
            assert events.finished is not None
            assert events.last_seq == 12
            assert podium.explain_run(RUN_ID).calls[0].critical
            assert podium.simulate_run(RUN_ID, run_deadline=timedelta(seconds=1)).binds_first == "deadline"
            assert podium.list_clarifications().next_page_token == "more"
            assert podium.get_clarification(RUN_ID, "q0").prompt == "Which Berlin?"
            podium.answer_clarification(RUN_ID, "q0", "Ohio")
            podium.skip_clarification(RUN_ID, "q0")

    async with serving(FakePodium()) as fake:
        await asyncio.to_thread(script, fake.address)
    check_options(fake.requests[0].spec)  # type: ignore[attr-defined]
    check_options(fake.requests[1].spec)  # type: ignore[attr-defined]
    answered: Any = fake.requests[-2]
    assert json.loads(answered.answer_json) == "Ohio"
    assert [left for left in fake.time_remaining if left is None or not 10 < left < 21] == []
