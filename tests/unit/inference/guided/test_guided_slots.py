from __future__ import annotations

from typing import Any

import pytest

from podium.inference.guided.slots import SlotKind, name_words, slots_of


def kind_of(name: str, schema: dict[str, Any], *values: Any) -> SlotKind:
    (slot,) = slots_of({"properties": {name: schema}}, [{name: value} for value in values])
    return slot.kind


@pytest.mark.parametrize(
    ("name", "schema", "values", "kind"),
    [
        ("x", {"type": "string", "format": "date"}, [], SlotKind.DATE),
        ("x", {"type": "string", "x-podium-kind": "glob"}, [], SlotKind.GLOB),
        ("x", {"enum": ["a", "b"]}, [], SlotKind.ENUM),
        ("x", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, [], SlotKind.INTEGER),
        ("x", {"type": "string"}, ["2027-01-01"], SlotKind.DATE),
        ("x", {"type": "string"}, ["10:30"], SlotKind.TIME),
        ("x", {"type": "string"}, ["AB-12", "CD-99"], SlotKind.CODE),
        ("x", {"type": "string"}, ["a/b.md", "c.txt"], SlotKind.PATH),
        ("start_date", {"type": "string"}, [], SlotKind.DATE),
        ("home_city", {"type": "string"}, [], SlotKind.PLACE),
        ("recipient", {"type": "string"}, [], SlotKind.NAME),
        ("remark", {"type": "string"}, [], SlotKind.TEXT),
        ("x", {"type": "string", "description": "Name of the guest."}, [], SlotKind.NAME),
    ],
)
def test_an_arguments_kind_comes_from_schema_examples_and_name(
    name: str, schema: dict[str, Any], values: list[Any], kind: SlotKind
) -> None:
    """The schema says most, then the examples, then the name, then the description."""
    assert kind_of(name, schema, *values) is kind


def test_references_lists_and_nested_objects_are_followed() -> None:
    """`$ref`, arrays and objects become what they stand for."""
    schema = {
        "$defs": {"P": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
        "properties": {"to": {"$ref": "#/$defs/P"}, "tags": {"type": "array", "items": {"type": "number"}}},
        "required": ["to"],
    }
    place, tags = slots_of(schema)
    assert (place.kind, place.required, place.children[0].kind) == (SlotKind.OBJECT, True, SlotKind.PLACE)
    assert (tags.kind, tags.many, tags.required) == (SlotKind.NUMBER, True, False)


def test_identifiers_are_split_into_words() -> None:
    """Snake and camel case alike."""
    assert name_words("from_unit") == ["from", "unit"]
    assert name_words("maxMinutes") == ["max", "minutes"]


def test_a_schema_that_holds_itself_ends() -> None:
    """Where nobody would say more in a sentence; directly, in a list, and by way of another."""
    folder = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "inner": {"$ref": "#/$defs/folder"},
            "more": {"type": "array", "items": {"$ref": "#/$defs/folder"}},
            "maybe": {"anyOf": [{"$ref": "#/$defs/folder"}, {"type": "null"}]},
        },
        "required": ["name"],
    }
    (slot,) = slots_of({"properties": {"folder": {"$ref": "#/$defs/folder"}}, "$defs": {"folder": folder}})
    depth = 0
    while slot.children:
        assert [child.name for child in slot.children] == ["name", "inner", "more", "maybe"]
        slot, depth = slot.children[1], depth + 1
    assert (slot.kind, depth) == (SlotKind.OBJECT, 4)


def test_a_definition_that_is_only_itself() -> None:
    (slot,) = slots_of({"properties": {"x": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"$ref": "#/$defs/x"}}})
    assert slot.kind is SlotKind.TEXT
