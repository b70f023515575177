"""Find stop texts in a stream, across whatever borders it was cut at."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["StopText"]


class StopText:
    """Passes text on until one of the stops; the stop itself and what follows it are not part of the text.

    Args:
        stops: texts that end the output; empty ones are ignored.

    Attributes:
        found: whether a stop has come.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.found = False

    @property
    def wanted(self) -> bool:
        """Whether there is any stop to look for."""
        return bool(self._stops)

    def push(self, text: str) -> str:
        """Add text and return what is now certain to come before any stop."""
        if self.found:
            return ""
        if not self._stops:
            return text
        self._held += text
        places = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if places:
            self.found = True
            return self._take(min(places))
        return self._take(len(self._held) - self._waiting())

    def flush(self) -> str:
        """Return what was held back: no stop can come of it any more."""
        return "" if self.found else self._take(len(self._held))

    def _take(self, count: int) -> str:
        taken, self._held = self._held[:count], self._held[count:]
        return taken

    def _waiting(self) -> int:
        """Return how many characters at the end may be the start of a stop."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for count in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-count:]) for stop in self._stops):
                return count
        return 0
