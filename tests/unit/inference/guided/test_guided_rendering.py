from __future__ import annotations

import json
from typing import Any

import pytest
from guided_fakes import spec

from podium.inference.guided.answer import truthful
from podium.inference.guided.rendering import ResultView, joined, render


def view(value: Any, *, ok: bool = True, tool: str = "weather_forecast", **arguments: Any) -> ResultView:
    return ResultView(tool, arguments, value if isinstance(value, str) else json.dumps(value), ok)


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (view({"expression": "19 * 21", "result": 399}, tool="sums", expression="19 * 21"), "Sums (19 * 21): 399."),
        (
            view({"city": "Oslo", "sky": "clear", "low": -2.0}, city="Oslo"),
            "Weather forecast (Oslo): sky clear, low -2.",
        ),
        (view("rain", city="Oslo"), "Weather forecast (Oslo): rain."),
        (view([], city="Oslo"), "Weather forecast (Oslo): nothing found."),
        (
            view([{"day": "Mon", "low": 3}, {"day": "Tue", "low": 4}]),
            "Weather forecast:\n- Mon (low: 3)\n- Tue (low: 4)",
        ),
        (view(None), "Weather forecast: done."),
        (view(True), "Weather forecast: yes."),
        (view("the city is unknown.", ok=False, city="X"), "Weather forecast (X) failed: the city is unknown."),
    ],
)
def test_results_are_told_in_plain_words(result: ResultView, told: str) -> None:
    """Arguments are not repeated, failures are told as such, lists become lists."""
    assert render(result) == told


def test_a_tool_may_say_how_its_result_reads() -> None:
    """`x-podium-answer` in the output schema is a template over the result's fields."""
    tool = spec("clock", "Tell the time.", {}, output_schema={"x-podium-answer": "In {city} it is {time}."})
    told = ResultView("clock", {}, json.dumps({"city": "Oslo", "time": "10:00"}), True, tool)
    assert render(told) == "In Oslo it is 10:00."
    lacking = ResultView("clock", {}, json.dumps({"city": "Oslo"}), True, tool)
    assert render(lacking) == "Clock: city Oslo."


def test_short_results_make_a_paragraph_and_long_ones_lines() -> None:
    """Two facts read as two sentences; lists keep their lines."""
    assert joined([render(view(1)), render(view(2))]) == "Weather forecast: 1. Weather forecast: 2."
    assert "\n" in joined([render(view(1)), render(view([1, 2, 3]))])


def test_a_flood_is_cut() -> None:
    """However long the result, the answer stays readable."""
    assert len(render(view({"content": "word " * 100_000}))) < 2000
    assert len(render(view(list(range(100_000))))) < 2000


@pytest.mark.parametrize(
    ("answer", "holds"),
    [
        ("It is 12 degrees in Oslo.", True),
        ("It is 13 degrees in Oslo.", False),
        ("It is 12 degrees in Bergen.", False),
        ("It is nice there.", False),
        ("", False),
    ],
)
def test_numbers_and_names_of_an_answer_must_occur_in_the_results(answer: str, holds: bool) -> None:
    """What the results and the request do not say must not be said, and every result must be."""
    assert truthful(answer, "weather in Oslo?", [view({"degrees": 12}, city="Oslo")]) is holds


def test_a_failed_call_is_never_left_to_the_model() -> None:
    """Failures are told by rendering."""
    assert not truthful("It is 12 degrees.", "weather?", [view("12", ok=False)])
