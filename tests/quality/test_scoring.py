"""What counts as right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time
from typing import Any

import pytest

from podium.orchestration.tool import ToolSpec
from podium.tools import ToolRegistry, tool
from quality.canonical import alternatives, canonical, named_references
from quality.cases import Case, ExpectedCall
from quality.curves import judged_calls, latency, reliability
from quality.scoring import MadeCall, Match, Outcome, match, right, summarise


@dataclass
class Place:
    """Where."""

    city: str
    country: str = "Norway"


@tool()
def book(day: date, at: time, seats: int = 1, place: Place | None = None) -> str:
    """Book seats.

    Args:
        day: Day.
        at: Time.
        seats: How many.
        place: Where.
    """
    return f"{day} {at} {seats} {place}"


@tool()
def find(text: str) -> str:
    """Find a text.

    Args:
        text: What.
    """
    return text


@pytest.fixture(scope="module")
def specs() -> Mapping[str, ToolSpec]:
    registry = ToolRegistry()
    registry.add(book)
    registry.add(find)
    return {spec.name: spec for spec in registry.list()}


def case(*calls: tuple[str, dict[str, Any]], kind: str = "") -> Case:
    kind = kind or ("none", "single", "compound")[min(len(calls), 2)]
    return Case("r", "p", tuple(ExpectedCall(name, arguments) for name, arguments in calls), kind)


def outcome(asked: Case, *calls: tuple[str, dict[str, Any]], words: bool = False, error: str = "") -> Outcome:
    made = tuple(MadeCall(name, arguments, seconds=0.1 * number) for number, (name, arguments) in enumerate(calls, 1))
    return Outcome(asked, made, 0.3 if words else None, error)


def is_right(specs: Mapping[str, ToolSpec], found: Outcome) -> bool:
    return right(found, match(found, specs))


FULL = {"day": "2026-05-03", "at": "09:00:00"}


class TestCanonicalForm:
    @pytest.mark.parametrize(
        "other",
        [
            {"day": "2026-05-03", "at": "09:00"},
            {"day": "2026-05-03", "at": "09:00:00", "seats": 1},
            {"at": "09:00:00", "day": "2026-05-03", "seats": 1.0, "place": None},
        ],
    )
    def test_other_ways_of_writing_the_same_are_the_same(
        self, specs: Mapping[str, ToolSpec], other: dict[str, Any]
    ) -> None:
        assert canonical(specs["book"], other) == canonical(specs["book"], FULL)

    @pytest.mark.parametrize(
        "other",
        [
            {"day": "2026-05-04", "at": "09:00:00"},
            {"day": "2026-05-03", "at": "09:00:00", "seats": 2},
            {"day": "2026-05-03"},
            {"day": "the third", "at": "09:00:00"},
            FULL | {"place": {"city": "Bergen"}},
        ],
    )
    def test_other_values_are_not(self, specs: Mapping[str, ToolSpec], other: dict[str, Any]) -> None:
        assert canonical(specs["book"], other) != canonical(specs["book"], FULL)

    def test_the_defaults_of_an_object_inside_count_as_said(self, specs: Mapping[str, ToolSpec]) -> None:
        short, long = {"city": "Bergen"}, {"city": "Bergen", "country": "Norway"}
        assert canonical(specs["book"], FULL | {"place": short}) == canonical(specs["book"], FULL | {"place": long})

    def test_incomplete_arguments_are_compared_by_their_types(self, specs: Mapping[str, ToolSpec]) -> None:
        one, other = {"at": "09:00", "seats": 2.0}, {"at": "09:00:00", "seats": 2}
        assert canonical(specs["book"], one) == canonical(specs["book"], other)

    def test_a_tool_that_does_not_exist_is_compared_as_it_stands(self) -> None:
        assert canonical(None, {"b": 1, "a": "x"}) == canonical(None, {"a": "x", "b": 1})


class TestAlternatives:
    def test_every_choice_at_every_depth(self) -> None:
        value = {"a": {"$any": [1, 2]}, "b": [{"c": {"$any": ["x", {"$any": ["y", "z"]}]}}]}

        found = alternatives(value)

        assert len(found) == 6
        assert {"a": 2, "b": [{"c": "z"}]} in found
        assert alternatives({"a": []}) == [{"a": []}]

    @pytest.mark.parametrize(("said", "good"), [("eggs", True), ("two eggs", True), ("three eggs", False)])
    def test_any_of_them_is_right(self, specs: Mapping[str, ToolSpec], said: str, good: bool) -> None:
        asked = case(("find", {"text": {"$any": ["eggs", "two eggs"]}}))

        assert is_right(specs, outcome(asked, ("find", {"text": said}))) is good

    def test_calls_that_share_alternatives_each_find_their_own(self, specs: Mapping[str, ToolSpec]) -> None:
        asked = case(("find", {"text": {"$any": ["a", "b"]}}), ("find", {"text": "a"}))

        for texts in (("a", "b"), ("b", "a")):
            assert is_right(specs, outcome(asked, *(("find", {"text": text}) for text in texts)))
        assert not is_right(specs, outcome(asked, ("find", {"text": "b"}), ("find", {"text": "b"})))


class TestMatch:
    def test_order_does_not_matter_and_each_counts_once(self, specs: Mapping[str, ToolSpec]) -> None:
        asked = case(("book", FULL), ("find", {"text": "a"}))

        found = match(outcome(asked, ("find", {"text": "a"}), ("find", {"text": "a"}), ("book", FULL)), specs)

        assert found == Match(exact=frozenset({0, 2}), tools=2, wanted=2, made=3)
        assert not found.whole

    def test_a_right_tool_with_a_wrong_argument(self, specs: Mapping[str, ToolSpec]) -> None:
        found = match(outcome(case(("book", FULL)), ("book", FULL | {"seats": 3})), specs)

        assert (found.exact, found.tools) == (frozenset(), 1)

    def test_a_call_of_an_unknown_tool_is_wrong(self, specs: Mapping[str, ToolSpec]) -> None:
        assert not is_right(specs, outcome(case(("book", FULL)), ("books", FULL)))


class TestReferences:
    EXPECTED = (("find", {"text": "a"}), ("find", {"text": {"$from": "c0", "path": "/x"}}))

    def compare(self, specs: Mapping[str, ToolSpec], first_id: str, reference: dict[str, Any]) -> bool:
        made = (MadeCall("find", {"text": "a"}, first_id), MadeCall("find", {"text": reference}))
        return is_right(specs, Outcome(case(*self.EXPECTED), made))

    @pytest.mark.parametrize(
        ("source", "own_id"), [("c0", ""), ("c0_0", ""), ("call_9", "call_9"), ("find", ""), ("c1", "c1")]
    )
    def test_the_call_may_be_named_in_any_way(self, specs: Mapping[str, ToolSpec], source: str, own_id: str) -> None:
        assert self.compare(specs, own_id, {"$from": source, "path": "/x"})

    @pytest.mark.parametrize(
        "reference", [{"$from": "c0", "path": "/y"}, {"$from": "c0"}, {"$from": "c7", "path": "/x"}]
    )
    def test_another_pointer_or_call_is_wrong(self, specs: Mapping[str, ToolSpec], reference: dict[str, Any]) -> None:
        assert not self.compare(specs, "", reference)

    def test_each_names_its_tool(self) -> None:
        value = {"a": [{"$each": {"from": "c1", "path": "/items"}}]}

        assert named_references(value, ["", ""], ["t", "u"]) == {"a": [{"$each": {"from": "u", "path": "/items"}}]}


class TestClarify:
    ASKED = case(("book", {"day": "2026-05-03", "seats": 2}), kind="clarify")

    @pytest.mark.parametrize(
        "made",
        [
            outcome(ASKED, words=True),
            outcome(ASKED, ("ask_user", {"question": "When?"})),
            outcome(ASKED, ("book", {"day": "2026-05-03", "seats": 2.0})),
        ],
    )
    def test_asking_back_or_leaving_it_out_is_right(self, specs: Mapping[str, ToolSpec], made: Outcome) -> None:
        assert is_right(specs, made)

    @pytest.mark.parametrize(
        "made",
        [
            outcome(ASKED),
            outcome(ASKED, words=True, error="it failed"),
            outcome(ASKED, ("book", {"day": "2026-05-03", "seats": 2, "at": "09:00:00"})),
            outcome(ASKED, ("book", {"day": "2026-05-03"})),
            outcome(ASKED, ("find", {"text": "seats"}), words=True),
            outcome(ASKED, ("ask_user", {"question": "When?"}), ("find", {"text": "seats"})),
        ],
    )
    def test_an_invented_value_or_silence_is_not(self, specs: Mapping[str, ToolSpec], made: Outcome) -> None:
        assert not is_right(specs, made)


class TestSummary:
    def test_each_kind_counts_where_it_belongs(self, specs: Mapping[str, ToolSpec]) -> None:
        single, both = case(("find", {"text": "a"})), case(("find", {"text": "a"}), ("book", FULL))
        unsaid, nothing = case(("book", {"day": "2026-05-03"}), kind="clarify"), case()
        outcomes = [
            outcome(single, ("find", {"text": "a"})),
            outcome(single, ("find", {"text": "b"})),
            outcome(single, words=True),
            outcome(single, error="it failed"),
            outcome(both, ("find", {"text": "a"})),
            outcome(both, ("book", FULL), ("find", {"text": "a"})),
            outcome(nothing, words=True),
            outcome(nothing, ("find", {"text": "a"})),
            outcome(nothing, words=True),
            outcome(unsaid, words=True),
            outcome(unsaid, ("book", {"day": "2026-05-03"})),
            outcome(unsaid, ("book", FULL)),
        ]

        figures = summarise(outcomes, {"p": specs})

        assert figures["requests"] == 12
        assert figures["kinds"] == {"single": 4, "compound": 2, "none": 3, "clarify": 3}
        assert figures["call_exact"] == 0.5  # 4 of 8; the calls that leave something unsaid are not among them
        assert figures["tool"] == 0.625
        assert figures["request_exact"] == pytest.approx(4 / 9, abs=5e-4)
        assert figures["single_exact"] == 0.25
        assert figures["compound_exact"] == 0.5
        assert figures["compound_call_exact"] == 0.75
        assert figures["none_precision"] == pytest.approx(2 / 3, abs=5e-4)  # 2 of 3: neither clarify nor a failure
        assert figures["none_recall"] == pytest.approx(2 / 3, abs=5e-4)
        assert figures["clarify_exact"] == pytest.approx(2 / 3, abs=5e-4)
        assert figures["clarify_call"] == pytest.approx(1 / 3, abs=5e-4)
        assert (figures["surplus_calls"], figures["errors"]) == (1, 1)
        low, high = figures["call_exact_95"]
        assert 0 <= low < 0.5 < high <= 1

    def test_times_are_those_of_the_first_and_the_last_call(self, specs: Mapping[str, ToolSpec]) -> None:
        asked = case(("find", {"text": "a"}))
        outcomes = [outcome(asked, ("find", {"text": "a"}), ("find", {"text": "b"})), outcome(asked, words=True)]

        figures = summarise(outcomes, {"p": specs})

        assert (figures["first_call_p50_ms"], figures["last_call_p50_ms"]) == (100.0, 200.0)
        assert figures["first_word_p50_ms"] == 300.0
        assert (latency(outcomes) or [])[0] == 100.0

    def test_nothing_has_no_shares(self) -> None:
        figures = summarise([], {})

        assert figures["requests"] == 0
        assert {figures[key] for key in ("call_exact", "call_exact_95", "none_precision", "first_call_p50_ms")} == {
            None
        }
        assert latency([]) is None


class TestReliability:
    def test_the_error_is_the_distance_weighted_by_calls(self) -> None:
        curve = reliability([(0.95, True), (0.95, True), (0.95, True), (0.95, False), (0.15, False), (1.0, True)])

        assert curve is not None
        assert curve["calls"] == 6
        assert [(b["from"], b["calls"], b["right"]) for b in curve["bins"]] == [(0.1, 1, 0.0), (0.9, 5, 0.8)]
        assert curve["bins"][1]["confidence"] == 0.96
        assert curve["ece"] == pytest.approx((0.15 + 0.8) / 6, abs=5e-4)

    def test_without_confidences_there_is_no_curve(self) -> None:
        assert reliability([]) is None

    def test_each_call_is_judged_by_itself(self, specs: Mapping[str, ToolSpec]) -> None:
        asked, unsaid = case(("find", {"text": "a"})), case(("book", {}), kind="clarify")
        outcomes = [
            Outcome(asked, (MadeCall("find", {"text": "b"}, "", 0.4), MadeCall("find", {"text": "a"}, "", 0.9))),
            Outcome(asked, (MadeCall("find", {"text": "a"}),)),
            Outcome(unsaid, (MadeCall("book", {}, "", 0.7),)),
            Outcome(case(), (MadeCall("find", {"text": "a"}, "", 0.3),)),
        ]

        assert judged_calls(outcomes, {"p": specs}) == [(0.4, False), (0.9, True), (0.3, False)]
