"""How much a model turn reserves: as much of an answer as is affordable, and never more than it may cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.orchestration.budget import Amount, BudgetLimits, BudgetRefused, Budgets, Scope, turn_reservation
from podium.orchestration.prices import Price


def test_a_turn_reserves_what_is_wanted_or_what_is_affordable() -> None:
    price = Price(1_000_000, None, 10_000_000)
    turn = turn_reservation(prompt_tokens=100, wanted=1_000, tokens=None, cost_micros=None, price=price)
    assert (turn.completion_tokens, turn.amount) == (1_000, Amount(1_100, 10_100))
    turn = turn_reservation(prompt_tokens=100, wanted=1_000, tokens=400, cost_micros=None)
    assert (turn.completion_tokens, turn.amount) == (300, Amount(400, 0))
    turn = turn_reservation(prompt_tokens=100, wanted=1_000, tokens=400, cost_micros=2_105, price=price)
    assert (turn.completion_tokens, turn.amount) == (200, Amount(300, 2_100))
    for wrong in ({"prompt_tokens": -1, "wanted": 1}, {"prompt_tokens": 0, "wanted": 0}):
        with pytest.raises(ValueError, match="turn"):
            turn_reservation(**wrong, tokens=None, cost_micros=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tokens", "wanted", "completion"),
    [(164, 1_000, 64), (163, 1_000, None), (110, 10, 10), (109, 10, None), (50, 1_000, None)],
)
def test_a_turn_is_refused_only_when_too_short_an_answer_is_affordable(
    tokens: int, wanted: int, completion: int | None
) -> None:
    run = Budgets(principal=BudgetLimits(tokens_per_day=tokens)).for_run(owner="ann", tenant="acme")
    if completion is None:
        with pytest.raises(BudgetRefused) as caught:
            run.reserve_turn(prompt_tokens=100, wanted=wanted)
        assert caught.value.scope is Scope.PRINCIPAL_DAY
        run = Budgets().for_run(
            owner="ann", tenant="acme", limit=Amount(tokens=tokens + caught.value.missing)
        )  # as much as it said it lacks
        assert run.reserve_turn(prompt_tokens=100, wanted=wanted)[1] == min(wanted, 64)
    else:
        assert run.reserve_turn(prompt_tokens=100, wanted=wanted)[1] == completion


_SMALL = st.integers(0, 5_000_000)


@given(
    prompt=st.integers(0, 10_000),
    wanted=st.integers(1, 10_000),
    tokens=st.none() | st.integers(0, 20_000),
    cost=st.none() | st.integers(0, 50_000),
    prices=st.tuples(_SMALL, st.none() | _SMALL, _SMALL),
)
def test_a_turn_gets_the_longest_answer_that_every_account_grants(
    prompt: int, wanted: int, tokens: int | None, cost: int | None, prices: tuple[int, int | None, int]
) -> None:
    price = Price(*prices)

    def fits(completion: int) -> bool:
        return (tokens is None or prompt + completion <= tokens) and (
            cost is None or price.ceiling_micros(prompt, completion) <= cost
        )

    turn = turn_reservation(prompt_tokens=prompt, wanted=wanted, tokens=tokens, cost_micros=cost, price=price)
    completion = turn.completion_tokens
    assert min(wanted, 64) <= completion <= wanted
    assert turn.amount == Amount(prompt + completion, price.ceiling_micros(prompt, completion))
    if fits(min(wanted, 64)):
        assert fits(completion)
        assert completion == wanted or not fits(completion + 1)
    else:
        assert completion == min(wanted, 64)
