"""Bounded label values: whatever callers send, the number of time series stays finite."""

from __future__ import annotations

__all__ = ["OTHER", "LabelCap"]

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
