"""A token bucket: capacity for bursts, a steady rate otherwise. Pure: time is handed in."""

from __future__ import annotations

import math

__all__ = ["TokenBucket"]


class TokenBucket:
    """Holds up to `capacity` tokens and gains `rate` of them a second; starts full.

    In any span of t seconds it gives at most `capacity + rate * t`. A `now` earlier than one seen
    before adds nothing and takes nothing away.

    Attributes:
        tokens: as of the last call; whoever has just called `fill` may take from it directly.
    """

    __slots__ = ("_stamp", "capacity", "rate", "tokens")

    def __init__(self, capacity: float, rate: float, now: float) -> None:
        if not (capacity > 0 and rate > 0 and math.isfinite(capacity) and math.isfinite(rate)):
            raise ValueError("a token bucket needs a finite capacity and rate above zero")
        self.capacity = capacity
        self.rate = rate
        self.tokens = capacity
        self._stamp = now

    def fill(self, now: float) -> float:
        """Bring the bucket up to `now` and return the tokens in it."""
        gained = (now - self._stamp) * self.rate
        if gained > 0:
            self._stamp = now
            self.tokens = min(self.capacity, self.tokens + gained)
        return self.tokens

    def wait(self, now: float, amount: float = 1.0) -> float:
        """Return the seconds until `amount` tokens are there; 0.0 when they are.

        An amount above the capacity is never there: the answer is infinite.
        """
        if amount > self.capacity:
            return math.inf
        missing = amount - self.fill(now)
        return missing / self.rate if missing > 0 else 0.0

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Take `amount` tokens if they are there, and say whether they were."""
        if self.fill(now) < amount:
            return False
        self.tokens -= amount
        return True

    def full_in(self, now: float) -> float:
        """Return the seconds until the bucket is full."""
        return (self.capacity - self.fill(now)) / self.rate
