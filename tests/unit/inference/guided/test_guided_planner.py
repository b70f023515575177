from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from guided_fakes import CLOCK, LENGTHS, ROOMS, SUMS, TOOLS, only, spec
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.inference.guided.planner import plan_request
from podium.inference.guided.toolset import ToolSet
from podium.orchestration.tool import ToolSpec

TODAY = date(2026, 11, 21)
SET = ToolSet(TOOLS, TODAY)
SAMPLE = "convert 5 km to miles and what is 3 + 4 time in Rome , . book room for 2 on 2027-01-01 'x y'"
WORDS = st.sampled_from(SAMPLE.split(" "))


def calls(text: str, tools: ToolSet = SET) -> list[tuple[str, dict[str, Any]]]:
    plan = plan_request(tools, text)
    return [(call.tool, {**call.borrowed, **call.reading.assignments[0].values}) for call in plan.calls]


def length(value: float, first: str, second: str) -> tuple[str, dict[str, Any]]:
    return "lengths", {"value": value, "from_unit": first, "to_unit": second}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("what is 3 plus 4", [("sums", {"expression": "3 plus 4"})]),
        ("convert 5 miles to km", [length(5, "miles", "km")]),
        ("how many feet are 12 yards", [length(12, "yards", "feet")]),
        ("time in Oslo please", [("clock", {"city": "Oslo"})]),
        ("book a room for four on 3 May 2027", [("rooms", {"people": 4, "day": "2027-05-03"})]),
        (
            "book a room with sea view and balcony for 2 on 2027-06-01",
            [("rooms", {"people": 2, "day": "2027-06-01", "view": "sea", "balcony": True})],
        ),
    ],
)
def test_one_call_with_its_arguments(text: str, expected: list[Any]) -> None:
    """Single requests become one call; optional arguments appear on evidence only."""
    assert calls(text) == expected


def test_independent_requests_are_split() -> None:
    """Two clauses, two tools."""
    assert calls("What is 19 * 21 and what time is it in Berlin?") == [
        ("sums", {"expression": "19 * 21"}),
        ("clock", {"city": "Berlin"}),
    ]


def test_a_list_of_objects_shares_the_verb() -> None:
    """ "... in Rome and Tokyo" asks twice."""
    assert calls("what time is it in Rome, Tokyo and in Lima") == [
        ("clock", {"city": city}) for city in ("Rome", "Tokyo", "Lima")
    ]


def test_what_is_said_once_is_lent_to_both() -> None:
    """The unit stands behind the second amount, or the amount before the second unit."""
    assert calls("convert 5 miles and 10 miles to km") == [length(5, "miles", "km"), length(10, "miles", "km")]
    assert calls("convert 20 km to miles and to feet") == [length(20, "km", "miles"), length(20, "km", "feet")]


@pytest.mark.parametrize("text", ["Who wrote Hamlet?", "Hello!", "Write a poem about the sea.", "", "   ", "?!", "and"])
def test_talk_needs_no_tool(text: str) -> None:
    """No call is made up where none is asked for."""
    assert calls(text) == []


def test_no_tools_no_calls() -> None:
    """An empty set plans nothing."""
    assert calls("what is 3 plus 4", ToolSet((), TODAY)) == []


def test_a_reading_that_the_tool_refuses_is_not_taken() -> None:
    """The tool's own normaliser decides what is a city."""
    picky = replace(CLOCK, normalise=only("Paris|Lima|Oslo", "city"))
    tools = ToolSet((SUMS, picky), TODAY)
    assert calls("time in Oslo", tools) == [("clock", {"city": "Oslo"})]
    assert calls("a song for Nowhere", tools) == []


def test_what_a_tool_refuses_is_passed_on_when_the_tool_is_sure() -> None:
    """The tool's own complaint tells a person more than silence or a guess."""
    picky = replace(CLOCK, normalise=only("Paris|Lima|Oslo", "city"))
    assert calls("what time is it in Nowhere", ToolSet((SUMS, picky), TODAY)) == [("clock", {"city": "Nowhere"})]


def test_a_tool_without_examples_is_found_by_its_words() -> None:
    """Name, description and parameter names suffice for a plain request."""
    taxi = spec("order_taxi", "Order a taxi.", {"origin": {"type": "string"}, "destination": {"type": "string"}})
    assert calls("order a taxi from Soho to Camden", ToolSet((SUMS, taxi), TODAY)) == [
        ("order_taxi", {"origin": "Soho", "destination": "Camden"})
    ]


def test_lists_and_nested_objects_are_filled() -> None:
    """List arguments take all that is named; parts of an object are found one by one."""
    cook = spec(
        "cook", "Find recipes.", {"ingredients": {"type": "array", "items": {"type": "string"}}},
        ("what can I cook with eggs and spinach", {"ingredients": ["eggs", "spinach"]}),
    )  # fmt: skip
    assert calls("what can I cook with rice, beans and corn", ToolSet((cook, SUMS), TODAY)) == [
        ("cook", {"ingredients": ["rice", "beans", "corn"]})
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, max_size=25).map(" ".join))
def test_planning_never_fails_and_only_names_offered_tools(text: str) -> None:
    """Any jumble of words is planned, and every value of a call is of its argument's type."""
    names = {tool.name for tool in TOOLS}
    for tool, arguments in calls(text):
        assert tool in names
        assert set(arguments) <= set(next(s for s in TOOLS if s.name == tool).input_schema["properties"])


def test_a_very_long_request_is_planned_whole() -> None:
    """Somebody's long text is passed on whole, and not cut up."""
    count = spec(
        "count_words", "Count the words of a text.", {"text": {"type": "string", "x-podium-kind": "quoted"}},
        ("how many words are in 'a b c'", {"text": "a b c"}),
    )  # fmt: skip
    text = "lorem ipsum, and dolor. " * 1300
    found = calls(f'How many words are in "{text}"?', ToolSet((count, SUMS), TODAY))
    assert found == [("count_words", {"text": text})]


def test_the_tools_are_never_named_by_the_planner() -> None:
    """Renaming every tool changes the names in the plan and nothing else."""
    renamed = [
        ToolSpec(name=f"zz{n}", description=s.description, input_schema=s.input_schema, examples=s.examples)
        for n, s in enumerate((SUMS, CLOCK, LENGTHS, ROOMS))
    ]
    told = calls("what is 3 plus 4 and the time in Oslo", ToolSet(renamed, TODAY))
    assert told == [("zz0", {"expression": "3 plus 4"}), ("zz1", {"city": "Oslo"})]


@pytest.mark.parametrize(("said", "level"), [("set the level to 1e999", []), ("set the level to 5 in Rome", [5])])
def test_what_is_no_number_or_no_pattern_of_ours_stops_nothing(said: str, level: list[int]) -> None:
    """A number without end, and a schema's pattern that is not Python's."""
    properties = {"level": {"type": "integer"}, "place": {"type": "string", "pattern": r"\p{Lu}"}}
    tools = ToolSet([spec("set_level", "Set the level.", properties, required=["level"])], date(2026, 11, 21))
    calls = plan_request(tools, said).calls
    assert [call.reading.assignments[0].values["level"] for call in calls] == level
