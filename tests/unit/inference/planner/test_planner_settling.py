"""Putting the model's copies right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from planner_fakes import asked, settled_line, shown, spec

from podium.inference.planner.call_lines import parse_call
from podium.inference.planner.lines import Line
from podium.inference.planner.settling import borne_out, moved, overlap

TEXT, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
DATE, TIME = {"type": "string", "format": "date"}, {"type": "string", "format": "time"}


def values(properties: Mapping[str, Any], line: str, request: str) -> dict[str, str]:
    """Return what is left of a written line, every parameter being required."""
    return dict(settled_line(shown(spec(properties)), line, asked(request)).call.values)


@pytest.mark.parametrize(
    ("properties", "line", "request_", "wanted"),
    [
        ({"amount": NUMBER}, "yes | amount: four", "move it by four point two", "four point two"),
        ({"amount": NUMBER}, "yes | amount: a half", "make it two and a half", "two and a half"),
        ({"minutes": INTEGER}, "yes | minutes: two", "remind me in two and a half hours", "two and a half hours"),
        ({"minutes": INTEGER}, "yes | minutes: hour", "nap for half an hour", "half an hour"),
        ({"day": DATE}, "yes | day: 3", "meet on 3 May 2027", "3 May 2027"),
        ({"day": DATE}, "yes | day: 3 May 2027 at 8:15 am", "on 3 May 2027 at 8:15 am please", "3 May 2027"),
        ({"time": TIME}, "yes | time: 8:15", "on 3 May 2027 at 8:15 am please", "8:15 am"),
        ({"day": DATE}, "yes | day: Friday", "meet next Friday", "next Friday"),
    ],
)
def test_a_copy_of_a_part_is_widened_and_a_longer_one_is_cut(
    properties: Mapping[str, Any], line: str, request_: str, wanted: str
) -> None:
    """To the whole number, length of time, day or time; of several to the one that it begins with."""
    (name,) = properties
    held = settled_line(shown(spec(properties)), line, asked(request_))
    assert dict(held.call.values) == {name: wanted}
    ((start, end),) = held.places[name]
    assert request_[start:end] == wanted
    assert held.stretches == [(start, end)]


@pytest.mark.parametrize(
    ("line", "request_", "wanted"),
    [
        ("the green lamp", "order the green lamp", "green lamp"),
        ("The green lamp", "order the green lamp", "green lamp"),
        ("The green lamp", "The green lamp, please", "green lamp"),
        ("The Old Mill", "book The Old Mill", "The Old Mill"),
        ("the lamp with the green shade", "order the lamp with the green shade", "the lamp with the green shade"),
        ("the sofa", "order a green lamp", "the sofa"),
    ],
)
def test_an_article_belongs_to_the_sentence(line: str, request_: str, wanted: str) -> None:
    """But for names that are written with one, and for what is longer than a name."""
    assert values({"what": TEXT}, f"yes | what: {line}", request_) == {"what": wanted}


def test_items_are_told_without_their_articles() -> None:
    told = values({"what": {"type": "array", "items": TEXT}}, "yes | what: a lamp, the pen", "send a lamp and the pen")
    assert told == {"what": "lamp, pen"}


def test_one_number_is_not_two_values() -> None:
    """The first takes it; the second is doubtful, unless the request says it once more."""
    properties = {"adults": INTEGER, "children": INTEGER}
    tool = shown(spec(properties))
    held = settled_line(tool, "yes | adults: two | children: two", asked("a room for two adults"))
    assert (dict(held.call.values), dict(held.doubtful)) == ({"adults": "two"}, {"children": "two"})
    held = settled_line(tool, "yes | adults: two | children: two", asked("for two adults and two children"))
    assert dict(held.places) == {"adults": ((4, 7),), "children": ((19, 22),)}


def test_a_number_in_a_date_is_no_count() -> None:
    for request in ("a table on 3 May 2027", "a table at 3:30 pm"):
        held = settled_line(shown(spec({"guests": INTEGER})), "yes | guests: 3", asked(request))
        assert (dict(held.call.values), dict(held.doubtful)) == ({}, {"guests": "3"})
    assert values({"guests": INTEGER}, "yes | guests: 3", "on 3 May 2027 for 3") == {"guests": "3"}


@pytest.mark.parametrize("name", ["distance", "distance_km"])
def test_numbers_with_units_of_another_kind(name: str) -> None:
    """Copied the wrong way round neither is held, whichever comes first."""
    tool = shown(spec({name: NUMBER, "minutes": INTEGER}))
    for line in (f"yes | {name}: 28 | minutes: 5", f"yes | minutes: 5 | {name}: 28"):
        held = settled_line(tool, line, asked("log 5 km in 28 minutes"))
        assert (dict(held.call.values), dict(held.doubtful)) == ({}, {name: "28", "minutes": "5"})
    held = settled_line(tool, f"yes | {name}: 5 | minutes: 28", asked("log 5 km in 28 minutes"))
    assert set(held.call.values) == {name, "minutes"}


def test_the_only_number_is_taken_whatever_its_unit() -> None:
    assert values({"distance": NUMBER}, "yes | distance: 28", "for 28 minutes") == {"distance": "28"}


@pytest.mark.parametrize(
    ("schema", "said", "request_", "left"),
    [
        (TEXT, "the old mill", "find the old mill", "old mill"),
        (TEXT, "my blue car", "sell my blue car", "blue car"),
        (TEXT, "The Old Mill", "find The Old Mill", "The Old Mill"),
        (TEXT, "the", "say the", "the"),
        (TEXT, "a tale of two cities", "read a tale of two cities", "a tale of two cities"),
        (TEXT, "theatre", "the theatre", "theatre"),
        ({"enum": ["a b", "c"]}, "a b", "take a b", "a b"),
        ({"type": "string", "x-podium-kind": "quoted"}, "the mill", 'find "the mill"', "the mill"),
    ],
)
def test_articles_before_short_copies_are_dropped(
    schema: Mapping[str, Any], said: str, request_: str, left: str
) -> None:
    """Not those of names, options and quotations, nor in longer texts."""
    assert values({"x": schema}, f"yes | x: {said}", request_) == {"x": left}


def test_what_is_said_by_a_sign_or_not_known_is_left() -> None:
    line = "yes | guests: ? | day: $"
    assert values({"guests": INTEGER, "day": DATE}, line, "a table") == {"guests": "?", "day": "$"}


def test_a_number_written_otherwise_is_known() -> None:
    """ "6" for "six" is no copy, but what the request says; "7" is not."""
    assert values({"guests": INTEGER}, "yes | guests: 6", "a table for six") == {"guests": "6"}
    assert values({"guests": INTEGER}, "yes | guests: 7", "a table for six") == {}


def test_values_that_the_request_does_not_say() -> None:
    """An optional one is dropped, a required one is doubtful."""
    tool = shown(spec({"guests": INTEGER, "day": DATE}, required=["guests"]))
    held = settled_line(tool, "yes | guests: 7 | day: tomorrow", asked("a table please"))
    assert (dict(held.call.values), dict(held.doubtful)) == ({}, {"guests": "7"})


def test_the_places_of_a_list() -> None:
    """Each item has its own."""
    tool = shown(spec({"days": {"type": "array", "items": DATE}}))
    held = settled_line(tool, "yes | days: Monday and Friday", asked("on Monday and Friday"))
    assert held.places["days"] == ((3, 9), (14, 20))


def guessed(said: str, logprob: float | None, *, required: bool = False) -> dict[str, str]:
    """Return what is borne out of a line with one value, which the model was that sure of."""
    tool = shown(spec({"colour": TEXT}, required=["colour"] if required else []))
    text = f"yes | colour: {said}"
    written = parse_call(text, ("colour",))
    assert written is not None
    tokens = () if logprob is None else ((3, 0.0), (len(text), logprob))
    return dict(borne_out(written, Line(text, 0.5, tokens), tool, asked("paint the Red door")).values)


@pytest.mark.parametrize(
    ("said", "logprob", "kept"),
    [
        ("blue", -3.0, False),
        ("blue", -0.1, True),
        ("blue", None, True),
        ("red", -3.0, True),
        ("?", -3.0, True),
        ("$", -3.0, True),
    ],
)
def test_an_unsure_value_that_the_request_does_not_hold_is_dropped(
    said: str, logprob: float | None, kept: bool
) -> None:
    """Only where it is optional: a required one is better than none."""
    assert bool(guessed(said, logprob)) is kept
    assert guessed(said, logprob, required=True) == {"colour": said}


def test_places() -> None:
    assert moved([(0, 2), (5, 6)], 3) == [(3, 5), (8, 9)]
    assert overlap((2, 4), [(0, 1), (3, 9)])
    assert not overlap((2, 4), [(0, 2), (4, 9)])
