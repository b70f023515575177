"""Which calls come next, judged by earlier runs."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from podium.orchestration.call_patterns import wilson
from podium.orchestration.call_values import leaves_of
from podium.orchestration.prediction import PastCall, Predictor
from unit.orchestration.prediction_samples import THRESHOLD, TOOLS, called, likely, opened, search, trained


def test_the_first_url_of_the_present_result_is_opened_after_seven_of_ten_searches() -> None:
    predictor = trained(50, lambda number: number % 10 < 7)
    found = likely(predictor, "find something else", [search(99)])
    assert called(found) == [("open", {"url": "https://example.org/99/0"})]
    assert 0.6 < found[0].confidence < 0.7
    assert found[0].basis == "after search, 32 of 46 times open(url from /results/0/url of search)"
    assert likely(predictor, "find something else", [search(99), opened(99)]) == []


@pytest.mark.parametrize("seed", range(4))
def test_the_share_is_what_counts_and_not_the_order(seed: int) -> None:
    hits = [True] * 35 + [False] * 15
    random.Random(seed).shuffle(hits)
    found = likely(trained(50, hits.__getitem__), "else", [search(99)])
    assert called(found) == [("open", {"url": "https://example.org/99/0"})]


def test_what_was_never_done_is_not_predicted() -> None:
    predictor = trained(50, lambda _: False)
    assert predictor.predict("t", "find something else", [search(99)], tools=TOOLS) == []


def test_one_time_in_three_is_no_habit() -> None:
    found = trained(60, lambda number: number % 20 < 7).predict("t", "else", [search(99)], tools=TOOLS)
    assert [each.tool for each in found] == ["open"]
    assert found[0].confidence < 0.4


def test_only_tools_that_may_be_predicted_are() -> None:
    predictor = trained(50, lambda _: True)
    assert predictor.predict("t", "else", [search(99)], tools={"search"}) == []
    assert predictor.predict("t", "else", [search(99)], tools=()) == []


def test_nothing_is_predicted_from_too_little() -> None:
    assert likely(trained(2, lambda _: True), "else", [search(99)]) == []
    assert likely(trained(3, lambda _: True), "else", [search(99)])
    assert likely(trained(3, lambda _: True, least_seen=4), "else", [search(99)]) == []


def test_a_request_of_the_same_shape_starts_with_the_same_calls_about_its_own_particulars() -> None:
    predictor = Predictor()
    for city, days in (("Paris", 3), ("Oslo", 5), ("New York", 7), ("Bonn", 2)):
        call = PastCall("weather", {"city": city, "days": days, "unit": "celsius"}, {"sky": "grey"}, 0)
        predictor.learn("t", f"Weather in {city} for {days} days?", [call])
        predictor.learn("t", f"tell a joke number {days}", [])
    found = likely(predictor, "weather in Santa Fe for 12 days", [])
    assert called(found) == [("weather", {"city": "Santa Fe", "days": 12, "unit": "celsius"})]
    assert "at the start in such a request, 4 of 4 times" in found[0].basis
    assert "weather(city from name 1 of the request, days from number 1 of the request, unit as" in found[0].basis
    assert likely(predictor, "tell a joke number 9", []) == []
    assert likely(predictor, "something else altogether", []) == []


def test_two_habits_of_one_tool_each_have_their_share() -> None:
    predictor = Predictor()
    for number in range(40):
        predictor.learn("t", f"do {number}", [search(number), opened(number, rank=0 if number % 4 else 1)])
    found = predictor.predict("t", "go", [search(99)], tools=TOOLS)
    assert called(found) == [
        ("open", {"url": "https://example.org/99/0"}),
        ("open", {"url": "https://example.org/99/1"}),
    ]
    assert found[0].confidence > THRESHOLD
    assert found[1].confidence < 0.3


def test_calls_that_come_together_are_predicted_together() -> None:
    predictor = Predictor()
    for number in range(6):
        calls = [search(number), opened(number, rank=0), opened(number, rank=1)]
        predictor.learn("t", f"do {number}", calls)
    assert sorted(each["url"] for _, each in called(likely(predictor, "go", [search(99)]))) == [
        "https://example.org/99/0",
        "https://example.org/99/1",
    ]


def test_one_call_of_a_turn_may_be_enough_to_go_on() -> None:
    predictor = Predictor()
    for number in range(5):
        calls = [search(number), PastCall("weather", {"city": f"c{number}c"}, {}, 0), opened(number)]
        predictor.learn("t", f"do {number}", calls)
    wanted = [("open", {"url": "https://example.org/99/0"})]
    weather = PastCall("weather", {"city": "anywhere"}, {}, 0)
    assert called(likely(predictor, "go", [search(99)])) == wanted
    assert called(likely(predictor, "go", [search(99), weather])) == wanted
    assert called(likely(predictor, "go", [weather])) == []


def test_what_comes_beside_a_call_is_predicted_while_its_turn_is_open() -> None:
    predictor = Predictor()
    for city in ("Rome", "Oslo", "Bonn", "Kyiv"):
        calls = [PastCall("weather", {"city": city}, {}, 0), PastCall("map", {"place": city}, {}, 0)]
        predictor.learn("t", f"is {city} nice {city.lower()}", calls)
    now = [PastCall("weather", {"city": "Lima"}, {}, 0)]
    assert called(likely(predictor, "what of Lima", now, turn_open=True)) == [("map", {"place": "Lima"})]
    assert likely(predictor, "what of Lima", now) == []


def test_what_comes_beside_a_call_is_filled_from_earlier_turns() -> None:
    predictor = Predictor()
    for number in range(5):
        again = PastCall("search", {"query": f"more of {number}"}, {"results": []}, 1)
        predictor.learn("t", f"do {number}", [search(number), again, opened(number)])
    now = [search(99), PastCall("search", {"query": "more"}, search(77).result, 1)]
    found = predictor.predict("t", "go", now, tools=TOOLS, turn_open=True)
    assert ("open", {"url": "https://example.org/99/0"}) in called(found)


def test_a_call_already_made_is_not_predicted() -> None:
    predictor = Predictor()
    for number in range(5):
        predictor.learn("t", f"do {number}", [PastCall("map", {"a": "x", "b": "y"}, None, turn) for turn in range(3)])
    assert called(likely(predictor, "do 9", [])) == [("map", {"a": "x", "b": "y"})]
    assert likely(predictor, "do 9", [PastCall("map", {"b": "y", "a": "x"}, None, 0)]) == []


def test_a_special_situation_overrules_the_general_one_where_it_differs() -> None:
    predictor = Predictor()
    for number in range(40):
        predictor.learn("t", f"read up on subject {number}", [search(number), opened(number)])
        if number < 10:
            predictor.learn("t", f"count hits for {number}", [search(number)])
    assert likely(predictor, "something new", [search(99)])
    assert likely(predictor, "read up on subject 7", [search(99)])
    assert likely(predictor, "count hits for 77", [search(99)]) == []


def test_old_habits_fade() -> None:
    predictor = trained(400, lambda _: True)
    assert likely(predictor, "go", [search(999)])
    for number in range(120):
        predictor.learn("t", f"find something on subject {number}a", [search(number)])
    assert likely(predictor, "go", [search(999)]) == []
    for number in range(1_000):
        predictor.learn("t", "find something on subject 1", [search(number), opened(number, rank=3)])
    found = predictor.predict("t", "go", [search(999)], tools=TOOLS)
    assert called(found) == [("open", {"url": "https://example.org/999/3"})]
    assert found[0].confidence > 0.9


def test_counts_stay_true_over_very_many_observations() -> None:
    predictor = Predictor()
    for number in range(9_000):
        predictor.learn("t", "x", [PastCall("map", {"q": "a"}, None, 0)] if number % 10 < 8 else [])
    found = predictor.predict("t", "x", [], tools=TOOLS)
    assert called(found) == [("map", {"q": "a"})]
    assert found[0].confidence == pytest.approx(wilson(0.8, 289, 1.0)[0], abs=0.01)


def test_tenants_learn_nothing_from_each_other() -> None:
    predictor = trained(50, lambda _: True)
    assert predictor.predict("other", "find something on subject 1a", [search(99)], tools=TOOLS) == []
    predictor.forget("t")
    assert likely(predictor, "find something on subject 1a", [search(99)]) == []
    assert not predictor._shapes


def test_tenants_are_bounded_and_the_latest_stay() -> None:
    predictor = Predictor(max_tenants=3)
    for number in range(10):
        predictor.learn(f"t{number % 9}", "go", [PastCall("open", {}, None, 0)])
    assert [tenant for tenant in (f"t{n}" for n in range(9)) if predictor.patterns(tenant)] == ["t0", "t7", "t8"]


@pytest.mark.parametrize("bound", ["max_tenants", "max_patterns_per_tenant", "least_seen", "most"])
def test_bounds_below_one_are_refused(bound: str) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Predictor(**{bound: 0})


def test_memory_is_bounded_whatever_is_learnt() -> None:
    predictor = Predictor(max_patterns_per_tenant=500)
    source = random.Random(1)
    for number in range(400):
        calls = [
            PastCall(f"tool{source.randrange(99)}", {f"a{source.randrange(9)}": source.random()}, [number], turn)
            for turn in range(source.randrange(9))
        ]
        predictor.learn("t", f"request {source.random()} {'abc'[number % 3]}", calls)
        patterns = predictor._tenants["t"]
        assert predictor.patterns("t") <= 500
    counted = sum(
        1 + sum(1 + len(tool.templates) for tool in situation.tools.values())
        for situation in patterns._situations.values()
    )
    assert counted == predictor.patterns("t")
    assert len(predictor._shapes) <= 256


def test_one_situation_is_bounded_too_and_keeps_its_habit() -> None:
    predictor = Predictor(max_patterns_per_tenant=10_000)
    for number in range(2_000):
        calls = [PastCall("open", {"x": "habit" if number % 2 else f"value {number}"}, None, 0)]
        predictor.learn("t", "go", [*calls, PastCall(f"tool{number}", {}, None, 0)])
    start = predictor._tenants["t"]._situations[()]
    assert start.size < 200
    assert start.size == 1 + sum(1 + len(tool.templates) for tool in start.tools.values())
    assert called(predictor.predict("t", "go", [], tools=TOOLS)) == [("open", {"x": "habit"})]


def test_wilson_is_the_score_interval() -> None:
    assert wilson(1.0, 3, 1.0) == (pytest.approx(0.75), 1.0)
    assert wilson(0.7, 50, 1.0)[0] == pytest.approx(0.632, abs=0.001)
    assert wilson(0.5, 10, 1.96) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
    assert wilson(0.0, 0, 1.0) == (0.0, 1.0)


@given(st.floats(0, 1), st.floats(0.5, 1e4))
def test_wilson_holds_the_share_and_narrows(share: float, count: float) -> None:
    low, high = wilson(share, count, 1.0)
    assert 0 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1
    narrow = wilson(share, count * 4, 1.0)
    assert narrow[1] - narrow[0] <= high - low + 1e-9


scalars = st.none() | st.booleans() | st.integers(-9, 200) | st.floats(allow_nan=False) | st.text(max_size=6)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
calls_made = st.lists(
    st.builds(
        PastCall,
        st.sampled_from(sorted(TOOLS)),
        st.dictionaries(st.text(max_size=3), json_values, max_size=3),
        json_values,
        st.integers(0, 3),
    ),
    max_size=6,
).map(lambda calls: sorted(calls, key=lambda call: call.turn))


@given(st.text(max_size=40), calls_made)
@settings(max_examples=60, deadline=None)
def test_a_run_that_is_always_the_same_is_foretold_call_by_call(request: str, calls: list[PastCall]) -> None:
    """Whatever the arguments are, three equal runs make the fourth known; and every other tenant knows nothing.

    A run that makes one call twice comes into one situation twice and goes on from it in two ways: what follows
    is then not always the same.
    """
    assume(len({(call.tool, repr(call.arguments)) for call in calls}) == len(calls))
    predictor = Predictor(most=50)
    for _ in range(3):
        predictor.learn("t", request, calls)
    for turn in sorted({call.turn for call in calls}):
        before = [call for call in calls if call.turn < turn]
        found = predictor.predict("t", request, before, tools=TOOLS)
        assert predictor.predict("u", request, before, tools=TOOLS) == []
        for call in calls:
            fresh = all((call.tool, dict(call.arguments)) != (done.tool, done.arguments) for done in before)
            parts = leaves_of(call.arguments)
            if call.turn == turn and fresh and parts is not None:
                assert any(each.tool == call.tool and repr(each.arguments) == repr(call.arguments) for each in found)


@given(st.lists(st.tuples(st.sampled_from("abc"), calls_made), max_size=8), calls_made)
@settings(max_examples=25, deadline=None)
def test_what_a_tenant_is_told_depends_on_its_own_runs_alone(
    runs: list[tuple[str, list[PastCall]]], now: list[PastCall]
) -> None:
    together, alone = Predictor(least_seen=1), Predictor(least_seen=1)
    for tenant, calls in runs:
        together.learn(tenant, "go to Rome", calls)
        if tenant == "a":
            alone.learn(tenant, "go to Rome", calls)
    for predicted in (now, []):
        assert together.predict("a", "go", predicted, tools=TOOLS) == alone.predict("a", "go", predicted, tools=TOOLS)


def test_a_prediction_costs_microseconds() -> None:
    """Prints them; the bounds are generous, for busy machines."""
    predictor = trained(200, lambda number: number % 10 < 7)
    calls = [
        PastCall(f"tool{n}", {"url": f"https://example.org/{n - 1}/0"}, search(n).result, n // 2) for n in range(8)
    ]
    tools = {call.tool for call in calls} | TOOLS
    for _ in range(20):
        predictor.learn("t", "eight calls", calls)
    typical = _best(lambda: predictor.predict("t", "find", [search(99)], tools=tools))
    late = _best(lambda: predictor.predict("t", "eight calls", calls[:6], tools=tools))
    learning = _best(lambda: predictor.learn("t", "eight calls", calls))
    print(f"predict {typical:.0f} and {late:.0f} us, learn a run of 8 calls {learning:.0f} us")
    assert typical < 1_000
    assert late < 1_000
    assert learning < 5_000


def _best(action: Callable[[], object]) -> float:
    times = []
    for _ in range(50):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return min(times) * 1e6
