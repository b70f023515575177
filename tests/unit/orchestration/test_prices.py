"""What models cost, and what happens with those whose price nobody gave."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.errors import FailedPrecondition
from podium.orchestration.chat import Usage
from podium.orchestration.prices import FREE, Price, PriceTable, UnknownPrice

_PRICE = Price(3_000_000, 300_000, 15_000_000)

_MICROS = st.integers(0, 100_000_000)
_TOKENS = st.integers(0, 2_000_000)
_PRICES = st.builds(Price, _MICROS, st.none() | _MICROS, _MICROS)


def test_cached_tokens_are_part_of_the_prompt_and_have_their_own_price() -> None:
    table = PriceTable({"big": _PRICE})
    assert table.cost_micros("big", Usage(1_000_000, 100_000)) == 4_500_000
    assert table.cost_micros("big", Usage(1_000_000, 100_000, cached_tokens=1_000_000)) == 1_800_000
    assert PriceTable({"m": Price(2_000_000, None, 0)}).cost_micros("m", Usage(10, 5, cached_tokens=4)) == 20
    # A provider that reports more cached tokens than the prompt has gets no negative price.
    assert table.cost_micros("big", Usage(10, 0, cached_tokens=100)) == 3


def test_a_cost_is_rounded_up_once_for_the_whole_turn() -> None:
    cheap = PriceTable({"cheap": Price(500_000, None, 400_000)})
    assert cheap.cost_micros("cheap", Usage(1, 1)) == 1
    assert cheap.cost_micros("cheap", Usage(1, 0)) == 1
    assert cheap.cost_micros("cheap", Usage()) == 0


@given(usage=st.builds(Usage, _TOKENS, _TOKENS, _TOKENS), price=_PRICES)
def test_no_real_cost_is_above_the_ceiling(usage: Usage, price: Price) -> None:
    assert price.cost_micros(usage) <= price.ceiling_micros(usage.prompt_tokens, usage.completion_tokens)


@given(prompt=st.integers(0, 20_000), cost=st.integers(0, 5_000_000), price=_PRICES)
def test_the_affordable_answer_is_the_longest_that_the_money_is_enough_for(
    prompt: int, cost: int, price: Price
) -> None:
    most = price.affordable_completion(cost, prompt)
    if most is None:
        assert price.completion_micros_per_million == 0
        assert price.ceiling_micros(prompt, 10**9) <= cost
    elif most < 0:
        assert price.ceiling_micros(prompt, 0) > cost
    else:
        assert price.ceiling_micros(prompt, most) <= cost < price.ceiling_micros(prompt, most + 1)


def test_a_model_on_our_own_machine_is_free_unless_it_has_a_price() -> None:
    told: list[str] = []
    table = PriceTable({"priced": _PRICE}, on_unpriced=told.append)
    assert table.price("embedded", remote=False) == FREE
    assert table.ceiling_for("embedded", 1_000, 1_000, remote=False) == 0
    assert table.cost_micros("embedded", Usage(1_000, 1_000), remote=False) == 0
    assert table.price("priced", remote=False) == _PRICE
    assert table.cost_micros("priced", Usage(1_000, 0), remote=False) == 3_000
    assert told == []


def test_an_unknown_price_is_denied_where_a_budget_of_money_applies() -> None:
    table = PriceTable({"known": _PRICE})
    with pytest.raises(FailedPrecondition, match=r"'other' has no price.*`budgets\.prices`"):
        table.ceiling_for("other", 10, 10)
    with pytest.raises(FailedPrecondition):
        table.dearest([("known", True), ("other", True)])
    assert table.ceiling_for("known", 1_000_000, 0) == 3_000_000


def test_a_ceiling_for_unknown_prices_does_not_soften_the_denial() -> None:
    table = PriceTable({}, unknown=UnknownPrice.DENY, ceiling=_PRICE)
    with pytest.raises(FailedPrecondition):
        table.price("other")
    # It has answered all the same, behind a route: that costs something.
    assert table.cost_micros("other", Usage(1_000_000, 0)) == 3_000_000


def test_an_unknown_price_without_a_budget_of_money_is_told_once() -> None:
    told: list[str] = []
    table = PriceTable({}, on_unpriced=told.append)
    assert table.ceiling_for("other", 10, 10, bounded=False) == 0
    assert table.cost_micros("other", Usage(10, 10)) == 0
    assert table.cost_micros("other", Usage(10, 10, cost_micros=77)) == 77
    assert told == ["other"]


def test_an_unknown_price_can_count_as_the_ceiling() -> None:
    table = PriceTable({"known": FREE}, unknown=UnknownPrice.CEILING, ceiling=_PRICE)
    assert table.price("other") == table.price("other", bounded=False) == _PRICE
    assert table.cost_micros("other", Usage(1_000_000, 0)) == 3_000_000
    assert table.ceiling_for("known", 10, 10) == 0
    assert table.price("local", remote=False) == FREE
    with pytest.raises(ValueError, match="ceiling"):
        PriceTable({}, unknown=UnknownPrice.CEILING)


def test_where_several_may_answer_the_dearest_of_each_price_counts() -> None:
    table = PriceTable({"a": Price(1, None, 50), "b": Price(10, 2, 5)})
    assert table.dearest([("a", True), ("b", True), ("own", False)]) == Price(10, 2, 50)


def test_a_price_is_not_below_zero() -> None:
    for price in ((-1, None, 0), (0, -1, 0), (0, None, -1)):
        with pytest.raises(ValueError, match="below zero"):
            Price(*price)
