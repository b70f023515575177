"""What is mended in arguments, what is not, and the types of values that were written without quotes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.inference.dialects.values import arguments_json, keyword_arguments_json, typed_value


@pytest.mark.parametrize(
    ("raw", "mended"),
    [
        ('{"a": 1,}', b'{"a": 1}'),
        ('{"a": [1, 2, ], }', b'{"a": [1, 2]}'),
        ('{"a": ",]"}', b'{"a": ",]"}'),
        ('{"a": "x\ny"}', b'{"a": "x\\ny"}'),
        ("null", b"{}"),
        ('"{\\"a\\": 1}"', b'{"a": 1}'),
        ('{"a": 1, "a": 2}', b'{"a": 1, "a": 2}'),
        ('{"a": "\\ud800",}', b'{"a": "\\ud800"}'),
    ],
)
def test_what_is_unambiguous_is_mended(raw: str, mended: bytes) -> None:
    assert arguments_json(raw) == mended


@pytest.mark.parametrize("raw", ["{'a': 1}", '{"a": }', '{"a": 1} {"b"', "12", '"text"', "[1]", "[" * 5000, '{"a": 1'])
def test_the_rest_stays_as_it_was_written(raw: str) -> None:
    """The tool layer refuses it, and the model reads why."""
    assert arguments_json(raw) == raw.encode()


@given(st.text())
def test_mending_never_fails(raw: str) -> None:
    assert isinstance(arguments_json(raw), bytes)
    assert isinstance(keyword_arguments_json(raw), bytes)


@pytest.mark.parametrize(
    "raw", ["1, 2", "a=b", "a=open('x')", "**x", "a=1, a=2", "a=(", "a={1: 2}", "a=b'x'", "a=1)(b=2"]
)
def test_python_that_is_no_json_stays_as_it_was_written(raw: str) -> None:
    assert keyword_arguments_json(raw) == raw.encode()


@pytest.mark.parametrize(
    ("raw", "schema", "value"),
    [
        ("12", {"type": "string"}, "12"),
        ("12", {"type": "integer"}, 12),
        ("12", {"type": "number"}, 12),
        ("1.5", {"type": "integer"}, "1.5"),
        ("True", {"type": "boolean"}, True),
        ("None", {"type": ["string", "null"]}, "None"),
        ("null", {"type": ["string", "null"]}, None),
        ("12", {"type": ["string", "null"]}, "12"),
        ("12", {}, 12),
        ("hello", {}, "hello"),
        ("12", {"enum": ["12", "13"]}, "12"),
        ("12", {"const": 12}, 12),
        ("[1]", {"$ref": "#/$defs/list"}, [1]),
        ("12", {"$ref": "#/$defs/loop"}, 12),
        ("12", {"anyOf": [{"type": "string"}, {"type": "null"}]}, "12"),
        ("12", {"anyOf": [{"type": "string"}, {"type": "integer"}]}, 12),
        ("{oops", {"type": "object"}, "{oops"),
    ],
)
def test_types_come_from_the_schema(raw: str, schema: dict[str, Any], value: object) -> None:
    root = {"properties": {"x": schema}, "$defs": {"list": {"type": "array"}, "loop": {"$ref": "#/$defs/loop"}}}
    found = typed_value(raw, root, "x")
    assert found == value
    assert type(found) is type(value)


def test_an_unknown_argument_is_read_as_it_looks() -> None:
    assert typed_value('{"a": 1}', {}, "x") == {"a": 1}
    assert typed_value("word", {"properties": {}}, "x") == "word"
    assert json.loads(arguments_json("{}")) == {}
