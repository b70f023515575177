"""A limit on calls at once that follows how the callee copes."""

from __future__ import annotations

from typing import Final

__all__ = ["AdaptiveLimit"]

_SMOOTHING: Final = 0.3  # how far a step goes towards the new estimate
_TOLERANCE: Final = 1.2  # calls may take this much longer than usual before the limit falls
_LONG: Final = 600  # calls that the usual duration looks back over
_WINDOW: Final = 10  # calls that the present duration is averaged over, at least
_BACKOFF: Final = 0.9  # per failed call


class AdaptiveLimit:
    """How many calls of one tool may work at once, between a small floor and `ceiling`.

    The Gradient2 algorithm of Netflix's concurrency-limits (`Gradient2Limit.java`), in windows of
    W = max(10, 2 * limit) calls:

        short    = mean duration of the window
        long     = long + (short - long) * W / 600               what is usual
        long     = long * 0.9                                    if long > 2 * short
        gradient = clamp(1.2 * long / short, 0.5, 1)
        target   = gradient * limit + max(1, limit / 10)         some room for growth
        limit    = 0.7 * limit + 0.3 * target                    within [max(1, ceiling / 10), ceiling]

    (There the limits are in the hundreds, with a smoothing of 0.2 and room for 4 more; a tool's are about
    ten.) Only windows in which the limit was really used count for the last three lines: most of their
    calls had at least half of it in flight, and company if there could be any. Below that, durations say
    nothing of too much load, only of different arguments. A call that failed for want of capacity (timed out, was
    not available) multiplies the limit by 0.9 and is left out of the durations, under the same condition.

    Belongs to one event loop.

    Args:
        ceiling: where the limit starts, and what it never exceeds; at least 1.
    """

    __slots__ = ("_ceiling", "_count", "_estimate", "_floor", "_long", "_total", "_used", "limit")

    def __init__(self, ceiling: int) -> None:
        self._ceiling = ceiling
        self._floor = max(1, ceiling // 10)
        self._estimate = float(ceiling)
        self._long = 0.0
        self._total = 0.0
        self._count = 0
        self._used = 0
        self.limit = ceiling

    def note(self, seconds: float, in_flight: int, *, failed: bool = False) -> int:
        """Take account of a call that ended, and return the limit from now on.

        Args:
            seconds: how long it worked.
            in_flight: calls of this tool at the time it ended, itself included.
            failed: it failed for want of capacity.
        """
        used = in_flight * 2 >= self.limit and (in_flight > 1 or self.limit == 1)
        if failed:
            if used:
                self._settle(self._estimate * _BACKOFF)
            return self.limit
        self._total += seconds
        self._count += 1
        self._used += used
        if self._count >= max(_WINDOW, 2 * self.limit):
            self._end_window()
        return self.limit

    def _end_window(self) -> None:
        short = self._total / self._count
        # A window counts as used when most of its calls were.
        used = self._used * 2 > self._count
        first = self._long == 0.0
        share = 1.0 if first else min(1.0, self._count / _LONG)
        self._long += (short - self._long) * share
        self._total, self._count, self._used = 0.0, 0, 0
        if self._long > 2 * short:
            self._long *= 0.9
        if first or not used:
            return
        gradient = max(0.5, min(1.0, _TOLERANCE * self._long / short)) if short > 0 else 1.0
        target = gradient * self._estimate + max(1.0, self._estimate / 10)
        self._settle(self._estimate + _SMOOTHING * (target - self._estimate))

    def _settle(self, estimate: float) -> None:
        self._estimate = max(float(self._floor), min(float(self._ceiling), estimate))
        self.limit = int(self._estimate + 0.5)
