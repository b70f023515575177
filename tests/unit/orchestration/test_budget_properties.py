"""Budgets under concurrency, and against a model that keeps no sums at all."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.errors import Cancelled
from podium.orchestration.budget import (
    Amount,
    BudgetLimits,
    BudgetRefused,
    Budgets,
    Dimension,
    Entry,
    EntryKind,
    Reservation,
    RunBudget,
    Scope,
)
from podium.orchestration.prices import Price
from support.virtual_time import run_virtual

_CAP = 1_000_000
_NOTHING = Amount()


@pytest.mark.parametrize("seed", range(3))
def test_64_runs_share_a_dollar_and_use_it_up(seed: int) -> None:
    """Peers C6: never above the cap at any entry, and nobody gives up while something may still come free."""
    chance = random.Random(seed)
    price = Price(1_000_000, None, 10_000_000)
    largest, least = price.ceiling_micros(500, 4_000), price.ceiling_micros(500, 64)
    entries: list[Entry] = []
    turns = 0

    async def one_run(budgets: Budgets) -> None:
        nonlocal turns
        run = budgets.for_run(owner=f"owner {chance.randrange(9)}", tenant="acme")
        try:
            while True:
                prompt = chance.randint(1, 500)
                try:
                    reservation, most = run.reserve_turn(prompt_tokens=prompt, wanted=4_000, price=price)
                except BudgetRefused as refused:
                    assert refused.scope is Scope.TENANT_DAY
                    if not refused.held_up:
                        return
                    changed = asyncio.Event()
                    refused.when_changed(changed.set)
                    await changed.wait()
                    continue
                await asyncio.sleep(chance.random())
                written = chance.randint(0, most // chance.randint(1, 10))
                reservation.settle(Amount(prompt + written, price.ceiling_micros(prompt, written)))
                turns += 1
        finally:
            run.close()

    async def main() -> Budgets:
        budgets = Budgets(
            tenant=BudgetLimits(cost_micros_per_day=_CAP),
            clock=lambda: 1e9 + asyncio.get_running_loop().time(),
            on_entry=entries.append,
        )
        async with asyncio.TaskGroup() as group:
            for _ in range(64):
                group.create_task(one_run(budgets))
        day = budgets.standing(Scope.TENANT_DAY, "acme")
        assert day.reserved == Amount()
        assert _CAP - least < day.spent.cost_micros <= _CAP
        return budgets

    budgets = run_virtual(main())
    assert budgets.overshoots == 0
    ours = [entry for entry in entries if entry.scope is Scope.TENANT_DAY]
    assert all(entry.spent.cost_micros + entry.reserved.cost_micros <= _CAP for entry in ours)
    # They did work at once, and hit the cap with reservations long before it was spent.
    assert any(entry.reserved.cost_micros > 0.9 * _CAP for entry in ours)
    assert turns > _CAP / largest * 1.5
    assert {entry.kind for entry in ours} == {EntryKind.RESERVED, EntryKind.SETTLED}


_PRINCIPAL = BudgetLimits(tokens_per_day=20, cost_micros_per_month=60, calls_per_day=8)
_TENANT = BudgetLimits(tokens_per_month=70, cost_micros_per_day=30, calls_per_month=20)
_LIMITS = {
    Scope.PRINCIPAL_DAY: _PRINCIPAL.day,
    Scope.PRINCIPAL_MONTH: _PRINCIPAL.month,
    Scope.TENANT_DAY: _TENANT.day,
    Scope.TENANT_MONTH: _TENANT.month,
}
_Window = tuple[Scope, str, str]


@dataclass
class _ModelRun:
    real: RunBudget
    number: int
    owner: str
    tenant: str
    limit: Amount
    closed: bool = False


@dataclass
class _ModelReservation:
    """What was asked, when, and what has become of it."""

    real: Reservation
    run: _ModelRun
    windows: tuple[_Window, ...]
    held: Amount
    spent: Amount = _NOTHING
    done: bool = False


@dataclass
class _Model:
    """Adds everything up anew for each question."""

    now: float = datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()
    runs: list[_ModelRun] = field(default_factory=list)
    reservations: list[_ModelReservation] = field(default_factory=list)
    tops: dict[_Window, Amount] = field(default_factory=dict)

    def windows(self, run: _ModelRun) -> tuple[_Window, ...]:
        return (Scope.RUN, str(run.number), ""), *(
            self.window(scope, run.owner if scope.startswith("principal") else run.tenant) for scope in _LIMITS
        )

    def window(self, scope: Scope, key: str) -> _Window:
        return scope, key, datetime.fromtimestamp(self.now, UTC).strftime("%x" if scope.endswith("day") else "%m %Y")

    def limit(self, window: _Window) -> Amount:
        scope, key, _ = window
        own = self.runs[int(key)].limit if scope is Scope.RUN else _LIMITS[scope]
        top = self.tops.get(window, Amount())
        return Amount(*(a and a + b for a, b in zip(_figures(own), _figures(top), strict=True)))

    def spent(self, window: _Window) -> Amount:
        return sum((r.spent for r in self.reservations if window in r.windows), Amount())

    def held(self, window: _Window) -> Amount:
        return sum((r.held for r in self.reservations if window in r.windows), Amount())

    def refusal(self, run: _ModelRun, amount: Amount) -> tuple[Scope, Dimension] | None:
        for window in self.windows(run):
            total = _figures(self.spent(window) + self.held(window) + amount)
            for dimension, limit, new, wanted in zip(
                Dimension, _figures(self.limit(window)), total, _figures(amount), strict=True
            ):
                if limit and wanted and new > limit:
                    return window[0], dimension
        return None

    def left(self, run: _ModelRun, place: int) -> int | None:
        lefts = [
            max(limit - _figures(self.spent(window) + self.held(window))[place], 0)
            for window in self.windows(run)
            if (limit := _figures(self.limit(window))[place])
        ]
        return min(lefts, default=None)

    def check(self, budgets: Budgets) -> None:
        for run in self.runs:
            own = (Scope.RUN, str(run.number), "")
            assert (run.real.spent, run.real.reserved) == (self.spent(own), self.held(own))
            for place, dimension in enumerate(Dimension):
                assert run.real.affordable(dimension) == self.left(run, place)
            for scope, key, when in self.windows(run)[1:]:
                standing = budgets.standing(scope, key)
                window = (scope, key, when)
                assert (standing.spent, standing.reserved) == (self.spent(window), self.held(window))
                assert standing.limit == self.limit(window)


def _figures(amount: Amount) -> tuple[int, int, int]:
    return amount.tokens, amount.cost_micros, amount.calls


_AMOUNTS = st.builds(Amount, st.integers(0, 12), st.integers(0, 12), st.integers(0, 3))
_NUMBERS = st.integers(0, 99)
_STEPS = st.one_of(
    st.tuples(st.just("open"), _NUMBERS, st.just(Amount()) | _AMOUNTS),
    st.tuples(st.just("reserve"), _NUMBERS, _AMOUNTS),
    st.tuples(st.just("reserve"), _NUMBERS, _AMOUNTS),
    st.tuples(st.just("settle"), _NUMBERS, _AMOUNTS),
    st.tuples(st.sampled_from(["release", "close", "top up run", "top up window", "wait"]), _NUMBERS, _AMOUNTS),
)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(_STEPS, max_size=60), exceed=st.booleans())
def test_any_course_of_events_gives_the_sums_of_a_naive_model(
    steps: list[tuple[str, int, Amount]], exceed: bool
) -> None:
    model, entries = _Model(), list[Entry]()
    budgets = Budgets(principal=_PRINCIPAL, tenant=_TENANT, clock=lambda: model.now, on_entry=entries.append)
    _step(model, budgets, "open", 0, Amount(), exceed=exceed)
    for kind, number, amount in steps:
        _step(model, budgets, kind, number, amount, exceed=exceed)
        model.check(budgets)
    if not exceed:
        assert budgets.overshoots == 0
        for entry in entries:
            for limit, total in zip(_figures(entry.limit), _figures(entry.spent + entry.reserved), strict=True):
                assert not limit or total <= limit
    for run in model.runs:
        run.real.close()
    assert all(run.real.reserved == Amount() for run in model.runs)


def _step(model: _Model, budgets: Budgets, kind: str, number: int, amount: Amount, *, exceed: bool) -> None:
    run = model.runs[number % len(model.runs)] if model.runs else None
    chosen = model.reservations[number % len(model.reservations)] if model.reservations else None
    if kind == "open" or run is None:
        owner, tenant = "ab"[number % 2], "xy"[number // 2 % 2]
        real = budgets.for_run(owner=owner, tenant=tenant, limit=amount)
        model.runs.append(_ModelRun(real, len(model.runs), owner, tenant, amount))
    elif kind == "reserve":
        _reserve(model, run, amount)
    elif kind in ("settle", "release") and chosen is not None:
        _end(chosen, kind, amount, exceed=exceed)
    elif kind == "close":
        run.real.close()
        run.closed = True
        for reservation in model.reservations:
            if reservation.run is run:
                reservation.held = Amount()
    elif kind == "top up run":
        run.real.top_up(amount)
        own = (Scope.RUN, str(run.number), "")
        model.tops[own] = model.tops.get(own, Amount()) + amount
    elif kind == "top up window":
        scope = list(_LIMITS)[number % 4]
        window = model.window(scope, run.owner if scope.startswith("principal") else run.tenant)
        budgets.top_up(scope, window[1], amount)
        model.tops[window] = model.tops.get(window, Amount()) + amount
    elif kind == "wait":
        model.now += number * 900


def _reserve(model: _Model, run: _ModelRun, amount: Amount) -> None:
    if run.closed:
        with pytest.raises(Cancelled):
            run.real.reserve(amount)
        return
    expected = model.refusal(run, amount)
    try:
        real = run.real.reserve(amount)
    except BudgetRefused as refused:
        assert (refused.scope, refused.dimension) == expected
        assert refused.missing > 0
    else:
        assert expected is None
        model.reservations.append(_ModelReservation(real, run, model.windows(run), amount))


def _end(chosen: _ModelReservation, kind: str, amount: Amount, *, exceed: bool) -> None:
    if not exceed:  # below the reservation, and nothing where the run was closed before
        amount = Amount(*map(min, zip(_figures(amount), _figures(chosen.held), strict=True)))
    if kind == "settle":
        chosen.real.settle(amount)
    else:
        chosen.real.release()
    if not chosen.done:
        chosen.done, chosen.held = True, Amount()
        chosen.spent = amount if kind == "settle" else Amount()
