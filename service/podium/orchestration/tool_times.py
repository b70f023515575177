"""How long each tool has lately taken: for engines, deadlines, second attempts and simulation."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable

from podium.orchestration.time_plan import quantile

__all__ = ["ToolTimes"]

_KEPT = 128  # calls of each tool
_TOOLS = 4_096
_LONGEST = 600.0  # no cache is worth keeping longer


class ToolTimes:
    """The latest durations of each tool. One for a process; belongs to its event loop."""

    def __init__(self) -> None:
        self._latest: OrderedDict[str, deque[float]] = OrderedDict()

    def note(self, tool: str, seconds: float) -> None:
        """Remember how long a call took, failed ones too: the conversation paused for them as well."""
        found = self._latest.get(tool)
        if found is None:
            found = self._latest[tool] = deque(maxlen=_KEPT)
            if len(self._latest) > _TOOLS:
                self._latest.popitem(last=False)
        self._latest.move_to_end(tool)
        found.append(seconds)

    def p90(self, tools: Iterable[str]) -> float | None:
        """Return the longest of the tools' 90th percentiles, in seconds; None while none has been called."""
        longest: float | None = None
        for tool in tools:
            found = self._latest.get(tool)
            if found:
                longest = max(longest or 0.0, quantile(found, 0.9))
        return None if longest is None else min(longest, _LONGEST)

    def usual(self, tool: str, share: float = 0.5, *, least: int = 5) -> float | None:
        """Return a quantile of one tool's durations in seconds; None while fewer than `least` are known."""
        found = self._latest.get(tool)
        return quantile(found, share) if found and len(found) >= least else None
