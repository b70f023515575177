"""From a request to the calls it asks for: how to split it, which tool each part means.

Splitting and routing are decided together. Every run of neighbouring pieces is read as one call;
dynamic programming picks the division whose readings are together the best. So "days between 1
May and 5 June" stays whole, because its halves make poor calls, while "3 plus 4 and the time in
Rome" does not. Elliptical parts ("... and in Tokyo", "convert 5 miles and 10 miles to km") are read
as their neighbour's tool, and borrow the arguments that they leave unsaid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from podium.inference.guided.assignment import Assignment
from podium.inference.guided.clauses import Piece, split
from podium.inference.guided.lexicon import LIGHT_WORDS
from podium.inference.guided.routing import Reading, read, readings
from podium.inference.guided.slots import SlotKind
from podium.inference.guided.toolset import PreparedTool, ToolSet
from podium.inference.guided.utterance import Utterance

__all__ = ["Plan", "PlannedCall", "plan_request"]

# A clause is a call when its reading scores more than this. Set on the development set, between
# the scores of requests that need a tool and of those that do not.
THRESHOLD = 0.3
# Between this and the threshold the model is asked for its view, too.
_LIKELY = 5
_DOUBT_FLOOR = 0.05
_LONGEST_SEGMENT = 4
_SPLIT_COST = 0.06
# Wording this near to a tool means it even where an argument is missing; between the two, if the model agrees.
_SURE, _VERY_SURE = 0.5, 0.75
_WEAK_JOINT = 0.15  # a comma alone seldom begins another request
_UNREAD_COST = 0.12
_INHERITED, _BORROWED = 0.55, 0.3
_ELLIPSIS_WORDS = 9
_UNTYPED = {SlotKind.TEXT, SlotKind.QUOTED, SlotKind.BOOLEAN}
_WHOLE_REQUEST = 4000


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call to be made: its reading, and what it borrows from a neighbour."""

    reading: Reading
    borrowed: Mapping[str, Any] = field(default_factory=dict)
    first: int = 0

    @property
    def tool(self) -> str:
        """The tool's name."""
        return self.reading.tool.spec.name


@dataclass(frozen=True, slots=True)
class Plan:
    """The calls of a request, in its order; none when it needs no tool.

    `doubt` is the one call that is neither clearly meant nor clearly not; whoever judges that may be
    helped by `likely`, the tools nearest to the request. It stands in `calls` only when it lacks an
    argument.
    """

    calls: tuple[PlannedCall, ...]
    doubt: PlannedCall | None = None
    likely: tuple[PreparedTool, ...] = ()


@dataclass(frozen=True, slots=True)
class _State:
    score: float
    calls: tuple[PlannedCall, ...] = ()


def _typed_slots(assignment: Assignment, reading: Reading) -> bool:
    """Tell whether something unmistakable, not just any words, fills a slot."""
    kinds = {slot.name: slot.kind for slot in reading.tool.slots}
    return any(
        kinds[name] not in _UNTYPED and (assignment.per_slot or {}).get(name, 0) > 0.45 for name in assignment.places
    )


def _distinct(calls: Sequence[PlannedCall]) -> tuple[PlannedCall, ...]:
    """Drop a call that only repeats an earlier one."""
    kept: list[PlannedCall] = []
    whole = {call.tool for call in calls if call.borrowed or call.reading.complete}
    for call in calls:
        if not call.borrowed and not call.reading.complete and call.tool in whole:
            continue  # a half-said call beside a whole one of the same tool is the lead-up to it
        same = [
            other
            for other in kept
            if other.tool == call.tool
            and {**other.borrowed, **other.reading.assignments[0].values}
            == {**call.borrowed, **call.reading.assignments[0].values}
        ]
        if not same:
            kept.append(call)
    return tuple(kept)


def _sure_of_tool(reading: Reading) -> bool:
    """Tell whether a reading means its tool although an argument is missing."""
    return reading.lexical > _VERY_SURE or (reading.lexical > _SURE and not reading.surplus)


def _weak(reading: Reading, before: Reading) -> bool:
    """Tell whether a clause hardly asks for the tool on its own."""
    return len(reading.clause.tokens) <= 4 or reading.lexical < 0.6 * before.lexical


def _short(clause: Utterance) -> bool:
    return len(clause.tokens) <= _ELLIPSIS_WORDS


def _lend(borrower: Reading, lender: Reading) -> dict[str, Any] | None:
    """Return what `lender` must lend for `borrower` to be complete, or None when it cannot."""
    lacking = borrower.assignments[0].missing
    values = lender.assignments[0].values
    if not lacking or not all(name in values for name in lacking):
        return None
    return {name: values[name] for name in lacking}


def _realigned(fragment: Reading, whole: Reading) -> Reading:
    """Give a bare span ("... and feet") to the slot that stands nearest to it in the neighbour before."""
    clause = fragment.clause
    best = fragment.assignments[0]
    if len(clause.leading) != 1 or len(best.values) != 1 or any(not token.is_span for token in clause.tokens):
        return fragment
    ((name, value),) = best.values.items()
    slots = {slot.name: slot for slot in fragment.tool.slots}
    ends = {
        other: max(end for _, end in places)
        for other, places in whole.assignments[0].places.items()
        if places and slots[other].kind is slots[name].kind
    }
    last = max(ends, key=lambda other: ends[other], default=name)
    if last == name:
        return fragment
    required = {slot.name for slot in fragment.tool.required}
    moved = Assignment(
        {last: value},
        {last: best.places[name]},
        best.score,
        tuple(sorted(required - {last})),
        {last: (best.per_slot or {}).get(name, 1.0)},
    )
    return Reading(fragment.tool, clause, (moved,), fragment.score, fragment.lexical, fragment.surplus)


def _as_ellipsis(tools: ToolSet, clause: Utterance, neighbour: Reading) -> Reading | None:
    """Read a short clause as another call of the neighbour's tool."""
    if not _short(clause):
        return None
    reading = read(tools, neighbour.tool, clause, 0.0, inherited=0.9 * neighbour.lexical)
    best = reading.assignments[0]
    unsaid = {
        slot.name for slot in reading.tool.required if slot.name in best.values and not best.places.get(slot.name)
    }
    if unsaid:
        # What goes without saying in a whole sentence is what the neighbour said, in its echo.
        values = {name: value for name, value in best.values.items() if name not in unsaid}
        best = replace(best, values=values, missing=(*best.missing, *sorted(unsaid)))
        reading = replace(reading, assignments=(best,))
    return reading if not reading.refused and _typed_slots(best, reading) else None


class _Division:
    """Dynamic programming over the pieces of one request."""

    def __init__(self, tools: ToolSet, text: str, pieces: Sequence[Piece]) -> None:
        self.tools = tools
        self.text = text
        self.pieces = pieces
        self._read = {(first, last): self._reading(first, last) for first, last in self._segments()}

    def _segments(self) -> Iterator[tuple[int, int]]:
        """Yield every run of pieces that may be one call."""
        count = len(self.pieces)
        for first in range(count):
            for last in range(first + 1, count + 1):
                if last - first <= _LONGEST_SEGMENT or (first == 0 and last == count) or last == count:
                    yield first, last

    def _reading(self, first: int, last: int) -> tuple[Utterance, list[Reading]]:
        """Read one run of pieces; the costly part."""
        text = self.text[self.pieces[first].start : self.pieces[last - 1].end]
        clause = self.tools.analyse(text)
        return clause, readings(self.tools, clause)

    def _options(
        self, first: int, last: int, before: PlannedCall | None
    ) -> Iterator[tuple[float, tuple[PlannedCall, ...], bool]]:
        """Yield `(gain, calls, replaces)` for a run; `replaces` when the call before is given anew."""
        clause, found = self._read[first, last]
        whole = before is not None and self._one_call(before, last)
        for reading in found[:3]:
            if whole and before is not None and reading.tool is before.reading.tool and _weak(reading, before.reading):
                continue
            if reading.complete and reading.score > THRESHOLD + (
                _WEAK_JOINT if self.pieces[first].strength == 1 else 0
            ):
                yield reading.score - THRESHOLD, (PlannedCall(reading, first=first),), False
        if before is not None and not whole:
            yield from self._ellipses(clause, found, before)
        for reading in found[:2]:
            if reading.assignments[0].missing and reading.score > 0.25 * THRESHOLD:
                # Perhaps the clause behind it lends what is missing.
                yield 0.0, (PlannedCall(reading, {"": None}, first),), False
        best = found[0] if found else None
        if best is not None and not best.complete and best.score > 0.5 * THRESHOLD and _sure_of_tool(best):
            # Surely this tool, though something is missing. What it refused it is still given, for
            # its complaint says best what is wrong.
            sure = best if best.refusal is None else replace(best, assignments=(best.refusal,))
            yield 0.05, (PlannedCall(sure, first=first),), False
        words = [token for token in clause.tokens if token.is_span or token.text not in LIGHT_WORDS]
        yield (-_UNREAD_COST if words else -0.01), (), False

    def _one_call(self, before: PlannedCall, last: int) -> bool:
        """Tell whether the clause before and this one together are well read as one call of its tool."""
        _, found = self._read.get((before.first, last), (None, []))
        same = next((reading for reading in found if reading.tool is before.reading.tool), None)
        return same is not None and same.complete and not same.surplus and same.score > THRESHOLD

    def _ellipses(
        self, clause: Utterance, found: Sequence[Reading], before: PlannedCall
    ) -> Iterator[tuple[float, tuple[PlannedCall, ...], bool]]:
        if "" in before.borrowed:
            same = next((r for r in found if r.tool is before.reading.tool and r.complete), None)
            lent = _lend(before.reading, same) if same is not None else None
            if same is not None and lent is not None and _typed_slots(before.reading.assignments[0], before.reading):
                pair = (PlannedCall(before.reading, lent, before.first), PlannedCall(same))
                yield _BORROWED * max(0.0, same.score) + same.score - THRESHOLD, pair, True
            return
        fragment = _as_ellipsis(self.tools, clause, before.reading)
        if fragment is None:
            return
        fragment = _realigned(fragment, before.reading)
        gain = fragment.lexical + 0.2 - THRESHOLD - 0.5 * len(fragment.surplus) * 0.1
        if fragment.complete:
            yield _INHERITED * gain, (PlannedCall(fragment),), False
            return
        lent = {**before.reading.assignments[0].values, **before.borrowed}
        lacking = fragment.assignments[0].missing
        if all(name in lent for name in lacking):
            yield _BORROWED * gain, (PlannedCall(fragment, {name: lent[name] for name in lacking}),), False

    def best(self) -> tuple[PlannedCall, ...]:
        """Return the calls of the best division."""
        states: list[dict[str, _State]] = [{} for _ in range(len(self.pieces) + 1)]
        states[0][""] = _State(0.0)
        for last in range(1, len(self.pieces) + 1):
            for first in range(last):
                if (first, last) in self._read:
                    self._extend(states, first, last)
        final = [state for state in states[-1].values() if not any("" in call.borrowed for call in state.calls)]
        return _distinct(max(final, key=lambda state: state.score).calls) if final else ()

    def doubt(self, calls: tuple[PlannedCall, ...]) -> PlannedCall | None:
        """Return the call that the whole request may or may not ask for, if nothing else was understood."""
        if len(calls) == 1 and not calls[0].borrowed:
            reading = calls[0].reading
            sure = reading.complete or reading.lexical > _VERY_SURE
            return None if sure else calls[0]
        _, found = self._read[0, len(self.pieces)]
        best = found[0] if found else None
        if calls or best is None or not best.complete or best.score <= _DOUBT_FLOOR:
            return None
        return PlannedCall(best)

    def likely(self) -> tuple[PreparedTool, ...]:
        """Return the tools nearest to the whole request, best first."""
        _, found = self._read[0, len(self.pieces)]
        return tuple(reading.tool for reading in found[:_LIKELY])

    def _extend(self, states: list[dict[str, _State]], first: int, last: int) -> None:
        strength = self.pieces[first].strength
        for state in list(states[first].values()):
            before = state.calls[-1] if state.calls else None
            for gain, calls, replaces in self._options(first, last, before):
                kept = state.calls[:-1] if replaces else state.calls
                made = kept + calls
                cost = 0.0 if first == 0 or strength == 3 else _SPLIT_COST
                score = state.score + gain - cost
                key = f"{made[-1].tool}/{'' in made[-1].borrowed}" if made else ""
                if key not in states[last] or score > states[last][key].score:
                    states[last][key] = _State(score, made)


def plan_request(tools: ToolSet, text: str) -> Plan:
    """Plan a request. Takes a few milliseconds, a tenth of a second for very long ones: not for an event loop."""
    if not tools.tools or not text.strip():
        return Plan(())
    # A very long request is an instruction and somebody's text: that text is not to be cut up.
    pieces = split(text, tools.analyse(text).spans) if len(text) <= _WHOLE_REQUEST else [Piece(0, len(text))]
    division = _Division(tools, text, pieces)
    calls = division.best()
    doubt = division.doubt(calls)
    return Plan(calls, doubt, division.likely() if doubt is not None else ())
