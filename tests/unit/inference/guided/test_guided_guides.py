"""The guides of guided planning are such as the engine host takes."""

from __future__ import annotations

import json
import re
from datetime import date

import pytest
from guided_fakes import spec
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.engine.guide_regex import check_pattern
from podium.inference.guided.filling import question_for
from podium.inference.guided.planner import PlannedCall
from podium.inference.guided.routing import readings
from podium.inference.guided.toolset import ToolSet

TODAY = date(2026, 11, 21)
OPTIONS = [
    "37 °C",
    "a/b",
    "50%",
    "x|y",
    "(none)",
    "[list]",
    "{0}",
    "C++",
    "a.b*c?",
    "^up$",
    "naïve",
    "“q”",
    '"',
    "\\",
    "€5-€10",
]


@pytest.mark.parametrize("option", OPTIONS)
def test_options_with_signs_in_them(option: str) -> None:
    """A sign that means nothing in a pattern is not escaped, for engines refuse such an escape."""
    pattern = _pattern(option)
    check_pattern(pattern)
    assert re.fullmatch(pattern, json.dumps({"level": option}, ensure_ascii=False, separators=(",", ":")))


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12))
def test_any_option(option: str) -> None:
    """Whatever it is made of."""
    pattern = _pattern(option)
    check_pattern(pattern)
    assert re.fullmatch(pattern, json.dumps({"level": option}, ensure_ascii=False, separators=(",", ":")))


def _pattern(option: str) -> str:
    tool = spec("set_level", "Set the level.", {"level": {"enum": [option, "other"]}})
    tools = ToolSet([tool], TODAY)
    (reading,) = readings(tools, tools.analyse("set the level"))
    return question_for(PlannedCall(reading)).guide.text
