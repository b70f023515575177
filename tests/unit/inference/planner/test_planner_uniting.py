"""Calls that are one wish, and calls that are two."""

from __future__ import annotations

from typing import Any

import pytest

from podium.inference.planner.uniting import united
from podium.inference.planner.values import ReadCall


def call(arguments: dict[str, Any], *unsaid: str, linked: tuple[str, ...] = ()) -> ReadCall:
    return ReadCall(arguments, unsaid, linked=linked)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ({"id": 4}, {"id": 4}, {"id": 4}),
        ({"id": 4, "to": {"a": 1}}, {"id": 4, "to": {"b": 2}}, {"id": 4, "to": {"a": 1, "b": 2}}),
        ({"animal": "Rex", "at": "09:00"}, {"animal": "rex"}, {"animal": "Rex", "at": "09:00"}),
        ({}, {"since": "2026-01-01"}, {"since": "2026-01-01"}),
    ],
)  # fmt: skip
def test_one_wish(one: dict[str, Any], other: dict[str, Any], both: dict[str, Any]) -> None:
    """Where nothing differs, and something is shared or one says nothing of its own; the first one's spelling stays."""
    assert united(call(one), call(other)) == call(both)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"id": 4}, {"id": 5}),
        ({"id": 4, "day": "2026-01-01"}, {"id": 4, "day": "2026-01-02"}),
        ({"to": {"city": "Rome"}}, {"to": {"city": "Oslo"}}),
        ({"status": "held"}, {"country": "Peru"}),
        ({"on": True}, {"on": False}),
        ({"names": ["a"]}, {"names": ["a", "b"]}),
    ],
)
def test_two_wishes(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Where a value differs, or two complete calls have nothing in common."""
    assert united(call(one), call(other)) is None


def test_what_one_lacks_the_other_says() -> None:
    assert united(call({"metric": "steps"}, "target"), call({"target": 8}, "metric")) == call(
        {"metric": "steps", "target": 8}
    )
    assert united(call({"a": 1}, "b", "c"), call({"b": 2}, "c")) == call({"a": 1, "b": 2}, "c")


def test_a_value_that_is_said_needs_no_result() -> None:
    linked = call({"day": "2026-01-01"}, linked=("account",))
    assert united(linked, call({"day": "2026-01-01", "account": "joint"})) == call(
        {"day": "2026-01-01", "account": "joint"}
    )
    assert united(linked, call({"day": "2026-01-01"})) == linked


def test_neither_call_is_changed() -> None:
    one, other = call({"to": {"city": "Rome"}}), call({"to": {"city": "Rome", "name": "Ann"}})
    assert united(one, other) is not None
    assert one == call({"to": {"city": "Rome"}})
    assert other == call({"to": {"city": "Rome", "name": "Ann"}})
