"""What servicers may know of the caller; the interceptor chain provides it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from podium.orchestration.orchestrator import Submitter

__all__ = ["Caller", "CallerSource"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and how long the call may still take; None means without limit."""

    submitter: Submitter
    seconds_left: float | None

    @property
    def run_seconds(self) -> float | None:
        """Time for a run within this call: a little less, so that its end can still be told."""
        left = self.seconds_left
        return None if left is None else left - min(0.25, left / 10)


class CallerSource(Protocol):
    """Returns the caller of the call that is being handled in this task."""

    def __call__(self) -> Caller:
        """Return the caller."""
        ...
