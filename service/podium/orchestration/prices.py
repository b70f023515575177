"""What models cost: the price table, and the rule for models that are not in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from podium.errors import FailedPrecondition
from podium.orchestration.chat import Usage

__all__ = ["FREE", "Price", "PriceTable", "UnknownPrice"]

_MILLION: Final = 1_000_000
_TOLD: Final = 1_024  # models that are remembered as told


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost, in millionths of the budget's currency (3.00 a million: 3_000_000).

    `cached_micros_per_million` is for tokens of the prompt that were not computed again; None when they
    cost as much as others.

    Raises:
        ValueError: a price is below zero.
    """

    prompt_micros_per_million: int
    cached_micros_per_million: int | None
    completion_micros_per_million: int

    def __post_init__(self) -> None:
        if min(self.prompt_micros_per_million, self.cached, self.completion_micros_per_million) < 0:
            raise ValueError("a price must not be below zero")

    @property
    def cached(self) -> int:
        """The price of cached tokens."""
        cached = self.cached_micros_per_million
        return self.prompt_micros_per_million if cached is None else cached

    def cost_micros(self, usage: Usage) -> int:
        """Return what this usage costs, rounded up once. Its cached tokens are part of the prompt's."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        return _rounded_up(
            (usage.prompt_tokens - cached) * self.prompt_micros_per_million
            + cached * self.cached
            + usage.completion_tokens * self.completion_micros_per_million
        )

    def ceiling_micros(self, prompt_tokens: int, completion_tokens: int) -> int:
        """Return the most that this many tokens can cost, whatever of the prompt is cached."""
        return _rounded_up(prompt_tokens * self._dearest + completion_tokens * self.completion_micros_per_million)

    def affordable_completion(self, cost_micros: int, prompt_tokens: int) -> int | None:
        """Return for how many completion tokens the money is enough, the prompt paid; None for any number.

        Negative when it is not enough for the prompt. Exact: `ceiling_micros` of the answer is within
        the money, and of one token more is not.
        """
        left = cost_micros * _MILLION - prompt_tokens * self._dearest
        if self.completion_micros_per_million:
            return left // self.completion_micros_per_million
        return None if left >= 0 else -1

    @property
    def _dearest(self) -> int:
        return max(self.prompt_micros_per_million, self.cached)


FREE: Final = Price(0, 0, 0)
"""The price of a model on our own machine."""


class UnknownPrice(StrEnum):
    """What counts for a remote model without a price."""

    DENY = "deny"  # it is not used where a budget of money applies
    CEILING = "ceiling"  # it costs the ceiling price


class PriceTable:
    """The prices of models by their configured names.

    A model on our own machine is free unless it has a price. A remote one without a price follows `unknown`;
    `on_unpriced` is told of each such model once, also where nothing is refused.

    Raises:
        ValueError: the rule is the ceiling and there is none.
    """

    def __init__(
        self,
        prices: Mapping[str, Price],
        *,
        unknown: UnknownPrice = UnknownPrice.DENY,
        ceiling: Price | None = None,
        on_unpriced: Callable[[str], None] | None = None,
        setting: str = "budgets.prices",
    ) -> None:
        if unknown is UnknownPrice.CEILING and ceiling is None:
            raise ValueError("unknown prices count with the ceiling price: give one")
        self._prices = dict(prices)
        self._unknown = unknown
        self._ceiling = ceiling
        self._on_unpriced = on_unpriced
        self._setting = setting
        self._told: set[str] = set()

    def price(self, model: str, *, remote: bool = True, bounded: bool = True) -> Price:
        """Return the price to reserve with.

        Args:
            model: its configured name, no alias.
            remote: whether requests leave this machine (`ModelInfo.remote`).
            bounded: whether any limit of money applies (`RunBudget.affordable` of cost is not None).

        Raises:
            FailedPrecondition: the price is unknown, the rule is to deny, and a limit applies.
        """
        known = self._prices.get(model)
        if known is not None:
            return known
        if not remote:
            return FREE
        self._tell(model)
        if self._unknown is UnknownPrice.CEILING and self._ceiling is not None:
            return self._ceiling
        if bounded:
            raise FailedPrecondition(
                f"Model {model!r} has no price, and a budget of money applies, so it is not used. Add it to "
                f"`{self._setting}`, or let models without a price cost the ceiling price, or name another model."
            )
        return FREE

    def dearest(self, models: Iterable[tuple[str, bool]], *, bounded: bool = True) -> Price:
        """Return a price that none of several models exceeds in anything, where any of them may answer.

        Args:
            models: names, each with whether it is remote. At least one.
            bounded: as of `price`.

        Raises:
            FailedPrecondition: as of `price`, for any of them.
        """
        prices = [self.price(name, remote=remote, bounded=bounded) for name, remote in models]
        return Price(
            max(price.prompt_micros_per_million for price in prices),
            max(price.cached for price in prices),
            max(price.completion_micros_per_million for price in prices),
        )

    def cost_micros(self, model: str, usage: Usage, *, remote: bool = True) -> int:
        """Return what a turn cost, in millionths, rounded up. Never refuses: it has happened.

        An unknown price counts as the ceiling price if there is one, whatever the rule; else as what the
        provider itself reported, if anything.
        """
        known = self._prices.get(model)
        if known is None:
            if not remote:
                return 0
            self._tell(model)
            known = self._ceiling
        return usage.cost_micros if known is None else known.cost_micros(usage)

    def ceiling_for(
        self, model: str, prompt_tokens: int, completion_tokens: int, *, remote: bool = True, bounded: bool = True
    ) -> int:
        """Return the most that a turn of these tokens can cost, in millionths, rounded up.

        Raises:
            FailedPrecondition: as of `price`.
        """
        return self.price(model, remote=remote, bounded=bounded).ceiling_micros(prompt_tokens, completion_tokens)

    def _tell(self, model: str) -> None:
        if self._on_unpriced is None or model in self._told:
            return
        if len(self._told) < _TOLD:
            self._told.add(model)
        self._on_unpriced(model)


def _rounded_up(millionths_of_micros: int) -> int:
    return -(-millionths_of_micros // _MILLION)
