"""Measures how late the event loop turns, and notices when it does not turn at all."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Self

__all__ = ["LoopLag"]


class LoopLag:
    """A timer on the loop that compares when it should have run with when it did.

    An async context manager. The figures may be read from any thread, which is the point: a stuck
    loop cannot report itself.

    Args:
        interval: seconds between beats.
        window: how many beats the figures cover; the default is the last minute.
        clock: monotonic seconds.
    """

    def __init__(
        self, *, interval: float = 0.05, window: int = 1200, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = interval
        self._clock = clock
        self._samples: deque[float] = deque(maxlen=window)
        self._last_beat = clock()
        self._timer: asyncio.TimerHandle | None = None
        self._running = False

    async def __aenter__(self) -> Self:
        self._running = True
        self._last_beat = self._clock()
        self._schedule()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def quantile(self, share: float) -> float:
        """Return the lag in seconds that `share` of the beats did not exceed; 0 before the first beat."""
        samples = sorted(self._samples.copy())
        if not samples:
            return 0.0
        return samples[max(0, math.ceil(share * len(samples)) - 1)]

    @property
    def p99(self) -> float:
        """Lag in seconds that 99 of 100 beats did not exceed."""
        return self.quantile(0.99)

    def beat_age(self) -> float:
        """Return the seconds since the loop last turned; 0 when it is not being measured."""
        return max(0.0, self._clock() - self._last_beat) if self._running else 0.0

    def is_stuck(self, limit: float) -> bool:
        """Whether the loop has not turned for `limit` seconds."""
        return self.beat_age() > limit

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._beat, self._clock() + self._interval)

    def _beat(self, expected: float) -> None:
        now = self._clock()
        self._last_beat = now
        self._samples.append(max(0.0, now - expected))
        if self._running:
            self._schedule()
