"""When an endpoint fails too often it is left alone for a while. Pure: time is handed in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["EjectionPolicy", "OutlierDetector"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EjectionPolicy:
    """When to eject, and for how long.

    Attributes:
        consecutive_failures: so many in a row eject.
        error_ratio: this share of the last `window` results ejects, once there are `minimum` of them.
        base_seconds: the first ejection's length; each further one takes twice as long.
        max_seconds: the longest ejection.
        forgive_seconds: so long in service without an ejection makes the next one short again.
    """

    consecutive_failures: int = 5
    error_ratio: float = 0.5
    window: int = 50
    minimum: int = 20
    base_seconds: float = 5.0
    max_seconds: float = 300.0
    forgive_seconds: float = 120.0

    def __post_init__(self) -> None:
        if self.consecutive_failures < 1 or not 1 <= self.minimum <= self.window or not 0 < self.error_ratio <= 1:
            raise ValueError("an ejection policy needs 1 <= minimum <= window, counts of at least 1, a ratio up to 1")
        if not 0 < self.base_seconds <= self.max_seconds:
            raise ValueError("an ejection policy needs 0 < base_seconds <= max_seconds")


class OutlierDetector:
    """What is known of one endpoint's results."""

    def __init__(self, policy: EjectionPolicy) -> None:
        self._policy = policy
        self._failures_in_a_row = 0
        self._results: deque[bool] = deque(maxlen=policy.window)
        self._ejections = 0
        self._ejected_until = float("-inf")

    def succeeded(self) -> None:
        """Take note of a generation that began to answer."""
        self._failures_in_a_row = 0
        self._results.append(True)

    def failed(self) -> bool:
        """Take note of a failure that is the endpoint's own; say whether it should be ejected."""
        self._failures_in_a_row += 1
        self._results.append(False)
        if self._failures_in_a_row >= self._policy.consecutive_failures:
            return True
        failures = self._results.count(False)
        return len(self._results) >= self._policy.minimum and failures >= self._policy.error_ratio * len(self._results)

    def eject(self, now: float) -> float:
        """Eject from `now` on and return for how many seconds."""
        if now - self._ejected_until >= self._policy.forgive_seconds:
            self._ejections = 0
        # The exponent is bounded too: a float power overflows.
        seconds = min(self._policy.base_seconds * 2.0 ** min(self._ejections, 32), self._policy.max_seconds)
        self._ejections += 1
        self._ejected_until = now + seconds
        # Afterwards it starts anew, but one ejection longer.
        self._failures_in_a_row = 0
        self._results.clear()
        return seconds

    def ejected_for(self, now: float) -> float:
        """Return the seconds until it is back in service; 0.0 when it is."""
        return max(0.0, self._ejected_until - now)
