"""The accounts of budgets: what is spent and reserved in one run, or in one window of a principal or tenant."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

__all__ = ["NOTHING", "Account", "Amount", "BudgetLimits", "BudgetRefused", "Dimension", "Holder", "Ledger", "Scope"]

_DAY: Final = 86_400
_UNUSED: Final = 1_024  # holders kept that have spent nothing
_SWEPT: Final = 4  # holders of past months dropped at once


class Scope(StrEnum):
    """Whose budget, and for how long."""

    RUN = "run"
    PRINCIPAL_DAY = "principal day"
    PRINCIPAL_MONTH = "principal month"
    TENANT_DAY = "tenant day"
    TENANT_MONTH = "tenant month"


class Dimension(StrEnum):
    """What a budget counts."""

    TOKENS = "tokens"
    COST = "cost"
    CALLS = "calls"


@dataclass(frozen=True, slots=True)
class Amount:
    """Tokens of models, money in millionths of the budget's currency, and tool calls."""

    tokens: int = 0
    cost_micros: int = 0
    calls: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.tokens + other.tokens, self.cost_micros + other.cost_micros, self.calls + other.calls)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.tokens - other.tokens, self.cost_micros - other.cost_micros, self.calls - other.calls)

    @property
    def negative(self) -> bool:
        """Whether anything in it is below zero."""
        return self.tokens < 0 or self.cost_micros < 0 or self.calls < 0


NOTHING: Final = Amount()
"""Also: no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLimits:
    """What one principal, or one tenant, may use in a day and in a month (UTC). 0 is no limit.

    Raises:
        ValueError: a limit is below zero.
    """

    tokens_per_day: int = 0
    cost_micros_per_day: int = 0
    calls_per_day: int = 0
    tokens_per_month: int = 0
    cost_micros_per_month: int = 0
    calls_per_month: int = 0

    def __post_init__(self) -> None:
        if self.day.negative or self.month.negative:
            raise ValueError("a limit of a budget must not be below zero")

    @property
    def day(self) -> Amount:
        """The limits of a day."""
        return Amount(self.tokens_per_day, self.cost_micros_per_day, self.calls_per_day)

    @property
    def month(self) -> Amount:
        """The limits of a month."""
        return Amount(self.tokens_per_month, self.cost_micros_per_month, self.calls_per_month)


class Account:
    """What is spent (`tokens`, `cost`, `calls`) and reserved (`held_*`), and the most both may be (`max_*`).

    A window's account is never used again for the next window, so whoever holds one settles into the
    window in which the reservation was made.

    Attributes:
        key: the principal or the tenant; "" of a run. Not for metric labels.
        ends: when the window is over, in seconds since the epoch; infinite of a run.
        max_tokens, max_cost, max_calls: 0 is no limit.
        raised: whether somebody allowed more in this window.
        alerted: the dimensions whose alert was given.
        waiting: whom to wake when something changes, by a token of theirs.
    """

    __slots__ = (
        "alerted",
        "calls",
        "cost",
        "ends",
        "held_calls",
        "held_cost",
        "held_tokens",
        "key",
        "max_calls",
        "max_cost",
        "max_tokens",
        "raised",
        "scope",
        "tokens",
        "waiting",
    )

    def __init__(self, scope: Scope, key: str, limit: Amount, ends: float = math.inf) -> None:
        self.scope, self.key, self.ends = scope, key, ends
        self.max_tokens, self.max_cost, self.max_calls = limit.tokens, limit.cost_micros, limit.calls
        self.tokens = self.cost = self.calls = 0
        self.held_tokens = self.held_cost = self.held_calls = 0
        self.raised = False
        self.alerted: frozenset[Dimension] = frozenset()
        self.waiting: dict[object, Callable[[], None]] | None = None

    @property
    def spent(self) -> Amount:
        """What was really used."""
        return Amount(self.tokens, self.cost, self.calls)

    @property
    def reserved(self) -> Amount:
        """What work in progress may still use."""
        return Amount(self.held_tokens, self.held_cost, self.held_calls)

    @property
    def limit(self) -> Amount:
        """The most that may be spent and reserved; 0 is no limit."""
        return Amount(self.max_tokens, self.max_cost, self.max_calls)

    @property
    def limited(self) -> bool:
        """Whether it has any limit."""
        return bool(self.max_tokens or self.max_cost or self.max_calls)

    @property
    def over(self) -> bool:
        """Whether it stands above a limit, which only a settlement above its reservation can bring about."""
        return any(limit and spent + held > limit for limit, spent, held in map(self.of, Dimension))

    @property
    def blank(self) -> bool:
        """Whether nothing would be lost with it."""
        spent = self.tokens or self.cost or self.calls
        return not (self.raised or spent or self.held_tokens or self.held_cost or self.held_calls)

    def of(self, dimension: Dimension) -> tuple[int, int, int]:
        """Return the limit, what is spent and what is reserved."""
        if dimension is Dimension.TOKENS:
            return self.max_tokens, self.tokens, self.held_tokens
        if dimension is Dimension.COST:
            return self.max_cost, self.cost, self.held_cost
        return self.max_calls, self.calls, self.held_calls

    def refuses(self, tokens: int, cost: int, calls: int) -> Dimension | None:
        """Return what there is too little of. Nothing wanted of a dimension is always there."""
        if tokens and self.max_tokens and self.tokens + self.held_tokens + tokens > self.max_tokens:
            return Dimension.TOKENS
        if cost and self.max_cost and self.cost + self.held_cost + cost > self.max_cost:
            return Dimension.COST
        if calls and self.max_calls and self.calls + self.held_calls + calls > self.max_calls:
            return Dimension.CALLS
        return None

    def raise_limits(self, amount: Amount) -> None:
        """Allow more of what is limited. Its alert may come again, and who waits is woken.

        Raises:
            ValueError: an amount below zero.
        """
        if amount.negative:
            raise ValueError("a budget cannot be topped up by less than nothing")
        before = {dimension: self.of(dimension)[0] for dimension in Dimension}
        self.max_tokens += amount.tokens if self.max_tokens else 0
        self.max_cost += amount.cost_micros if self.max_cost else 0
        self.max_calls += amount.calls if self.max_calls else 0
        self.alerted = frozenset(d for d in self.alerted if self.of(d)[0] == before[d])
        self.raised = True
        self.wake()

    def wake(self) -> None:
        """Tell all who wait that it is worth trying again, once."""
        if self.waiting is not None:
            waiting, self.waiting = self.waiting, None
            for wake in waiting.values():
                wake()

    def wait(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have `wake` called once when something changes; return what calls that off."""
        token = object()
        if self.waiting is None:
            self.waiting = {}
        self.waiting[token] = wake

        def call_off() -> None:
            if self.waiting is not None:
                self.waiting.pop(token, None)

        return call_off


class BudgetRefused(Exception):
    """A budget would be exceeded. Nothing was reserved in any account.

    Attributes:
        message: what happened and what to do about it, for the caller; names nobody.
        key: the principal or the tenant, for `Budgets.top_up`; "" of a run.
        used: what is spent.
        reserved: what work in progress may still use.
        resets: when the window ends, in seconds since the epoch; None of a run.
    """

    def __init__(self, account: Account, dimension: Dimension, wanted: int) -> None:
        self._account = account
        self.scope, self.key, self.dimension, self.wanted = account.scope, account.key, dimension, wanted
        self.limit, self.used, self.reserved = account.of(dimension)
        self.resets = None if account.scope is Scope.RUN else account.ends
        self.message = self._text()
        super().__init__(self.message)

    @property
    def missing(self) -> int:
        """By how much the limit would have to be higher."""
        return self.used + self.reserved + self.wanted - self.limit

    @property
    def held_up(self) -> bool:
        """Whether only reservations stand in the way: there may be room as soon as work in progress ends."""
        return self.used + self.wanted <= self.limit

    def when_changed(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have `wake` called once when the account changes in a way that may help; return what calls that off.

        A reservation was settled or released there, or the limit was raised. The start of a new window
        is not told: that is `resets`. `wake` must return at once and not raise.
        """
        return self._account.wait(wake)

    def _text(self) -> str:
        left = max(self.limit - self.used - self.reserved, 0)
        facts = ", ".join(
            f"{word} {_figure(self.dimension, number)}"
            for word, number in (
                ("limit", self.limit),
                ("used", self.used),
                ("reserved", self.reserved),
                ("left", left),
                ("wanted", self.wanted),
            )
        )
        wait = "Wait for work in progress to end, or " if self.held_up else ""
        if self.resets is None:
            what = f"The run's budget of {self.dimension} has too little left ({facts})."
            ask = "allow the run more."
        else:
            whose, window = self.scope.split()
            again = datetime.fromtimestamp(self.resets, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            what = f"The {whose}'s budget of {self.dimension} for this {window} has too little left ({facts})."
            ask = f"ask the operator for more, or try again when the next {window} starts, at {again}."
        todo = wait + ask
        return f"{what} {todo[0].upper()}{todo[1:]}"


def _figure(dimension: Dimension, number: int) -> str:
    if dimension is not Dimension.COST:
        return f"{number:,}"
    whole, micros = divmod(number, 1_000_000)
    cents = f"{micros:06d}"
    return f"{whole:,}.{cents[:2]}{cents[2:].rstrip('0')}"


class Holder:
    """The accounts of one principal or tenant in the current day and month."""

    __slots__ = ("_ledger", "day", "key", "month", "runs")

    def __init__(self, ledger: Ledger, key: str, now: float) -> None:
        self._ledger, self.key = ledger, key
        self.runs = 0
        self.day = Account(ledger.scopes[0], key, ledger.day, _day_end(now))
        self.month = Account(ledger.scopes[1], key, ledger.month, _month_end(now))

    def renew(self, now: float) -> None:
        """Start new windows where the old ones are over. A clock that is set back reopens none."""
        if now >= self.day.ends:
            before, self.day = self.day, Account(self.day.scope, self.key, self._ledger.day, _day_end(now))
            before.wake()
        if now >= self.month.ends:
            before, self.month = self.month, Account(self.month.scope, self.key, self._ledger.month, _month_end(now))
            before.wake()

    def blank(self, now: float) -> bool:
        """Whether nothing would be forgotten with it."""
        return (now >= self.day.ends or self.day.blank) and (now >= self.month.ends or self.month.blank)


class Ledger:
    """All principals, or all tenants. Holds those with open runs, and a bounded number of others.

    Attributes:
        forgotten: how many were dropped although they had spent something in their windows.
    """

    def __init__(self, scopes: tuple[Scope, Scope], limits: BudgetLimits, most: int) -> None:
        self.scopes = scopes
        self.day, self.month = limits.day, limits.month
        self.forgotten = 0
        self._most = most
        self._holders: dict[str, Holder] = {}
        # Of those without an open run, the least recently used first.
        self._unused: OrderedDict[str, None] = OrderedDict()
        self._used: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._holders)

    def find(self, key: str) -> Holder | None:
        """Return a holder if it is known."""
        return self._holders.get(key)

    def open(self, key: str, now: float) -> Holder:
        """Return a holder for one more run (or change), with current windows. `close` has to follow."""
        holder = self._holders.get(key)
        if holder is None:
            holder = self._holders[key] = Holder(self, key, now)
        else:
            holder.renew(now)
            if not holder.runs:
                self._unused.pop(key, None)
                self._used.pop(key, None)
        holder.runs += 1
        return holder

    def close(self, holder: Holder, now: float) -> None:
        """Let go of a holder."""
        holder.runs -= 1
        if holder.runs:
            return
        (self._unused if holder.blank(now) else self._used)[holder.key] = None
        if len(self._unused) > _UNUSED:
            key, _ = self._unused.popitem(last=False)
            self._drop(key, now)
        for _ in range(_SWEPT):
            if not self._used or (len(self._used) <= self._most and not self._past(next(iter(self._used)), now)):
                return
            key, _ = self._used.popitem(last=False)
            self.forgotten += not self._holders.pop(key).blank(now)

    def _past(self, key: str, now: float) -> bool:
        return now >= self._holders[key].month.ends

    def _drop(self, key: str, now: float) -> None:
        # What a run had started may have been settled after the run's end.
        if self._holders[key].blank(now):
            del self._holders[key]
        else:
            self._used[key] = None


def _day_end(now: float) -> float:
    return (now // _DAY + 1) * _DAY


def _month_end(now: float) -> float:
    today = datetime.fromtimestamp(now, UTC)
    year, month = (today.year + 1, 1) if today.month == 12 else (today.year, today.month + 1)
    return datetime(year, month, 1, tzinfo=UTC).timestamp()
