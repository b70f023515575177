"""How many tool calls may work at once and wait, and which go first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

__all__ = ["GovernorLimits", "Priority"]


class Priority(IntEnum):
    """Which calls go first; a lower one always does."""

    WAITING = 0  # a caller waits
    BACKGROUND = 1
    PREDICTED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GovernorLimits:
    """Tool calls at once, and waiting.

    Attributes:
        per_process: at once in the process.
        per_run: at once in one run.
        per_type: at once of one tool type.
        per_tenant: at once of one tenant; 0 for no limit of its own.
        tools: at once of single tools, by name.
        weights: share of a tenant when slots are scarce; 1 when not named.
        max_queued: waiting in the process.
        max_queued_run: waiting in one run.
        adaptive: lower the limit of a tool that gets slow or fails under load (`AdaptiveLimit`).
        aging_seconds: after this long, a waiting background call counts as one that a caller waits for.

    Raises:
        ValueError: a limit is below 1, or a weight is not above 0.
    """

    per_process: int = 50
    per_run: int = 30
    per_type: int = 10
    per_tenant: int = 0
    tools: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    max_queued: int = 10_000
    max_queued_run: int = 1_000
    adaptive: bool = True
    aging_seconds: float = 30.0

    def __post_init__(self) -> None:
        if min(self.per_process, self.per_run, self.per_type, *self.tools.values()) < 1 or self.per_tenant < 0:
            raise ValueError("a limit on tool calls at once must be at least 1")
        if not all(weight > 0 for weight in self.weights.values()):
            raise ValueError("the weight of a tenant must be above 0")
