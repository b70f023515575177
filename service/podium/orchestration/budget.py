"""Budgets: what runs, principals and tenants may use. Reserved before work, settled after it.

Before a model turn or a tool call its worst case is reserved in every account that it concerns: the run's,
and the day's and the month's of its principal and of its tenant (UTC). Afterwards it is settled with the
real figures, and the rest is free again. What is spent and reserved never exceeds a limit together, with one
exception: a settlement above its reservation (a provider may count differently) is booked as it is.
Everything is plain arithmetic on one event loop: between check and booking nothing else can happen.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from podium.orchestration.budget_accounts import (
    NOTHING,
    Amount,
    BudgetLimits,
    BudgetRefused,
    Dimension,
    Holder,
    Ledger,
    Scope,
)
from podium.orchestration.budget_runs import LEAST_COMPLETION, Reservation, RunBudget, TurnAmount, turn_reservation
from podium.orchestration.budget_watch import BudgetWatch, Entry, EntryKind

__all__ = [
    "LEAST_COMPLETION",
    "Amount",
    "BudgetLimits",
    "BudgetRefused",
    "Budgets",
    "Dimension",
    "Entry",
    "EntryKind",
    "Reservation",
    "RunBudget",
    "Scope",
    "Standing",
    "TurnAmount",
    "turn_reservation",
]

_MOST_HOLDERS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Standing:
    """An account as it stands. A limit of 0 is none; `ends` is in seconds since the epoch."""

    spent: Amount
    reserved: Amount
    limit: Amount
    ends: float


class Budgets:
    """The accounts of a process, in memory. Belongs to its event loop.

    A principal or tenant without an open run is forgotten when it has spent nothing and 1,024 others like it
    came after it, when its month is over, or when more than `most_holders` have spent something since.

    Args:
        principal: limits of each principal.
        tenant: limits of each tenant; callers without a tenant share one account, of the tenant "".
        enforce: false counts everything, gives alerts, and refuses nothing, runs' own limits included.
        clock: seconds since the epoch.
        on_entry: told of every change of an account. It must not raise.
        on_alert: told when what is spent reaches `alert_share` of a principal's or tenant's limit: once for
            each limit, again in the next window or when more was allowed. It must not raise.
    """

    def __init__(
        self,
        *,
        principal: BudgetLimits | None = None,
        tenant: BudgetLimits | None = None,
        enforce: bool = True,
        clock: Callable[[], float] = time.time,
        on_entry: Callable[[Entry], None] | None = None,
        on_alert: Callable[[Scope, Dimension, float], None] | None = None,
        alert_share: float = 0.8,
        most_holders: int = _MOST_HOLDERS,
    ) -> None:
        if not 0 < alert_share <= 1 or most_holders < 1:
            raise ValueError("alert_share must be above 0 and at most 1, most_holders at least 1")
        self._enforce = enforce
        self._clock = clock
        self._watch = BudgetWatch(on_entry, on_alert, alert_share)
        self._principals = Ledger(
            (Scope.PRINCIPAL_DAY, Scope.PRINCIPAL_MONTH), principal or BudgetLimits(), most_holders
        )
        self._tenants = Ledger((Scope.TENANT_DAY, Scope.TENANT_MONTH), tenant or BudgetLimits(), most_holders)

    @property
    def overshoots(self) -> int:
        """How many settlements above their reservation left an account above its limit."""
        return self._watch.overshoots

    @property
    def forgotten(self) -> int:
        """How many principals and tenants were dropped although they had spent something in their windows."""
        return self._principals.forgotten + self._tenants.forgotten

    @property
    def holders(self) -> int:
        """How many principals and tenants have accounts."""
        return len(self._principals) + len(self._tenants)

    def for_run(self, *, owner: str, tenant: str, limit: Amount = NOTHING) -> RunBudget:
        """Return the budget of a new run; it must be closed. 0 in `limit` is no limit.

        Raises:
            ValueError: a limit is below zero.
        """
        if limit.negative:
            raise ValueError("a limit of a budget must not be below zero")
        now = self._clock()
        return RunBudget(
            self._principals.open(owner, now),
            self._tenants.open(tenant, now),
            limit,
            enforce=self._enforce,
            clock=self._clock,
            watch=self._watch,
            leave=self._leave,
        )

    def standing(self, scope: Scope, key: str) -> Standing:
        """Return the account of a principal or tenant in the current window.

        Raises:
            ValueError: of a run; ask its `RunBudget`.
        """
        ledger, monthly = self._ledger(scope), self._monthly(scope)
        now = self._clock()
        holder = ledger.find(key) or Holder(ledger, key, now)
        holder.renew(now)
        account = holder.month if monthly else holder.day
        return Standing(account.spent, account.reserved, account.limit, account.ends)

    def spent(self, scope: Scope, key: str) -> Amount:
        """Return what a principal or tenant has spent in the current window.

        Raises:
            ValueError: of a run; ask its `RunBudget`.
        """
        return self.standing(scope, key).spent

    def top_up(self, scope: Scope, key: str, amount: Amount) -> None:
        """Raise the limits of a principal or tenant for the current window. What has no limit stays without.

        Raises:
            ValueError: of a run, or an amount below zero.
        """
        ledger, monthly = self._ledger(scope), self._monthly(scope)
        now = self._clock()
        holder = ledger.open(key, now)
        try:
            (holder.month if monthly else holder.day).raise_limits(amount)
        finally:
            ledger.close(holder, now)

    def _leave(self, principal: Holder, tenant: Holder) -> None:
        now = self._clock()
        self._principals.close(principal, now)
        self._tenants.close(tenant, now)

    def _ledger(self, scope: Scope) -> Ledger:
        if scope is Scope.RUN:
            raise ValueError("the account of a run is with its RunBudget")
        return self._principals if scope in self._principals.scopes else self._tenants

    @staticmethod
    def _monthly(scope: Scope) -> bool:
        return scope in (Scope.PRINCIPAL_MONTH, Scope.TENANT_MONTH)
