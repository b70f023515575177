"""Filling what a call leaves open from the rest of the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_fakes import asked, settled_line, shown, spec

from podium.inference.guided.slots import SlotKind
from podium.inference.planner.call_lines import write_call
from podium.inference.planner.completing import completed
from podium.inference.planner.readers import MOMENTS
from podium.inference.planner.settling import Place, overlap
from podium.inference.planner.shown import ShownTool
from podium.inference.planner.values import ReadCall, read_call

TEXT, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
DATE, TIME = {"type": "string", "format": "date"}, {"type": "string", "format": "time"}
SEAT = {"enum": ["window", "aisle"]}


def filled(tool: ShownTool, line: str, request: str, others: Sequence[Place] = ()) -> tuple[ReadCall, list[str]]:
    """Return a written call as it is completed, and the words that it takes besides."""
    said = asked(request)
    held = settled_line(tool, line, said)
    call = read_call(held.call, tool.parameters, said)
    call, more = completed(call, held, tool, said, [*held.stretches, *others])
    return call, [request[start:end] for start, end in more]


def arguments(properties: Mapping[str, Any], line: str, request: str, **more: Any) -> dict[str, Any]:
    return filled(shown(spec(properties, **more)), line, request)[0].arguments


@pytest.mark.parametrize(
    ("name", "schema", "request_", "value", "words"),
    [
        ("day", DATE, "book Luigi's next Friday", "2026-11-27", "next Friday"),
        ("time", TIME, "book Luigi's at 8:15 pm", "20:15", "8:15 pm"),
        ("guests", INTEGER, "book Luigi's for six", 6, "six"),
        ("minutes", INTEGER, "book Luigi's for half an hour", 30, "half an hour"),
        ("seat", SEAT, "book Luigi's by the window", "window", "window"),
        ("mail", {"type": "string", "format": "email"}, "book Luigi's for ann@example.org", "ann@example.org", None),
        ("note", TEXT, 'book Luigi\'s and add "no nuts"', "no nuts", "no nuts"),
    ],
)
def test_what_is_left_fills_what_is_open(
    name: str, schema: Mapping[str, Any], request_: str, value: Any, words: str | None
) -> None:
    """By its form, or by being the only quotation; whether the model says that it is unsaid or nothing at all."""
    for more in ("", f" | {name}: ?"):
        call, besides = filled(shown(spec({"place": TEXT, name: schema})), f"yes | place: Luigi's{more}", request_)
        assert (call.arguments, call.unsaid) == ({"place": "Luigi's", name: value}, ())
        assert besides == [words or value]


def test_what_is_taken_fills_nothing() -> None:
    """Neither by this call nor by another one."""
    tool, request = shown(spec({"arrival": DATE, "departure": DATE})), "from Monday to Friday"
    assert filled(tool, "yes | arrival: Monday", request)[0].arguments["departure"] == "2026-11-27"
    call, more = filled(tool, "yes | arrival: Monday", request, [(15, 21)])
    assert (call.arguments, call.unsaid, more) == ({"arrival": "2026-11-23"}, ("departure",), [])
    quoting = shown(spec({"text": TEXT}))
    assert filled(quoting, "yes", 'say "hello"')[0].arguments == {"text": "hello"}
    assert filled(quoting, "yes", 'say "hello"', [(5, 10)])[0].unsaid == ("text",)


@pytest.mark.parametrize("first", [SEAT, TEXT])
def test_an_option_whose_name_is_taken_fills_nothing(first: Mapping[str, Any]) -> None:
    """A stretch that is taken names no option."""
    tool = shown(spec({"first": first, "seat": SEAT}))
    assert filled(tool, "yes | first: window", "sit by the window", [(11, 17)])[0].arguments.get("seat") is None


def test_a_day_copied_with_its_time_fills_both() -> None:
    line = "yes | day: 3 May 2027 at 8:15 am"
    request = "meet on 3 May 2027 at 8:15 am please"
    for more in ("", " | time: ?"):
        assert arguments({"day": DATE, "time": TIME}, line + more, request) == {"day": "2027-05-03", "time": "08:15"}


@pytest.mark.parametrize("name", ["distance", "distance_km"])
def test_numbers_copied_the_wrong_way_round(name: str) -> None:
    """Their units say which is which, whichever comes first."""
    properties = {name: NUMBER, "minutes": INTEGER}
    for line in (f"yes | {name}: 28 | minutes: 5", f"yes | minutes: 5 | {name}: 28"):
        assert arguments(properties, line, "log a run of 5 km in 28 minutes") == {name: 5, "minutes": 28}


def test_a_widened_number_is_read_whole() -> None:
    assert arguments({"amount": NUMBER}, "yes | amount: four", "move it by four point two") == {"amount": 4.2}
    assert arguments({"minutes": INTEGER}, "yes | minutes: two", "nap for two and a half hours") == {"minutes": 150}
    assert arguments({"grams": INTEGER}, "yes | grams: 2", "buy 2 kg of flour") == {"grams": 2000}


def test_one_number_for_two_parameters() -> None:
    """The second gets another one where there is one, and else what was written, since it is required."""
    properties = {"adults": INTEGER, "children": INTEGER}
    line = "yes | adults: two | children: two"
    assert arguments(properties, line, "for two adults and three children") == {"adults": 2, "children": 3}
    assert arguments(properties, line, "for two adults") == {"adults": 2, "children": 2}
    assert arguments(properties, line, "for two adults", required=["adults"]) == {"adults": 2}


def test_a_required_value_that_nobody_said_is_kept() -> None:
    """After all else; an optional one is dropped."""
    properties = {"guests": INTEGER, "day": DATE}
    line = "yes | guests: 7 | day: tomorrow"
    assert arguments(properties, line, "a table please", required=["guests"]) == {"guests": 7}
    assert arguments(properties, line, "a table for six on Friday") == {"guests": 6, "day": "2026-11-27"}


def test_a_doubtful_value_that_cannot_be_read_is_lacking() -> None:
    call, more = filled(shown(spec({"guests": INTEGER})), "yes | guests: a lot", "a table please")
    assert (call.arguments, call.unsaid, more) == ({}, ("guests",), [])


def test_quotations() -> None:
    """Only the one for the only text that is open, or that must be given."""
    both = 'tell Ann "see you" or "bye"'
    assert arguments({"to": TEXT, "text": TEXT}, "yes | to: Ann", both) == {"to": "Ann"}
    assert arguments({"to": TEXT, "text": TEXT}, "yes", 'tell Ann "see you"') == {}
    assert arguments({"text": TEXT}, "yes", 'tell Ann "see you"', required=[]) == {"text": "see you"}
    assert arguments({"to": TEXT, "text": TEXT}, "yes", 'tell them "bye"', required=["text"]) == {"text": "bye"}
    assert arguments({"to": TEXT, "text": TEXT}, "yes", 'tell them "bye"', required=[]) == {}
    assert arguments({"to": TEXT, "text": TEXT}, "yes | text: bye", both) == {"text": "bye", "to": "see you"}


@pytest.mark.parametrize(
    ("line", "request_", "wanted"),
    [
        ("yes | day: tomorrow", "book me in tomorrow, with Dr. Lindqvist if possible", "Dr. Lindqvist"),
        ("yes | day: tomorrow", "Lindqvist tomorrow", None),
        ("yes | day: tomorrow", "with Dr. Lindqvist or Dr. Okafor tomorrow", None),
        ("yes | day: ?", "with Dr. Lindqvist", None),
        ("yes | day: tomorrow | vet: Okafor", "with Okafor at Lindqvist Hall tomorrow", "Okafor"),
    ],
)
def test_the_only_name_that_is_left(line: str, request_: str, wanted: str | None) -> None:
    """It belongs to the only optional text, where nothing that is required is open; a first word is no name."""
    told = arguments({"day": DATE, "vet": TEXT}, line, request_, required=["day"])
    assert told.get("vet") == wanted


def test_a_value_that_another_calls_result_gives_is_not_open() -> None:
    call, more = filled(shown(spec({"day": DATE})), "yes | day: $", "do it tomorrow")
    assert (call.arguments, call.linked, more) == ({}, ("day",), [])


def test_an_unreadable_value_frees_its_words() -> None:
    """ "By the window" is no row, but the seat."""
    tool = shown(spec({"row": INTEGER | {"enum": [1, 2]}, "seat": SEAT}, required=["seat"]))
    call, more = filled(tool, "yes | row: window", "sit by the window")
    assert (call.arguments, call.unreadable, more) == ({"seat": "window"}, ("row",), ["window"])


def test_nested_values_are_put_where_they_belong() -> None:
    inner = {"type": "object", "properties": {"day": DATE, "guests": INTEGER}, "required": ["day", "guests"]}
    wanted = {"visit": {"guests": 6, "day": "2026-11-22"}}
    assert arguments({"visit": inner}, "yes | visit.guests: six", "six of us tomorrow") == wanted


def test_the_call_given_is_not_changed() -> None:
    tool, request = shown(spec({"place": TEXT, "day": DATE})), asked("book Luigi's tomorrow")
    held = settled_line(tool, "yes | place: Luigi's", request)
    call = read_call(held.call, tool.parameters, request)
    assert completed(call, held, tool, request, held.stretches)[0] is not call
    assert (call.arguments, call.unsaid) == ({"place": "Luigi's"}, ("day",))


_PIECES = (
    "two", "2", "4.2", "four point two", "two and a half hours", "half an hour", "28 minutes", "5 km", "3 May 2027",
    "at 8:15 am", "tomorrow", "next Friday", "3", '"a b"', "twice a day", "dog", "window", "and", ",", "for", "|",
    "12:", "1e999", "a", "the", "-1", "½", "1,200",
)  # fmt: skip
_words = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\n\r"), max_size=40),
    st.lists(st.sampled_from(_PIECES), max_size=8).map(" ".join),
)
_ALL = {
    "count": INTEGER, "amount": NUMBER, "minutes": INTEGER, "weight_kg": NUMBER, "day": DATE, "other_day": DATE,
    "time": TIME, "moment": {"type": "string", "format": "date-time"}, "kind": {"enum": ["dog", "cat"]}, "note": TEXT,
    "rows": {"type": "array", "items": INTEGER}, "late": {"type": "boolean"},
}  # fmt: skip
TOOLS = [shown(spec(_ALL)), shown(spec(_ALL, required=[]))]
_MEASURED = MOMENTS | {SlotKind.INTEGER, SlotKind.NUMBER}


@given(
    text=_words,
    values=st.dictionaries(st.sampled_from(sorted(_ALL)), st.one_of(_words, st.sampled_from(_PIECES)), max_size=6),
    tool=st.sampled_from(TOOLS),
)
@settings(max_examples=150, deadline=None)
def test_any_words_for_any_request(text: str, values: Mapping[str, str], tool: ShownTool) -> None:
    """Nothing is raised, and no two measured values that were written come from one stretch."""
    said = asked(text)
    held = settled_line(tool, write_call(values), said)
    read = read_call(held.call, tool.parameters, said)
    call, more = completed(read, held, tool, said, held.stretches)
    measured = {n for n, p in tool.parameters.items() if p.slot.kind in _MEASURED and not p.slot.many}
    kept = [place for name in measured - {*read.unreadable} for place in held.places.get(name, ())]
    assert not any(overlap(place, kept[:at]) for at, place in enumerate(kept))
    assert all(0 <= start < end <= len(text) for start, end in more)
    assert set(call.unsaid) <= set(read.unsaid)
    assert not set(call.unsaid) & set(call.arguments)


@given(text=_words, values=st.dictionaries(st.sampled_from(["count", "minutes", "day", "time"]), _words, max_size=4))
@settings(max_examples=150, deadline=None)
def test_no_stretch_is_in_two_measured_values(text: str, values: Mapping[str, str]) -> None:
    """Whether they were written or filled in. (A moment may reach around another value, from its day to its time.)"""
    said, tool = asked(text), MEASURING
    held = settled_line(tool, write_call(values), said)
    read = read_call(held.call, tool.parameters, said)
    _, more = completed(read, held, tool, said, held.stretches)
    kept = [place for name, places in held.places.items() if name not in read.unreadable for place in places]
    every = [*kept, *more]
    assert not any(overlap(place, every[:at]) for at, place in enumerate(every))


MEASURING = shown(spec({name: _ALL[name] for name in ("count", "minutes", "day", "time")}))
