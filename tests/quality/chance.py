"""A model that guesses: what any figure has to be read against."""

from __future__ import annotations

import json
import random
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from podium.orchestration.chat import (
    ChatEvent,
    ChatRequest,
    ModelInfo,
    TextDelta,
    TokenCount,
    ToolCallSealed,
    TurnFinished,
    TurnFinishReason,
    UserMessage,
)

__all__ = ["ChanceModel"]

_LONGEST_SPAN = 6  # words
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_CLOCK = re.compile(r"\b([01]?\d|2[0-3]):([0-5]\d)\b")


class ChanceModel:
    """A `ChatModel` that calls a random tool, or none with the same chance as any tool.

    Every required argument is something of the right type from the request where there is such a thing:
    a span of words, a number, a day, a time; else any value of the type. The same request with the same
    tools always gets the same call.

    Args:
        seed: of all choices.
    """

    name = "chance"

    def __init__(self, seed: int = 1) -> None:
        self._seed = seed

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        """Stream one turn: one call, or a word."""
        said = next(m.text for m in reversed(request.messages) if isinstance(m, UserMessage))
        # Its choices do not depend on what was asked before, so that a part of a set gives the same results.
        rng = random.Random(f"{self._seed}\n{said}")
        choice = rng.randrange(len(request.tools) + 1)
        if choice == len(request.tools):
            yield TextDelta("No.")
            yield TurnFinished(TurnFinishReason.STOP)
            return
        tool = request.tools[choice]
        arguments = _Guesser(said, tool.input_schema, rng).required(tool.input_schema)
        yield ToolCallSealed(tool.name, json.dumps(arguments).encode())
        yield TurnFinished(TurnFinishReason.TOOL_CALLS)

    async def info(self) -> ModelInfo:
        """Describe the model; it is always ready."""
        return ModelInfo(name=self.name, kind="chance", ready=True)

    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        """Count words, for want of tokens."""
        return TokenCount(sum(len(m.text.split()) for m in request.messages if isinstance(m, UserMessage)), exact=False)


class _Guesser:
    """Guesses values for one request and one tool."""

    def __init__(self, said: str, root: Mapping[str, Any], rng: random.Random) -> None:
        self._said = said
        self._words = said.split() or [said]
        self._root = root
        self._rng = rng
        self._makers: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
            "object": self.required,
            "array": lambda schema: [self._value(schema.get("items", {})) for _ in range(rng.randint(1, 3))],
            "integer": lambda _: int(self._number()),
            "number": lambda _: self._number(),
            "boolean": lambda _: rng.random() < 0.5,
            "null": lambda _: None,
        }

    def required(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        properties = schema.get("properties", {})
        return {name: self._value(properties.get(name, {})) for name in schema.get("required", ())}

    def _value(self, schema: Mapping[str, Any]) -> Any:
        if "$ref" in schema:
            schema = self._root["$defs"][schema["$ref"].rpartition("/")[2]]
        if "anyOf" in schema:
            return self._value(self._rng.choice(schema["anyOf"]))
        if "const" in schema or "enum" in schema:
            return self._rng.choice(schema.get("enum") or [schema["const"]])
        make = self._makers.get(schema.get("type", ""))
        return self._text(schema.get("format", "")) if make is None else make(schema)

    def _number(self) -> float:
        return float(self._rng.choice(_NUMBER.findall(self._said) or [str(self._rng.randint(1, 10))]))

    def _text(self, form: str) -> str:
        match form:
            case "date":
                return self._day()
            case "time":
                return self._time()
            case "date-time":
                return f"{self._day()}T{self._time()}"
        start = self._rng.randrange(len(self._words))
        return " ".join(self._words[start : start + self._rng.randint(1, _LONGEST_SPAN)])

    def _day(self) -> str:
        soon = datetime.now(UTC).date() + timedelta(days=self._rng.randint(0, 7))
        return self._one_of(_DATE.findall(self._said)) or soon.isoformat()

    def _time(self) -> str:
        found = [f"{int(hour):02}:{minute}:00" for hour, minute in _CLOCK.findall(self._said)]
        return self._one_of(found) or f"{self._rng.randint(0, 23):02}:00:00"

    def _one_of(self, found: Sequence[str]) -> str:
        return self._rng.choice(found) if found else ""
