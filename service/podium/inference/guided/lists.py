"""List arguments: what is named one after another, with commas and "and"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from podium.inference.guided.contexts import Profile, score
from podium.inference.guided.ranking import ranked
from podium.inference.guided.slots import Slot, SlotKind
from podium.inference.guided.spans import SpanKind
from podium.inference.guided.utterance import Utterance
from podium.inference.guided.values import Candidate

__all__ = ["Listed", "collect"]

_SEPARATOR = re.compile(r"\s*(?:,\s*(?:and|or|plus)\s+|,|;|\s(?:and|or|plus|&)\s)\s*", re.IGNORECASE)
_STOPS = "in|under|for|with|at|on|by|to|that|which|please"
# Further members of a list: not what begins a new phrase ("..., what is for dinner").
_MORE = re.compile(
    r"(?:\s*(?:,\s*(?:and\s+|or\s+)?|\s(?:and|or|plus|&)\s)\s*"
    rf"(?!(?:{_STOPS}|what|how|who|max|no more|less|it|is|are|I|we|you)(?![\w]))[\w'’-]+"  # noqa: RUF001
    rf"(?: (?!(?:{_STOPS}|and|or|from)(?![\w]))[\w'’-]+){{0,2}})+"  # noqa: RUF001
)
_TRAILING = re.compile(r"(?:[\s,]+(?:in|under|for|with|within|at|on|by|and|than|less|max))*[\s,]*\Z")


@dataclass(frozen=True, slots=True)
class Listed:
    """The values of a list, where they stand, and how well that suits the argument."""

    values: list[Any]
    places: tuple[tuple[int, int], ...]
    points: float


def collect(slot: Slot, profile: Profile, clause: Utterance, taken: Sequence[tuple[int, int]]) -> Listed | None:
    """Collect the values of a list argument."""
    if slot.kind in {SlotKind.TEXT, SlotKind.NAME, SlotKind.PLACE, SlotKind.CODE}:
        quoted = [span for span in clause.spans if span.kind is SpanKind.QUOTED]
        if quoted:
            return Listed([q.text for q in quoted], tuple((q.start, q.end) for q in quoted), 1.5)
        runs = [pair for pair in ranked(slot, profile, clause, 16) if pair[0].end > pair[0].start]
        listed = _listed(clause, slot, profile, runs, taken)
        if listed:
            return listed
    typed = [pair for pair in ranked(slot, profile, clause) if pair[0].end > pair[0].start and not pair[0].run]
    kept: list[Candidate] = []
    for candidate, _ in typed:
        if not any(candidate.overlaps(other) for other in kept):
            kept.append(candidate)
    kept.sort(key=lambda candidate: candidate.start)
    if not kept:
        return None
    places = tuple((candidate.start, candidate.end) for candidate in kept)
    return Listed([candidate.value for candidate in kept], places, max(pair[1] for pair in typed))


def _listed(
    clause: Utterance,
    slot: Slot,
    profile: Profile,
    runs: Sequence[tuple[Candidate, float]],
    taken: Sequence[tuple[int, int]],
) -> Listed | None:
    """Widen the best stretch of words over its coordinated neighbours, then part it at commas and "and"."""
    if not runs:
        return None
    best = max((_chain(clause, slot, profile, run, taken) for run, _ in runs), key=lambda chain: chain[2])
    start, end, points = best
    items = [item.strip() for item in _SEPARATOR.split(clause.text[start:end]) if item.strip()]
    items = [re.sub(r"^(?:some|the|my|a|an|any) ", "", item) for item in items]
    return Listed(items, ((start, end),), points)


def _chain(
    clause: Utterance, slot: Slot, profile: Profile, run: Candidate, taken: Sequence[tuple[int, int]]
) -> tuple[int, int, float]:
    """Widen a stretch over what is coordinated with it, and judge the whole."""
    start, end, stop = run.start, run.end, clause.body[1]
    comma = _SEPARATOR.search(clause.text, start, end)
    if comma and comma.start() > start:
        end = comma.start()
    rest = _MORE.match(clause.text, end, stop)
    if rest:
        end = rest.end()
    end = min([end, *(low for low, _ in taken if start < low < end)])
    end = start + len(_TRAILING.sub("", clause.text[start:end]))
    members = len(_SEPARATOR.findall(clause.text[start:end]))
    around = score(slot, profile, Candidate(None, start, end, 0.0), clause)
    return start, end, 0.3 + around + 0.15 * members + (0.5 if end >= stop else 0.0)
