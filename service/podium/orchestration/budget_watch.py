"""Tells of every change of the accounts of budgets, and when a budget is nearly used up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from podium.orchestration.budget_accounts import Account, Amount, Dimension, Scope

__all__ = ["BudgetWatch", "Entry", "EntryKind"]


class EntryKind(StrEnum):
    """What happened in an account."""

    RESERVED = "reserved"
    SETTLED = "settled"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Entry:
    """One change of one account.

    Attributes:
        key: the principal or the tenant; "" of a run. Not for metric labels.
        ends: when the account's window is over, in seconds since the epoch; infinite of a run.
        amount: what was reserved, really used or released.
        spent, reserved, limit: of the account afterwards; a limit of 0 is none.
    """

    kind: EntryKind
    scope: Scope
    key: str
    ends: float
    amount: Amount
    spent: Amount
    reserved: Amount
    limit: Amount


class BudgetWatch:
    """Who is told, and what is counted. One for all accounts of a process; the arguments are those of `Budgets`.

    Attributes:
        overshoots: settlements above their reservation that left an account above its limit.
    """

    def __init__(
        self,
        on_entry: Callable[[Entry], None] | None,
        on_alert: Callable[[Scope, Dimension, float], None] | None,
        alert_share: float,
    ) -> None:
        self._on_entry = on_entry
        self._on_alert = on_alert
        self._alert_share = alert_share
        self.overshoots = 0

    def booked(self, kind: EntryKind, accounts: tuple[Account, ...], amount: Amount) -> None:
        """Tell of a change that was made in all of these accounts, and wake who waits for one."""
        if self._on_entry is not None:
            for a in accounts:
                self._on_entry(Entry(kind, a.scope, a.key, a.ends, amount, a.spent, a.reserved, a.limit))
        if kind is EntryKind.RESERVED:
            return
        for account in accounts:
            if self._on_alert is not None and account.limited and account.scope is not Scope.RUN:
                self._alert(account, self._on_alert)
            if account.waiting is not None:
                account.wake()

    def exceeded(self, accounts: tuple[Account, ...]) -> None:
        """Count a settlement above its reservation, if it matters."""
        self.overshoots += any(account.over for account in accounts)

    def _alert(self, account: Account, tell: Callable[[Scope, Dimension, float], None]) -> None:
        for dimension in Dimension:
            limit, spent, _ = account.of(dimension)
            if limit and spent >= self._alert_share * limit and dimension not in account.alerted:
                account.alerted |= {dimension}
                tell(account.scope, dimension, spent / limit)
