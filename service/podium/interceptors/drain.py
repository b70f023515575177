"""What the chain asks about draining. The lifecycle implements it; tests use `Drain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from podium.errors import Unavailable

__all__ = ["Drain", "DrainState", "draining_error"]


class DrainState(Protocol):
    """Whether the server takes new work."""

    @property
    def draining(self) -> bool:
        """Whether new calls are refused."""
        ...

    @property
    def retry_after(self) -> float:
        """Seconds after which a caller may try again, when another process may be there."""
        ...


@dataclass(slots=True)
class Drain:
    """The plainest `DrainState`: a switch."""

    draining: bool = False
    retry_after: float = 1.0


def draining_error(retry_after: float) -> Unavailable:
    """Return what a caller is told while the server shuts down, at the start or in mid-call."""
    return Unavailable("the server is shutting down: try again", reason="DRAINING", retry_after=retry_after)
