"""Values with a form of their own: numbers, lengths of time, dates, times and arithmetic.

Each maker yields the candidates of one kind of slot that a clause holds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from podium.inference.guided.measures import counted_in, measure
from podium.inference.guided.slots import Slot, SlotKind, name_words
from podium.inference.guided.spans import Span, SpanKind
from podium.inference.guided.utterance import Utterance

__all__ = ["VALUE_MAKERS", "Candidate"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A possible value. It stands at `text[start:end]`; one that stands nowhere has `start == end`."""

    value: Any
    start: int
    end: int
    fit: float
    run: bool = False

    def overlaps(self, other: Candidate) -> bool:
        """Tell whether the two share a character of the clause."""
        return self.start < other.end and other.start < self.end


def _coerce(slot: Slot, number: float) -> int | float | None:
    """Return `number` as the slot's type takes it, or None when it is out of bounds."""
    schema = slot.schema
    if not math.isfinite(number):  # "1e999"
        return None
    if slot.kind is SlotKind.INTEGER and number != int(number):
        return None
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if (low is not None and number < low) or (high is not None and number > high):
        return None
    if (above is not None and number <= above) or (below is not None and number >= below):
        return None
    return int(number) if number == int(number) else number


def _numbers(slot: Slot, clause: Utterance) -> Iterator[Candidate]:
    inside = [span for span in clause.leading if span.kind in {SpanKind.EXPRESSION, SpanKind.DATE, SpanKind.TIME}]
    for span in clause.spans:
        if span.kind is not SpanKind.NUMBER:
            continue
        value = _coerce(slot, float(span.value))
        if value is not None:
            part = any(span.overlaps(other) for other in inside)
            odd = slot.kind is SlotKind.INTEGER and _own_unit(slot) is None and _counts_time(span, clause)
            yield Candidate(value, span.start, span.end, 0.1 if part else 0.7 if odd else 1.2)
    yield from _amounts(slot, clause)
    for match in re.finditer(r"\b(an?|per|each) (?=[a-z])", clause.text[:2000], re.IGNORECASE):
        if any(span.kind is SpanKind.UNIT and span.start == match.end() for span in clause.spans):
            yield Candidate(1, match.start(1), match.end(1), 0.5)
    if slot.kind is SlotKind.NUMBER and slot.required and any(span.kind is SpanKind.UNIT for span in clause.spans):
        # "how many feet in a mile", "a kilo to pounds": the amount that goes without saying.
        yield Candidate(1, 0, 0, 0.1)


# "twice a day", "20 a month", "50 mg a day": how often or how much, not how long.
_RATE = re.compile(
    r"(?:\b(?:once|twice|thrice|times|doses?|daily|per)|\d[\d.,]*(?: ?[a-z]{1,3})?)\s(?:an?\s)?\Z", re.IGNORECASE
)


_NEAR = 40  # characters before a unit in which such words stand


def _counts_time(number: Span, clause: Utterance) -> bool:
    """Tell whether a unit of time stands right behind a number."""
    units = [span for span in clause.spans if span.kind is SpanKind.UNIT]
    return any(unit.start - number.end in {0, 1} and _family(unit.text) == "time" for unit in units)


def _family(unit: str) -> str | None:
    found = measure(unit)
    return None if found is None else found[0]


def _own_unit(slot: Slot) -> tuple[str, float] | None:
    """Return the unit that a number says it counts (`max_minutes`, "in grams"): its family and size."""
    return counted_in(name_words(slot.name), slot.words)


def _amounts(slot: Slot, clause: Utterance) -> Iterator[Candidate]:
    """Read "half an hour" as 30 for a slot that counts minutes, "a week" as 7 for days, "2 kg" as 2000 for grams."""
    own = _own_unit(slot)
    if own is None:
        return
    # Of numbers that end alike the longest counts: "two and a half", not "a half".
    ending = sorted((span for span in clause.spans if span.kind is SpanKind.NUMBER), key=lambda span: -span.start)
    numbers = {span.end: span for span in ending}
    for unit in clause.spans:
        told = measure(unit.text) if unit.kind is SpanKind.UNIT else None
        if told is None or told[0] != own[0]:
            continue
        number = numbers.get(unit.start) or numbers.get(unit.start - 1)
        before = clause.text[max(0, unit.start - _NEAR) : unit.start]
        lead = re.search(r"\b(an?|one|the|next|this|coming)\s\Z", before, re.IGNORECASE) if own[0] == "time" else None
        count = float(number.value) if number else 1.0 if lead and not _RATE.search(before) else None
        value = None if count is None else _coerce(slot, round(count * told[1] / own[1], 9))
        if value is not None:
            start = number.start if number else unit.start
            yield Candidate(value, start, unit.end, 1.6)


def _dates(slot: Slot, clause: Utterance) -> Iterator[Candidate]:
    for span in clause.spans:
        if span.kind is SpanKind.DATE:
            meant = span.value.isoformat() if isinstance(span.value, date) else None
            # A day whose month is said later ("3 to 17 May") means nothing to a tool as it stands.
            elided = span.text.strip().isdigit()
            forms = [meant, None if elided else span.text] if slot.iso else [None if elided else span.text, meant]
            for rank, form in enumerate(form for form in forms if form is not None):
                yield Candidate(form, span.start, span.end, 1.4 - 0.01 * rank)
    # "how long until Christmas", "days since 1 May": the other end is today, unsaid.
    names = set(name_words(slot.name))
    said = {word.text for word in clause.words}
    if slot.required and clause.today is not None and (
        (names & {"start", "from", "begin", "first", "since"} and said & {"until", "till", "til", "before", "left"})
        or (names & {"end", "to", "until", "last", "second"} and said & {"since", "ago", "passed"})
    ):  # fmt: skip
        yield Candidate(clause.today.isoformat(), 0, 0, 0.0)


def _times(_slot: Slot, clause: Utterance) -> Iterator[Candidate]:
    for span in clause.spans:
        if span.kind is SpanKind.TIME:
            for rank, form in enumerate(form for form in (span.value, span.text) if form is not None):
                yield Candidate(form, span.start, span.end, 1.4 - 0.01 * rank)
        elif span.kind is SpanKind.NUMBER and span.value in range(24):
            before = clause.left_of(span.start, 1)[0]
            good = before in {"at", "from", "by", "until", "till", "before", "after", "around", "for"}
            yield Candidate(
                f"{int(span.value):02d}:00", span.start, span.end, 0.6 if before == "at" else 0.2 if good else -0.4
            )


def _datetimes(_slot: Slot, clause: Utterance) -> Iterator[Candidate]:
    days = [span for span in clause.spans if span.kind is SpanKind.DATE and isinstance(span.value, date)]
    times = [span for span in clause.spans if span.kind is SpanKind.TIME and span.value]
    for day in days:
        for time in times[:4]:
            value = f"{day.value.isoformat()}T{time.value}:00"
            yield Candidate(value, min(day.start, time.start), max(day.end, time.end), 1.5)
        yield Candidate(f"{day.value.isoformat()}T00:00:00", day.start, day.end, 0.8)


def _expressions(slot: Slot, clause: Utterance) -> Iterator[Candidate]:
    for span in clause.spans:
        if span.kind is SpanKind.EXPRESSION:
            # A tool that declares the kind reads words for itself, and better.
            forms = (span.value, span.text) if slot.iso else (span.text, span.value)
            for rank, form in enumerate(dict.fromkeys(forms)):
                yield Candidate(form, span.start, span.end, 1.6 - 0.01 * rank)


VALUE_MAKERS: Mapping[SlotKind, Callable[[Slot, Utterance], Iterator[Candidate]]] = {
    SlotKind.INTEGER: _numbers,
    SlotKind.NUMBER: _numbers,
    SlotKind.DATE: _dates,
    SlotKind.TIME: _times,
    SlotKind.DATETIME: _datetimes,
    SlotKind.EXPRESSION: _expressions,
}
