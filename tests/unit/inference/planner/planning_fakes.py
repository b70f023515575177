"""An engine that answers by which tool it is shown, and what is needed to plan turns with it."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from planner_fakes import TODAY, spec

from podium.errors import PodiumError
from podium.inference.engine import EngineInfo, EngineRequest, FinishReason, TokenDelta, TokensFinished
from podium.inference.planner.model import TrainedChatModel
from podium.orchestration.chat import ChatEvent, ChatRequest, TextDelta, ToolCallSealed, TurnFinished, UserMessage

TALK = "talk"
TEXT = {"type": "string"}
TABLE = spec(
    {"restaurant": TEXT, "guests": {"type": "integer"}, "day": {"type": "string", "format": "date"}},
    name="book_table",
    description="Book a table in a restaurant.",
    output_schema={"properties": {"booking": TEXT, "address": TEXT}},
)
WEATHER = spec({"city": TEXT}, name="weather", description="Tell the weather in a city.")
MESSAGE = spec({"to": TEXT, "text": TEXT}, name="send_message", description="Send somebody a message.")
TOOLS = (TABLE, WEATHER, MESSAGE)
SIX = "yes | restaurant: The Old Mill | guests: six | day: next Friday"
SIX_MEANT = ("book_table", {"restaurant": "The Old Mill", "guests": 6, "day": "2026-11-27"})
ROME = "yes | city: Rome"
BOOK = "a table for six at The Old Mill next Friday"
BOTH = f"{BOOK}, and the weather in Rome"
# A refusal that goes on: whoever reads it to its end notices too late.
NO = "no, " + "not at all " * 40


class CharacterTokenizer:
    """One token is one character's code point."""

    eos_token_id: int | None = 0

    def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
        return [ord(character) for character in text]

    def encode_chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        return self.encode("".join(f"<{message['role']}>{message['content']}" for message in messages))

    def detokenizer(self) -> CharacterDetokenizer:
        return CharacterDetokenizer()


class CharacterDetokenizer:
    def push(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def finish(self) -> str:
        return ""


class Stop:
    """A place in an answer where the engine waits until it is told to go on, or fails."""

    def __init__(self, after: int, error: PodiumError | None = None) -> None:
        self.after = after
        self.error = error
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def wait(self) -> None:
        self.reached.set()
        if self.error is not None:
            raise self.error
        await self.go_on.wait()


Answer = str | Callable[[str], str]


def about(line: str, *words: str) -> Answer:
    """Return an answer that is only given about clauses with all of some words in them."""
    return lambda clause: line if all(word in clause for word in words) else NO


class PlanningEngine:
    """Writes what `answers` says about the tool that the prompt shows, two characters at a time, and talk elsewhere.

    Args:
        answers: by tool, or what makes them of the clause that is asked about; `NO` about the others. Begun answers
            ("yes" at the end of the prompt) are gone on with from there.
        sure: the probability of each line's first token; the others' is 1.
        stops: where an answer is held up, by tool.
    """

    def __init__(
        self,
        answers: Mapping[str, Answer] | None = None,
        *,
        sure: Mapping[str, float] | None = None,
        stops: Mapping[str, Stop] | None = None,
    ) -> None:
        self.answers: dict[str, Answer] = {TALK: "Fine.", **(answers or {})}
        self.sure = sure or {}
        self.stops = stops or {}
        self.reason = FinishReason.STOP
        self.requests: list[EngineRequest] = []
        self.shown: list[str] = []
        self.aborted: list[str] = []

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TokenDelta | TokensFinished, None]:
        prompt = text_of(request)
        found = re.match(r"<\|im_start\|>tool\n(\w+)\(", prompt)
        name = found[1] if found else TALK
        self.requests.append(request)
        self.shown.append(name)
        answer, stop, ended = self.answers.get(name, NO), self.stops.get(name), False
        clause = clause_of(request)
        text = answer if isinstance(answer, str) else answer(clause)
        if prompt.endswith("call\nyes"):
            text = text.removeprefix("yes")
        first = math.log(self.sure.get(name, 0.9))
        try:
            for at in range(0, len(text), 2):
                if stop is not None and at <= stop.after < at + 2:
                    await stop.wait()
                piece = text[at : at + 2]
                told = (first if at + i == 0 or text[at + i - 1] == "\n" else 0.0 for i in range(len(piece)))
                await asyncio.sleep(0)
                yield TokenDelta(tuple(map(ord, piece)), tuple(told) if request.logprobs else ())
            ended = True
            yield TokensFinished(reason=self.reason, prompt_tokens=len(prompt), completion_tokens=len(text))
        finally:
            if not ended:
                self.aborted.append(name)

    async def abort(self, request_id: str) -> None:
        raise AssertionError("generations are closed, not aborted by their ids")

    async def probe(self) -> EngineInfo:
        return EngineInfo(model_id="fake", max_seq_len=2048, vocab_size=1 << 20)


def text_of(request: EngineRequest) -> str:
    """Return a request's prompt."""
    return "".join(map(chr, request.token_ids))


def clause_of(request: EngineRequest) -> str:
    """Return the part of the request that a prompt asks about."""
    return text_of(request).rpartition("<|im_start|>user")[2].partition("<|im_end|>")[0].strip()


def model_on(engine: PlanningEngine, **more: Any) -> TrainedChatModel:
    """Return the model under test, on the fixed day."""
    return TrainedChatModel(engine, CharacterTokenizer(), today=lambda: TODAY, **more)


def turn(text: str, tools: Sequence[Any] = TOOLS, **more: Any) -> ChatRequest:
    """Return a first turn."""
    return ChatRequest(messages=[UserMessage(text)], tools=tools, **more)


def call_of(event: ChatEvent) -> tuple[str, dict[str, Any]]:
    """Return a sealed call's tool and arguments."""
    assert isinstance(event, ToolCallSealed)
    return event.tool, json.loads(event.arguments_json)


async def told(events: AsyncIterator[ChatEvent]) -> tuple[str, list[tuple[str, Any]], TurnFinished]:
    """Return a whole turn: its text, its calls, its end."""
    seen = [event async for event in events]
    end = seen[-1]
    assert isinstance(end, TurnFinished)
    text = "".join(event.text for event in seen if isinstance(event, TextDelta))
    return text, [call_of(event) for event in seen if isinstance(event, ToolCallSealed)], end


def nothing_left() -> bool:
    """Tell whether the running test is the loop's only task."""
    return asyncio.all_tasks() == {asyncio.current_task()}
