"""The async and the sync client against a fake server: arguments, results, cancelling, retries."""

# ruff: noqa: N802  RPC methods are named by the contract

from __future__ import annotations

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

import podium_client
from podium.v1 import inference_pb2, run_pb2
from podium_client import (
    AsyncPodium,
    HealthStatus,
    Message,
    Podium,
    RunFailed,
    RunFinished,
    RunLimits,
    RunState,
    SideEffects,
    TextDelta,
    ToolCallFinished,
    ToolCallSealed,
    ToolCallState,
    TurnFinishReason,
    correlation,
)
from unit.client.fake_podium import RUN_ID, FakePodium, refusal, sample_events, serving


async def test_run_sends_what_it_is_given_and_returns_the_run() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address, api_key="pdm_a_b") as podium:
        result = await podium.run(
            "What is 19 * 21?",
            model="embedded",
            tools=["calculate"],
            request_id="mine",
            limits=RunLimits(max_calls=3),
            labels={"team": "a"},
            deadline=timedelta(seconds=9),
            correlation_id="exec_me",
        )
    spec = fake.requests[0].spec  # type: ignore[attr-defined]
    assert (spec.input, spec.model, list(spec.tools), spec.request_id) == (
        "What is 19 * 21?",
        "embedded",
        ["calculate"],
        "mine",
    )
    assert (spec.limits.max_calls, spec.limits.max_turns, dict(spec.labels)) == (3, 0, {"team": "a"})
    assert fake.metadata[0]["authorization"] == "Bearer pdm_a_b"
    assert fake.metadata[0]["x-correlation-id"] == result.correlation_id == "exec_me"
    assert 8 < (fake.time_remaining[0] or 0) < 9.5
    assert (result.run_id, result.state, result.answer) == (RUN_ID, RunState.SUCCEEDED, "19 * 21 is 399.")
    assert result.usage.total_tokens == 52
    assert result.duration == timedelta(milliseconds=250)
    assert result.create_time == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert result.start_time is None
    (call,) = result.calls
    assert (call.tool, call.arguments, call.result) == ("calculate", {"expression": "19 * 21"}, {"value": 399})
    assert call.duration == timedelta(milliseconds=20)
    assert result.raw.run_id == RUN_ID


async def test_every_call_has_a_deadline() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        await podium.run("x")
        async with podium.stream("x") as events:
            await anext(events)
        await podium.list_models()
    assert all(remaining is not None and 50 < remaining < 61 for remaining in fake.time_remaining)


async def test_run_mints_a_request_id_and_a_correlation_id() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        await podium.run("x")
        await podium.run("x")
    first, second = (request.spec.request_id for request in fake.requests)  # type: ignore[attr-defined]
    assert first.startswith("req_")
    assert first != second
    assert fake.metadata[0]["x-correlation-id"].startswith("exec_")


async def test_a_correlation_block_covers_its_calls() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        with correlation("job-7"):
            result = await podium.run("x")
            await podium.list_models(correlation_id="mine")
        await podium.list_models()
    sent = [metadata["x-correlation-id"] for metadata in fake.metadata]
    assert sent[:2] == ["job-7", "mine"]
    assert sent[2] not in sent[:2]
    assert result.correlation_id == "job-7"


@pytest.mark.parametrize("bad", ["", "two words", "x" * 129])
def test_a_malformed_correlation_id_is_refused_here(bad: str) -> None:
    with pytest.raises(ValueError, match="correlation id"), correlation(bad):
        pytest.fail("entered")


async def test_stream_yields_typed_events_in_order() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        later = run_pb2.RunEvent(run_id=RUN_ID, seq=99)
        fake.events = [later, *sample_events()]
        async with podium.stream("x", correlation_id="exec_3") as events:
            got = [event async for event in events]
    assert [type(event).__name__ for event in got][:4] == [
        "RunStarted",
        "ModelTurnStarted",
        "ToolCallSealed",
        "ToolCallStarted",
    ]
    assert events.run_id == RUN_ID
    assert events.correlation_id == "exec_3"
    sealed = next(event for event in got if isinstance(event, ToolCallSealed))
    assert (sealed.tool, sealed.arguments) == ("calculate", {"expression": "19 * 21"})
    ok, failed = (event for event in got if isinstance(event, ToolCallFinished))
    assert (ok.ok, ok.result, ok.failure) == (True, {"value": 399}, None)
    assert (failed.ok, failed.result) == (False, None)
    assert failed.failure is not None
    assert failed.failure.code == "TIMEOUT"
    text = "".join(event.text for event in got if isinstance(event, TextDelta))
    last = got[-1]
    assert isinstance(last, RunFinished)
    assert last.answer == text
    assert last.partial
    assert events.finished is last
    assert last.raise_for_state() is last


async def test_a_failed_end_of_a_stream_raises_when_asked() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        end = run_pb2.RunFinished(state=run_pb2.RUN_STATE_FAILED, error={"reason": "LIMIT_REACHED", "message": "m"})
        fake.events = [run_pb2.RunEvent(run_id=RUN_ID, seq=1, run_finished=end)]
        async with podium.stream("x") as events:
            finished = [event async for event in events][-1]
    assert isinstance(finished, RunFinished)
    with pytest.raises(RunFailed) as raised:
        finished.raise_for_state()
    assert (raised.value.reason, raised.value.run.run_id) == ("LIMIT_REACHED", RUN_ID)


async def test_leaving_a_stream_early_cancels_it_on_the_server() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        fake.hang = True
        async with podium.stream("x") as events:
            await anext(events)
            await fake.played.wait()
            assert not fake.cancelled.is_set()
        await fake.cancelled.wait()


async def test_cancelling_the_task_cancels_on_the_server() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        fake.hang = True
        task = asyncio.create_task(podium.run("x"))
        await fake.played.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await fake.cancelled.wait()


async def test_cancelling_a_task_that_reads_a_stream_cancels_on_the_server() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        fake.hang = True

        async def read() -> None:
            async with podium.generate("x") as texts:
                async for _ in texts:
                    continue

        task = asyncio.create_task(read())
        await fake.played.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await fake.cancelled.wait()


async def test_a_stream_must_be_entered_once() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        stream = podium.stream("x")
        with pytest.raises(RuntimeError, match="enter the stream"):
            await anext(stream)
        async with stream:
            with pytest.raises(RuntimeError, match="entered once"):
                await stream.__aenter__()


async def test_generate_streams_text_and_then_says_how_it_ended() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        async with podium.generate(
            [Message("system", "Be brief."), Message("user", "Hi")],
            model="embedded",
            max_tokens=9,
            temperature=0.5,
            seed=0,
            json_schema={"type": "object"},
            stop=["\n"],
        ) as texts:
            assert [text async for text in texts] == ["Hello", " there"]
        assert texts.finished is not None
        async with podium.generate("Hi", json_schema={}) as texts_again:
            await anext(texts_again)
    assert texts.finished.finish_reason is TurnFinishReason.STOP
    assert texts.finished.time == timedelta(milliseconds=30)
    request, plain = fake.requests
    assert isinstance(request, inference_pb2.GenerateRequest)
    assert isinstance(plain, inference_pb2.GenerateRequest)
    assert [message.role for message in request.messages] == [
        inference_pb2.CHAT_ROLE_SYSTEM,
        inference_pb2.CHAT_ROLE_USER,
    ]
    assert request.sampling.HasField("seed")
    assert not plain.sampling.HasField("seed")
    assert json.loads(request.json_schema) == {"type": "object"}
    assert plain.json_schema == "{}"
    assert list(request.stop) == ["\n"]


async def test_reads_and_single_calls() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        assert (await podium.get_run(RUN_ID)).run_id == RUN_ID
        page = await podium.list_runs(page_size=5, page_token="t", states=[RunState.FAILED])
        assert (len(page.runs), page.next_page_token) == (1, "more")
        assert (await podium.cancel_run(RUN_ID)).state.ended
        tools = await podium.list_tools()
        tool = await podium.get_tool("calculate")
        call = await podium.invoke_tool("calculate", {"expression": "19 * 21"}, correlation_id="exec_5")
        models = await podium.list_models()
        report = await podium.health()
    assert [each.name for each in tools] == ["calculate", "current_time"]
    assert tool.side_effects is SideEffects.NONE
    assert tool.timeout == timedelta(seconds=5)
    assert tool.cache_ttl is None
    assert tool.examples[0].arguments == {"expression": "2 + 2"}
    assert tool.input_schema["type"] == "object"
    assert tool.output_schema is None
    assert (call.ok, call.state, call.result, call.correlation_id) == (
        True,
        ToolCallState.SUCCEEDED,
        {"value": 399},
        "exec_5",
    )
    assert [model.ready for model in models] == [False, True]
    assert report.status is HealthStatus.HEALTHY
    assert report.components[0].check_time is None
    listed: Any = fake.requests[1]
    assert (listed.page_size, listed.page_token, list(listed.states)) == (5, "t", [run_pb2.RUN_STATE_FAILED])


async def test_unavailable_is_retried_for_what_may_be_repeated() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        gone = refusal(grpc.StatusCode.UNAVAILABLE, "draining", "DRAINING")
        fake.refusals = [gone, gone]
        result = await podium.run("x")
        assert result.ok
        fake.refusals = [gone]
        async with podium.stream("x") as events:
            await anext(events)
        fake.refusals = [gone]
        await podium.list_models()
    ids = [request.spec.request_id for request in fake.requests[:3]]  # type: ignore[attr-defined]
    assert len(set(ids)) == 1, "every attempt is the same submission"
    assert fake.metadata[2]["grpc-previous-rpc-attempts"] == "2"
    assert len(fake.requests) == 3 + 2 + 2


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED]
)
async def test_nothing_but_unavailable_is_retried(code: grpc.StatusCode) -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        fake.refusals = [refusal(code, "no")]
        with pytest.raises(podium_client.PodiumError):
            await podium.run("x")
    assert len(fake.requests) == 1


async def test_a_tool_call_and_a_generation_are_never_retried() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        fake.refusals = [refusal(grpc.StatusCode.UNAVAILABLE, "no") for _ in range(2)]
        with pytest.raises(podium_client.Unavailable):
            await podium.invoke_tool("calculate")
        with pytest.raises(podium_client.Unavailable):
            async with podium.generate("x") as texts:
                await anext(texts)
    assert len(fake.requests) == 2


async def test_a_stream_is_not_retried_once_it_has_yielded() -> None:
    class BreaksOff(FakePodium):
        async def ExecuteStream(self, request: Any, context: Any) -> Any:
            async for response in super().ExecuteStream(request, context):
                yield response
                await context.abort(grpc.StatusCode.UNAVAILABLE, "lost")

    async with (
        serving(BreaksOff()) as fake,
        AsyncPodium.connect(fake.address) as podium,
        podium.stream("x") as events,
    ):
        await anext(events)
        with pytest.raises(podium_client.Unavailable):
            await anext(events)
    assert len(fake.requests) == 1


async def test_a_large_message_passes() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        fake.call.result_json = json.dumps("x" * 6_000_000).encode()
        assert len((await podium.invoke_tool("read_file")).result) == 6_000_000


async def test_the_sync_client_does_the_same() -> None:
    def script(address: str) -> None:
        with Podium.connect(address, timeout=20) as podium:
            assert podium.run("x", tools=["calculate"]).ok
            with podium.stream("x") as events:
                got = list(events)
            assert events.finished is got[-1]
            assert events.run_id == RUN_ID
            with podium.generate("x") as texts:
                assert "".join(texts) == "Hello there"
            assert texts.finished is not None
            assert podium.get_run(RUN_ID).run_id == RUN_ID
            assert podium.list_runs().runs
            assert podium.cancel_run(RUN_ID).ok
            assert [tool.name for tool in podium.list_tools()] == ["calculate", "current_time"]
            assert podium.get_tool("calculate").name == "calculate"
            assert podium.invoke_tool("calculate", b'{"expression": "1"}').ok
            assert len(podium.list_models()) == 2
            assert podium.health().status is HealthStatus.HEALTHY
            with pytest.raises(RuntimeError, match="enter the stream"):
                next(podium.stream("x"))
            with pytest.raises(RuntimeError, match="entered once"):
                events.__enter__()

    async with serving(FakePodium()) as fake:
        await asyncio.to_thread(script, fake.address)
    assert [r for r in fake.time_remaining if r is None or not 10 < r < 21] == []


async def test_leaving_a_sync_stream_early_cancels_it_on_the_server() -> None:
    noticed = threading.Event()

    def script(address: str) -> None:
        with Podium.connect(address) as podium:
            with podium.stream("x") as events:
                next(events)
            assert noticed.wait(20), "before the channel is closed, which would cancel it too"

    async with serving(FakePodium()) as fake:
        fake.hang = True
        done = asyncio.create_task(asyncio.to_thread(script, fake.address))
        await fake.cancelled.wait()
        noticed.set()
        await done


async def test_a_sync_stream_raises_typed_errors() -> None:
    def script(address: str) -> None:
        with Podium.connect(address) as podium, podium.stream("x") as events:
            next(events)

    async with serving(FakePodium()) as fake:
        fake.refusals = [refusal(grpc.StatusCode.NOT_FOUND, "no such model", "NOT_FOUND")]
        with pytest.raises(podium_client.NotFound):
            await asyncio.to_thread(script, fake.address)
