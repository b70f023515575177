"""Both clients against a fake server: whole answers, parts, tools, token ids, counting, what models can do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

import podium_client
from podium.v1 import inference_pb2, run_pb2
from podium_client import (
    AsyncPodium,
    ChatResult,
    Message,
    ModelAttempt,
    ModelCall,
    Podium,
    ReasoningPart,
    TextPart,
    ToolDefinition,
    ToolExample,
    TurnFinishReason,
)
from unit.client.fake_podium import FakePodium, sample_parts, serving

CALL = ModelCall("toolu_1", "add", b'{"a": 19, "b": 21}')
ADD = ToolDefinition(
    "add",
    "Adds.",
    {"type": "object", "properties": {"a": {"type": "integer"}}},
    [ToolExample("add 1", {"a": 1})],
)


def finished(reason: Any = run_pb2.TURN_FINISH_REASON_TOOL_CALLS) -> inference_pb2.GenerateResponse:
    end = inference_pb2.GenerateFinished(finish_reason=reason, model="backup")
    end.timings.first_output.FromMilliseconds(5)
    end.timings.per_token.FromMicroseconds(2500)
    end.timings.total.FromMilliseconds(30)
    for model, why, milliseconds in (("first", "UNAVAILABLE", 20), ("backup", "", 4)):
        attempt = end.attempts.add(model=model, reason=why)
        attempt.duration.FromMilliseconds(milliseconds)
    return inference_pb2.GenerateResponse(finished=end)


def thinking_and_calling() -> Sequence[inference_pb2.GenerateResponse]:
    part = inference_pb2.GenerateResponse
    call = inference_pb2.ChatToolCall(call_id=CALL.call_id, tool=CALL.tool, arguments_json=CALL.arguments_json)
    return [part(reasoning="Hm."), part(text="Let me"), part(), part(tool_call=call), part(text=" see."), finished()]


def counting() -> Sequence[inference_pb2.GenerateResponse]:
    deltas = [inference_pb2.GeneratedTokens(ids=ids) for ids in ([7], [8, 9])]
    parts = [inference_pb2.GenerateResponse(tokens=delta) for delta in deltas]
    return [*parts, finished(run_pb2.TURN_FINISH_REASON_CONTENT_FILTER)]


def check_answer(answer: ChatResult) -> None:
    assert (answer.text, answer.reasoning, answer.calls) == ("Let me see.", "Hm.", (CALL,))
    assert answer.message == Message("assistant", "Let me see.", (CALL,))
    end = answer.finished
    assert (end.finish_reason, end.model) == (TurnFinishReason.TOOL_CALLS, "backup")
    assert (end.time_to_first_output, end.time_per_token) == (timedelta(milliseconds=5), timedelta(microseconds=2500))
    assert end.attempts == (
        ModelAttempt("first", "UNAVAILABLE", timedelta(milliseconds=20)),
        ModelAttempt("backup", "", timedelta(milliseconds=4)),
    )


async def test_chat_returns_the_whole_answer_and_sends_tools() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        fake.parts = thinking_and_calling()
        answer = await podium.chat("Add.", tools=[ADD, "calculate", ToolDefinition("ping")], tool_choice="required")
        check_answer(answer)
        assert answer.calls[0].arguments == {"a": 19, "b": 21}
        conversation = [Message("user", "Add."), answer.message, answer.calls[0].result({"sum": 40})]
        await podium.chat([*conversation, answer.calls[0].result("no", failed=True)], deadline=7)
    first, second = fake.requests
    assert isinstance(first, inference_pb2.GenerateRequest)
    assert isinstance(second, inference_pb2.GenerateRequest)
    assert [(tool.name, tool.description) for tool in first.tools] == [("add", "Adds."), ("ping", "")]
    assert json.loads(first.tools[0].input_schema_json) == ADD.input_schema
    assert [(each.request, each.arguments_json) for each in first.tools[0].examples] == [("add 1", b'{"a": 1}')]
    assert first.tools[1].input_schema_json == b""
    assert (list(first.tool_names), first.tool_choice) == (["calculate"], inference_pb2.TOOL_CHOICE_REQUIRED)
    assert second.tool_choice == inference_pb2.TOOL_CHOICE_UNSPECIFIED
    _, asked, result, failure = second.messages
    assert (asked.role, asked.calls[0].call_id) == (inference_pb2.CHAT_ROLE_ASSISTANT, "toolu_1")
    assert asked.calls[0].arguments_json == CALL.arguments_json
    assert (result.role, result.call_id, result.text, result.failed) == (
        inference_pb2.CHAT_ROLE_TOOL,
        "toolu_1",
        '{"sum": 40}',
        False,
    )
    assert (failure.text, failure.failed) == ("no", True)
    assert 5 < (fake.time_remaining[1] or 0) < 7.5


async def test_parts_give_reasoning_and_calls_in_order() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        fake.parts = thinking_and_calling()
        async with podium.generate("Add.") as answer:
            parts = [part async for part in answer.parts()]
        async with podium.generate("Add.") as texts:
            assert [text async for text in texts] == ["Let me", " see."]
    assert parts == [ReasoningPart("Hm."), TextPart("Let me"), CALL, TextPart(" see.")]
    check_answer(answer.result())
    check_answer(texts.result())


async def test_leaving_parts_early_cancels_on_the_server() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        fake.hang = True
        async with podium.generate("x") as answer:
            async for _ in answer.parts():
                break
            assert answer.text == "Hello"
            with pytest.raises(podium_client.Internal, match="has no end"):
                answer.result()
            await fake.played.wait()
        await fake.cancelled.wait()


async def test_an_answer_without_an_end_is_a_fault_of_the_server() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        fake.parts = sample_parts()[:2]
        with pytest.raises(podium_client.Internal, match="has no end") as raised:
            await podium.chat("x", correlation_id="exec_7")
    assert raised.value.correlation_id == "exec_7"


async def test_token_ids_go_out_and_come_back() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        fake.parts = counting()
        async with podium.generate_tokens([1, 2], model="m", max_tokens=5, seed=3, stop_token_ids=[0]) as deltas:
            assert [ids async for ids in deltas] == [(7,), (8, 9)]
    assert deltas.token_ids == (7, 8, 9)
    assert deltas.finished is not None
    assert deltas.finished.finish_reason is TurnFinishReason.CONTENT_FILTER
    (request,) = fake.requests
    assert isinstance(request, inference_pb2.GenerateRequest)
    assert (list(request.token_ids), list(request.stop_token_ids), list(request.messages)) == ([1, 2], [0], [])
    assert (request.model, request.max_tokens, request.sampling.seed) == ("m", 5, 3)


async def test_tokens_are_counted() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        counted = await podium.count_tokens([Message("user", "Hi")], model="small", tools=[ADD, "calculate"])
    assert (counted.tokens, counted.exact, counted.context_length, counted.model) == (7, True, 8192, "embedded")
    (request,) = fake.requests
    assert isinstance(request, inference_pb2.CountTokensRequest)
    assert (request.model, request.messages[0].text) == ("small", "Hi")
    assert ([tool.name for tool in request.tools], list(request.tool_names)) == (["add"], ["calculate"])


async def test_models_tell_what_they_can_do() -> None:
    async with serving(FakePodium()) as fake, AsyncPodium.connect(fake.address) as podium:
        away, model = await podium.list_models()
    assert (model.aliases, model.max_output_tokens, model.tools, model.json_schema) == (("small",), 1024, True, True)
    assert not any((model.reasoning, model.parallel_calls, model.remote, model.token_input))
    assert (away.aliases, away.detail) == ((), "its file is missing")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"tools": "add"}, TypeError), ({"stop": "x"}, TypeError), ({"tool_choice": "maybe"}, ValueError)],
)
async def test_wrong_arguments_are_told_here(arguments: dict[str, Any], error: type[Exception]) -> None:
    async with AsyncPodium.connect("127.0.0.1:1") as podium:
        with pytest.raises(error, match=next(iter(arguments))):
            podium.generate("x", **arguments)


async def test_the_sync_client_does_it_too() -> None:
    def script(address: str) -> None:
        with Podium.connect(address, timeout=20) as podium:
            check_answer(podium.chat("Add.", tools=[ADD]))
            with podium.generate("Add.") as answer:
                assert list(answer.parts()) == [ReasoningPart("Hm."), TextPart("Let me"), CALL, TextPart(" see.")]
            check_answer(answer.result())
            with podium.generate("Add.") as texts:
                assert next(texts) == "Let me"
                assert (texts.text, texts.reasoning, texts.calls) == ("Let me", "Hm.", ())
                with pytest.raises(podium_client.Internal, match="has no end"):
                    texts.result()
            assert podium.count_tokens("Hi").tokens == 7

    def ids(address: str) -> None:
        with Podium.connect(address, timeout=20) as podium, podium.generate_tokens([1]) as deltas:
            assert list(deltas) == [(7,), (8, 9)]
            assert deltas.token_ids == (7, 8, 9)

    async with serving(FakePodium()) as fake:
        fake.parts = thinking_and_calling()
        await asyncio.to_thread(script, fake.address)
        fake.parts = counting()
        await asyncio.to_thread(ids, fake.address)
