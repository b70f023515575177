"""The pool's memory of prompts, and its judgement of results."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.inference.outlier_ejection import EjectionPolicy, OutlierDetector
from podium.inference.prefix_affinity import PrefixAffinity

TOKENS = st.lists(st.integers(0, 2**32 - 1), max_size=300)


@given(TOKENS, TOKENS, TOKENS)
def test_prompts_share_exactly_the_keys_of_their_common_beginning(
    common: list[int], left: list[int], right: list[int]
) -> None:
    affinity = PrefixAffinity(block=4, depth=6)
    first, second = affinity.keys([*common, *left]), affinity.keys([*common, *right])
    shared = 0
    for ours, theirs in zip([*common, *left], [*common, *right], strict=False):
        if ours != theirs:
            break
        shared += 1
    expected = sum(1 for size in (4, 8, 16, 32, 64, 128) if size <= shared)
    assert len(set(first) & set(second)) == expected
    assert not set(first) & set(affinity.keys([*common, *left], "salt"))


def test_the_longest_known_beginning_wins() -> None:
    affinity = PrefixAffinity(block=2)
    affinity.remember(affinity.keys([1, 2, 3, 4]), "long")
    affinity.remember(affinity.keys([1, 2]), "short")
    assert affinity.find(affinity.keys([1, 2, 3, 4, 5, 6])) == "long"
    assert affinity.find(affinity.keys([1, 2, 9, 9])) == "short"
    assert affinity.find(affinity.keys([1])) is None
    affinity.forget("long")
    assert affinity.find(affinity.keys([1, 2, 3, 4])) == "short"


def test_memory_is_bounded_and_what_is_used_stays() -> None:
    affinity = PrefixAffinity(capacity=10, block=1, depth=1)
    affinity.remember(affinity.keys([0]), "kept")
    for token in range(1, 100):
        affinity.remember(affinity.keys([token]), "other")
        assert affinity.find(affinity.keys([0])) == "kept"
    assert len(affinity) == 10
    assert affinity.find(affinity.keys([1])) is None


@pytest.mark.parametrize("broken", [[2**70] * 64, [-(2**70)] * 64, ["x"] * 64])
def test_ids_that_are_none_have_no_keys(broken: list[int]) -> None:
    assert PrefixAffinity().keys(broken) == ()


def test_a_share_of_errors_ejects_where_none_follow_each_other() -> None:
    detector = OutlierDetector(EjectionPolicy(consecutive_failures=100, error_ratio=0.5, window=10, minimum=6))
    verdicts = []
    for _ in range(3):
        detector.succeeded()
        verdicts.append(detector.failed())
    assert verdicts == [False, False, True]
    detector.eject(0.0)
    assert not detector.failed(), "afterwards it starts anew"


def test_good_conduct_makes_ejections_short_again() -> None:
    detector = OutlierDetector(EjectionPolicy(base_seconds=5, max_seconds=30, forgive_seconds=100))
    now, lengths = 0.0, []
    for pause in (1, 1, 1, 1, 99, 100):
        lengths.append(detector.eject(now))
        assert detector.ejected_for(now) == lengths[-1]
        now += lengths[-1] + pause
        assert detector.ejected_for(now) == 0
    assert lengths == [5, 10, 20, 30, 30, 30]
    assert detector.eject(now) == 5
    for _ in range(5000):
        assert detector.eject(now) <= 30


@pytest.mark.parametrize(
    "wrong",
    [
        {"consecutive_failures": 0},
        {"minimum": 0},
        {"minimum": 51},
        {"error_ratio": 0.0},
        {"base_seconds": 0.0},
        {"base_seconds": 400.0},
    ],
)
def test_policies_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="ejection policy"):
        EjectionPolicy(**wrong)  # type: ignore[arg-type]


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        PrefixAffinity(capacity=0)
