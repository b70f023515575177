"""Why models of a route did not answer, and what the caller is told when none did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from podium.errors import (
    CircuitOpen,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidRequest,
    PodiumError,
    ResourceExhausted,
    Unavailable,
)
from podium.orchestration.chat import ModelAttempt

__all__ = ["Failure", "refusal"]

_LONGEST_WHY: Final = 200


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt that gave no output: `seconds` is how long it took to fail."""

    model: str
    error: Exception
    seconds: float

    @property
    def reason(self) -> str:
        """The stable word for it."""
        if isinstance(self.error, PodiumError):
            return self.error.reason
        return "UNAVAILABLE" if isinstance(self.error, OSError) else "INTERNAL"  # TimeoutError is an OSError

    @property
    def retryable(self) -> bool:
        """Whether the same model may answer a little later."""
        if isinstance(self.error, ResourceExhausted):
            return self.error.retry_after is not None
        return isinstance(self.error, Unavailable | DeadlineExceeded | OSError)

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before it is asked again, where it said so."""
        return self.error.retry_after if isinstance(self.error, PodiumError) else None

    @property
    def attempt(self) -> ModelAttempt:
        """What the reply tells of it."""
        return ModelAttempt(self.model, self.reason, self.seconds)

    def __str__(self) -> str:
        if not isinstance(self.error, PodiumError):
            return f"{self.model}: it {'could not be reached' if isinstance(self.error, OSError) else 'failed'}"
        why = self.error.message if len(self.error.message) <= _LONGEST_WHY else f"{self.error.message[:_LONGEST_WHY]}…"
        return f"{self.model}: {why.rstrip('.')}"


def refusal(route: str, failures: Sequence[Failure], *, out_of_time: float | None) -> PodiumError:
    """Return the error for a request that no model answered. Each model's last failure is named.

    Args:
        route: what was asked.
        failures: every attempt, in order.
        out_of_time: the limit in seconds when it has passed, else None.
    """
    last = list({failure.model: failure for failure in failures}.values())
    why = "; ".join(map(str, last)) or "none was asked"
    metadata = {"models": ",".join(failure.model for failure in last)}
    if out_of_time is not None:
        message = f"no model of {route!r} answered within {out_of_time:g} s ({why}); allow more time, or try again"
        return DeadlineExceeded(message, metadata=metadata)
    message = f"no model of {route!r} could answer ({why})"
    waits = [failure.retry_after for failure in last if failure.retryable and failure.retry_after is not None]
    wait = min(waits, default=1.0)
    if last and all(isinstance(failure.error, PodiumError) and not failure.retryable for failure in last):
        if all(isinstance(failure.error, InvalidRequest) for failure in last):
            return InvalidRequest(message, metadata={**metadata, "limit": "context_length"})
        return FailedPrecondition(f"{message}; mend that or choose another model", metadata=metadata)
    message = f"{message}; try again in {wait:.0f} s" if wait >= 1 else f"{message}; try again"
    if all(isinstance(failure.error, CircuitOpen) for failure in last):
        return CircuitOpen(message, retry_after=wait, metadata=metadata)
    if all(isinstance(failure.error, ResourceExhausted) for failure in last):
        return ResourceExhausted(message, retry_after=wait, metadata=metadata)
    return Unavailable(message, retry_after=wait, metadata=metadata)
