"""`SchedulingParams` (section 2.3)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SchedulingParams"]


@dataclass(slots=True, kw_only=True)
class SchedulingParams:
    """Which attention data-parallel rank a request goes to."""

    attention_dp_rank: int | None = None
    attention_dp_relax: bool | None = True
