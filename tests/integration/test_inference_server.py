"""`InferenceService` of a real server, through the client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing

import pytest

import podium_client
from podium_client import AsyncPodium, Message, ToolDefinition, TurnFinishReason
from support.server import PodiumServer

SCRIPT = """
[[scripts]]
match = "weather"
[[scripts.turns]]
events = [{ text = "Let me look. " }, { call = "get_weather", arguments = { city = "Rome" } }]
[[scripts.turns]]
events = [{ text = "In Rome it is {{c0_0/sky}}." }]

[[scripts]]
match = "wait"
[[scripts.turns]]
events = [{ text = "Hm. " }, { at_ms = 60000, text = "at last" }]
"""
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = ToolDefinition("get_weather", "The weather of a city now.", SCHEMA)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodiumServer]:
    with PodiumServer(tmp_path_factory.mktemp("inference"), script=SCRIPT) as running:
        yield running


async def test_calls_are_returned_and_their_results_taken(server: PodiumServer) -> None:
    """A whole tool loop by a caller who runs the tool itself."""
    async with AsyncPodium.connect(server.address) as podium:
        conversation = [Message("user", "What is the weather in Rome?")]
        asked = await podium.chat(conversation, tools=[WEATHER])
        assert (asked.text, asked.finished.finish_reason) == ("Let me look. ", TurnFinishReason.TOOL_CALLS)
        (call,) = asked.calls
        assert (call.tool, call.arguments) == ("get_weather", {"city": "Rome"})
        told = await podium.chat([*conversation, asked.message, call.result({"sky": "clear"})], tools=[WEATHER])
        assert (told.text, told.calls, told.finished.model) == ("In Rome it is clear.", (), "scripted")


async def test_the_other_methods_and_their_refusals(server: PodiumServer) -> None:
    async with AsyncPodium.connect(server.address) as podium:
        counted = await podium.count_tokens([Message("system", "Be brief."), Message("user", "the weather")])
        assert (counted.tokens, counted.exact, counted.model) == (4, True, "scripted")
        (model,) = await podium.list_models()
        assert (model.name, model.ready, model.default, model.token_input) == ("scripted", True, True, False)
        with pytest.raises(podium_client.FailedPrecondition, match="does not take token ids") as refused:
            async with podium.generate_tokens([1, 2, 3]) as deltas:
                await anext(deltas)
        assert refused.value.reason == "FAILED_PRECONDITION"
        with pytest.raises(podium_client.InvalidRequest) as wrong:
            await podium.chat([Message("tool", "1", call_id="c0_0")])
        assert [violation.field for violation in wrong.value.violations] == ["messages[0].call_id"]
        with pytest.raises(podium_client.InvalidRequest):
            await podium.chat([])
        with pytest.raises(podium_client.DeadlineExceeded):
            await podium.chat("wait", deadline=0.5)


async def test_leaving_an_answer_leaves_the_server_free(server: PodiumServer) -> None:
    async with AsyncPodium.connect(server.address) as podium:
        for _ in range(20):
            async with podium.generate("wait") as answer, aclosing(answer.parts()) as parts:
                await anext(parts)
        assert (await podium.chat("the weather")).text == "Let me look. "
