"""Where a call's time goes, from its sealing to its end."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from podium.orchestration.events import Waits

__all__ = ["Life", "Phase"]


class Phase(IntEnum):
    """What a call is doing; the fields of `Waits`, in their order."""

    TURN = 0
    PARENTS = 1
    QUESTION = 2
    BUDGET = 3
    CACHE = 4
    QUEUE = 5
    RETRY = 6
    WORK = 7


class Life:
    """Books the time of one call to the phase that it is in; every moment belongs to exactly one."""

    __slots__ = ("_at", "_clock", "_phase", "_spent")

    def __init__(self, clock: Callable[[], float], phase: Phase = Phase.QUEUE) -> None:
        self._clock = clock
        self._at = clock()
        self._phase = phase
        self._spent = [0.0] * len(Phase)

    @property
    def phase(self) -> Phase:
        """The phase it is in."""
        return self._phase

    def enter(self, phase: Phase) -> None:
        """Book the time until now, and go on in another phase."""
        now = self._clock()
        self._spent[self._phase] += now - self._at
        self._at, self._phase = now, phase

    def waits(self) -> Waits:
        """Return the time booked, up to now."""
        self.enter(self._phase)
        return Waits(*self._spent)
