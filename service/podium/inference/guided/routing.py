"""Which tool a clause means, and how sure that is.

A reading's score joins what the clause says (retrieval) with whether the tool's arguments can be
found in it, and whether spans are left over that the tool has no use for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from podium.inference.guided.assignment import Assignment
from podium.inference.guided.choices import choose_many
from podium.inference.guided.lexicon import CREATIVE_WORDS, LIGHT_WORDS
from podium.inference.guided.slots import Slot, SlotKind
from podium.inference.guided.spans import Span, SpanKind
from podium.inference.guided.toolset import PreparedTool, ToolSet
from podium.inference.guided.utterance import Utterance
from podium.orchestration.tool import ToolFailure

__all__ = ["Reading", "readings", "shortlist"]

_SHORTLIST = 6
_LIKELY = 0.2
# How much finding every required argument in its own form tells, by the form's rarity in ordinary
# prose: numbers and names are everywhere, a file name or a sum is not.
_TELLING = {
    SlotKind.EXPRESSION: 0.5,
    SlotKind.URL: 0.4,
    SlotKind.GLOB: 0.4,
    SlotKind.EMAIL: 0.3,
    SlotKind.PATH: 0.42,
    SlotKind.UNIT: 0.22,
    SlotKind.DATE: 0.18,
    SlotKind.TIME: 0.15,
    SlotKind.DATETIME: 0.2,
    SlotKind.CODE: 0.2,
    SlotKind.TIMEZONE: 0.08,
    SlotKind.QUOTED: 0.12,
    SlotKind.NUMBER: 0.06,
    SlotKind.INTEGER: 0.05,
    SlotKind.ENUM: 0.16,
    SlotKind.PLACE: 0.06,
    SlotKind.NAME: 0.06,
}
_COVERAGE, _WORDING = 0.55, 0.75
# A tool with this many examples is known by them; others by the trained matcher, where there is one.
_WELL_SHOWN, _WORDED, _MATCHED = 5, 0.4, 0.8
_WELL_PLACED = 1.7
_MISSING = 0.3
_REFUSED = 0.6
# A span that the tool has an argument for, but that is already taken: most likely another call.
_SECOND = 0.22
_TRIED = 6
_SURPLUS = {
    SpanKind.URL: 0.3, SpanKind.PATH: 0.3, SpanKind.EXPRESSION: 0.3, SpanKind.DATE: 0.16, SpanKind.QUOTED: 0.16,
    SpanKind.GLOB: 0.3, SpanKind.EMAIL: 0.25, SpanKind.TIME: 0.12, SpanKind.NUMBER: 0.12, SpanKind.UNIT: 0.1,
    SpanKind.CODE: 0.1, SpanKind.PLACE: 0.12, SpanKind.NAME: 0.08,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to understand a clause: a tool, its arguments, and how likely that is.

    `refused` when the tool takes none of the assignments; `refusal` is the best whole assignment
    that it did not take, where a partial one is left.
    """

    tool: PreparedTool
    clause: Utterance
    assignments: tuple[Assignment, ...]
    score: float
    lexical: float
    surplus: tuple[Span, ...]
    refused: bool = False
    refusal: Assignment | None = None

    @property
    def complete(self) -> bool:
        """Whether every required argument was found, and the tool accepts them."""
        return not self.assignments[0].missing and not self.refused and self.refusal is None


def _typed(tool: PreparedTool, clause: Utterance, assignment: Assignment) -> float:
    points = 0.0
    quoted = {(span.start, span.end) for span in clause.leading if span.kind is SpanKind.QUOTED}
    for slot in tool.slots:
        placed = assignment.places.get(slot.name)
        if slot.name in assignment.values and placed:
            strength = (assignment.per_slot or {}).get(slot.name, 1.0)
            form = min(strength, (assignment.fits or {}).get(slot.name, 1.0))
            telling = _TELLING.get(slot.kind, 0.12 if quoted & set(placed) else 0.0)
            points += telling * min(1.0, max(0.0, form)) * (1.0 if slot.required else 0.6)
            if slot.required and strength >= _WELL_PLACED:
                points += 0.06  # its surroundings are those of the examples, too
    return min(0.6, points)


def _left_over(clause: Utterance, assignment: Assignment) -> tuple[Span, ...]:
    taken = assignment.stretches
    return tuple(
        span for span in clause.leading if not any(start < span.end and span.start < end for start, end in taken)
    )


def _rival_options(tool: PreparedTool, clause: Utterance, assignment: Assignment) -> tuple[Span, ...]:
    """Return where the clause names further values of an enum that takes one: most likely another call."""
    found: list[Span] = []
    for slot in tool.slots:
        if slot.kind is SlotKind.ENUM and not slot.many and slot.required:
            for choice in choose_many(slot, clause):
                if choice.value != assignment.values.get(slot.name):
                    start, end = choice.places[0]
                    found.append(Span(start, end, clause.text[start:end], SpanKind.NAME))
    return tuple(found)


def _missing(tool: PreparedTool, assignment: Assignment) -> float:
    lacking: list[Slot] = [slot for slot in tool.slots if slot.name in assignment.missing]
    return sum(_MISSING * (0.4 if slot.kind in {SlotKind.ENUM, SlotKind.BOOLEAN} else 1.0) for slot in lacking)


def read(
    tools: ToolSet,
    tool: PreparedTool,
    clause: Utterance,
    coverage: float,
    inherited: float = 0.0,
    *,
    matched: float | None = None,
) -> Reading:
    """Read a clause as a call of one tool. `matched` is the trained matcher's probability that it is meant."""
    assignments = tool.fill(clause)
    best = assignments[0]
    rest = clause.wording(best.stretches)
    words = [token for token in rest if not token.startswith("<")]
    outside = tools.index.coverage(words).get(tool.spec.name, 0.0) if words else 0.0
    # Words inside an argument do not speak for or against the tool, but the clause as a whole does.
    told = max(outside, 0.8 * coverage)
    # The likeness of "write a song about X" to "find a file about X" is all in its small words.
    topical = 0.35 + 0.65 * min(1.0, outside / 0.4) if any(word not in LIGHT_WORDS for word in words) else 1.0
    wording = tools.index.wording(tool.spec.name, rest) * topical
    lexical = max(_COVERAGE * told + _WORDING * wording * wording, inherited)
    if matched is not None and len(tool.examples) < _WELL_SHOWN:
        lexical = max(_WORDED * lexical + _MATCHED * matched, inherited)
    surplus = _left_over(clause, best)
    own = {slot.kind for slot in tool.slots}
    rivals = _rival_options(tool, clause, best)
    left = _SECOND * len(rivals) + sum(
        _SECOND if _SLOT_OF.get(span.kind, set()) & own else _SURPLUS[span.kind] for span in surplus
    )
    penalty = min(0.6, left) + _missing(tool, best) + _chat(tools, tool, clause)
    score = lexical + _typed(tool, clause, best) - penalty
    refused, refusal = False, None
    if score > 0.2 and not best.missing:
        accepted = _accepted(tool, assignments)
        assignments = accepted or assignments
        partial = next((a for a in assignments if a.missing), None) if not accepted else None
        if partial is not None:
            refusal, assignments = assignments[0], [partial]
            score -= _missing(tool, partial)
        elif not accepted:
            refused = True
            score -= _REFUSED
    return Reading(tool, clause, tuple(assignments), score, lexical, (*surplus, *rivals), refused, refusal)


_OPINION = re.compile(
    r"\b(?:do|are|have|can|could) you (?:like|think|feel|believe|ever|enjoy|prefer|know)\b|"
    r"\byour (?:favou?rite|name|opinion)\b"
)


def _chat(tools: ToolSet, tool: PreparedTool, clause: Utterance) -> float:
    """Charge what is said to be talked about rather than looked up, unless the tool speaks of it too."""
    charge = 0.0
    for word in [token.text for token in clause.tokens[:8] if token.text in CREATIVE_WORDS]:
        if not tools.index.knows(tool.spec.name, word):
            charge = 0.3
    if _OPINION.search(clause.text[:200].lower()):
        charge = max(charge, 0.2)
    first = clause.words[0].text if clause.words else ""
    asked = {example.words[0].text for example, _ in tool.examples if example.words}
    return max(charge, 0.12) if first in {"why", "who"} and first not in asked else charge


def _accepted(tool: PreparedTool, assignments: list[Assignment]) -> list[Assignment]:
    """Move the first assignment that the tool itself accepts to the front; none when it accepts none."""
    normalise = tool.spec.normalise
    if normalise is None:
        return assignments
    for rank, assignment in enumerate(assignments[:_TRIED]):
        try:
            normalise(assignment.values)
        except ToolFailure:
            continue
        return assignments[rank:]
    return []


def _coverage(tools: ToolSet, clause: Utterance) -> dict[str, float]:
    return tools.index.coverage(token.word or token.text for token in clause.tokens)


def _matched(tools: ToolSet, clause: Utterance) -> dict[str, float]:
    """Return the trained matcher's probability of each tool; nothing without a matcher."""
    if tools.match is None:
        return {}
    return {name: 1 / (1 + math.exp(-max(-30.0, min(30.0, odds)))) for name, odds in tools.match(clause).items()}


def shortlist(tools: ToolSet, clause: Utterance, most: int) -> list[str]:
    """Return the names of the `most` tools that a clause is likeliest to mean, best first; cheap."""
    return _shortlist(tools, clause, _coverage(tools, clause), most)


def _shortlist(tools: ToolSet, clause: Utterance, coverage: Mapping[str, float], most: int) -> list[str]:
    tokens = [token.text for token in clause.tokens]
    rough = {
        name: coverage[name] + tools.index.wording(name, tokens) + _suits(tool, clause)
        for name, tool in tools.tools.items()
    }
    return sorted(rough, key=lambda name: -rough[name])[:most]


def readings(tools: ToolSet, clause: Utterance) -> list[Reading]:
    """Return the likeliest readings of a clause, best first."""
    coverage = _coverage(tools, clause)
    names = _shortlist(tools, clause, coverage, _SHORTLIST)
    matched = _matched(tools, clause)
    # What the matcher finds likely is read, too.
    names += [name for name, sure in matched.items() if sure > _LIKELY and name not in names]
    found = [read(tools, tools.tools[name], clause, coverage[name], matched=matched.get(name)) for name in names]
    return sorted(found, key=lambda reading: -reading.score)


_SLOT_OF = {
    SpanKind.EXPRESSION: {SlotKind.EXPRESSION},
    SpanKind.URL: {SlotKind.URL},
    SpanKind.PATH: {SlotKind.PATH},
    SpanKind.GLOB: {SlotKind.GLOB},
    SpanKind.UNIT: {SlotKind.UNIT},
    SpanKind.DATE: {SlotKind.DATE, SlotKind.DATETIME},
    SpanKind.EMAIL: {SlotKind.EMAIL},
    SpanKind.PLACE: {SlotKind.TIMEZONE, SlotKind.PLACE},
    SpanKind.CODE: {SlotKind.CODE},
    SpanKind.TIME: {SlotKind.TIME, SlotKind.DATETIME},
    SpanKind.NUMBER: {SlotKind.NUMBER, SlotKind.INTEGER},
    SpanKind.NAME: {SlotKind.NAME, SlotKind.PLACE, SlotKind.TIMEZONE},
    SpanKind.QUOTED: {SlotKind.QUOTED, SlotKind.TEXT},
}


def _suits(tool: PreparedTool, clause: Utterance) -> float:
    """Guess cheaply, for the shortlist, whether a tool's arguments are there."""
    kinds = {span.kind for span in clause.leading}
    wanted = {slot.kind for slot in tool.slots}
    weights = {SpanKind.NUMBER: 0.08, SpanKind.NAME: 0.1}
    return sum(weights.get(kind, 0.25) for kind in kinds if _SLOT_OF.get(kind, set()) & wanted)
