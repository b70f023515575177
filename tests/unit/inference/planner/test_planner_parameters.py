"""A tool's arguments in a row."""

from __future__ import annotations

from typing import Any

import pytest
from planner_fakes import parameters, spec

from podium.inference.planner.parameters import MAX_SHOWN_OPTIONS, parameters_of

TEXT = {"type": "string"}


def test_nested_objects_become_dotted_names_in_the_schemas_order() -> None:
    """Required is what the whole way down is required."""
    address = {
        "type": "object",
        "properties": {
            "city": TEXT,
            "door": {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]},
        },
        "required": ["city"],
    }
    found = parameters({"to": address, "back": address, "note": TEXT}, required=["to"])
    assert [(p.name, p.required) for p in found.values()] == [
        ("to.city", True),
        ("to.door.number", False),
        ("back.city", False),
        ("back.door.number", False),
        ("note", False),
    ]
    assert found["to.door.number"].path == ("to", "door", "number")


def test_a_name_with_a_dot_of_its_own_is_no_path() -> None:
    assert parameters({"filter.status": TEXT})["filter.status"].path == ("filter.status",)


def test_a_reference_to_a_definition_is_flattened_as_what_it_stands_for() -> None:
    place = {"type": "object", "properties": {"city": TEXT}, "required": ["city"]}
    found = parameters({"to": {"$ref": "#/$defs/Place"}}, schema={"$defs": {"Place": place}})
    assert [(p.name, p.required) for p in found.values()] == [("to.city", True)]


def test_objects_without_known_parts_and_lists_of_objects_stay_whole() -> None:
    found = parameters(
        {
            "extra": {"type": "object"},
            "rows": {"type": "array", "items": {"type": "object", "properties": {"a": TEXT}}},
        }
    )
    assert {name: p.shown_kind for name, p in found.items()} == {"extra": "", "rows": "[text]"}


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        ({"type": "string"}, ""),
        ({"type": "boolean"}, "bool"),
        ({"type": "integer"}, "int"),
        ({"type": "number"}, "number"),
        ({"type": "string", "format": "date"}, "date"),
        ({"type": "string", "format": "time"}, "time"),
        ({"type": "string", "format": "date-time"}, "datetime"),
        ({"type": "string", "format": "uri"}, "url"),
        ({"type": "string", "format": "email"}, "email"),
        ({"type": "string", "x-podium-kind": "unit"}, "unit"),
        ({"type": "string", "x-podium-kind": "timezone"}, "timezone"),
        ({"type": "string", "x-podium-kind": "expression"}, "expression"),
        ({"type": "string", "x-podium-kind": "filename"}, "file"),
        ({"type": "string", "x-podium-kind": "glob"}, "pattern"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "int"),
        ({"type": ["null", "number"]}, "number"),
        ({"anyOf": [{"type": "null"}, {"type": "array", "items": {"type": "integer"}}]}, "[int]"),
        ({"type": "array", "items": {"type": "string"}}, "[text]"),
        ({"type": "array", "items": {"type": "string", "format": "date"}}, "[date]"),
        ({"type": "array", "items": {"enum": ["red", "blue"]}}, "[red/blue]"),
        ({"enum": ["sea", "garden"]}, "sea/garden"),
        ({"enum": [1, 2, 3]}, "1/2/3"),
        ({"const": "only"}, "only"),
    ],
)
def test_the_type_as_the_model_sees_it(schema: dict[str, Any], shown: str) -> None:
    assert parameters({"x": schema})["x"].shown_kind == shown


def test_a_long_enum_is_shown_as_text() -> None:
    """Twelve values are a choice; thirteen are written as the request has them."""
    twelve, thirteen = ([f"v{number}" for number in range(count)] for count in (MAX_SHOWN_OPTIONS, 13))
    found = parameters(
        {"a": {"enum": twelve}, "b": {"enum": thirteen}, "c": {"type": "array", "items": {"enum": thirteen}}}
    )
    assert found["a"].options == tuple(twelve)
    assert found["a"].shown_kind == "/".join(twelve)
    assert (found["b"].options, found["b"].shown_kind, found["c"].shown_kind) == ((), "", "[text]")
    assert len(found["b"].slot.options) == 13


def test_examples_tell_what_a_plain_string_is() -> None:
    """The readers look at the values that the tool's own examples give."""
    tool = spec({"when": TEXT}, ("on 5 January", {"when": "2027-01-05"}))
    assert [p.shown_kind for p in parameters_of(tool)] == ["date"]


def test_a_tool_without_arguments_has_no_parameters() -> None:
    assert parameters({}) == {}
