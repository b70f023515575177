from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from guided_fakes import TOOLS, CharacterTokenizer, FakeEngine, spec

from podium.errors import InvalidRequest, Unavailable
from podium.inference.engine import FinishReason
from podium.inference.guided import GuidedChatModel, GuidedProfile
from podium.orchestration.chat import (
    AssistantMessage,
    CallRequest,
    ChatEvent,
    ChatRequest,
    TextDelta,
    ToolCallSealed,
    ToolChoice,
    ToolMessage,
    TurnFinished,
    TurnFinishReason,
    Usage,
    UserMessage,
)
from podium.orchestration.tool import ToolSpec


def model_on(engine: FakeEngine, **profile: Any) -> GuidedChatModel:
    return GuidedChatModel(engine, CharacterTokenizer(), GuidedProfile(**profile), today=lambda: date(2026, 11, 21))


async def told(events: AsyncIterator[ChatEvent]) -> tuple[str, list[tuple[str, Any]], TurnFinished]:
    seen = [event async for event in events]
    end = seen[-1]
    assert isinstance(end, TurnFinished)
    text = "".join(event.text for event in seen if isinstance(event, TextDelta))
    calls = [(e.tool, json.loads(e.arguments_json)) for e in seen if isinstance(e, ToolCallSealed)]
    return text, calls, end


def turn(text: str, **more: Any) -> ChatRequest:
    return ChatRequest(messages=[UserMessage(text)], **more)


async def test_settled_calls_are_sealed_without_the_engine() -> None:
    """Where the request leaves one possibility, the model is not asked."""
    engine = FakeEngine()
    text, calls, end = await told(
        model_on(engine).stream(turn("What is 19 * 21 and what time is it in Berlin?", tools=TOOLS))
    )
    assert calls == [("sums", {"expression": "19 * 21"}), ("clock", {"city": "Berlin"})]
    assert (text, end.reason, engine.requests) == ("", TurnFinishReason.TOOL_CALLS, [])


async def test_a_missing_argument_is_decoded_under_a_guide() -> None:
    """The model sees the tool's examples and may write only what the schema allows; its tokens are counted."""
    lamp = spec(
        "switch_lamp", "Switch the lamp.", {"state": {"type": "string", "enum": ["on", "off"]}},
        ("switch the lamp on", {"state": "on"}), ("switch the lamp off", {"state": "off"}),
    )  # fmt: skip
    engine = FakeEngine(lambda prompt, guide: '{"state":"off"}' if "state" in guide else " switch_lamp")
    text, calls, end = await told(model_on(engine).stream(turn("switch the lamp", tools=[lamp])))
    assert calls == [("switch_lamp", {"state": "off"})]
    (request,) = engine.requests
    assert request.guide is not None
    assert request.guide.text == '\\{\\"state\\":(?:\\"on\\"|\\"off\\")\\}' or '"off' in request.guide.text.replace(
        "\\", ""
    )
    assert end.usage.completion_tokens == len('{"state":"off"}')
    assert text == ""


async def test_direct_talk_streams_the_models_text() -> None:
    """Without a tool to call the model answers, under its system text, within the request's limit."""
    engine = FakeEngine(lambda prompt, guide: "Hello to you.")
    text, calls, end = await told(
        model_on(engine, system="Be kind.").stream(turn("Hello!", tools=TOOLS, max_tokens=50))
    )
    assert (text, calls, end.reason) == ("Hello to you.", [], TurnFinishReason.STOP)
    assert engine.requests[-1].max_tokens == 50
    assert "".join(map(chr, engine.requests[-1].token_ids)) == "<system>Be kind.<user>Hello!"


async def test_a_stop_string_ends_the_text_and_is_not_part_of_it() -> None:
    """A stop string is honoured across tokens, and the generation behind it is closed."""
    engine = FakeEngine(lambda prompt, guide: "one two three four")
    text, _, _ = await told(model_on(engine).stream(turn("Count.", stop=["three"])))
    assert text == "one two "
    assert len(engine.aborted) == 1


async def test_closing_a_turn_early_closes_the_generation() -> None:
    """Nobody reads on: the engine must not write on."""
    engine = FakeEngine(lambda prompt, guide: "a long story " * 20)
    async with aclosing(model_on(engine).stream(turn("Tell."))) as events:  # type: ignore[type-var]
        async for _ in events:
            break
    assert len(engine.aborted) == 1


def results(*pairs: tuple[str, dict[str, Any], str, bool]) -> list[Any]:
    calls = tuple(CallRequest(f"c0_{i}", tool, json.dumps(args).encode()) for i, (tool, args, _, _) in enumerate(pairs))
    said = [ToolMessage(f"c0_{i}", tool, content, ok) for i, (tool, _, content, ok) in enumerate(pairs)]
    return [UserMessage("What is 19 * 21 and what time is it in Berlin?"), AssistantMessage("", calls), *said]


async def test_the_answer_holds_every_result() -> None:
    """Facts are rendered without the engine, the failed call too."""
    engine = FakeEngine()
    messages = results(
        ("sums", {"expression": "19 * 21"}, '{"result": 399}', True),
        ("clock", {"city": "Berlin"}, "no such city", False),
    )
    text, calls, end = await told(model_on(engine).stream(ChatRequest(messages=messages, tools=TOOLS, turn=1)))
    assert text == "Sums (19 * 21): 399. Clock (Berlin) failed: no such city."
    assert (calls, end.reason, engine.requests) == ([], TurnFinishReason.STOP, [])


def with_sentence(template: str) -> ToolSpec:
    return replace(TOOLS[0], output_schema={"type": "object", "x-podium-answer": template})


@pytest.mark.parametrize(
    ("written", "told_as", "tokens"),
    [
        ("19 * 21 is 399.", "19 * 21 is 399.", len("19 * 21 is 399.")),
        ("19 is 21.", "19 * 21 = 399.", len("19 is 21.")),
        (None, "19 * 21 = 399.", 0),
    ],
    ids=["good", "slip", "engine away"],
)
async def test_the_model_words_a_fact_and_is_checked(written: str | None, told_as: str, tokens: int) -> None:
    """A wording that keeps the figures is the answer; a slip, or no engine, leaves the tool's own sentence."""

    def write(prompt: str, guide: str) -> str:
        if written is None:
            raise Unavailable("gone")
        return written

    messages = results(("sums", {"expression": "19 * 21"}, '{"expression": "19 * 21", "result": 399}', True))
    request = ChatRequest(messages=messages, tools=[with_sentence("{expression} = {result}.")], turn=1)
    text, _, end = await told(model_on(FakeEngine(write)).stream(request))
    assert (text, end.usage.completion_tokens) == (told_as, tokens)


PROSE = (
    "The bridge was opened in 1932 and is 503 metres long. "
    + "It carries cars and trains over the harbour every day. " * 3
)


@pytest.mark.parametrize(
    ("written", "kept"), [("The bridge opened in 1932.", True), ("The bridge opened in 1950.", False), ("Fine.", False)]
)
async def test_a_worded_answer_is_used_only_when_it_is_true(written: str, kept: bool) -> None:
    """The model may word a text; an invented number or an empty phrase is replaced by the result itself."""
    engine = FakeEngine(lambda prompt, guide: written)
    messages = [*results(("read", {}, json.dumps(PROSE), True))]
    text, _, end = await told(model_on(engine).stream(ChatRequest(messages=messages, turn=1)))
    assert (text == written) is kept
    assert ("1932" in text) is True
    assert end.usage.completion_tokens == len(written)


async def test_json_is_written_under_its_schema_and_read_back() -> None:
    """The guide is the schema; the text is whole JSON."""
    engine = FakeEngine(lambda prompt, guide: ' {"a": 1 }')
    text, _, _ = await told(model_on(engine).stream(turn("Give a.", json_schema='{"type": "object"}')))
    assert json.loads(text) == {"a": 1}
    assert engine.requests[0].guide is not None
    with pytest.raises(InvalidRequest):
        await told(model_on(engine).stream(turn("Give a.", json_schema="{")))


async def test_json_cut_short_is_said_to_be_so() -> None:
    """Cut by the limit: the text as it is, and the reason. Broken otherwise: a retryable error."""
    engine = FakeEngine(lambda prompt, guide: '{"a": ')
    engine.reason = FinishReason.LENGTH
    text, _, end = await told(model_on(engine).stream(turn("Give a.", json_schema="{}")))
    assert (text, end.reason) == ('{"a": ', TurnFinishReason.LENGTH)
    engine.reason = FinishReason.STOP
    with pytest.raises(Unavailable):
        await told(model_on(engine).stream(turn("Give a.", json_schema="{}")))


async def test_a_request_that_cannot_fit_is_refused() -> None:
    """Older turns are dropped first; what still does not fit is the caller's to shorten."""
    engine = FakeEngine()
    model = model_on(engine, context_length=200, max_tokens=20)
    history = [UserMessage("x" * 120), AssistantMessage("y" * 120), UserMessage("short")]
    await told(model.stream(ChatRequest(messages=history)))
    assert "x" * 120 not in "".join(map(chr, engine.requests[-1].token_ids))
    with pytest.raises(InvalidRequest):
        await told(model.stream(turn("z" * 500)))


async def test_info_never_raises() -> None:
    """An unready engine makes an unready model, with the reason."""
    engine = FakeEngine()
    model = model_on(engine)
    assert (await model.info()).ready
    engine.ready = False
    assert (await model.info()).detail == "it is loading"


async def test_many_turns_at_once_keep_apart() -> None:
    """Turns share the index and the engine, nothing else."""
    model = model_on(FakeEngine())
    texts = [f"what is {n} plus 1" for n in range(20)]
    turns = await asyncio.gather(*(told(model.stream(turn(text, tools=TOOLS))) for text in texts))
    assert [calls for _, calls, _ in turns] == [[("sums", {"expression": f"{n} plus 1"})] for n in range(20)]
    assert all(end.usage == Usage() for _, _, end in turns)


async def test_nothing_is_planned_when_calls_are_not_wanted() -> None:
    request = turn("What is 19 * 21?", tools=TOOLS, tool_choice=ToolChoice.NONE)
    _, calls, end = await told(model_on(FakeEngine()).stream(request))
    assert calls == []
    assert end.reason is TurnFinishReason.STOP
