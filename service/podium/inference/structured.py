"""Answers that follow a JSON Schema, whatever the model."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, pairwise
from typing import Final, TypeVar

import orjson

from podium.errors import FailedPrecondition, InvalidRequest, Unavailable
from podium.inference.routing.progress import sign_of_life
from podium.inference.structured_schema import AnswerSchema, SchemaLimits, parse_schema
from podium.orchestration.chat import (
    AssistantMessage,
    ChatEvent,
    ChatModel,
    ChatRequest,
    Message,
    ModelAttempt,
    ModelInfo,
    SystemMessage,
    TextDelta,
    TokenCount,
    ToolCallSealed,
    TurnFinished,
    TurnFinishReason,
    Usage,
    UserMessage,
)

__all__ = ["SchemaLimits", "StructuredModel", "extract_json"]

T = TypeVar("T")

_MOST_STARTS: Final = 16
_SMALL_SCHEMA: Final = 500  # characters; from here on work is done in a thread
_SMALL_ANSWER: Final = 4_000  # likewise
_LITTLE_WORK: Final = 50_000  # characters of a schema times those of an answer
_LONGEST_ECHO: Final = 8_000  # of a wrong answer that is shown to the model again

_INSTRUCTIONS = "Answer with one JSON value that follows this JSON Schema, and with nothing else:\n{schema}"
_AGAIN = "That does not follow the JSON Schema: {problem}. Answer again, with the whole corrected JSON value only."


class StructuredModel:
    """A `ChatModel` that holds answers to the request's JSON Schema.

    A model that guides its output itself is handed the schema, streams as it writes, and is checked
    at the end. Any other is told the schema, asked again with what was wrong, and shows nothing of an
    answer before it is right. A turn that calls tools is no answer and is not checked.

    Args:
        model: the model.
        repairs: how often a model without guidance is asked again.
        limits: of schemas and answers.
    """

    def __init__(self, model: ChatModel, *, repairs: int = 2, limits: SchemaLimits | None = None) -> None:
        if repairs < 0:
            raise ValueError("repairs must be zero or more")
        self.name = model.name
        self._model = model
        self._repairs = repairs
        self._limits = limits or SchemaLimits()

    async def info(self) -> ModelInfo:
        """Describe the model; schemas are followed in any case."""
        return replace(await self._model.info(), json_schema=True)

    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        """Count the prompt as it would be sent, with the schema where that is told in words."""
        if request.json_schema and not (await self._model.info()).json_schema:
            request = _told(request, request.json_schema)
        return await self._model.count_tokens(request)

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        """Stream one turn; see `ChatModel.stream`.

        Raises:
            InvalidRequest: the schema is none, too large, or not supported.
            FailedPrecondition: the model gives no answer that follows it (`SCHEMA_NOT_MET`).
        """
        if not request.json_schema:
            async with aclosing(self._model.stream(request)) as events:  # type: ignore[type-var]
                async for event in events:
                    yield event
            return
        heavy = len(request.json_schema) > _SMALL_SCHEMA
        schema = await _run(partial(parse_schema, request.json_schema, self._limits), in_thread=heavy)
        if (await self._model.info()).json_schema:
            silent = True
            try:
                async with aclosing(self._guided(request, schema)) as events:  # type: ignore[type-var]
                    async for event in events:
                        silent = False
                        yield event
                return
            except InvalidRequest:
                # Guides support less than the whole of JSON Schema; what they refuse may still be told in words.
                if not silent:
                    raise
        async with aclosing(self._repaired(request, schema)) as events:  # type: ignore[type-var]
            async for event in events:
                yield event

    async def _guided(self, request: ChatRequest, schema: AnswerSchema) -> AsyncIterator[ChatEvent]:
        text, called = _Text(self._limits.max_answer_chars), False
        async with aclosing(self._model.stream(request)) as events:  # type: ignore[type-var]
            async for event in events:
                if isinstance(event, TextDelta):
                    text.add(event.text)
                elif isinstance(event, ToolCallSealed):
                    called = True
                elif isinstance(event, TurnFinished) and not called:
                    problem = await _checked(schema, text.joined().strip())
                    if problem:
                        raise _not_met(problem, event.reason)
                yield event

    async def _repaired(self, request: ChatRequest, schema: AnswerSchema) -> AsyncIterator[ChatEvent]:
        told = _told(request, schema.text)
        usage, attempts = Usage(), tuple[ModelAttempt, ...]()
        for left in range(self._repairs, -1, -1):
            text, called, finished = _Text(self._limits.max_answer_chars), False, None
            async with aclosing(self._model.stream(told)) as events:  # type: ignore[type-var]
                async for event in events:
                    sign_of_life()
                    match event:
                        case TextDelta(text=piece):
                            text.add(piece)
                        case TurnFinished():
                            finished = event
                        case _:
                            called |= isinstance(event, ToolCallSealed)
                            yield event
            if finished is None:
                raise Unavailable(f"the answer of model {self.name!r} broke off; try again")
            usage, attempts = usage + finished.usage, attempts + finished.attempts
            said = text.joined()
            answer = said if called else await _run(partial(extract_json, said), in_thread=len(said) > _SMALL_ANSWER)
            problem = "" if called else await _checked(schema, answer)
            if not problem:
                if answer:
                    yield TextDelta(answer)
                yield replace(finished, usage=usage, attempts=attempts)
                return
            again = self._again(request, told, said, problem, usage)
            if not left or again is None or finished.reason is not TurnFinishReason.STOP:
                raise _not_met(problem, finished.reason)
            told = again

    def _again(
        self, request: ChatRequest, told: ChatRequest, said: str, problem: str, usage: Usage
    ) -> ChatRequest | None:
        """Return the next request, with what was wrong; None when its tokens are used up."""
        remaining = None if request.max_tokens is None else request.max_tokens - usage.completion_tokens
        if remaining is not None and remaining <= 0:
            return None
        # Only the latest wrong answer is shown: earlier ones would teach nothing and cost tokens.
        first: Sequence[Message] = told.messages[: len(_told(request, "").messages)]
        wrong = (AssistantMessage(said[:_LONGEST_ECHO]), UserMessage(_AGAIN.format(problem=problem)))
        return replace(told, messages=(*first, *wrong), max_tokens=remaining)


@dataclass(slots=True)
class _Text:
    """Text as it comes in, up to a limit."""

    most: int
    pieces: list[str]
    length: int

    def __init__(self, most: int) -> None:
        self.most = most
        self.pieces = []
        self.length = 0

    def add(self, piece: str) -> None:
        self.pieces.append(piece)
        self.length += len(piece)
        if self.length > self.most:
            raise _not_met(f"it has more than {self.most} characters", TurnFinishReason.STOP)

    def joined(self) -> str:
        return "".join(self.pieces)


def extract_json(text: str) -> str:
    """Return the JSON value in a text: all of it, in a code fence, or the first object or array; "" when there is none.

    Of several fences or values the first that is valid counts.
    """
    whole = text.strip()
    if _is_json(whole):
        return whole
    for inner in _fenced(text):
        if _is_json(inner):
            return inner
    decoder = json.JSONDecoder()
    starts = (match.start() for match in re.finditer(r"[{\[]", text))
    for _, start in zip(range(_MOST_STARTS), starts, strict=False):
        try:
            _, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if _is_json(text[start:end]):
            return text[start:end]
    return ""


def _fenced(text: str) -> Iterator[str]:
    """Yield what stands between lines that begin with a fence; a line cannot begin inside a JSON string."""
    lines = text.split("\n")
    fences = [number for number, line in enumerate(lines) if line.lstrip().startswith("```")]
    for start, end in islice(pairwise(fences), _MOST_STARTS):
        yield "\n".join(lines[start + 1 : end]).strip()


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


async def _checked(schema: AnswerSchema, answer: str) -> str:
    """Return what is wrong with an answer, "" when nothing is. Off the loop, unless it is little work for sure."""
    heavy = schema.refers or len(schema.text) * len(answer) > _LITTLE_WORK
    return await _run(partial(_problem_of, schema, answer), in_thread=heavy)


async def _run(work: Callable[[], T], *, in_thread: bool) -> T:
    return await asyncio.to_thread(work) if in_thread else work()


def _problem_of(schema: AnswerSchema, answer: str) -> str:
    try:
        value = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return "it is not valid JSON" if answer else "there is no JSON value in it"
    return schema.problem(value)


def _told(request: ChatRequest, schema: str) -> ChatRequest:
    """Return the request with the schema among its instructions."""
    instructions = _INSTRUCTIONS.format(schema=schema)
    messages = list(request.messages)
    if messages and isinstance(messages[0], SystemMessage):
        messages[0] = SystemMessage(f"{messages[0].text}\n\n{instructions}")
    else:
        messages.insert(0, SystemMessage(instructions))
    return replace(request, messages=tuple(messages), json_schema=None)


def _not_met(problem: str, reason: TurnFinishReason) -> FailedPrecondition:
    what = "the model's answer does not follow json_schema"
    if reason is TurnFinishReason.LENGTH:
        message = f"{what}: it was cut at the limit of tokens; allow more tokens, or ask for less"
    elif reason is TurnFinishReason.CONTENT_FILTER:
        message = f"{what}: the provider withheld it; change the request"
    else:
        message = f"{what} ({problem}); make the schema simpler, or choose another model"
    return FailedPrecondition(message, reason="SCHEMA_NOT_MET")
