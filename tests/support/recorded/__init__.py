"""Recorded outputs per dialect, in the shape that each family's chat template shows, and ways to feed them.

A file holds pieces of output: text, `{"special": token}`, and `{"seal": n}` where call `n` becomes certain.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium.inference.dialects import DIALECTS, StreamingParser
from podium.orchestration.chat import ReasoningDelta, TextDelta, ToolCallSealed
from podium.orchestration.tool import ToolSpec

__all__ = ["TOOLS", "Fragment", "Recording", "load", "play", "start", "summary"]

_FOLDER = Path(__file__).parent
Fragment = tuple[str, bool]
Piece = TextDelta | ReasoningDelta | ToolCallSealed

TOOLS = (
    ToolSpec(
        name="add",
        description="Add.",
        input_schema={"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
    ),
    ToolSpec(
        name="search",
        description="Search.",
        input_schema={
            "type": "object",
            "$defs": {"filter": {"type": "object"}},
            "properties": {
                "query": {"type": "string"},
                "limit": {"type": ["integer", "null"]},
                "exact": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
                "filter": {"$ref": "#/$defs/filter"},
            },
        },
    ),
    ToolSpec(name="now", description="Tell the time.", input_schema={"type": "object", "properties": {}}),
)


@dataclass(frozen=True)
class Recording:
    """One output and what it means."""

    dialect: str
    name: str
    control: tuple[str, ...]
    fragments: tuple[Fragment, ...]
    seals: tuple[int, ...]  # position of each seal in the output, special tokens counting as one
    expected: tuple[tuple[Any, ...], ...]
    cut: bool
    reasoning: bool

    def __str__(self) -> str:
        return f"{self.dialect}: {self.name}"

    def atoms(self) -> list[Fragment]:
        return [
            atom
            for text, special in self.fragments
            for atom in ([(text, True)] if special else [(c, False) for c in text])
        ]


def load(dialect: str | None = None) -> list[Recording]:
    """Return the recordings of one dialect or of all."""
    paths = sorted(_FOLDER.glob("*.json")) if dialect is None else [_FOLDER / f"{dialect}.json"]
    return [_recording(file, case) for file in map(_read, paths) for case in file["cases"]]


def _read(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text())
    return data


def _recording(file: dict[str, Any], case: dict[str, Any]) -> Recording:
    fragments: list[Fragment] = []
    seals: list[int] = []
    position = 0
    for item in case["output"]:
        if isinstance(item, str):
            fragments.append((item, False))
            position += len(item)
        elif "special" in item:
            fragments.append((item["special"], True))
            position += 1
        else:
            seals.append(position)
    return Recording(
        dialect=file["dialect"],
        name=case["name"],
        control=tuple(file["control"]),
        fragments=tuple(fragments),
        seals=tuple(seals),
        expected=tuple(_expected(event) for event in case["events"]),
        cut=case.get("cut", False),
        reasoning=case.get("reasoning", False),
    )


def _expected(event: dict[str, Any]) -> tuple[Any, ...]:
    if "call" in event:
        return ("call", event["call"], event["arguments"], event.get("id", ""))
    return next(iter(event.items()))


def start(recording: Recording) -> StreamingParser:
    """Start a parser for a recording."""
    return DIALECTS[recording.dialect].start(TOOLS, recording.control, reasoning=recording.reasoning)


def play(recording: Recording, fragments: Sequence[Fragment]) -> tuple[list[Piece], list[int]]:
    """Feed fragments; the pieces, and the position in the output at which each call was sealed."""
    parser = start(recording)
    pieces: list[Piece] = []
    seals: list[int] = []
    position = 0
    for text, special in fragments:
        got = parser.feed(text, special)
        position += 1 if special else len(text)
        seals += [position for piece in got if isinstance(piece, ToolCallSealed)]
        pieces += got
    pieces += parser.finish(recording.cut)
    return pieces, seals


def summary(pieces: Sequence[Piece]) -> tuple[tuple[Any, ...], ...]:
    """Return pieces with neighbouring texts joined and arguments read, as recordings expect them."""
    joined: list[tuple[Any, ...]] = []
    for piece in pieces:
        if isinstance(piece, ToolCallSealed):
            joined.append(("call", piece.tool, _arguments(piece.arguments_json), piece.provider_id))
            continue
        assert piece.text, "no empty texts"
        kind = "text" if isinstance(piece, TextDelta) else "reasoning"
        if joined and joined[-1][0] == kind:
            joined[-1] = (kind, joined[-1][1] + piece.text)
        else:
            joined.append((kind, piece.text))
    return tuple(joined)


def _arguments(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return {"raw": raw.decode()}
