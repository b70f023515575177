"""The three states of a breaker. Each object is one stretch of time in one state.

A call keeps the object it began under: when that is no longer the one in force, its result says
nothing about the present and is ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiobreaker import CircuitBreakerState as BreakerState
from aiobreaker.state import CircuitBreakerBaseState

if TYPE_CHECKING:
    from podium.resilience.breaker import Breaker

__all__ = ["STATES", "TRIALS_TAKEN_RETRY", "Closed", "HalfOpen", "Open", "State"]

TRIALS_TAKEN_RETRY: Final = 1.0
"""Seconds to wait while every trial of a half-open breaker is taken."""


class State(CircuitBreakerBaseState):  # type: ignore[misc]  # the library has no types
    """What the states have in common."""

    kind: BreakerState

    def __init__(
        self, breaker: Breaker, prev_state: CircuitBreakerBaseState | None = None, notify: bool = False
    ) -> None:
        super().__init__(breaker, self.kind)
        self.breaker = breaker
        if notify:
            if self.kind is BreakerState.CLOSED:
                breaker.clear_failures()
            breaker.tell("state_change", prev_state, self)

    def acquire(self) -> State:
        """Let a call in and return the state it runs under, or raise `CircuitOpen`."""
        return self

    def release(self) -> None:
        """Take back what `acquire` gave."""

    def succeeded(self) -> None:
        """Take note of a call that went well."""

    def failed(self) -> None:
        """Take note of a call that failed."""


class Closed(State):
    """Calls pass; failures in a row are counted."""

    kind = BreakerState.CLOSED

    def succeeded(self) -> None:
        """Take note of a call that went well."""
        self.breaker.clear_failures()

    def failed(self) -> None:
        """Take note of a call that failed."""
        self.breaker.count_failure()
        if self.breaker.fail_counter >= self.breaker.fail_max:
            self.breaker.open()


class Open(State):
    """Calls are refused until the recovery time is over; the next one makes it half-open."""

    kind = BreakerState.OPEN

    def acquire(self) -> State:
        """Let a call in, or raise `CircuitOpen`."""
        breaker = self.breaker
        wait = breaker.retry_after()
        if wait > 0:
            raise breaker.refusal(wait)
        breaker.half_open()
        return breaker.current.acquire()


class HalfOpen(State):
    """As many trials pass at a time as successes are still missing."""

    kind = BreakerState.HALF_OPEN

    def __init__(
        self, breaker: Breaker, prev_state: CircuitBreakerBaseState | None = None, notify: bool = False
    ) -> None:
        self.trials = 0
        self.good = 0
        super().__init__(breaker, prev_state, notify)

    def acquire(self) -> State:
        """Let a call in, or raise `CircuitOpen`."""
        if not self.room():
            raise self.breaker.refusal(TRIALS_TAKEN_RETRY)
        self.trials += 1
        return self

    def room(self) -> bool:
        """Return whether one more trial may pass."""
        return self.trials < self.breaker.policy.successes - self.good

    def release(self) -> None:
        """Free the slot of a trial."""
        self.trials -= 1

    def succeeded(self) -> None:
        """Take note of a call that went well."""
        self.good += 1
        if self.good >= self.breaker.policy.successes:
            self.breaker.close()

    def failed(self) -> None:
        """Take note of a call that failed."""
        self.breaker.count_failure()
        self.breaker.open()


STATES: Final[dict[BreakerState, type[State]]] = {cls.kind: cls for cls in (Closed, Open, HalfOpen)}
