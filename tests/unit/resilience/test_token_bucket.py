"""The token bucket: never more than capacity + rate * t, whatever the order of events."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.resilience.token_bucket import TokenBucket

steps = st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 10)), max_size=60)


@given(capacity=st.floats(1, 100), rate=st.floats(0.01, 50), taken=steps)
def test_never_gives_more_than_capacity_and_rate_allow(
    capacity: float, rate: float, taken: list[tuple[float, float]]
) -> None:
    """In any span the sum given stays within the bound."""
    now = 0.0
    bucket = TokenBucket(capacity, rate, now)
    given_at: list[tuple[float, float]] = []
    for pause, amount in taken:
        now += pause
        if bucket.take(now, amount):
            given_at.append((now, amount))
    for start in range(len(given_at)):
        total = 0.0
        for when, amount in given_at[start:]:
            total += amount
            assert total <= capacity + rate * (when - given_at[start][0]) + 1e-6


@given(capacity=st.floats(1, 100), rate=st.floats(0.01, 50), amount=st.floats(0.1, 1))
def test_what_wait_says_is_enough(capacity: float, rate: float, amount: float) -> None:
    """After the time that `wait` names, the tokens are there; clearly before it, they are not."""
    bucket = TokenBucket(capacity, rate, 0.0)
    while bucket.take(0.0, amount):
        pass
    wait = bucket.wait(0.0, amount)
    assert wait > 0
    assert not bucket.take(wait * 0.9 - 1e-6, amount)
    assert bucket.take(wait + 1e-6, amount)


def test_time_that_runs_backwards_changes_nothing() -> None:
    """A clock set back neither fills nor empties."""
    bucket = TokenBucket(10, 1, 100.0)
    assert bucket.take(100.0, 10)
    assert bucket.fill(50.0) == 0
    assert bucket.fill(101.0) == 1


def test_an_amount_beyond_the_capacity_never_comes() -> None:
    """It is refused for ever rather than granted on credit."""
    bucket = TokenBucket(5, 1, 0.0)
    assert bucket.wait(0.0, 6) == math.inf
    assert not bucket.take(1e9, 6)


def test_full_in() -> None:
    """The time to full follows from the rate."""
    bucket = TokenBucket(60, 2, 0.0)
    bucket.take(0.0, 10)
    assert bucket.full_in(0.0) == 5
    assert bucket.full_in(5.0) == 0


@pytest.mark.parametrize(("capacity", "rate"), [(0, 1), (1, 0), (-1, 1), (math.inf, 1), (1, math.nan)])
def test_nonsense_is_refused(capacity: float, rate: float) -> None:
    """A bucket without capacity or rate is a mistake of the settings."""
    with pytest.raises(ValueError, match="token bucket"):
        TokenBucket(capacity, rate, 0.0)
