"""Puts the model's copies right by the form of what it copies.

A small model sees which words are meant better than where they end. Numbers, days and times can be told
by their form: a copy that holds a part of one is widened to the whole, and two copies of one stretch
cannot both be right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from podium.inference.guided.measures import counted_in, measure
from podium.inference.guided.slots import Slot, SlotKind, name_words
from podium.inference.guided.spans import SpanKind
from podium.inference.guided.utterance import Utterance
from podium.inference.guided.values import Candidate
from podium.inference.planner.call_lines import FROM_RESULT, UNSAID, WrittenCall
from podium.inference.planner.lines import Line
from podium.inference.planner.readers import MOMENTS, found_in, places_of, read_numeral
from podium.inference.planner.shown import ShownTool

__all__ = ["Place", "Settled", "borne_out", "moved", "overlap", "settled", "within_another"]

# Where a value stands in the request: `text[start:end]`.
Place = tuple[int, int]

_NUMBERS = frozenset({SlotKind.INTEGER, SlotKind.NUMBER})
_MEASURED = _NUMBERS | MOMENTS
# The form of a candidate that is a number, a day or a time whatever stands around it.
_PLAIN_FORM = 1.0
_ITEMS = re.compile(r"\s*(?:,|;|\band\b)\s*")
# Text of these kinds is copied as it stands.
_EXACT = frozenset({SlotKind.QUOTED, SlotKind.EXPRESSION, SlotKind.URL, SlotKind.EMAIL, SlotKind.PATH, SlotKind.GLOB})
_ARTICLE = re.compile(r"\A(?:an?|the|my|our) (?=\S)", re.IGNORECASE)
_SHORT = 4
# A value that is not in the request is a guess below this; set on the tuning set.
_UNSURE = 0.35
_LONGER = frozenset({SpanKind.DATE, SpanKind.TIME, SpanKind.NUMBER})


@dataclass(frozen=True, slots=True)
class Settled:
    """A call with its copies put right.

    Attributes:
        call: without the values that the request does not say.
        places: where in the request each value stands.
        doubtful: those values, of required parameters; better than none.
    """

    call: WrittenCall
    places: Mapping[str, tuple[Place, ...]]
    doubtful: Mapping[str, str] = field(default_factory=dict)

    @property
    def stretches(self) -> list[Place]:
        """All that the call takes from the request."""
        return [place for places in self.places.values() for place in places]


def borne_out(call: WrittenCall, line: Line, shown: ShownTool, request: Utterance) -> WrittenCall:
    """Return a call without the optional values that the request has no word of and the model is not sure of."""
    text = request.text.lower()
    values = {
        name: said
        for name, said in call.values.items()
        if shown.parameters[name].required
        or said.lower() in text
        or said in {UNSAID, FROM_RESULT}
        or (sure := line.sure_of(*call.parts[name])) is None
        or sure >= _UNSURE
    }
    return WrittenCall(values, call.parts)


def settled(call: WrittenCall, shown: ShownTool, request: Utterance) -> Settled:
    """Put the copies of numbers, days and times right, and drop those that the request does not say.

    A stretch is widened to the whole number, or cut to the day that it begins with; no two values
    come from one.
    """
    values: dict[str, str] = {}
    doubtful: dict[str, str] = {}
    places: dict[str, tuple[Place, ...]] = {}
    for name, said in call.values.items():
        parameter = shown.parameters.get(name)
        if parameter is None or said in {UNSAID, FROM_RESULT}:
            values[name] = said
        elif (slot := parameter.slot).many or slot.options or slot.kind not in _MEASURED:
            bare = slot.kind not in _EXACT and not slot.options
            values[name] = _unintroduced(said, request.text, many=slot.many) if bare else said
            places[name] = _parts(values[name], request.text) if slot.many else _first(values[name], request.text)
        else:
            place, known = _measured(slot, said, request, [place for each in places.values() for place in each])
            if place is not None:
                values[name], places[name] = request.text[slice(*place)], (place,)
            elif known:
                values[name] = said
            elif parameter.required:
                doubtful[name] = said
    return Settled(WrittenCall(values), places, doubtful)


def _measured(slot: Slot, said: str, request: Utterance, taken: Sequence[Place]) -> tuple[Place | None, bool]:
    """Return where a number, day or time stands, as far as it goes; and whether the request says it at all."""
    found = [candidate for candidate in found_in(slot, request) if candidate.start < candidate.end]
    where = list(places_of(said, request.text))
    for place in where:
        if overlap(place, taken):
            continue
        whole = [(c.start, c.end) for c in found if c.fit >= _PLAIN_FORM and overlap(place, [(c.start, c.end)])]
        if whole:
            # What holds all of the copy, or else what begins it.
            holding = [(start, end) for start, end in whole if start <= place[0] and place[1] <= end]
            best = max(holding, key=lambda other: other[1] - other[0]) if holding else min(whole)
            if overlap(best, taken) or _counts_another(slot, best, request, found):
                return None, False
            return best, True
        if slot.kind in MOMENTS or not within_another(place, request):
            return place, True
    number = read_numeral(said) if slot.kind in _NUMBERS else None
    return None, not where and any(candidate.value in {said, number} for candidate in found)


def _counts_another(slot: Slot, place: Place, request: Utterance, found: Sequence[Candidate]) -> bool:
    """Tell whether the unit behind a number is of another kind than the slot counts, and another number is there."""
    own = counted_in(name_words(slot.name), slot.words)
    behind = [span for span in request.spans if span.kind is SpanKind.UNIT and span.start - place[1] in {0, 1}]
    others = [candidate for candidate in found if not overlap(place, [(candidate.start, candidate.end)])]
    told = [unit[0] for span in behind if (unit := measure(span.text)) is not None]
    if slot.kind not in _NUMBERS or not told or not others:
        return False
    return told[0] != own[0] if own is not None else told[0] == "time"


def _first(said: str, text: str) -> tuple[Place, ...]:
    return tuple(places_of(said, text))[:1]


def _unintroduced(said: str, text: str, *, many: bool) -> str:
    """Return a short copy, or short items, without the article before them, which belongs to the sentence.

    "The Old Mill" keeps it where the request writes it with a capital, too.
    """
    if many:
        return ", ".join(_unintroduced(item, text, many=False) for item in re.split(r",\s*", said))
    rest = _ARTICLE.sub("", said)
    named = said[:1].isupper() and said in text and not text.startswith(said)
    return said if named or len(said.split()) > _SHORT or rest.lower() not in text.lower() else rest


def _parts(said: str, text: str) -> tuple[Place, ...]:
    return tuple(place for part in _ITEMS.split(said) if part for place in _first(part, text))


def moved(places: Iterable[Place], by: int) -> list[Place]:
    """Return places as they are counted from elsewhere."""
    return [(start + by, end + by) for start, end in places]


def overlap(place: Place, taken: Sequence[Place]) -> bool:
    """Tell whether a place shares a character with any of some others."""
    return any(start < place[1] and place[0] < end for start, end in taken)


def within_another(place: Place, request: Utterance) -> bool:
    """Tell whether a number is part of a day, a time or a longer number."""
    return any(
        span.kind in _LONGER
        and span.start <= place[0]
        and place[1] <= span.end
        and span.end - span.start > place[1] - place[0]
        for span in request.leading
    )
