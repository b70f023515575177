"""What every `ChatModel` promises."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from podium.inference.guided import GuidedChatModel
from podium.inference.scripted import ScriptedModel, ScriptFile
from podium.orchestration.chat import (
    AssistantMessage,
    CallRequest,
    ChatModel,
    ChatRequest,
    TextDelta,
    ToolCallSealed,
    ToolMessage,
    TurnFinished,
    TurnFinishReason,
    UserMessage,
)
from podium.orchestration.tool import ToolExample, ToolSpec
from podium.resilience.breakers import Breakers
from podium.resilience.guarded import GuardedModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "inference" / "guided"))
from guided_fakes import CharacterTokenizer, FakeEngine

ADD = ToolSpec(
    name="add",
    description="Add two numbers.",
    input_schema={
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
    examples=(ToolExample("add 3 and 4", {"a": 3, "b": 4}), ToolExample("what is 7 plus 9", {"a": 7, "b": 9})),
)


def scripted() -> ChatModel:
    turns = [
        {"events": [{"call": "add", "arguments": {"a": 19, "b": 21}}]},
        {"events": [{"text": "That is "}, {"text": "{{c0_0}}."}]},
    ]
    scripts = [{"match": "add", "turns": turns}, {"turns": [{"events": [{"text": "Hello "}, {"text": "there."}]}]}]
    return ScriptedModel("scripted", ScriptFile.model_validate({"scripts": scripts}))


def guided() -> ChatModel:
    engine = FakeEngine(lambda prompt, guide: " add" if guide else "Hello there.")
    return GuidedChatModel(engine, CharacterTokenizer(), name="guided")


def guarded() -> ChatModel:
    return GuardedModel(scripted(), Breakers())


@pytest.fixture(params=[scripted, guided, guarded], ids=lambda factory: factory.__name__)
def model(request: pytest.FixtureRequest) -> ChatModel:
    """Every implementation that needs no engine host; the hosted one is tried in tests/faults."""
    factory: Callable[[], ChatModel] = request.param
    return factory()


async def test_a_turn_with_calls_seals_them_and_says_so(model: ChatModel) -> None:
    """Calls name an offered tool and hold one JSON object; the last event tells that results are waited for."""
    events = [e async for e in model.stream(ChatRequest(messages=[UserMessage("add 19 and 21")], tools=[ADD]))]
    calls = [e for e in events if isinstance(e, ToolCallSealed)]
    assert [(c.tool, json.loads(c.arguments_json)) for c in calls] == [("add", {"a": 19, "b": 21})]
    assert isinstance(events[-1], TurnFinished)
    assert events[-1].reason is TurnFinishReason.TOOL_CALLS
    assert sum(isinstance(e, TurnFinished) for e in events) == 1


async def test_a_turn_with_results_answers_with_them(model: ChatModel) -> None:
    """After results the model answers, in text, and the answer holds what they say."""
    messages = [
        UserMessage("add 19 and 21"),
        AssistantMessage("", (CallRequest("c0_0", "add", b'{"a": 19, "b": 21}'),)),
        ToolMessage("c0_0", "add", "40"),
    ]
    events = [e async for e in model.stream(ChatRequest(messages=messages, tools=[ADD], turn=1))]
    assert "40" in "".join(e.text for e in events if isinstance(e, TextDelta))
    assert isinstance(events[-1], TurnFinished)
    assert events[-1].reason is TurnFinishReason.STOP


async def test_a_turn_without_tools_is_talk(model: ChatModel) -> None:
    """Text comes in pieces that are never empty, and usage counts what was written."""
    events = [e async for e in model.stream(ChatRequest(messages=[UserMessage("Say hello.")]))]
    pieces = [e.text for e in events if isinstance(e, TextDelta)]
    assert "".join(pieces) == "Hello there."
    assert all(pieces)
    assert isinstance(events[-1], TurnFinished)
    assert events[-1].usage.completion_tokens > 0


async def test_leaving_early_is_allowed_and_turns_are_independent(model: ChatModel) -> None:
    """A turn may be closed after its first event, and another taken at once."""
    request = ChatRequest(messages=[UserMessage("Say hello.")])
    stream = model.stream(request)
    assert inspect.isasyncgen(stream)
    await anext(stream)
    await stream.aclose()
    assert [e async for e in model.stream(request)]


async def test_info_never_raises(model: ChatModel) -> None:
    """A model describes itself, ready or not."""
    info = await model.info()
    assert info.name == model.name
    assert info.kind in ("scripted", "embedded")
