"""Who asks for a run."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Submitter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitter:
    """Who asks: `owner` may see the run afterwards, an `admin` may raise anybody's budget; the rest is
    passed on to tools and logs.
    """

    owner: str
    tenant: str = ""
    correlation_id: str = ""
    admin: bool = False
