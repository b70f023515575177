"""How tools are shown: with examples worded as the model should write them."""

from __future__ import annotations

from typing import Any

import pytest
from planner_fakes import TODAY, asked, spec

from podium.inference.guided.toolset import ToolSet
from podium.inference.planner.call_lines import parse_call
from podium.inference.planner.parameters import parameters_of
from podium.inference.planner.shown import example_values, shown_tool
from podium.inference.planner.values import read_call

TEXT = {"type": "string"}
DATE = {"type": "string", "format": "date"}


def values(schema: dict[str, Any], request: str, argument: Any) -> dict[str, str]:
    tool = spec({"x": schema}, (request, {"x": argument}))
    return example_values(parameters_of(tool), tool.examples[0], TODAY)


@pytest.mark.parametrize(
    ("schema", "request_text", "argument", "said"),
    [
        (DATE, "a room on 5 January 2027", "2027-01-05", "5 January 2027"),
        (DATE, "a room tomorrow", "2026-11-22", "tomorrow"),
        (DATE, "a room on 2027-01-05", "2027-01-05", "2027-01-05"),
        (DATE, "a room someday", "2027-01-05", "2027-01-05"),
        ({"type": "string", "format": "time"}, "wake me at half past six", "06:30:00", "half past six"),
        ({"type": "integer"}, "a room for three people", 3, "three"),
        ({"type": "number"}, "pay 2.50 euros", 2.5, "2.5"),
        ({"type": "number"}, "pay a million and a bit", 1_200_000.0, "1200000"),
        ({"type": "boolean"}, "with a balcony", True, "yes"),
        ({"type": "boolean"}, "no balcony", False, "no"),
        ({"enum": ["one_way", "return"]}, "one way to Rome", "one_way", "one_way"),
        (TEXT, "weather in rome", "Rome", "rome"),
        (TEXT, "weather at home", "Rome", "Rome"),
        ({"type": "array", "items": TEXT}, "buy Milk and eggs", ["milk", "eggs"], "Milk, eggs"),
        ({"type": "array", "items": {"type": "integer"}}, "throw one, then two", [1, 2], "one, two"),
        ({"type": "object"}, "with extras", {"wine": True}, '{"wine": true}'),
        ({"type": "string", "x-podium-kind": "glob"}, "list all markdown files", "*.md", "markdown files"),
        (TEXT, "İİİ say Hello", "hello", "Hello"),
        (TEXT, "note two\nlines", "two\nlines", "two lines"),
    ],
)
def test_a_value_in_the_requests_own_words(schema: dict[str, Any], request_text: str, argument: Any, said: str) -> None:
    """So that the examples teach copying; what the request does not say is shown as it is."""
    shown = values(schema, request_text, argument)
    assert shown["x"].removeprefix("all ") == said


@pytest.mark.parametrize("argument", [None, [], ""])
def test_values_of_nothing_are_left_out(argument: Any) -> None:
    assert values(TEXT, "whatever", argument) == {}


TABLE = spec(
    {
        "guests": {"type": "integer"},
        "day": DATE,
        "outside": {"type": "boolean"},
        "to": {"type": "object", "properties": {"city": TEXT}},
        "dishes": {"type": "array", "items": TEXT},
    },
    (
        "a table for six in Rome\non 5 January 2027, outside, with soup and bread",
        {"guests": 6, "day": "2027-01-05", "outside": True, "to": {"city": "Rome"}, "dishes": ["soup", "bread"]},
    ),
    ("x" * 200, {"guests": 9}),
    ("dinner for two", {"guests": 2}),
    ("lunch for three", {"guests": 3}),
)


def test_a_shown_tool() -> None:
    """Two examples that are not too long, each on one line."""
    (tool,) = ToolSet([TABLE], TODAY).tools.values()
    shown = shown_tool(tool, TODAY)
    assert shown.name == "book"
    assert list(shown.parameters) == ["guests", "day", "outside", "to.city", "dishes"]
    assert shown.line.split("\n")[1:] == [
        "  a table for six in Rome on 5 January 2027, outside, with soup and bread => yes | guests: six | "
        "day: 5 January 2027 | outside: yes | to.city: Rome | dishes: soup, bread",
        "  dinner for two => yes | guests: two",
    ]


def test_what_an_example_shows_reads_back_as_its_arguments() -> None:
    """The model may write exactly what it is shown."""
    (tool,) = ToolSet([TABLE], TODAY).tools.values()
    shown, example = shown_tool(tool, TODAY), TABLE.examples[0]
    call = parse_call(shown.line.split("\n")[1].partition(" => ")[2], tuple(shown.parameters))
    assert call is not None
    assert read_call(call, shown.parameters, asked(example.request)).arguments == example.arguments
