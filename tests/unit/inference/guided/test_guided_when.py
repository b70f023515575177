from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.inference.guided.when import DATE_PATTERN, TIME_PATTERN, resolve_date, resolve_time

TODAY = date(2026, 11, 21)  # a Saturday


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("3 May 2027", "2027-05-03"),
        ("May 3rd", "2026-05-03"),
        ("the 5th of June 2027", "2027-06-05"),
        ("2027-01-09", "2027-01-09"),
        ("1/2/2027", "2027-01-02"),
        ("25/12/2026", "2026-12-25"),
        ("25.12.2026", "2026-12-25"),
        ("tomorrow", "2026-11-22"),
        ("day after tomorrow", "2026-11-23"),
        ("next Friday", "2026-11-27"),
        ("in 3 days", "2026-11-24"),
        ("two weeks ago", "2026-11-07"),
        ("next month", "2026-12-21"),
        ("Christmas Eve", "2026-12-24"),
    ],
)
def test_a_date_means_its_day(text: str, day: str) -> None:
    """Written, named and relative dates resolve to the day that a person means."""
    found = DATE_PATTERN.search(text)
    assert found is not None
    assert str(resolve_date(found[0], TODAY)) == day


@pytest.mark.parametrize("text", ["31 February 2027", "2027-13-40"])
def test_an_impossible_date_means_nothing(text: str) -> None:
    """A day that no calendar has is no date."""
    assert resolve_date(text, TODAY) is None


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("10:30", "10:30"),
        ("3pm", "15:00"),
        ("12 am", "00:00"),
        ("half past three", "03:30"),
        ("half past six in the evening", "18:30"),
        ("quarter to two in the afternoon", "13:45"),
        ("ten in the morning", "10:00"),
        ("9 at night", "21:00"),
        ("3 at night", "03:00"),
        ("08:30 in the evening", "08:30"),
        ("12 in the afternoon", "12:00"),
        ("quarter to 9", "08:45"),
        ("twenty past 4", "04:20"),
        ("noon", "12:00"),
        ("midnight", "00:00"),
        ("7 o'clock", "07:00"),
        ("5 p.m.", "17:00"),
    ],
)
def test_a_time_means_its_minute(text: str, time: str) -> None:
    """Times of day resolve to 24 hours."""
    found = TIME_PATTERN.search(text)
    assert found is not None
    assert resolve_time(found[0]) == time


@given(st.dates(min_value=date(1000, 1, 1), max_value=date(9000, 1, 1)))
def test_an_iso_date_means_itself(day: date) -> None:
    """ISO dates are read back as they are."""
    assert resolve_date(day.isoformat(), TODAY) == day
