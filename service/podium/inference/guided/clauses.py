"""Where a request may be split. Whether it should be is for `planner` to decide.

`split` cuts at sentence ends, line breaks, semicolons, commas and joining words, never inside a
quotation, a sum, a date, a file name or an address. Its pieces are substrings of the request, in
order, and together with the joints between them they are the whole of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from podium.inference.guided.spans import Span, SpanKind

__all__ = ["Piece", "split"]

_MAX_PIECES = 12
_JOINT = re.compile(
    r"(?P<end>[.?!…]+[\"'”’)]*\s+(?=\S))"  # noqa: RUF001
    r"|(?P<line>\s*\n\s*(?:[-*•]\s+|\d{1,2}[.)]\s+)?)"
    r"|(?P<semi>\s*;\s*)"
    r"|(?P<word>,?\s+(?:and then|and also|then also|and|then|also|plus|as well as|along with|after that|afterwards|"
    r"besides|but|&)(?:,)?\s+)"
    r"|(?P<comma>,\s+)",
    re.IGNORECASE,
)
_STRENGTH = {"line": 3, "end": 3, "semi": 3, "word": 2, "comma": 1}
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|mr|mrs|ms|dr|st|no|approx|a\.m|p\.m|inc|ltd|jr|sr)\.|\b[A-Z]\.)\s+\Z", re.IGNORECASE
)
_PROTECTED = {
    SpanKind.QUOTED, SpanKind.URL, SpanKind.EMAIL, SpanKind.GLOB, SpanKind.PATH, SpanKind.EXPRESSION, SpanKind.DATE,
    SpanKind.TIME, SpanKind.PLACE,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the request between two joints, and how strong the joint before it is (0 for the first)."""

    start: int
    end: int
    strength: int = 0


def split(text: str, spans: Sequence[Span]) -> list[Piece]:
    """Return the pieces of `text`, at least one; at most a dozen, the strongest joints first."""
    guarded = [(span.start, span.end) for span in spans if span.kind in _PROTECTED]
    joints: list[tuple[int, int, int]] = []
    for match in _JOINT.finditer(text):
        start, end = match.span()
        kind = match.lastgroup or "comma"
        inside = any(low < end - 1 and start + 1 < high and low <= start and end <= high for low, high in guarded)
        abbreviation = kind == "end" and _ABBREVIATION.search(text[max(0, start - 8) : end]) is not None
        if not inside and not abbreviation and start > 0 and end < len(text):
            joints.append((start, end, _STRENGTH[kind]))
    if len(joints) >= _MAX_PIECES:
        strongest = sorted(joints, key=lambda joint: (-joint[2], joint[0]))[: _MAX_PIECES - 1]
        joints = sorted(strongest)
    pieces, at, strength = [], 0, 0
    for start, end, weight in joints:
        # A question mark belongs to the sentence that it ends.
        stop = start + len(text[start:end].rstrip()) if weight == 3 and text[start] in ".?!…" else start
        if text[at:stop].strip():
            pieces.append(Piece(at, stop, strength))
            at, strength = end, weight
    pieces.append(Piece(at, len(text), strength))
    return pieces
