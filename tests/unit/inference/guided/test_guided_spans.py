from __future__ import annotations

import time
from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.inference.guided.spans import SpanKind, dominant, find_spans

TODAY = date(2026, 11, 21)  # a Saturday
WORDS = st.sampled_from(
    [
        "convert",
        "5",
        "km",
        "to",
        "miles",
        "and",
        "3",
        "May",
        "2027",
        "'a",
        "b'",
        '"quoted"',
        "notes.md",
        "*.py",
        "https://x.com/a",
        "Berlin",
        "UTC+2",
        "half",
        "past",
        "ten",
        "12:30",
        "fifteen",
        "percent",
        "of",
        "80",
        "(2",
        "+",
        "3)",
        "*",
        "4",
        "AB-1200",
        ",",
        ".",
        "?",
        "-",
        "I",
        "O'Brien",
        "next",
        "Friday",
    ]
)
TEXTS = st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=30).map(" ".join))


@given(TEXTS)
def test_a_span_is_the_substring_where_it_stands(text: str) -> None:
    """Whatever the text, `text[start:end]` is the span's text."""
    for span in find_spans(text, TODAY):
        assert text[span.start : span.end] == span.text
        assert span.text


@given(TEXTS)
def test_dominant_spans_do_not_overlap_and_stand_in_order(text: str) -> None:
    """The leading spans describe a text without telling any of it twice."""
    kept = dominant(find_spans(text, TODAY))
    assert all(first.end <= second.start for first, second in pairwise(kept))


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ('say "hello there" twice', SpanKind.QUOTED, ["hello there"]),
        ("it's what O'Brien said", SpanKind.QUOTED, []),
        ("get https://example.com/a?b=1.", SpanKind.URL, ["https://example.com/a?b=1"]),
        ("read notes/todo.md and b.txt", SpanKind.PATH, ["notes/todo.md", "b.txt"]),
        ("find *.md files", SpanKind.GLOB, ["*.md"]),
        ("what is 12*12", SpanKind.GLOB, []),
        ("track AB-1234-55 and #98765", SpanKind.CODE, ["AB-1234-55", "98765"]),
        ("at half past ten or 3pm", SpanKind.TIME, ["half past ten", "3pm"]),
        ("ten in the morning, not six at night", SpanKind.TIME, ["ten in the morning", "six at night"]),
        ("quarter past 3 in the afternoon", SpanKind.TIME, ["quarter past 3 in the afternoon"]),
        ("98.6F in celsius", SpanKind.UNIT, ["F", "celsius"]),
        ("mail kim@example.org", SpanKind.EMAIL, ["kim@example.org"]),
        ("time in new york and UTC+2", SpanKind.PLACE, ["new york", "UTC+2"]),
    ],
)
def test_kinds_are_told_apart_by_form(text: str, kind: SpanKind, found: list[str]) -> None:
    """Each kind of span is found whole, and nothing else is taken for it."""
    spans = [span.text for span in find_spans(text, TODAY) if span.kind is kind]
    assert [text for text in spans if text != "UTC"] == found


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("from 3 to 17 May 2027", ["2027-05-03", "2027-05-17"]),
        ("between May 3 and 10, 2027", ["2027-05-03", "2027-05-10"]),
        ("March 3 to March 10, 2028", ["2028-03-03", "2028-03-10"]),
    ],
)
def test_what_one_date_leaves_out_is_taken_from_its_neighbour(text: str, days: list[str]) -> None:
    """A month or year said once counts for both dates."""
    assert [str(span.value) for span in find_spans(text, TODAY) if span.kind is SpanKind.DATE] == days


PIECES = ("a ", "1", "A", "'", "(", "a.b/", "a-", "- ", "x@", "*a", "1,", "one ", "a_", '"a', "A ")


@pytest.mark.parametrize("piece", PIECES)
def test_a_request_of_the_greatest_length_is_taken_apart_quickly(piece: str) -> None:
    """32,768 characters of anything cost a fraction of a second, on a busy machine too."""
    began = time.process_time()
    find_spans((piece * 32768)[:32768], TODAY)
    assert time.process_time() - began < 1.5
