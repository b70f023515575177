"""Reads numbers, days and times in people's words, where need be by what stands around them in the request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time
from decimal import Decimal
from difflib import get_close_matches

from podium.inference.guided.arithmetic import words_to_number
from podium.inference.guided.candidates import candidates_for
from podium.inference.guided.lexicon import NUMBER_SCALES, WEEKDAYS, word_list
from podium.inference.guided.slots import Slot, SlotKind
from podium.inference.guided.spans import SpanKind
from podium.inference.guided.utterance import Utterance, analyse
from podium.inference.guided.values import Candidate
from podium.inference.guided.when import resolve_date

__all__ = ["MOMENTS", "found_in", "meant", "places_of", "read_moment", "read_number", "read_numeral"]

MOMENTS = frozenset({SlotKind.DATE, SlotKind.TIME, SlotKind.DATETIME})
_BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
# No number that anybody means is longer; far longer ones cannot be converted at all.
_LONGEST_NUMBER = 40
_PLAIN = re.compile(r"-?(?:\d{1,3}(?:,\d{2,3})*,\d{3}|\d+)(?:\.\d+)?")
_SCALES = NUMBER_SCALES | {"dozen": 12, "bn": NUMBER_SCALES["billion"]}
_SCALED = re.compile(
    rf"(?<![\w.,])(?P<count>{_PLAIN.pattern}|half an?)\s?(?P<scale>{'|'.join(_SCALES)})(?!\w)|"
    rf"(?<![\w.,])(?P<thousands>{_PLAIN.pattern})k(?!\w)"
)
_ORDINAL = re.compile(r"(?:the )?(\d+)(?:st|nd|rd|th)")
_RANKS = {word: rank for rank, word in enumerate(word_list("first second third fourth fifth sixth seventh eighth"), 1)}
_RANKS |= {"a": 1, "an": 1, "once": 1, "twice": 2, "thrice": 3}
_FORMS: Mapping[SlotKind, tuple[re.Pattern[str], Callable[[str], object]]] = {
    SlotKind.DATE: (re.compile(r"\d{4}-\d\d-\d\d"), date.fromisoformat),
    SlotKind.TIME: (re.compile(r"\d\d:\d\d(?::\d\d)?"), time.fromisoformat),
    SlotKind.DATETIME: (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?(?:Z|[+-]\d\d:\d\d)?"), datetime.fromisoformat),
}
_LATE = re.compile(r"\s*(?:in the (?:afternoon|evening)|tonight|at night)(?!\w)", re.IGNORECASE)
# "pm", "08:30": these say for themselves which half of the day they are in.
_CLEAR_HOUR = re.compile(r"(?:\d|\b)[ap]\.?m\b|\b0\d", re.IGNORECASE)
_NIGHT_ENDS = 6
_TODAY = frozenset({"tonight", "this morning", "this afternoon", "this evening"})
# "tomorow", "wendesday": likeness from which a word is one of these with a slip in it.
_DAYS = (*word_list("today tomorrow yesterday monday tuesday wednesday thursday friday saturday sunday"),)
_SLIP, _SHORTEST_SLIP = 0.85, 5
# An hour alone reads as a time only behind "at", and so is surer than this.
_SURE_HOUR = 0.5


def read_numeral(said: str) -> int | float | None:
    """Return the number that `said` is, in digits or words ("1,200", "2 dozen eggs", "3rd"); None for anything else."""
    text = " ".join(said.lower().split())
    if not text or len(text) > _LONGEST_NUMBER:
        return None
    exact = _plain(text)
    if exact is None and not re.search(r"\d", text):
        in_words = words_to_number(text.removesuffix(" and a half"))
        half = Decimal("0.5") if text.endswith(" and a half") else 0
        exact = None if in_words is None else Decimal(in_words) + half
    return None if exact is None else _number(exact)


def _plain(text: str) -> Decimal | None:
    if _PLAIN.fullmatch(text):
        return Decimal(text.replace(",", ""))
    if (match := _SCALED.search(text)) is not None:
        # What follows is what is counted.
        count = match["count"] or match["thousands"]
        half = Decimal("0.5") if count.startswith("half") else Decimal(count.replace(",", ""))
        return half * _SCALES.get(match["scale"] or "thousand", 1)
    if (match := _ORDINAL.fullmatch(text)) is not None:
        return Decimal(match[1])
    rank = _RANKS.get(text.removeprefix("the "))
    return None if rank is None else Decimal(rank)


def _number(exact: Decimal) -> int | float:
    return int(exact) if exact == exact.to_integral_value() else float(exact)


def read_number(slot: Slot, said: str, request: Utterance) -> int | float | None:
    """Return the number meant, within the schema's bounds or not; None for none, and for a fraction of an integer."""
    free = replace(slot, schema={key: value for key, value in slot.schema.items() if key not in _BOUNDS})
    number = read_numeral(said)
    if number is None:
        found = meant(free, said, request)
        number = None if found is None else found.value
    elif (lasting := _lasting(free, said, request)) is not None:
        number = lasting
    if number is None or (slot.kind is SlotKind.INTEGER and number != int(number)):
        return None
    return number


def _lasting(slot: Slot, said: str, request: Utterance) -> int | float | None:
    """Return 120 for the "2" of "2 hours" where a slot counts minutes; None where there is nothing to convert."""
    places = list(places_of(said, request.text))
    units = {span.end for span in request.spans if span.kind is SpanKind.UNIT}
    if len(places) != 1 or not units:
        return None
    start, end = places[0]
    longer = [found for found in found_in(slot, request) if found.start == start and found.end in units - {end}]
    return max(longer, key=lambda found: found.fit).value if longer else None


def meant(slot: Slot, said: str, request: Utterance) -> Candidate | None:
    """Return the best reading of a value's words by themselves, or else of where they stand in the request."""
    best = _best(found_in(slot, _alone(said, request)), 0, len(said))
    if best is not None:
        return best
    found = found_in(slot, request)
    at_places = (_best(found, start, end) for start, end in places_of(said, request.text))
    return next((candidate for candidate in at_places if candidate is not None), None)


def read_moment(slot: Slot, said: str, request: Utterance) -> str | None:
    """Return the day, the time or both in ISO form; None when the words mean none."""
    form, check = _FORMS[slot.kind]
    if form.fullmatch(said):
        return said if _holds(check, said) else None
    found = [candidate for candidate in found_in(slot, request) if form.fullmatch(str(candidate.value))]
    own = [candidate for candidate in found_in(slot, _alone(said, request)) if form.fullmatch(str(candidate.value))]
    places = list(places_of(said, request.text))
    # The request says more than the copy may: the year of "3 May", the month of "3", which half of the day "6" is in.
    around = [
        candidate
        for start, end in places
        for candidate in found
        if candidate.start <= start and end <= candidate.end and candidate.start < candidate.end
    ]
    best = max(around, key=lambda candidate: (candidate.fit, candidate.start - candidate.end), default=None)
    best = best or _best(own, 0, len(said))
    if best is None:
        partly = (_best(found, start, end) for start, end in places)
        best = next((candidate for candidate in partly if candidate is not None), None)
    if best is None:
        return _short_day(slot, said, request)
    value = str(best.value)
    if slot.kind is SlotKind.TIME:
        return _late(value, said, request)
    if slot.kind is SlotKind.DATETIME and value.endswith("T00:00:00"):
        return _with_hour(value, slot, said, request)
    return value


def _holds(check: Callable[[str], object], said: str) -> bool:
    try:
        check(said)
    except ValueError:
        return False
    return True


def _late(value: str, said: str, request: Utterance) -> str:
    """Move an hour to the second half of the day where the words say so: "8 in the evening"."""
    hour = int(value[:2])
    behind = [match for _, end in places_of(said, request.text) if (match := _LATE.match(request.text, end))]
    told = _LATE.search(said) or (behind[0] if behind else None)
    if told is None or not 1 <= hour < 12 or (hour < _NIGHT_ENDS and "at night" in told[0].lower()):
        return value
    return value if _CLEAR_HOUR.search(said) else f"{hour + 12:02d}{value[2:]}"


def _with_hour(value: str, slot: Slot, said: str, request: Utterance) -> str:
    """Add the hour of "tomorrow at 8" to its day."""
    alone = found_in(replace(slot, kind=SlotKind.TIME, schema={}), _alone(said, request))
    hours = [
        found for found in alone if found.fit > _SURE_HOUR and _FORMS[SlotKind.TIME][0].fullmatch(str(found.value))
    ]
    if not hours:
        return value
    return f"{value[:11]}{_late(str(hours[0].value), said, request)}:00"


def _short_day(slot: Slot, said: str, request: Utterance) -> str | None:
    """Read what only a slot for days makes clear: "tonight", a slip, and "Fri", elsewhere a word like any other."""
    word = said.lower().strip(" .,")
    if slot.kind is not SlotKind.DATE or request.today is None:
        return None
    if word in _TODAY:
        return request.today.isoformat()
    near = get_close_matches(word, _DAYS, 1, _SLIP) if len(word) >= _SHORTEST_SLIP else []
    day = resolve_date(near[0] if near else word, request.today) if near or word in WEEKDAYS else None
    return None if day is None else day.isoformat()


def _alone(said: str, request: Utterance) -> Utterance:
    return request if request.today is None else analyse(said, request.today)


def places_of(said: str, text: str) -> Iterator[tuple[int, int]]:
    """Yield where the request says just these words, and not "13" for "3"."""
    wording = r"\s+".join(map(re.escape, said.split()))
    for match in re.finditer(rf"(?<!\w)(?<!\d[.,]){wording}(?!\w|[.,]\d)", text, re.IGNORECASE) if wording else ():
        yield match.span()


def found_in(slot: Slot, clause: Utterance) -> list[Candidate]:
    """Return what in a clause could be the value of a slot, best form first."""
    try:
        return candidates_for(slot, clause)
    except (OverflowError, re.error):
        # A number beyond all floats ("1e999"); a pattern in another dialect than Python's.
        return []


def _best(found: Sequence[Candidate], start: int, end: int) -> Candidate | None:
    """Return the candidate that covers most of a stretch, the best in form among equals."""
    covering = [
        (min(end, candidate.end) - max(start, candidate.start), candidate.fit, candidate)
        for candidate in found
        if candidate.start < end and start < candidate.end
    ]
    return max(covering, key=lambda entry: entry[:2])[2] if covering else None
