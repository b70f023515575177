"""Options that the model wrote, and those that the request's words are nearer to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from planner_fakes import asked, shown, spec

from podium.inference.guided.vectors import WordVectors
from podium.inference.planner.call_lines import parse_call
from podium.inference.planner.lines import Line
from podium.inference.planner.weighing import weighed

# Teeth are dental, and a little like a checkup.
WORDS = ["dental", "teeth", "checkup", "dry", "cleaning", "ironing", "iron", "the"]
VECTORS = WordVectors(
    WORDS,
    np.array(
        [[1, 0, 0], [0.9, 0.1, 0], [0.2, 0.9, 0], [0, 0.5, 0.8], [0, 0, 1], [0.6, 0, -0.8], [0.5, 0, -0.8], [1, 0, 0]],
        np.float32,
    ),
)
TEXT = {"type": "string"}
REASON = {"type": "string", "enum": ["checkup", "dental", "surgery"]}


def option(
    line: str,
    request: str,
    *,
    sure: float | None = 0.5,
    kind: dict[str, Any] = REASON,
    vectors: WordVectors | None = VECTORS,
) -> dict[str, str]:
    """Return the values of a line, of whose value of `kind` the model was so sure."""
    tool = shown(spec({"name": TEXT, "kind": kind}), vectors)
    begin = line.index("kind:") + len("kind:")
    tokens = () if sure is None else ((begin, 0.0), (len(line), math.log(sure)))
    written = parse_call(line, tuple(tool.parameters))
    assert written is not None
    told = weighed(written, Line(line, sure, tokens), tool, asked(request))
    assert told.parts == written.parts
    return dict(told.values)


def test_an_option_that_the_request_is_nearer_to() -> None:
    """Where the model was unsure; the other values stay."""
    told = option("yes | name: Rex | kind: checkup", "Rex needs his teeth looked at")
    assert told == {"name": "Rex", "kind": "dental"}


@pytest.mark.parametrize(
    ("request_", "sure"),
    [
        ("Rex needs his teeth looked at", 0.99999),  # as sure as one can be
        ("Rex should come in", 0.5),  # nothing is near
        ("a checkup of Rex's teeth", 0.5),  # both are
    ],
)
def test_what_the_model_wrote_stays(request_: str, sure: float) -> None:
    assert option("yes | name: Rex | kind: checkup", request_, sure=sure)["kind"] == "checkup"


def test_all_words_of_an_option_count() -> None:
    """And words that hold no meaning do not."""
    services = {"type": "string", "enum": ["ironing", "dry_cleaning"]}
    assert option("yes | kind: ironing", "dry cleaning of a coat", kind=services)["kind"] == "dry_cleaning"
    assert option("yes | kind: checkup", "the the the")["kind"] == "checkup"


def test_an_engine_that_does_not_tell_how_sure_it_is() -> None:
    assert option("yes | kind: checkup", "his teeth", sure=None)["kind"] == "dental"


@pytest.mark.parametrize("said", ["?", "$", "tooth", "none"])
def test_what_is_no_option_is_left_alone(said: str) -> None:
    assert option(f"yes | kind: {said}", "his teeth") == {"kind": said}


def test_several_options_are_left_alone() -> None:
    many = {"type": "array", "items": REASON}
    assert option("yes | kind: checkup", "his teeth", kind=many) == {"kind": "checkup"}


def test_nothing_is_weighed_where_meanings_are_not_known() -> None:
    assert option("yes | kind: checkup", "his teeth", vectors=None) == {"kind": "checkup"}
