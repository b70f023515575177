"""Tools written shortly, requests of a fixed day, and an engine that plays tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import date
from typing import Any

from podium.errors import Unavailable
from podium.inference.engine import EngineInfo, EngineRequest, FinishReason, TokenDelta, TokensFinished
from podium.inference.guided.slots import Slot
from podium.inference.guided.utterance import Utterance, analyse
from podium.inference.planner.parameters import Parameter, parameters_of
from podium.orchestration.tool import ToolExample, ToolSpec

TODAY = date(2026, 11, 21)  # a Saturday


def spec(
    properties: Mapping[str, Any],
    *examples: tuple[str, Mapping[str, Any]],
    name: str = "book",
    description: str = "Book a table.",
    required: Sequence[str] | None = None,
    **more: Any,
) -> ToolSpec:
    """Write a tool shortly; every parameter is required unless `required` says which are."""
    schema = {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties if required is None else required),
        **more.pop("schema", {}),
    }
    told = tuple(ToolExample(request, arguments) for request, arguments in examples)
    return ToolSpec(name=name, description=description, input_schema=schema, examples=told, **more)


def parameters(properties: Mapping[str, Any], **more: Any) -> dict[str, Parameter]:
    """Return a tool's parameters by name."""
    return {parameter.name: parameter for parameter in parameters_of(spec(properties, **more))}


def slot(schema: Mapping[str, Any], name: str = "x") -> Slot:
    """Return the slot of one argument."""
    return parameters({name: schema})[name].slot


def asked(text: str) -> Utterance:
    """Take a request of the fixed day apart."""
    return analyse(text, TODAY)


class PieceTokenizer:
    """One token is one piece of text, numbered as it is met. 0 ends the output."""

    eos_token_id: int | None = 0

    def __init__(self) -> None:
        self.pieces = ["<end>"]

    def token(self, piece: str) -> int:
        self.pieces.append(piece)
        return len(self.pieces) - 1

    def detokenizer(self) -> PieceDetokenizer:
        return PieceDetokenizer(self.pieces)


class PieceDetokenizer:
    """Holds back a piece that ends in `~` until the next one, as real ones do with half a character."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self._pieces = pieces
        self._held = ""

    def push(self, ids: Sequence[int]) -> str:
        text = self._held + "".join(self._pieces[token] for token in ids)
        self._held = text.rstrip("~") if text.endswith("~") else ""
        return "" if self._held else text

    def finish(self) -> str:
        return self._held


class PlayingEngine:
    """Plays deltas and how it ended; notes what was asked of it and what was closed early."""

    def __init__(self, deltas: Sequence[TokenDelta], reason: FinishReason = FinishReason.STOP) -> None:
        self.deltas = deltas
        self.reason = reason
        self.requests: list[EngineRequest] = []
        self.aborted: list[str] = []

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TokenDelta | TokensFinished, None]:
        self.requests.append(request)
        ended = False
        try:
            for delta in self.deltas:
                await asyncio.sleep(0)
                yield delta
            ended = True
            yield TokensFinished(reason=self.reason, prompt_tokens=7, completion_tokens=5, cached_tokens=3)
        finally:
            if not ended:
                self.aborted.append(request.request_id)

    async def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)

    async def probe(self) -> EngineInfo:
        raise Unavailable("it only plays")
