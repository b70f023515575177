"""How long each tool has lately taken: for engines, deadlines, second attempts and simulation."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable

from podium.orchestration.time_plan import quantile

__all__ = ["ToolTimes"]

_KEPT = 128  # calls of each tool
_TOOLS = 4_096
_LONGEST = 600.0  # no cache is worth keeping longer
_STALE = 16  # calls after which a quantile of many is worked out anew


class _Latest:
    """The latest durations of one tool, and what was worked out of them."""

    __slots__ = ("_fresh", "_known", "seconds")

    def __init__(self) -> None:
        self.seconds: deque[float] = deque(maxlen=_KEPT)
        self._known: dict[float, float] = {}
        self._fresh = 0

    def note(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self._fresh += 1
        if self._fresh >= min(_STALE, len(self.seconds)):
            self._fresh = 0
            self._known.clear()

    def quantile(self, share: float) -> float:
        found = self._known.get(share)
        if found is None:
            found = self._known[share] = quantile(self.seconds, share)
        return found


class ToolTimes:
    """The latest durations of each tool. One for a process; belongs to its event loop.

    Quantiles are worked out anew after every 16 calls, and while there are fewer, after as many as there are.
    """

    def __init__(self) -> None:
        self._latest: OrderedDict[str, _Latest] = OrderedDict()

    def note(self, tool: str, seconds: float) -> None:
        """Remember how long a call took, failed ones too: the conversation paused for them as well."""
        found = self._latest.get(tool)
        if found is None:
            found = self._latest[tool] = _Latest()
            if len(self._latest) > _TOOLS:
                self._latest.popitem(last=False)
        self._latest.move_to_end(tool)
        found.note(seconds)

    def p90(self, tools: Iterable[str]) -> float | None:
        """Return the longest of the tools' 90th percentiles, in seconds; None while none has been called."""
        longest: float | None = None
        for tool in tools:
            found = self._latest.get(tool)
            if found is not None:
                longest = max(longest or 0.0, found.quantile(0.9))
        return None if longest is None else min(longest, _LONGEST)

    def usual(self, tool: str, share: float = 0.5, *, least: int = 5) -> float | None:
        """Return a quantile of one tool's durations in seconds; None while fewer than `least` are known."""
        found = self._latest.get(tool)
        return found.quantile(share) if found is not None and len(found.seconds) >= least else None
