"""Units of measure, and numbers for arguments that count in one."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from podium.inference.guided.candidates import candidates_for
from podium.inference.guided.measures import counted_in, measure
from podium.inference.guided.slots import name_words, slots_of
from podium.inference.guided.utterance import analyse

TODAY = date(2026, 11, 21)


@pytest.mark.parametrize(
    ("word", "family", "size"),
    [
        ("second", "time", 1),
        ("minutes", "time", 60),
        ("min", "time", 60),
        ("mins", "time", 60),
        ("hrs", "time", 3600),
        ("Days", "time", 86400),
        ("fortnight", "time", 1209600),
        ("g", "mass", 1),
        ("kg", "mass", 1000),
        ("kilos", "mass", 1000),
        ("lbs", "mass", 453.59237),
        ("ounces", "mass", 28.349523125),
        ("km", "length", 1000),
        ("kilometers", "length", 1000),
        ("feet", "length", 0.3048),
        ("inches", "length", 0.0254),
        ("ML", "volume", 0.001),
        ("liters", "volume", 1),
    ],
)
def test_units_and_their_sizes(word: str, family: str, size: float) -> None:
    """In the singular and the plural, in full and short."""
    assert measure(word) == (family, size)


@pytest.mark.parametrize("word", ["", "s", "ss", "guest", "mi les", "degrees", "minutely"])
def test_words_that_are_no_unit(word: str) -> None:
    assert measure(word) is None


MINUTES, GRAMS, DAYS = ("time", 60), ("mass", 1), ("time", 86400)


@pytest.mark.parametrize(
    ("name", "words", "unit"),
    [
        ("max_minutes", "", MINUTES),
        ("days", "", DAYS),
        ("weight_kg", "", ("mass", 1000)),
        ("weight", "Weight in grams", GRAMS),
        ("maxMinutes", "how long in seconds", MINUTES),
        ("times_per_day", "", None),
        ("doses_each_week", "", None),
        ("days_per_week", "", DAYS),
        ("times_a_day", "", None),
        ("guests", "people in all", None),
        ("m", "", None),
        ("", "in", None),
    ],
)
def test_what_an_argument_counts_in(name: str, words: str, unit: tuple[str, float] | None) -> None:
    """Its name says it before its description; what stands behind "per" it does not count."""
    assert counted_in(name_words(name), words.lower().split()) == unit


def best(text: str, name: str, kind: str = "number", description: str = "") -> Any:
    """Return the best number that a request holds for an argument; None for none."""
    (slot,) = slots_of({"properties": {name: {"type": kind, "description": description}}})
    found = [candidate for candidate in candidates_for(slot, analyse(text, TODAY)) if candidate.end > candidate.start]
    return max(found, key=lambda candidate: candidate.fit).value if found else None


@pytest.mark.parametrize(
    ("text", "name", "number"),
    [
        ("2 kg of flour", "grams", 2000),
        ("500 g of flour", "weight_kg", 0.5),
        ("2 kg of flour", "kg", 2),
        ("a run of 5 km", "distance_m", 5),
        ("a run of 5 km", "distance_metres", 5000),
        ("half an hour of yoga", "minutes", 30),
        ("two and a half hours of yoga", "minutes", 150),
        ("a week in Rome", "days", 7),
        ("5 km", "minutes", 5),
        ("750 ml of milk", "litres", 0.75),
        ("6 feet", "height_cm", 182.88),
    ],
)
def test_amounts_are_converted(text: str, name: str, number: float) -> None:
    """Within a family of units; what is of another family is taken as it stands."""
    assert best(text, name) == number


def test_a_unit_may_be_told_in_the_description() -> None:
    assert best("2 kg of flour", "weight", "integer", "Weight in grams.") == 2000


@pytest.mark.parametrize(
    ("text", "number"),
    [("twice a day", 2), ("once daily", 1), ("thrice a week", 3), ("two times a day", 2), ("3 times a day", 3)],
)
def test_how_often(text: str, number: int) -> None:
    """Words for how often are counts, and the "day" behind them is none."""
    assert best(f"take it {text}", "times_per_day", "integer") == number


@pytest.mark.parametrize("text", ["twice a day", "20 a day", "50 mg a day", "two doses a day", "3 times a day"])
def test_a_rate_is_no_length_of_time(text: str) -> None:
    """ "A day" is one day, but not behind what happens in it."""
    (slot,) = slots_of({"properties": {"days": {"type": "integer"}}})
    found = candidates_for(slot, analyse(f"take {text}", TODAY))
    assert not [candidate for candidate in found if candidate.fit > 1.2]
    assert best("take it for a day", "days", "integer") == 1
