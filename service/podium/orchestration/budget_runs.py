"""The budget of one run: reserves before each piece of work, settles after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from podium.errors import Cancelled
from podium.orchestration.budget_accounts import NOTHING, Account, Amount, BudgetRefused, Dimension, Holder, Scope
from podium.orchestration.budget_watch import BudgetWatch, EntryKind
from podium.orchestration.prices import FREE, Price

__all__ = ["LEAST_COMPLETION", "Reservation", "RunBudget", "TurnAmount", "turn_reservation"]

LEAST_COMPLETION: Final = 64
"""A turn that may not write this many tokens is not worth its prompt."""


@dataclass(frozen=True, slots=True)
class TurnAmount:
    """What a model turn has to reserve, and how many tokens the model may then write."""

    amount: Amount
    completion_tokens: int


def turn_reservation(
    *,
    prompt_tokens: int,
    wanted: int,
    tokens: int | None,
    cost_micros: int | None,
    price: Price = FREE,
    least: int = LEAST_COMPLETION,
) -> TurnAmount:
    """Return how much to reserve for a model turn: its prompt, and as much of an answer as is affordable.

    The model must be told `completion_tokens` as its limit: then it cannot cost more than is reserved. Where
    not even `least` (or `wanted`, if that is less) are affordable, the amount is for that many:
    `RunBudget.reserve` refuses it, and says in which account.

    Args:
        prompt_tokens: at least as many as the model will count.
        wanted: the most that the model should write.
        tokens, cost_micros: what `RunBudget.affordable` says; None is no limit.
        price: of the model, or the dearest of those that may answer.
        least: the shortest answer worth asking for, in tokens.

    Raises:
        ValueError: the prompt has fewer than no tokens, or less than one token is wanted.
    """
    if prompt_tokens < 0 or wanted < 1:
        raise ValueError("a turn has a prompt, and an answer of at least one token")
    room = wanted if tokens is None else min(wanted, tokens - prompt_tokens)
    paid = None if cost_micros is None else price.affordable_completion(cost_micros, prompt_tokens)
    completion = max(room if paid is None else min(room, paid), min(wanted, least))
    cost = price.ceiling_micros(prompt_tokens, completion)
    return TurnAmount(Amount(tokens=prompt_tokens + completion, cost_micros=cost), completion)


class RunBudget:
    """The budget of one run, and its way to the accounts of its principal and tenant."""

    __slots__ = (
        "_accounts",
        "_checked",
        "_clock",
        "_closed",
        "_enforce",
        "_leave",
        "_open",
        "_principal",
        "_run",
        "_tenant",
        "_until",
        "_watch",
    )

    def __init__(
        self,
        principal: Holder,
        tenant: Holder,
        limit: Amount,
        *,
        enforce: bool,
        clock: Callable[[], float],
        watch: BudgetWatch,
        leave: Callable[[Holder, Holder], None],
    ) -> None:
        self._principal, self._tenant = principal, tenant
        self._enforce, self._clock, self._watch, self._leave = enforce, clock, watch, leave
        self._run = Account(Scope.RUN, "", limit)
        self._open: set[Reservation] = set()
        self._closed = False
        self._enter(clock())

    @property
    def spent(self) -> Amount:
        """What the run has used."""
        return self._run.spent

    @property
    def reserved(self) -> Amount:
        """What its work in progress may still use."""
        return self._run.reserved

    def reserve(self, amount: Amount) -> Reservation:
        """Set an amount aside in every account that applies.

        Raises:
            BudgetRefused: an account has too little left; then nothing is set aside in any.
            Cancelled: the run's budget is closed.
            ValueError: an amount below zero.
        """
        if self._clock() >= self._until:
            self._enter(self._clock())
        tokens, cost, calls = amount.tokens, amount.cost_micros, amount.calls
        if tokens < 0 or cost < 0 or calls < 0:
            raise ValueError("less than nothing cannot be reserved")
        if self._closed:
            raise Cancelled("the run has ended: nothing more can be started in it")
        for account in self._checked:
            dimension = account.refuses(tokens, cost, calls)
            if dimension is not None:
                wanted = {Dimension.TOKENS: tokens, Dimension.COST: cost, Dimension.CALLS: calls}[dimension]
                raise BudgetRefused(account, dimension, wanted)
        for account in self._accounts:
            account.held_tokens += tokens
            account.held_cost += cost
            account.held_calls += calls
        reservation = Reservation(self._open, self._watch, self._accounts, amount)
        self._open.add(reservation)
        self._watch.booked(EntryKind.RESERVED, self._accounts, amount)
        return reservation

    def affordable(self, dimension: Dimension) -> int | None:
        """Return the most of one dimension that `reserve` would grant now; None is without limit."""
        now = self._clock()
        if now >= self._until:
            self._enter(now)
        most: int | None = None
        for account in self._checked:
            limit, spent, held = account.of(dimension)
            if limit:
                left = max(limit - spent - held, 0)
                most = left if most is None else min(most, left)
        return most

    def reserve_turn(
        self, *, prompt_tokens: int, wanted: int, price: Price = FREE, least: int = LEAST_COMPLETION
    ) -> tuple[Reservation, int]:
        """Reserve for a model turn what `turn_reservation` says; return it with the tokens the model may write.

        Raises:
            BudgetRefused, Cancelled, ValueError: as of `reserve` and `turn_reservation`.
        """
        turn = turn_reservation(
            prompt_tokens=prompt_tokens,
            wanted=wanted,
            tokens=self.affordable(Dimension.TOKENS),
            cost_micros=self.affordable(Dimension.COST),
            price=price,
            least=least,
        )
        return self.reserve(turn.amount), turn.completion_tokens

    def top_up(self, amount: Amount) -> None:
        """Raise the run's own limits. What has no limit stays without.

        Raises:
            ValueError: an amount below zero.
        """
        self._run.raise_limits(amount)

    def close(self) -> None:
        """Release what is still reserved; nothing can be reserved any more. A second call does nothing.

        Settle first what is known to be used. What is settled later is booked all the same, without a
        reservation: it was spent.
        """
        if self._closed:
            return
        self._closed = True
        for reservation in tuple(self._open):
            reservation.withdraw()
        self._leave(self._principal, self._tenant)

    def _enter(self, now: float) -> None:
        principal, tenant = self._principal, self._tenant
        principal.renew(now)
        tenant.renew(now)
        self._accounts = (self._run, principal.day, principal.month, tenant.day, tenant.month)
        self._checked = tuple(a for a in self._accounts if a.limited) if self._enforce else ()
        # A month never ends within a day. The earlier one counts where a clock was set back in between.
        self._until = min(principal.day.ends, tenant.day.ends)


class Reservation:
    """Something set aside, until it is settled or released; of both together only the first call counts."""

    __slots__ = ("_accounts", "_amount", "_done", "_held", "_open", "_watch")

    def __init__(
        self, open_: set[Reservation], watch: BudgetWatch, accounts: tuple[Account, ...], amount: Amount
    ) -> None:
        self._open, self._watch, self._accounts, self._amount = open_, watch, accounts, amount
        self._held = True
        self._done = False

    @property
    def amount(self) -> Amount:
        """What was set aside."""
        return self._amount

    def settle(self, actual: Amount) -> None:
        """Book what was really used, in the windows in which it was reserved, and free the rest.

        More than was reserved is booked as well; an account may then stand above its limit.

        Raises:
            ValueError: an amount below zero; the reservation stays as it is.
        """
        tokens, cost, calls = actual.tokens, actual.cost_micros, actual.calls
        if tokens < 0 or cost < 0 or calls < 0:
            raise ValueError("less than nothing cannot be used")
        if self._done:
            return
        self._done = True
        held = self._amount if self._held else NOTHING
        self._free()
        for account in self._accounts:
            account.tokens += tokens
            account.cost += cost
            account.calls += calls
        if tokens > held.tokens or cost > held.cost_micros or calls > held.calls:
            self._watch.exceeded(self._accounts)
        self._watch.booked(EntryKind.SETTLED, self._accounts, actual)

    def release(self) -> None:
        """Give everything back: nothing was used."""
        if not self._done:
            self._done = True
            self.withdraw()

    def withdraw(self) -> None:
        """Give everything back because the run has ended; what was used can still be settled."""
        if self._held:
            self._free()
            self._watch.booked(EntryKind.RELEASED, self._accounts, self._amount)

    def _free(self) -> None:
        if not self._held:
            return
        self._held = False
        self._open.discard(self)
        amount = self._amount
        for account in self._accounts:
            account.held_tokens -= amount.tokens
            account.held_cost -= amount.cost_micros
            account.held_calls -= amount.calls
