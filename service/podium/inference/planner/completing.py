"""Fills what the model's call leaves open by what the request says beyond doubt.

A small model stops a little early. What is left in the request then fills what is left of the call,
where its form tells: numbers, days, times, the names of an enum's values, what stands in quotes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from podium.inference.guided.assignment import assign
from podium.inference.guided.slots import SlotKind
from podium.inference.guided.spans import Span, SpanKind, Word
from podium.inference.guided.utterance import Token, Utterance
from podium.inference.planner.parameters import Parameter
from podium.inference.planner.settling import Place, Settled, overlap, within_another
from podium.inference.planner.shown import ShownTool
from podium.inference.planner.values import ReadCall, Unreadable, put, read_value

__all__ = ["completed"]

_TYPED = frozenset(
    {
        SlotKind.INTEGER, SlotKind.NUMBER, SlotKind.DATE, SlotKind.TIME, SlotKind.DATETIME, SlotKind.ENUM,
        SlotKind.BOOLEAN, SlotKind.EMAIL, SlotKind.URL,
    }
)  # fmt: skip
_WORDS = frozenset({SlotKind.TEXT, SlotKind.QUOTED})
_NAMES = frozenset({SlotKind.TEXT, SlotKind.NAME})


def completed(
    call: ReadCall, held: Settled, shown: ShownTool, request: Utterance, taken: Sequence[Place]
) -> tuple[ReadCall, list[Place]]:
    """Fill what a call leaves open with what the request still holds.

    Args:
        call: as it was read.
        held: where its values stand; those that could not be read count as free.
        shown: its tool.
        request: taken apart.
        taken: what this and the other calls take from the request.

    Returns:
        The call, and what it takes besides.
    """
    taken = [place for place in taken if place not in _freed(call, held)]
    said = set(held.call.values) - set(held.call.unsaid) - set(call.unreadable)
    arguments = json.loads(json.dumps(call.arguments, default=str))
    found: list[Place] = []
    # The surest first; what is left to copies that the request does not bear out is better than nothing.
    for ways in (_left_over, _quoted, _named, _doubtful):
        open_ = {name: parameter for name, parameter in shown.parameters.items() if name not in said}
        for name, value, places in ways(open_, held, shown, _without(request, [*taken, *found])):
            put(arguments, shown.parameters[name].path, value)
            found += places
            said.add(name)
    unsaid = tuple(name for name in call.unsaid if name not in said)
    return replace(call, arguments=arguments, unsaid=unsaid), found


_Open = Mapping[str, Parameter]
_Found = Iterator[tuple[str, Any, Sequence[Place]]]


def _freed(call: ReadCall, held: Settled) -> list[Place]:
    """Return what only values take that could not be read."""
    good = {place for name, places in held.places.items() if name not in call.unreadable for place in places}
    return [place for name in call.unreadable for place in held.places.get(name, ()) if place not in good]


def _left_over(open_: _Open, _held: Settled, shown: ShownTool, request: Utterance) -> _Found:
    slots = [
        replace(parameter.slot, name=name, required=parameter.required)
        for name, parameter in open_.items()
        if parameter.slot.kind in _TYPED and not parameter.slot.many
    ]
    best = assign(slots, shown.tool.profiles, request, shown.tool.evidence)[0]
    found: list[Place] = []
    # Options are chosen apart from the rest: a word of the request is one thing or the other.
    for name in sorted(best.places, key=lambda name: (not open_[name].required, bool(open_[name].options))):
        if best.places[name] and not any(overlap(place, found) for place in best.places[name]):
            found += best.places[name]
            yield name, best.values[name], best.places[name]


def _quoted(open_: _Open, _held: Settled, _shown: ShownTool, request: Utterance) -> _Found:
    """Give the only quotation to the only text that is open, or the only one that is required."""
    yield from _only(request, SpanKind.QUOTED, open_, _WORDS)


def _named(open_: _Open, _held: Settled, _shown: ShownTool, request: Utterance) -> _Found:
    """Give the only name that nobody has taken to the only text or name that is open, if it is optional.

    Whose name is required the model knows better: it may belong to a wish that nobody can fulfil.
    """
    if not any(parameter.required for parameter in open_.values()):
        yield from _only(request, SpanKind.NAME, open_, _NAMES)


def _only(request: Utterance, kind: SpanKind, open_: _Open, slots: frozenset[SlotKind]) -> _Found:
    # The first word of a sentence has a capital, whatever it is.
    found = [span for span in request.spans if span.kind is kind and (kind is not SpanKind.NAME or span.start > 0)]
    fitting = [name for name, p in open_.items() if p.slot.kind in slots and not p.slot.many and not p.slot.options]
    required = [name for name in fitting if open_[name].required]
    names = fitting if len(fitting) == 1 else required
    if len(found) == len(names) == 1:
        yield names[0], found[0].text, [(found[0].start, found[0].end)]


def _doubtful(open_: _Open, held: Settled, _shown: ShownTool, request: Utterance) -> _Found:
    for name, said in held.doubtful.items():
        if name in open_:
            with suppress(Unreadable):
                yield name, read_value(open_[name].slot, said, request), ()


def _without(request: Utterance, taken: Sequence[Place]) -> Utterance:
    """Return the request without what is taken, and without the numbers that are part of something longer."""
    text = request.text
    for start, end in taken:
        text = text[: max(0, start)] + " " * (min(len(text), end) - max(0, start)) + text[max(0, end) :]

    def free(found: Span | Word | Token) -> bool:
        return not overlap((found.start, found.end), taken)

    return replace(
        request,
        text=text,
        words=tuple(filter(free, request.words)),
        spans=tuple(
            span
            for span in request.spans
            if free(span) and not (span.kind is SpanKind.NUMBER and within_another((span.start, span.end), request))
        ),
        leading=tuple(filter(free, request.leading)),
        tokens=tuple(filter(free, request.tokens)),
    )
