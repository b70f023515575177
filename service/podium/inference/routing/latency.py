"""How fast and how sound models have been lately. Pure: time is handed in."""

from __future__ import annotations

import math
from collections.abc import Iterable

__all__ = ["LatencyBook"]


class _Record:
    """Sums that fade: each loses half of its weight in every half-life."""

    __slots__ = ("failed", "good", "seconds", "stamp")

    def __init__(self, now: float) -> None:
        self.good = 0.0
        self.failed = 0.0
        self.seconds = 0.0
        self.stamp = now

    def fade(self, now: float, half_life: float) -> None:
        if now > self.stamp:
            left = math.exp2(-(now - self.stamp) / half_life)
            self.good *= left
            self.failed *= left
            self.seconds *= left
            self.stamp = now


class LatencyBook:
    """Exponentially weighted means of the time to first output and of failures, by model.

    What is not renewed fades towards nothing, and a model of which nothing is known scores best:
    so a slow or failing model is tried again after a while, with single requests.

    Args:
        half_life: seconds in which an observation loses half of its weight.
        failure_seconds: what a model that always fails is counted as, in seconds to first output.
    """

    _DOUBT = 0.25  # weight of the assumption that an unknown model is fast and sound

    def __init__(self, *, half_life: float = 60.0, failure_seconds: float = 30.0) -> None:
        if half_life <= 0 or failure_seconds < 0:
            raise ValueError("the half-life must be above zero and the cost of a failure not below it")
        self._half_life = half_life
        self._failure_seconds = failure_seconds
        self._records: dict[str, _Record] = {}

    def succeeded(self, model: str, seconds: float, now: float) -> None:
        """Note a turn whose first output came after `seconds`."""
        record = self._record(model, now)
        record.good += 1.0
        record.seconds += seconds

    def failed(self, model: str, now: float) -> None:
        """Note a turn that failed before its first output."""
        self._record(model, now).failed += 1.0

    def score(self, model: str, now: float) -> float:
        """Return the seconds to expect, with failures priced in; lower is better, 0.0 is unknown."""
        if model not in self._records:
            return 0.0
        record = self._record(model, now)
        seconds = record.seconds / (record.good + self._DOUBT)
        share = record.failed / (record.good + record.failed + self._DOUBT)
        return seconds + share * self._failure_seconds

    def keep(self, models: Iterable[str]) -> None:
        """Forget every model but these."""
        kept = set(models)
        self._records = {name: record for name, record in self._records.items() if name in kept}

    def _record(self, model: str, now: float) -> _Record:
        record = self._records.get(model)
        if record is None:
            record = self._records[model] = _Record(now)
        record.fade(now, self._half_life)
        return record
