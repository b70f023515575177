"""Where the arguments of predicted calls come from: the request, earlier results and arguments, or habit."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.orchestration.call_values import Wanted, places_of
from podium.orchestration.prediction import PastCall, Predictor
from podium.orchestration.request_shape import shape_of
from unit.orchestration.prediction_samples import TOOLS, called, likely, opened, search, trained


@pytest.mark.parametrize(
    ("request_of", "values"),
    [
        ("summarise {}", ["https://a.org/x", "https://b.org/y?z=1", "https://c.org"]),
        ('translate "{}"', ["good morning", "thank you", "see you"]),
        ("write to {} now", ["ada@example.org", "bob@example.com", "eve@mail.example.net"]),
        ("status of order {}", ["ORD-1234", "ORD-99", "X7"]),
        ("events on {}", ["2026-01-02", "2025-12-31", "2027-06-30"]),
        ("who is {}?", ["Ada Lovelace", "Grace Hopper", "Alan Turing"]),
        ("please look for {}", ["green tea", "old maps of town", "cheap flights"]),
        ("{}", ["how do magnets work?", "why is the sky blue?", "what is rust made of?"]),
    ],
)
def test_arguments_are_taken_from_the_request(request_of: str, values: list[str]) -> None:
    predictor = Predictor()
    for value in values:
        for _ in range(2):
            predictor.learn("t", request_of.format(value), [PastCall("open", {"what": value}, None, 0)])
    unseen = values[0].replace("a", "e").replace("1", "3").replace("R", "K")
    assert called(likely(predictor, request_of.format(unseen), [])) == [("open", {"what": unseen})]


def test_a_number_of_the_request_may_be_meant_as_text() -> None:
    predictor = Predictor()
    for number in (1001, 1002, 1003):
        call = PastCall("open", {"id": str(number), "copies": number}, None, 0)
        predictor.learn("t", f"open file {number}", [call])
    assert called(likely(predictor, "open file 2024", [])) == [("open", {"id": "2024", "copies": 2024})]


@given(st.text(max_size=200))
@settings(max_examples=150, deadline=None)
def test_every_span_stands_in_the_request(request: str) -> None:
    for span in shape_of(request).spans:
        assert span.text
        assert span.text in request


def test_what_always_is_the_same_is_told_from_what_only_was_once_elsewhere() -> None:
    """The language also stood in the first two results, by chance; in the third it did not."""
    predictor = Predictor()
    for number, language in enumerate(["english", "english", "german", "english", "german"]):
        first = PastCall("search", {"query": f"q{number}x"}, {"lang": language, "id": f"id-{number}"}, 0)
        second = PastCall("open", {"id": f"id-{number}", "lang": "english"}, {}, 1)
        predictor.learn("t", f"do {number}", [first, second])
    now = PastCall("search", {"query": "now"}, {"lang": "french", "id": "id-77"}, 0)
    assert called(likely(predictor, "go", [now])) == [("open", {"id": "id-77", "lang": "english"})]


def test_two_explanations_that_always_held_make_one_prediction_by_the_likelier() -> None:
    predictor = Predictor()
    for number in range(5):
        first = PastCall("search", {"query": f"thing {number}"}, {"id": "the-one"}, 0)
        predictor.learn("t", f"do {number}", [first, PastCall("open", {"id": "the-one"}, {}, 1)])
    now = PastCall("search", {"query": "now"}, {"id": "another"}, 0)
    found = predictor.predict("t", "go", [now], tools=TOOLS)
    assert called(found) == [("open", {"id": "another"})]


@pytest.mark.parametrize("back", [0, 1, 2])
def test_the_result_meant_may_be_that_of_an_earlier_call_of_the_same_tool(back: int) -> None:
    predictor = Predictor()
    for number in range(0, 50, 10):
        calls = [search(number + turn, turn) for turn in range(3)]
        predictor.learn("t", f"do {number}", [*calls, opened(number + 2 - back, 3)])
    found = likely(predictor, "go", [search(90 + turn, turn) for turn in range(3)])
    assert ("open", {"url": f"https://example.org/{92 - back}/0"}) in called(found)


@pytest.mark.parametrize("plain", [5, "en", True, None, 0.5])
def test_what_is_found_everywhere_is_rather_taken_for_a_constant(plain: Any) -> None:
    predictor = Predictor()
    for number in range(4):
        calls = [PastCall("search", {"n": plain}, {"n": plain}, 0), PastCall("open", {"limit": plain}, {}, 1)]
        predictor.learn("t", f"do {number}", calls)
    now = PastCall("search", {"n": 77}, {"n": 88}, 0)
    assert called(likely(predictor, "go", [now])) == [("open", {"limit": plain})]


def test_results_are_searched_so_far_and_no_further() -> None:
    wanted = Wanted()
    wanted.add({"x": 1_999, "y": 2_000}, [(("x",), 1_999), (("y",), 2_000)])
    assert places_of(list(range(10_000)), wanted, 2_000) == {1_999: [(1_999,)]}
    assert places_of([[[1_999]] * 9], wanted, 2_000) == {1_999: [(0, place, 0) for place in range(3)]}


def test_arguments_may_come_from_earlier_arguments_and_be_nested() -> None:
    predictor = Predictor()
    for number in range(4):
        first = PastCall("list_items", {"folder": f"folder-{number}"}, [{"id": 500 + number}, {"id": 700 + number}], 0)
        arguments = {"where": {"folder": f"folder-{number}"}, "ids": [700 + number, 500 + number], "all": True, "x": {}}
        predictor.learn("t", f"do {number}", [first, PastCall("get_item", arguments, {}, 1)])
    now = PastCall("list_items", {"folder": "here"}, [{"id": 1}, {"id": 2}], 0)
    assert called(likely(predictor, "go", [now])) == [
        ("get_item", {"where": {"folder": "here"}, "ids": [2, 1], "all": True, "x": {}})
    ]


def test_an_array_of_a_result_may_be_passed_on_whatever_its_length() -> None:
    predictor = Predictor()
    for number in range(4):
        ids = [f"{number}-{place}" for place in range(number + 1)]
        calls = [PastCall("list_items", {}, {"ids": ids}, 0), PastCall("get_item", {"ids": ids, "brief": True}, {}, 1)]
        predictor.learn("t", f"do {number}", calls)
    now = PastCall("list_items", {}, {"ids": ["x", "y", "z", "a", "b", "c"]}, 0)
    assert called(likely(predictor, "go", [now])) == [("get_item", {"ids": list("xyzabc"), "brief": True})]
    large = PastCall("list_items", {}, {"ids": list(range(100))}, 0)
    assert likely(predictor, "go", [large]) == []


@pytest.mark.parametrize(("given", "passed"), [(False, 0), (1.0, 1), (1, True), (500.0, 500), (500, 500.0)])
def test_what_only_python_calls_equal_is_no_source(given: Any, passed: Any) -> None:
    predictor = Predictor()
    for number in range(4):
        result = {"flag": given, "all": [given], "deep": {"x": given}}
        arguments = {"flag": passed, "all": [passed], "deep": {"x": passed}}
        calls = [PastCall("search", {}, result, 0), PastCall("open", arguments, {}, 1)]
        predictor.learn("t", f"do {number}", calls)
    found = likely(predictor, "go", calls[:1])
    assert [repr(each.arguments) for each in found] == [repr(arguments)]


def test_a_whole_result_may_be_the_argument() -> None:
    predictor = Predictor()
    for number in range(4):
        calls = [PastCall("search", {}, f"answer {number}", 0), PastCall("open", {"what": f"answer {number}"}, {}, 1)]
        predictor.learn("t", f"do {number}", calls)
    assert called(likely(predictor, "go", [PastCall("search", {}, "this", 0)])) == [("open", {"what": "this"})]


def test_arguments_that_are_not_json_do_no_harm() -> None:
    predictor = trained(20, lambda _: True)
    odd = PastCall("map", {"x": object()}, {"results": [{"url": object()}]}, 0)
    number = PastCall("search", {"x": 1}, {"results": [{"url": 10**400}]}, 0)
    assert predictor.predict("t", "go", [odd, number], tools=TOOLS) == []
    assert called(likely(predictor, "go", [odd, search(99)]))


def test_what_is_not_there_this_time_is_not_predicted() -> None:
    predictor = trained(20, lambda _: True)
    for result in (None, [], {}, {"results": []}, {"results": {"0": {"url": "x"}}}, {"results": [{"url": ["x"]}]}):
        assert predictor.predict("t", "go", [PastCall("search", {}, result, 0)], tools=TOOLS) == []


def test_long_values_are_not_kept() -> None:
    predictor = Predictor()
    for long in ("x" * 513, "é" * 257):
        for _ in range(4):
            predictor.learn("t", "go", [PastCall("open", {"text": long}, None, 0)])
        assert predictor.predict("t", "go", [], tools=TOOLS) == []
        predictor.forget("t")
    for _ in range(4):
        predictor.learn("t", "go", [PastCall("open", {"text": "x" * 512}, None, 0)])
    assert called(likely(predictor, "go", [])) == [("open", {"text": "x" * 512})]


def deep(levels: int) -> Any:
    value: Any = "end"
    for level in range(levels):
        value = {"a": value} if level % 2 else [value]
    return value


@pytest.mark.parametrize(
    "odd",
    [
        deep(50_000),
        list(range(300_000)),
        {str(number): number for number in range(300_000)},
        [["x"] * 1_000 for _ in range(300)],
        "x" * 5_000_000,
        {"k" * 100_000: "end"},
        [10**400, float("nan"), float("inf"), "\ud800", b"bytes", object()],
    ],
    ids=["deep", "long", "wide", "broad", "text", "key", "odd"],
)
def test_odd_json_costs_little_and_breaks_nothing(odd: Any) -> None:
    predictor = Predictor()
    calls = [PastCall("search", {"x": odd}, odd, 0), PastCall("open", {"x": odd, "y": "end"}, odd, 1)]
    began = time.process_time()
    for _ in range(4):
        predictor.learn("t", "go to the end", calls)
        predictor.predict("t", "go to the end", calls[:1], tools=TOOLS)
    assert time.process_time() - began < 0.25


@pytest.mark.parametrize("piece", ["a", "A ", '"', "1", "-", "a@", "https://", "A-", "'", ".", "aA1-", "İ"])
def test_odd_requests_cost_little(piece: str) -> None:
    began = time.process_time()
    shape_of(piece * 100_000)
    predictor = Predictor()
    for _ in range(3):
        predictor.learn("t", piece * 100_000, [PastCall("open", {"x": piece * 50}, None, 0)])
    assert time.process_time() - began < 0.25
