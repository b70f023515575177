"""Budgets hold at every moment, block nobody with nothing spent, and say precisely what is missing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from podium.errors import Cancelled
from podium.orchestration.budget import (
    Amount,
    BudgetLimits,
    BudgetRefused,
    Budgets,
    Dimension,
    Entry,
    RunBudget,
    Scope,
)


class Clock:
    """Seconds since the epoch, set by hand."""

    def __init__(self, *when: int) -> None:
        self.set(*(when or (2026, 11, 21, 12)))

    def __call__(self) -> float:
        return self.now

    def set(self, *when: int) -> None:
        self.now = datetime(*when, tzinfo=UTC).timestamp()  # type: ignore[misc, arg-type]


def _run(budgets: Budgets, limit: Amount | None = None, owner: str = "ann", tenant: str = "acme") -> RunBudget:
    return budgets.for_run(owner=owner, tenant=tenant, limit=limit or Amount())


def _tokens(number: int) -> Amount:
    return Amount(tokens=number)


def test_what_is_reserved_is_settled_with_the_real_figures_and_the_rest_is_free_again() -> None:
    budgets = Budgets(clock=Clock())
    run = _run(budgets, Amount(100, 50, 2))
    turn = run.reserve(Amount(80, 40))
    call = run.reserve(Amount(0, 5, 1))
    assert (run.spent, run.reserved) == (Amount(), Amount(80, 45, 1))
    assert [run.affordable(d) for d in Dimension] == [20, 5, 1]
    turn.settle(Amount(30, 15))
    call.settle(Amount(0, 5, 1))
    assert (run.spent, run.reserved) == (Amount(30, 20, 1), Amount())
    assert [run.affordable(d) for d in Dimension] == [70, 30, 1]
    for scope, key in zip(list(Scope)[1:], ("ann", "ann", "acme", "acme"), strict=True):
        assert budgets.spent(scope, key) == Amount(30, 20, 1)


@pytest.mark.parametrize("first", ["settle", "release"])
def test_only_the_first_end_of_a_reservation_counts(first: str) -> None:
    run = _run(Budgets(clock=Clock()), _tokens(10))
    reservation = run.reserve(_tokens(10))
    if first == "settle":
        reservation.settle(_tokens(4))
    else:
        reservation.release()
    reservation.release()
    reservation.settle(_tokens(7))
    assert run.spent == _tokens(4 if first == "settle" else 0)
    assert run.reserved == Amount()


def test_without_a_limit_everything_is_counted_and_nothing_refused() -> None:
    budgets = Budgets()
    run = _run(budgets)
    reservation = run.reserve(Amount(10**12, 10**12, 10**12))
    assert run.reserved.tokens == 10**12
    assert [run.affordable(d) for d in Dimension] == [None] * 3
    reservation.settle(Amount(1, 2, 3))
    assert budgets.spent(Scope.TENANT_MONTH, "acme") == run.spent == Amount(1, 2, 3)


def test_without_enforcement_limits_are_watched_only() -> None:
    alerts: list[object] = []
    budgets = Budgets(
        tenant=BudgetLimits(tokens_per_day=10), enforce=False, clock=Clock(), on_alert=lambda *a: alerts.append(a)
    )
    run = _run(budgets, _tokens(10))
    assert run.affordable(Dimension.TOKENS) is None
    run.reserve(_tokens(100)).settle(_tokens(100))
    assert budgets.spent(Scope.TENANT_DAY, "acme") == _tokens(100)
    assert alerts == [(Scope.TENANT_DAY, Dimension.TOKENS, 10.0)]


_DAILY = BudgetLimits(tokens_per_day=10, cost_micros_per_day=10, calls_per_day=10)
_MONTHLY = BudgetLimits(tokens_per_month=10, cost_micros_per_month=10, calls_per_month=10)
_TOMORROW = datetime(2026, 11, 22, tzinfo=UTC).timestamp()
_DECEMBER = datetime(2026, 12, 1, tzinfo=UTC).timestamp()


def _only(dimension: Dimension, number: int) -> Amount:
    return Amount(*(number if d is dimension else 0 for d in Dimension))


@pytest.mark.parametrize(
    ("scope", "key", "resets"),
    [
        (Scope.RUN, "", None),
        (Scope.PRINCIPAL_DAY, "ann", _TOMORROW),
        (Scope.PRINCIPAL_MONTH, "ann", _DECEMBER),
        (Scope.TENANT_DAY, "acme", _TOMORROW),
        (Scope.TENANT_MONTH, "acme", _DECEMBER),
    ],
)
@pytest.mark.parametrize("dimension", list(Dimension))
def test_a_refusal_says_whose_budget_lacks_what(
    scope: Scope, key: str, resets: float | None, dimension: Dimension
) -> None:
    limits = _DAILY if scope.endswith("day") else _MONTHLY
    budgets = Budgets(
        principal=limits if scope.startswith("principal") else None,
        tenant=limits if scope.startswith("tenant") else None,
        clock=Clock(),
    )
    run = _run(budgets, Amount(10, 10, 10) if scope is Scope.RUN else None)
    run.reserve(_only(dimension, 3)).settle(_only(dimension, 3))
    run.reserve(_only(dimension, 4))
    with pytest.raises(BudgetRefused) as caught:
        run.reserve(_only(dimension, 5))
    refused = caught.value
    assert (refused.scope, refused.key, refused.dimension) == (scope, key, dimension)
    assert (refused.limit, refused.used, refused.reserved, refused.wanted) == (10, 3, 4, 5)
    assert refused.missing == 2
    assert refused.held_up
    assert refused.resets == resets
    # Where this one is full, the others are still had.
    run.reserve(_only(dimension, 3)).settle(_only(dimension, 3))
    run.reserve(Amount(10, 10, 10) - _only(dimension, 10))
    with pytest.raises(BudgetRefused) as caught:
        run.reserve(_only(dimension, 5))
    assert not caught.value.held_up


def test_messages_tell_the_caller_what_to_do_and_name_nobody() -> None:
    limits = BudgetLimits(cost_micros_per_day=1_000_000)
    run = _run(Budgets(tenant=limits, clock=Clock()), Amount(calls=1))
    run.reserve(Amount(cost_micros=840_000)).settle(Amount(cost_micros=840_000))
    call = run.reserve(Amount(calls=1))
    with pytest.raises(BudgetRefused) as money:
        run.reserve(Amount(cost_micros=160_005))
    assert money.value.message == (
        "The tenant's budget of cost for this day has too little left "
        "(limit 1.00, used 0.84, reserved 0.00, left 0.16, wanted 0.160005). "
        "Ask the operator for more, or try again when the next day starts, at 2026-11-22T00:00:00Z."
    )
    with pytest.raises(BudgetRefused) as calls:
        run.reserve(Amount(calls=1))
    assert calls.value.message == (
        "The run's budget of calls has too little left (limit 1, used 0, reserved 1, left 0, wanted 1). "
        "Wait for work in progress to end, or allow the run more."
    )
    call.release()


def test_all_accounts_or_none() -> None:
    entries: list[Entry] = []
    budgets = Budgets(
        principal=BudgetLimits(tokens_per_day=100, calls_per_month=1),
        tenant=BudgetLimits(tokens_per_month=50),
        clock=Clock(),
        on_entry=entries.append,
    )
    run = _run(budgets, Amount(cost_micros=10))
    for amount, scope in (
        (Amount(51, 10, 1), Scope.TENANT_MONTH),
        (Amount(50, 11, 1), Scope.RUN),
        (Amount(50, 10, 2), Scope.PRINCIPAL_MONTH),
        (Amount(101, 10, 1), Scope.PRINCIPAL_DAY),
    ):
        with pytest.raises(BudgetRefused) as caught:
            run.reserve(amount)
        assert caught.value.scope is scope
        assert run.reserved == Amount()
        assert all(
            budgets.standing(s, "ann" if "principal" in s else "acme").reserved == Amount() for s in list(Scope)[1:]
        )
    assert entries == []
    run.reserve(Amount(50, 10, 1))
    assert [entry.scope for entry in entries] == list(Scope)
    assert {entry.reserved for entry in entries} == {Amount(50, 10, 1)}


def test_budgets_of_others_are_others() -> None:
    limits = BudgetLimits(tokens_per_day=10)
    budgets = Budgets(principal=limits, clock=Clock())
    _run(budgets, owner="ann").reserve(_tokens(10))
    _run(budgets, owner="bob").reserve(_tokens(10))
    with pytest.raises(BudgetRefused):
        _run(budgets, owner="ann", tenant="other").reserve(_tokens(1))


def test_more_than_was_reserved_is_booked_as_it_is_and_counted() -> None:
    budgets = Budgets(tenant=BudgetLimits(tokens_per_day=100), clock=Clock())
    run = _run(budgets)
    run.reserve(_tokens(50)).settle(_tokens(60))
    assert budgets.overshoots == 0  # there was room for it
    run.reserve(_tokens(40)).settle(_tokens(45))
    assert budgets.overshoots == 1
    assert budgets.spent(Scope.TENANT_DAY, "acme") == _tokens(105)
    assert run.affordable(Dimension.TOKENS) == 0
    run.reserve(Amount(calls=1)).settle(Amount(calls=1))  # what it does not limit goes on
    with pytest.raises(BudgetRefused) as caught:
        run.reserve(_tokens(1))
    assert caught.value.missing == 6


@pytest.mark.parametrize("dimension", list(Dimension))
def test_who_stands_above_one_limit_may_still_use_what_another_counts(dimension: Dimension) -> None:
    run = _run(Budgets(clock=Clock()), Amount(10, 10, 10))
    run.reserve(_only(dimension, 10)).settle(_only(dimension, 11))
    run.reserve(Amount(10, 10, 10) - _only(dimension, 10))
    with pytest.raises(BudgetRefused):
        run.reserve(_only(dimension, 1))


def test_amounts_below_zero_are_refused() -> None:
    budgets = Budgets(clock=Clock())
    run = _run(budgets)
    reservation = run.reserve(Amount(5, 5, 5))
    for wrong in (Amount(-1), Amount(0, -1), Amount(0, 0, -1)):
        for act in (run.reserve, reservation.settle, run.top_up, lambda a: _run(budgets, a)):
            with pytest.raises(ValueError, match=r"nothing|below zero"):
                act(wrong)
        with pytest.raises(ValueError, match="nothing"):
            budgets.top_up(Scope.TENANT_DAY, "acme", wrong)
    with pytest.raises(ValueError, match="below zero"):
        BudgetLimits(calls_per_month=-1)
    reservation.settle(Amount(1))
    assert run.spent == Amount(1)


def test_closing_frees_what_is_reserved_at_once() -> None:
    budgets = Budgets(tenant=BudgetLimits(tokens_per_day=10), clock=Clock())
    run, other = _run(budgets), _run(budgets)
    run.reserve(_tokens(4))
    run.reserve(_tokens(6))
    woken: list[str] = []
    with pytest.raises(BudgetRefused) as caught:
        other.reserve(_tokens(10))
    caught.value.when_changed(lambda: woken.append("other"))
    run.close()
    run.close()
    assert woken == ["other"]
    assert run.reserved == Amount()
    other.reserve(_tokens(10))
    with pytest.raises(Cancelled):
        run.reserve(Amount())


def test_what_was_used_before_a_run_closed_is_booked_also_afterwards() -> None:
    budgets = Budgets(tenant=BudgetLimits(tokens_per_day=10), clock=Clock())
    run = _run(budgets)
    used, unused = run.reserve(_tokens(4)), run.reserve(_tokens(4))
    run.close()
    used.settle(_tokens(3))
    used.settle(_tokens(3))
    unused.release()
    unused.settle(_tokens(3))
    assert run.reserved == Amount()
    assert budgets.spent(Scope.TENANT_DAY, "acme") == run.spent == _tokens(3)
    assert budgets.overshoots == 0
    assert _run(budgets).affordable(Dimension.TOKENS) == 7


def test_what_comes_after_the_end_of_a_run_can_be_too_much() -> None:
    budgets = Budgets(tenant=BudgetLimits(tokens_per_day=10), clock=Clock())
    run = _run(budgets)
    used = run.reserve(_tokens(4))
    run.close()
    _run(budgets).reserve(_tokens(10))
    used.settle(_tokens(4))
    assert budgets.overshoots == 1
    assert budgets.spent(Scope.TENANT_DAY, "acme") == _tokens(4)


def test_a_long_run_does_not_keep_its_ended_reservations() -> None:
    run = _run(Budgets())
    open_one = run.reserve(_tokens(1))
    for _ in range(100):
        run.reserve(_tokens(1)).settle(_tokens(1))
        run.reserve(_tokens(1)).release()
    assert run._open == {open_one}


def test_a_reservation_settles_into_the_windows_in_which_it_was_made() -> None:
    clock = Clock(2026, 12, 31, 23, 59, 59)
    budgets = Budgets(principal=BudgetLimits(tokens_per_day=10), tenant=BudgetLimits(tokens_per_month=10), clock=clock)
    run = _run(budgets)
    old = run.reserve(_tokens(10))
    assert run.affordable(Dimension.TOKENS) == 0
    clock.set(2027, 1, 1)
    assert run.affordable(Dimension.TOKENS) == 10
    new = run.reserve(_tokens(10))
    assert run.reserved == _tokens(20)
    old.settle(_tokens(9))
    assert run.affordable(Dimension.TOKENS) == 0
    assert budgets.spent(Scope.TENANT_MONTH, "acme") == Amount()
    new.settle(_tokens(2))
    assert budgets.spent(Scope.PRINCIPAL_DAY, "ann") == budgets.spent(Scope.TENANT_MONTH, "acme") == _tokens(2)
    assert run.spent == _tokens(11)


@pytest.mark.parametrize(
    ("before", "after", "day", "month"),
    [
        ((2026, 11, 21, 23, 59, 59), (2026, 11, 21, 23, 59, 59), 5, 5),
        ((2026, 11, 21, 23, 59, 59), (2026, 11, 22), 0, 5),
        ((2026, 11, 30, 23, 59, 59), (2026, 12, 1), 0, 0),
        ((2028, 2, 28, 23, 59, 59), (2028, 2, 29), 0, 5),
        ((2028, 2, 29, 23, 59, 59), (2028, 3, 1), 0, 0),
        ((2026, 12, 31, 23, 59, 59), (2027, 1, 1), 0, 0),
        ((2026, 11, 21, 0, 0, 0), (2027, 11, 21), 0, 0),
        ((2026, 11, 22, 0, 0, 0), (2026, 11, 21, 23, 59, 59), 5, 5),  # the clock was set back
    ],
)
@pytest.mark.parametrize("idle", [True, False])
def test_windows_are_days_and_months_of_utc(
    before: tuple[int, ...], after: tuple[int, ...], day: int, month: int, idle: bool
) -> None:
    clock = Clock(*before)
    budgets = Budgets(clock=clock)
    run = _run(budgets)
    run.reserve(_tokens(5)).settle(_tokens(5))
    if idle:
        run.close()
    clock.set(*after)
    if idle:
        run = _run(budgets)
    run.reserve(Amount()).settle(Amount())
    for who, key in (("principal", "ann"), ("tenant", "acme")):
        assert budgets.spent(Scope(f"{who} day"), key).tokens == day
        assert budgets.spent(Scope(f"{who} month"), key).tokens == month


def test_a_top_up_lets_a_refused_run_go_on() -> None:
    run = _run(Budgets(clock=Clock()), Amount(10, 0, 1))
    woken: list[int] = []
    run.reserve(_tokens(8)).settle(_tokens(8))
    with pytest.raises(BudgetRefused) as caught:
        run.reserve(_tokens(5))
    caught.value.when_changed(lambda: woken.append(1))
    run.top_up(Amount(caught.value.missing, 100, 0))
    assert woken == [1]
    run.reserve(_tokens(5)).settle(_tokens(5))
    with pytest.raises(BudgetRefused):
        run.reserve(_tokens(1))
    assert run.affordable(Dimension.COST) is None  # no limit did not become one


def test_a_window_is_topped_up_until_it_ends() -> None:
    clock = Clock()
    budgets = Budgets(tenant=BudgetLimits(tokens_per_day=10), clock=clock)
    run = _run(budgets)
    run.reserve(_tokens(10))
    with pytest.raises(BudgetRefused) as caught:
        run.reserve(_tokens(5))
    budgets.top_up(caught.value.scope, caught.value.key, _tokens(5))
    run.reserve(_tokens(5))
    assert budgets.standing(Scope.TENANT_DAY, "acme").limit == _tokens(15)
    # Also where nobody has used anything yet.
    budgets.top_up(Scope.TENANT_DAY, "new", _tokens(90))
    assert _run(budgets, tenant="new").affordable(Dimension.TOKENS) == 100
    clock.set(2026, 11, 22)
    assert run.affordable(Dimension.TOKENS) == 10
    for ask in (lambda: budgets.spent(Scope.RUN, ""), lambda: budgets.top_up(Scope.RUN, "", Amount())):
        with pytest.raises(ValueError, match="run"):
            ask()


def test_who_stops_waiting_is_not_woken() -> None:
    run = _run(Budgets(clock=Clock()), _tokens(1))
    reservation = run.reserve(_tokens(1))
    woken: list[str] = []
    with pytest.raises(BudgetRefused) as caught:
        run.reserve(_tokens(1))
    call_off = caught.value.when_changed(lambda: woken.append("gone"))
    caught.value.when_changed(lambda: woken.append("here"))
    call_off()
    reservation.settle(_tokens(1))
    call_off()
    assert woken == ["here"]


def test_alerts_come_once_for_each_limit_and_window() -> None:
    clock = Clock()
    alerts: list[tuple[Scope, Dimension, float]] = []
    budgets = Budgets(
        tenant=BudgetLimits(tokens_per_day=100, tokens_per_month=1_000, calls_per_day=10),
        clock=clock,
        on_alert=lambda scope, dimension, share: alerts.append((scope, dimension, share)),
    )
    run = _run(budgets, _tokens(10_000))

    def use(amount: Amount) -> list[tuple[Scope, Dimension, float]]:
        alerts.clear()
        run.reserve(amount).settle(amount)
        return list(alerts)

    assert use(_tokens(79)) == []
    run.reserve(_tokens(20)).release()
    assert alerts == []
    assert use(_tokens(1)) == [(Scope.TENANT_DAY, Dimension.TOKENS, 0.8)]
    assert use(_tokens(10)) == []
    assert use(Amount(calls=10)) == [(Scope.TENANT_DAY, Dimension.CALLS, 1.0)]
    budgets.top_up(Scope.TENANT_DAY, "acme", _tokens(900))
    assert use(_tokens(700)) == []
    assert use(_tokens(10)) == [
        (Scope.TENANT_DAY, Dimension.TOKENS, 0.8),
        (Scope.TENANT_MONTH, Dimension.TOKENS, 0.8),
    ]
    clock.set(2026, 11, 22)
    assert use(_tokens(80)) == [(Scope.TENANT_DAY, Dimension.TOKENS, 0.8)]


def test_holders_are_bounded_and_those_who_spent_or_work_are_kept() -> None:
    budgets = Budgets(principal=BudgetLimits(tokens_per_day=10), clock=Clock(), most_holders=4)
    working = _run(budgets, owner="working", tenant="")
    working.reserve(_tokens(10))
    spender = _run(budgets, owner="spender", tenant="")
    spender.reserve(_tokens(10)).settle(_tokens(10))
    spender.close()
    late = _run(budgets, owner="late", tenant="")
    open_end = late.reserve(_tokens(10))
    late.close()
    open_end.settle(_tokens(10))
    budgets.top_up(Scope.PRINCIPAL_DAY, "raised", _tokens(5))
    for number in range(5_000):
        _run(budgets, owner=f"idle {number}", tenant="").close()
    assert budgets.holders < 1_100
    assert budgets.forgotten == 0
    for owner in ("working", "spender", "late"):
        again = _run(budgets, owner=owner, tenant="")
        assert again.affordable(Dimension.TOKENS) == 0
        again.close()
    assert budgets.standing(Scope.PRINCIPAL_DAY, "raised").limit == _tokens(15)
    for number in range(10):
        run = _run(budgets, owner=f"new {number}", tenant="")
        run.reserve(_tokens(1)).settle(_tokens(1))
        run.close()
    assert budgets.forgotten == 9  # of 13 that are not working and of whom there is something to forget
    assert _run(budgets, owner="spender", tenant="").affordable(Dimension.TOKENS) == 10
    # Who spent before and works again is among those who work.
    back = _run(budgets, owner="new 9", tenant="")
    for number in range(10):
        run = _run(budgets, owner=f"newer {number}", tenant="")
        run.reserve(_tokens(1)).settle(_tokens(1))
        run.close()
    assert _run(budgets, owner="new 9", tenant="").affordable(Dimension.TOKENS) == 9
    back.close()
    assert _run(budgets, owner="working", tenant="").affordable(Dimension.TOKENS) == 0


def test_who_spent_is_forgotten_when_the_month_is_over() -> None:
    clock = Clock()
    budgets = Budgets(clock=clock)
    for number in range(50):
        run = _run(budgets, owner=f"{number}", tenant="")
        run.reserve(_tokens(1)).settle(_tokens(1))
        run.close()
    clock.set(2026, 11, 30, 23, 59, 59)
    _run(budgets, owner="0", tenant="").close()
    assert budgets.holders == 51
    clock.set(2026, 12, 1)
    for _ in range(20):
        _run(budgets, owner="x", tenant="").close()
    assert budgets.holders == 2
    assert budgets.forgotten == 0
