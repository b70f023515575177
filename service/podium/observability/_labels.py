"""Bounded label values: whatever callers send, the number of time series stays finite."""

from __future__ import annotations

from typing import Generic, TypeVar

from prometheus_client.metrics import MetricWrapperBase

__all__ = ["OTHER", "LabelCap", "Series"]

OTHER = "other"
LONGEST = 64


class LabelCap:
    """Lets the first `limit` distinct values through; later ones become `other`.

    For values chosen by people or models (names of tools, models, breakers). Safe on one thread
    at a time, which is how metrics are written: from the event loop.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        """Return the label value to use for `value`."""
        if value in self._seen:
            return value
        if len(self._seen) >= self._limit or not value or len(value) > LONGEST or not value.isprintable():
            return OTHER
        self._seen.add(value)
        return value


M = TypeVar("M", bound=MetricWrapperBase)


class Series(Generic[M]):
    """The time series of one metric by label values, found without the library's lock and conversions.

    Only for label values that are bounded.
    """

    __slots__ = ("_known", "_metric")

    def __init__(self, metric: M) -> None:
        self._metric = metric
        self._known: dict[tuple[str, ...], M] = {}

    def __call__(self, *values: str) -> M:
        """Return the series of these label values."""
        found = self._known.get(values)
        if found is None:
            found = self._known[values] = self._metric.labels(*values)
        return found
