"""What predicted calls cost and saved, and when no more of them are started."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.orchestration.prediction_ledger import PredictionLedger, PredictionTotals


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def waste(ledger: PredictionLedger, seconds: float, tenant: str = "t") -> None:
    ledger.started(tenant)
    ledger.missed(tenant, seconds=seconds)


@pytest.mark.parametrize("cap", [{"max_waste_share": 0.0}, {"max_waste_seconds": 0.0}])
def test_a_cap_of_nothing_starts_nothing(cap: dict[str, float]) -> None:
    ledger = PredictionLedger(**cap, clock=Clock())
    assert not ledger.may_start("t")
    ledger.useful("t", 1e6)
    assert not ledger.may_start("t")


def test_a_new_tenant_may_start_a_few_at_once() -> None:
    ledger = PredictionLedger(clock=Clock())
    started = 0
    while ledger.may_start("t"):
        ledger.started("t")
        started += 1
    assert started == 4  # each is taken for a second until it has ended
    for _ in range(4):
        ledger.hit("t", seconds=0.1, saved_seconds=0.1)
    assert ledger.may_start("t")


def test_waste_is_held_to_a_share_of_what_was_of_use() -> None:
    ledger = PredictionLedger(free_seconds=1.0, clock=Clock())
    ledger.useful("t", 39.0)
    wasted = 0
    while ledger.may_start("t"):
        waste(ledger, 1.0)
        wasted += 1
    assert wasted == 9  # a quarter of 39 s
    ledger.useful("t", 1.0)
    assert ledger.may_start("t")


def test_used_predictions_are_of_use() -> None:
    ledger = PredictionLedger(free_seconds=1.0, clock=Clock())
    waste(ledger, 1.0)
    assert not ledger.may_start("t")
    for _ in range(8):
        ledger.started("t")
        ledger.hit("t", seconds=1.0, saved_seconds=0.5)
    assert ledger.may_start("t")


def test_waste_is_held_to_so_many_seconds_however_much_was_of_use() -> None:
    ledger = PredictionLedger(max_waste_seconds=5.0, clock=Clock())
    ledger.useful("t", 1e6)
    wasted = 0
    while ledger.may_start("t"):
        waste(ledger, 1.0)
        wasted += 1
    assert wasted == 5
    assert ledger.may_start("other")


def test_waste_is_forgotten_when_the_window_has_passed() -> None:
    clock = Clock()
    ledger = PredictionLedger(max_waste_seconds=5.0, window_seconds=60.0, clock=clock)
    waste(ledger, 5.0)
    assert not ledger.may_start("t")
    clock.now += 50.0
    assert not ledger.may_start("t")
    clock.now += 15.0
    assert ledger.may_start("t")
    assert ledger.totals.wasted_seconds == 5.0


def test_what_is_still_in_the_window_goes_on_counting() -> None:
    clock = Clock()
    ledger = PredictionLedger(max_waste_seconds=5.0, free_seconds=9.0, clock=clock)
    waste(ledger, 1.0)
    clock.now += 50.0
    waste(ledger, 4.0)
    clock.now += 15.0
    assert not ledger.may_start("t")
    clock.now += 50.0
    assert ledger.may_start("t")


def test_calls_under_way_count_at_the_average() -> None:
    ledger = PredictionLedger(free_seconds=10.0, clock=Clock())
    waste(ledger, 3.0)
    ledger.started("t")
    assert ledger.may_start("t")  # 3 wasted, 3 under way, 3 for this one
    ledger.started("t")
    assert not ledger.may_start("t")
    ledger.hit("t", seconds=3.0)
    assert ledger.may_start("t")


def test_totals_say_where_the_money_went() -> None:
    ledger = PredictionLedger(clock=Clock())
    for tenant in "ab":
        for _ in range(3):
            ledger.started(tenant)
    ledger.hit("a", seconds=0.5, cost_micros=10, saved_seconds=0.25)
    ledger.missed("b", seconds=2.0, cost_micros=7)
    assert ledger.totals == PredictionTotals(6, 1, 1, 0.5, 0.25, 2.0, 10, 7)


def test_tenants_are_bounded_and_the_forgotten_may_still_settle() -> None:
    ledger = PredictionLedger(clock=Clock())
    ledger.started("first")
    for number in range(4_096):
        ledger.useful(f"t{number}", 1.0)
    assert len(ledger._tenants) == 4_096
    ledger.missed("first", seconds=1.0)
    assert ledger.totals.misses == 1
    assert ledger.may_start("first")


@pytest.mark.parametrize(
    "bad",
    [{"max_waste_share": -0.1}, {"max_waste_seconds": -1.0}, {"free_seconds": -1.0}, {"window_seconds": 0.0}],
)
def test_bounds_that_make_no_sense_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        PredictionLedger(**bad)


steps = st.lists(
    st.tuples(st.sampled_from(["start", "miss", "hit", "useful", "wait"]), st.floats(0.0, 1.0)), max_size=120
)


@given(steps)
@settings(max_examples=80, deadline=None)
def test_a_window_never_holds_more_waste_than_allowed(steps: list[tuple[str, float]]) -> None:
    """No call here takes longer than is assumed, so the bound is strict, over any 55 s that end now."""
    clock = Clock()
    ledger = PredictionLedger(max_waste_seconds=3.0, free_seconds=3.0, clock=clock)
    under_way, wasted = 0, []
    for what, amount in steps:
        if what == "start" and ledger.may_start("t"):
            ledger.started("t")
            under_way += 1
        elif what == "useful":
            ledger.useful("t", amount)
        elif what == "wait":
            clock.now += 30 * amount
        elif under_way and what != "start":
            under_way -= 1
            # All of one length: an average of shorter ones would let a longer one overrun the bound.
            if what == "miss":
                ledger.missed("t", seconds=1.0)
                wasted.append(clock.now)
            else:
                ledger.hit("t", seconds=1.0, saved_seconds=amount)
        assert sum(1.0 for when in wasted if when > clock.now - 55.0) <= 3.0
    assert ledger.totals.started == ledger.totals.hits + ledger.totals.misses + under_way
    assert ledger.totals.wasted_seconds == len(wasted)
