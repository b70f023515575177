"""Templates of requests: alternatives, optional parts, slots, and how people write values and sentences."""

from __future__ import annotations

import random
import re

import pytest

from training.cards import Argument, CardError
from training.expand import Piece, Request, choose, expand
from training.said import say
from training.wording import joined, roughened

CITY = Argument(("city",), "text", True, "where", values=("Oslo", "Lyon", "Cork"))
UNITS = {"feet": ("feet", "ft"), "metres": ("metres",)}
FROM = Argument(("source",), "enum", True, "from", options=UNITS)
TO = Argument(("target",), "enum", True, "to", options=UNITS)


def every(template: str) -> set[str]:
    return {choose(template, random.Random(seed)) for seed in range(200)}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("(book|get) it", {"book it", "get it"}),
        ("book it[ now]", {"book it", "book it now"}),
        ("(book[ me]|get) it", {"book it", "book me it", "get it"}),
        ("go[ (at once|now)]", {"go", "go at once", "go now"}),
        ("((a|b)|c)", {"a", "b", "c"}),
        ("[a[b]]", {"", "a", "ab"}),
        ("(a|)b", {"ab", "b"}),
        ("in {city}", {"in {city}"}),
    ],
)
def test_every_way_to_settle_a_template_comes_up_and_no_other(template: str, expected: set[str]) -> None:
    assert every(template) == expected


def test_a_slot_holds_a_value_of_its_argument() -> None:
    made = {expand("go to {city} now", [CITY], random.Random(seed)).text for seed in range(60)}
    assert made == {"go to Oslo now", "go to Lyon now", "go to Cork now"}


def test_values_are_told_by_slot() -> None:
    request = expand("{source} to {target} in {city}", [CITY, FROM, TO], random.Random(1))
    assert request.values["city"] in CITY.values
    assert request.values["source"] in UNITS
    assert request.fixed == {name: request.values[name] for name in ("source", "target")}


def test_two_slots_of_one_argument_differ() -> None:
    for seed in range(60):
        values = expand("{city#1} or {city#2}", [CITY], random.Random(seed)).values
        assert values["city#1"] != values["city#2"]


def test_two_alike_enums_differ() -> None:
    for seed in range(60):
        values = expand("from {source} to {target}", [FROM, TO], random.Random(seed)).values
        assert values["source"] != values["target"]


def test_a_slot_that_stands_twice_says_the_same_and_counts_once() -> None:
    request = expand("{city}, yes {city}", [CITY], random.Random(3))
    first, _, second = request.text.partition(", yes ")
    assert first == second == request.values["city"]
    assert [piece.slot for piece in request.pieces].count("city") == 1


def test_a_list_gives_its_items_apart() -> None:
    argument = Argument(("cities",), "list text", True, "where", values=("Oslo", "Lyon", "Cork", "Bath"))
    for seed in range(40):
        request = expand("via {cities}", [argument], random.Random(seed))
        items = request.values["cities"]
        assert isinstance(items, list)
        assert len(items) == len(set(items)) >= 1
        assert re.split(r", and |, | and | & ", request.text.removeprefix("via ")) == items


def test_an_unknown_slot_is_an_error() -> None:
    with pytest.raises(CardError, match="no argument 'town'"):
        expand("in {town}", [CITY], random.Random(0))


def test_gaps_of_left_out_parts_are_closed() -> None:
    made = {expand("go [fast] to {city} [now] , [please] !", [CITY], random.Random(seed)).text for seed in range(80)}
    assert not [text for text in made if re.search(r"  | [,!]|^ | $", text)]


def test_no_second_preposition_stands_before_a_day() -> None:
    day = Argument(("day",), "date", True, "day")
    for before in ("from", "on", "by", "until"):
        for seed in range(60):
            text = expand(f"{before} {{day}}", [day], random.Random(seed)).text
            assert not re.search(rf"\b{before} (on|in)\b", text), text


@pytest.mark.parametrize("kind", ["integer", "number", "date", "time", "datetime", "email", "url", "code"])
def test_values_come_in_many_forms(kind: str) -> None:
    argument = Argument(("it",), kind, True, "it", low=1, high=5000)
    rng = random.Random(0)
    forms = {re.sub(r"\d+", "0", "".join(text for text, _ in say(argument, "", rng)[1])) for _ in range(200)}
    assert len(forms) >= 4


def test_rough_wording_leaves_every_value_as_it_stands_in_the_request() -> None:
    whole = expand("Please convert {source} to {target} for {city}, thank you.", [CITY, FROM, TO], random.Random(5))
    texts = set()
    for seed in range(200):
        request = roughened(whole, random.Random(seed))
        texts.add(request.text)
        assert request.values["city"] in request.text
        assert request.values["source"] == whole.values["source"]
    assert len(texts) > 40


def test_joined_wishes_keep_their_slots_apart() -> None:
    one = Request([Piece("Go to "), Piece("Oslo", "city"), Piece(".")])
    two = Request([Piece("Convert to "), Piece("ft", "target")], {"target": "feet"})
    for seed in range(40):
        request = joined([one, two], random.Random(seed))
        assert request.values == {"city@0": "Oslo", "target@1": "feet"}
        assert not re.search(r"[.!?] *(,|;|and\b)", request.text)


def test_options_of_a_list_are_told_by_their_names() -> None:
    """However the request says them, and whatever was done to its letters; one is a list, too."""
    units = Argument(("units",), "list enum", True, "which", options=UNITS | {"yards": ("yd",)})
    told: set[tuple[str, ...]] = set()
    for seed in range(60):
        rng = random.Random(seed)
        request = roughened(expand("in {units} please", (units,), rng), rng)
        value = request.values["units"]
        assert isinstance(value, list)
        assert set(value) <= {"feet", "metres", "yards"}
        assert len(value) == len(set(value)) == len([piece for piece in request.pieces if piece.slot])
        told.add(tuple(value))
    assert {len(value) for value in told} == {1, 2, 3}


def test_a_list_may_have_one_item() -> None:
    cities = Argument(("cities",), "list text", True, "where", values=CITY.values)
    made = [expand("to {cities}", (cities,), random.Random(seed)) for seed in range(40)]
    assert {len(request.values["cities"]) for request in made} >= {1, 2, 3}
    assert all(
        "".join(request.values["cities"]) in request.text for request in made if len(request.values["cities"]) == 1
    )
