"""Conversations that are too long: what is left out, what never is, and what the model is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.errors import InvalidRequest, Unavailable
from podium.inference.context_window import (
    FittedModel,
    ModelSummariser,
    WindowPolicy,
    answer_room,
    fit,
    surely_fits,
)
from podium.orchestration.chat import (
    AssistantMessage,
    CallRequest,
    ChatEvent,
    ChatRequest,
    Message,
    ModelInfo,
    SystemMessage,
    TextDelta,
    TokenCount,
    ToolMessage,
    TurnFinished,
    TurnFinishReason,
    UserMessage,
)
from podium.orchestration.tool import ToolSpec
from support.virtual_time import run_virtual


def words(message: Message) -> int:
    return len((message.content if isinstance(message, ToolMessage) else message.text).split()) + 1


async def count(messages: Sequence[Message]) -> int:
    return sum(map(words, messages))


def said(number: int, marker: str = "w") -> str:
    return " ".join(f"{marker}{n}" for n in range(number))


def calls(*names: str) -> AssistantMessage:
    return AssistantMessage("", tuple(CallRequest(name, "look", b"{}") for name in names))


def result(name: str, length: int = 5) -> ToolMessage:
    return ToolMessage(name, "look", said(length, name))


TALK: list[Message] = [
    SystemMessage("Be kind."),
    UserMessage(said(30, "first")),
    calls("c0"),
    result("c0", 20),
    AssistantMessage("one"),
    UserMessage(said(30, "second")),
    AssistantMessage("two"),
    UserMessage("third?"),
]


async def test_what_fits_is_left_as_it_is() -> None:
    fitted = await fit(TALK, count, 1000)
    assert (list(fitted.messages), fitted.left_out, fitted.tokens) == (TALK, 0, await count(TALK))


async def test_oldest_exchange_goes_first_and_whole() -> None:
    fitted = await fit(TALK, count, 70)
    assert [type(m).__name__ for m in fitted.messages] == [
        "SystemMessage",
        "UserMessage",
        "AssistantMessage",
        "UserMessage",
    ]
    first = fitted.messages[0]
    assert isinstance(first, SystemMessage)
    assert first.text == "Be kind.\n\n[4 earlier messages left out here to fit the context.]"
    assert (fitted.left_out, fitted.tokens) == (4, await count(fitted.messages))


async def test_latest_request_and_its_latest_results_stay() -> None:
    messages = [*TALK, calls("c1"), result("c1", 40), calls("c2", "c3"), result("c2"), result("c3")]
    fitted = await fit(messages, count, 40)
    assert fitted.messages[1:] == (UserMessage("third?"), calls("c2", "c3"), result("c2"), result("c3"))
    without_system = await fit(messages[1:], count, 40)
    assert isinstance(without_system.messages[0], SystemMessage)
    with pytest.raises(InvalidRequest, match=r"alone have \d+ tokens and the model takes 20") as raised:
        await fit(messages, count, 20)
    assert raised.value.metadata["limit"] == "context_length"


async def test_refusing_tells_the_figures() -> None:
    with pytest.raises(InvalidRequest, match=f"has {await count(TALK)} tokens and the model takes 70"):
        await fit(TALK, count, 70, WindowPolicy.REFUSE)


async def test_summary_takes_the_place_of_what_is_left_out() -> None:
    seen: list[Sequence[Message]] = []

    async def summarise(messages: Sequence[Message]) -> str:
        seen.append(messages)
        return " They spoke of first things. "

    fitted = await fit(TALK, count, 70, WindowPolicy.SUMMARISE, summarise=summarise, summary_tokens=10)
    assert fitted.summarised
    assert seen == [tuple(TALK[1:5])]
    assert getattr(fitted.messages[0], "text", "").endswith("to fit the context: They spoke of first things.]")


@pytest.mark.parametrize("outcome", ["", said(500), Unavailable("away"), TimeoutError()])
async def test_without_a_useful_summary_the_oldest_are_left_out(outcome: str | Exception) -> None:
    async def summarise(_messages: Sequence[Message]) -> str:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    fitted = await fit(TALK, count, 70, WindowPolicy.SUMMARISE, summarise=summarise, summary_tokens=10)
    assert (fitted.summarised, fitted.left_out) == (False, 4)


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    messages: list[Message] = []
    for number in range(draw(st.integers(0, 12))):
        kind = draw(st.integers(0, 4))
        length = draw(st.integers(0, 12))
        if kind == 0:
            messages.append(SystemMessage(said(length)))
        elif kind == 1:
            messages.append(UserMessage(said(length)))
        elif kind == 2:
            messages.append(AssistantMessage(said(length)))
        else:
            names = [f"c{number}_{index}" for index in range(draw(st.integers(1, 3)))]
            messages += [calls(*names), *(result(name, length) for name in names)]
    return messages


@given(conversations(), st.integers(1, 120))
@settings(max_examples=300, deadline=None)
def test_any_conversation_fits_or_is_refused_and_stays_whole(messages: list[Message], limit: int) -> None:
    async def main() -> None:
        try:
            fitted = await fit(messages, count, limit)
        except InvalidRequest:
            return
        assert await count(fitted.messages) == fitted.tokens <= limit
        kept = fitted.messages
        assert {c.call_id for m in kept if isinstance(m, AssistantMessage) for c in m.calls} == {
            m.call_id for m in kept if isinstance(m, ToolMessage)
        }
        assert [m for m in kept if not isinstance(m, SystemMessage)] == [
            m for m in messages if not isinstance(m, SystemMessage) and any(m is one for one in kept)
        ]
        users = [m for m in messages if isinstance(m, UserMessage)]
        assert not users or any(m is users[-1] for m in kept)
        instructions = "".join(m.text for m in kept if isinstance(m, SystemMessage))
        assert all(m.text in instructions for m in messages if isinstance(m, SystemMessage))
        assert (fitted.left_out > 0) == ("left out here" in instructions)

    asyncio.run(main())


class CountingModel:
    """Counts words, and keeps the requests it gets."""

    def __init__(self, context_length: int, *said_: str | float) -> None:
        self.name = "m"
        self.context_length = context_length
        self.said = said_ or ("ok",)
        self.requests: list[ChatRequest] = []
        self.counts = 0

    async def info(self) -> ModelInfo:
        return ModelInfo(name="m", kind="openai", ready=True, context_length=self.context_length)

    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        self.counts += 1
        return TokenCount(await count(request.messages), exact=True)

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        self.requests.append(request)
        for piece in self.said:
            if isinstance(piece, str):
                yield TextDelta(piece)
            else:
                await asyncio.sleep(piece)
        yield TurnFinished(TurnFinishReason.STOP)


async def take(model: Any, request: ChatRequest) -> str:
    return "".join([event.text async for event in model.stream(request) if isinstance(event, TextDelta)])


async def test_model_gets_what_fits_beside_its_answer() -> None:
    model = CountingModel(100)
    assert await take(FittedModel(model), ChatRequest(messages=TALK, max_tokens=80)) == "ok"
    (request,) = model.requests
    assert await count(request.messages) <= 50  # half of the context is the most that is kept for the answer
    assert request.max_tokens == min(80, 100 - await count(request.messages))


async def test_short_prompts_and_unknown_lengths_are_not_counted() -> None:
    for length in (0, 100_000):
        model = CountingModel(length)
        request = ChatRequest(messages=TALK, max_tokens=80)
        await take(FittedModel(model), request)
        assert (model.counts, model.requests) == (0, [request])


async def test_summaries_come_from_a_model() -> None:
    writer = CountingModel(0, "Spoke of ", "things.")
    model = CountingModel(150)
    fitted = FittedModel(
        model, WindowPolicy.SUMMARISE, summarise=ModelSummariser(writer, max_tokens=9), summary_tokens=20
    )
    long = [*TALK[:2], *TALK[1:]]
    await take(fitted, ChatRequest(messages=long, max_tokens=60, tenant="t"))
    assert "Spoke of things." in getattr(model.requests[0].messages[0], "text", "")
    (asked,) = writer.requests
    assert (asked.max_tokens, asked.tenant) == (9, "t")
    assert "first29" in getattr(asked.messages[1], "text", "")
    with pytest.raises(ValueError, match="summarise"):
        FittedModel(model, WindowPolicy.SUMMARISE)


def test_summariser_is_bounded_in_time_and_length() -> None:
    async def main() -> None:
        writer = CountingModel(0, "x", 60.0)
        with pytest.raises(TimeoutError):
            await ModelSummariser(writer, seconds=5)(TALK)
        assert asyncio.get_running_loop().time() == pytest.approx(5)
        brief = CountingModel(0)
        await ModelSummariser(brief, max_chars=100)([UserMessage("y" * 10_000), calls("c0"), result("c0")])
        assert len(getattr(brief.requests[0].messages[1], "text", "")) < 120

    run_virtual(main())


def test_room_and_shortness() -> None:
    info = ModelInfo(name="m", kind="x", ready=True, context_length=1000, max_output_tokens=300)
    assert answer_room(ChatRequest(messages=[], max_tokens=5), info) == 5
    assert answer_room(ChatRequest(messages=[]), info) == 300
    tool = ToolSpec(name="t", description="d" * 1000, input_schema={"type": "object"})
    short = ChatRequest(messages=[UserMessage("hi")])
    assert surely_fits(short, 3000)
    assert not surely_fits(short, 2000)
    assert not surely_fits(ChatRequest(messages=[UserMessage("ß" * 2000)]), 6000)
    assert not surely_fits(ChatRequest(messages=[UserMessage("hi")], tools=[tool]), 5000)
