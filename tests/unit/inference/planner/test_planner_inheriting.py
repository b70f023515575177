"""What a call takes from other calls."""

from __future__ import annotations

from typing import Any

import pytest
from planner_fakes import shown, spec

from podium.inference.planner.inheriting import inherited
from podium.inference.planner.values import ReadCall

TEXT, INTEGER = {"type": "string"}, {"type": "integer"}
DAY = {"type": "string", "format": "date"}
COMPLAIN = shown(spec({"order": INTEGER, "garment": TEXT}, name="complain"))
ASK = shown(spec({"order": INTEGER}, name="ask"))
VISIT = shown(spec({"animal": {"type": "object", "properties": {"name": TEXT}, "required": ["name"]}}, name="visit"))
WEIGH = shown(spec({"name": TEXT, "day": DAY}, name="weigh"))


def lacking(arguments: dict[str, Any], *unsaid: str) -> ReadCall:
    return ReadCall(arguments, unsaid)


def test_a_call_of_the_same_tool_tells_what_is_lacking() -> None:
    """The first that has it; and goes before calls of other tools."""
    call = lacking({"garment": "shirt"}, "order")
    donors = [
        (ASK, ReadCall({"order": 1})),
        (COMPLAIN, lacking({"garment": "coat"}, "order")),
        (COMPLAIN, ReadCall({"order": 2, "garment": "trousers"})),
        (COMPLAIN, ReadCall({"order": 3, "garment": "hat"})),
    ]
    assert inherited(call, COMPLAIN, donors) == ReadCall({"order": 2, "garment": "shirt"})
    assert call == lacking({"garment": "shirt"}, "order")


def test_an_argument_of_the_same_name_and_kind_of_another_tool() -> None:
    assert inherited(lacking({"garment": "shirt"}, "order"), COMPLAIN, [(ASK, ReadCall({"order": 1}))]) == ReadCall(
        {"order": 1, "garment": "shirt"}
    )
    assert inherited(lacking({}, "name", "day"), WEIGH, [(VISIT, ReadCall({"animal": {"name": "Rex"}}))]) == lacking(
        {"name": "Rex"}, "day"
    )
    assert inherited(lacking({"animal": {}}, "animal.name"), VISIT, [(WEIGH, ReadCall({"name": "Rex"}))]) == ReadCall(
        {"animal": {"name": "Rex"}}
    )


@pytest.mark.parametrize("kind", [TEXT, {"type": "array", "items": INTEGER}, {"type": "integer", "enum": [1, 2]}])
def test_another_kind_of_argument_is_another_thing(kind: dict[str, Any]) -> None:
    call = lacking({"garment": "shirt"}, "order")
    other = shown(spec({"order": kind}, name="other"))
    assert inherited(call, COMPLAIN, [(other, ReadCall({"order": 1}))]) == call


def test_nothing_is_inherited_that_is_to_stay_open() -> None:
    call = lacking({"garment": "shirt"}, "order")
    assert inherited(call, COMPLAIN, [(ASK, ReadCall({"order": 1}))], except_for=("order",)) == call
    assert inherited(call, COMPLAIN, []) == call


def test_what_a_call_has_stays() -> None:
    call = ReadCall({"order": 4, "garment": "shirt"}, (), ("note",), ("link",))
    assert inherited(call, COMPLAIN, [(COMPLAIN, ReadCall({"order": 5, "garment": "hat"}))]) == call
