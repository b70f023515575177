"""A model's wording of a fact, held against the fact."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.inference.guided.wording import same_fact, wordable, wording_messages

BERLIN = "In Europe/Berlin it is Saturday, 21 November 2026, 13:20 (UTC+01:00)."


@pytest.mark.parametrize(
    ("sentence", "fact"),
    [
        ("19 * 21 is 399.", "19 * 21 = 399."),
        ("5 miles are 8.04672 kilometers.", "5 mile = 8.04672 kilometer."),
        ("It is 21 November 2026, 13:20 in Berlin.", BERLIN),
        ("In Berlin it is 13:20 on 21 November 2026 (UTC+01:00).", BERLIN),
        ("It is 96 days from 2026-03-01 to 2026-06-05.", "From 2026-03-01 to 2026-06-05 it is 96 days."),
    ],
)
def test_wordings_that_say_the_same(sentence: str, fact: str) -> None:
    """Other words around the same figures and names pass."""
    assert same_fact(sentence, fact)


@pytest.mark.parametrize(
    ("sentence", "fact"),
    [
        ("19 is 21.", "19 * 21 = 399."),
        ("15 / 100 is 0.15.", "15 / 100 * 240 = 36."),
        ("In Berlin it is 21 November 2026, 21 November 2026.", BERLIN),
        ("It is 13:20 on 21 November 2026 in Munich.", BERLIN),
        ("It is 21:30 in Berlin.", BERLIN),
        ("100 fahrenheit is 3.77777778 celsius.", "100 fahrenheit = 37.77777778 celsius."),
        ("2 pounds are 0.907184 kilograms.", BERLIN),
        ("", BERLIN),
        ("19 * 21 is 399.\nAnd more.", "19 * 21 = 399."),
    ],
)
def test_slips_and_inventions_are_caught(sentence: str, fact: str) -> None:
    """A figure lost, changed, doubled or made up, or a name from nowhere, is refused."""
    assert not same_fact(sentence, fact)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_changed_figure_never_passes(right: int, wrong: int) -> None:
    """Whatever the figures: the same passes, another does not."""
    assert same_fact(f"It is {wrong} days.", f"it is {right} days.") == (right == wrong)


def test_only_short_facts_with_figures_are_worded() -> None:
    """Lists, long texts and facts without figures are told as they are."""
    assert wordable(BERLIN)
    assert not wordable("a\nb 1")
    assert not wordable("no figure here")
    assert not wordable("x" * 200 + "1")
    assert wording_messages(BERLIN)[-1] == {"role": "user", "content": BERLIN}
