"""Tools written shortly, requests of a fixed day, and an engine that plays tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import date
from functools import cache
from typing import Any

from podium.errors import Unavailable
from podium.inference.engine import EngineInfo, EngineRequest, FinishReason, TokenDelta, TokensFinished
from podium.inference.guided.slots import Slot
from podium.inference.guided.toolset import ToolSet
from podium.inference.guided.utterance import Utterance, analyse
from podium.inference.guided.vectors import WordVectors
from podium.inference.planner.call_lines import parse_call
from podium.inference.planner.competing import Proposal
from podium.inference.planner.lines import Line
from podium.inference.planner.parameters import Parameter, parameters_of
from podium.inference.planner.settling import Settled, settled
from podium.inference.planner.shown import ShownTool, shown_tool
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


@cache
def asked(text: str) -> Utterance:
    """Take a request of the fixed day apart; the same request is the same object, as within a turn."""
    return analyse(text, TODAY)


def shown(tool: ToolSpec, vectors: WordVectors | None = None) -> ShownTool:
    """Show a tool to the model, on the fixed day."""
    return shown_tool(ToolSet([tool], TODAY, vectors).tools[tool.name], TODAY)


def proposed(tool: ShownTool, line: str | Line, whole: str, odds: float = 3.0, *, part: str = "") -> Proposal:
    """Return what the model proposes when it is shown `part` of the whole request, or all of it."""
    written = Line(line) if isinstance(line, str) else line
    return Proposal(tool, written, odds, asked(part or whole), whole.index(part))


def settled_line(tool: ShownTool, line: str, request: Utterance) -> Settled:
    """Return a written call with its copies put right."""
    written = parse_call(line, tuple(tool.parameters))
    assert written is not None
    return settled(written, tool, request)


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
