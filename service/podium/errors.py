"""Domain errors: one base, one class for each thing a caller can do about it.

    PodiumError
    ├── InvalidRequest        the request breaks a rule: mend it
    ├── Unauthenticated       no credential, or not a valid one: present another
    ├── PermissionDenied      the credential may not do this: ask for the right
    ├── NotFound              no such run, tool, model: check the name
    ├── AlreadyExists         the id is taken by something else: choose another
    ├── FailedPrecondition    wrong state or feature off: change that first
    ├── ResourceExhausted     a limit is reached: wait `retry_after`
    ├── DeadlineExceeded      time ran out: allow more, ask for less
    ├── Cancelled             somebody cancelled it
    ├── Unavailable           not now: retry after `retry_after`
    │   └── CircuitOpen       a dependency is failing; its breaker is open
    └── Internal              our fault: quote the correlation id

Nothing here knows about gRPC; `interceptors/error_mapping.py` holds the one table that maps
these classes to status codes. The message of a `PodiumError` is written for the caller and is
sent to them; the text of any other exception never leaves the process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "AlreadyExists",
    "Cancelled",
    "CircuitOpen",
    "DeadlineExceeded",
    "FailedPrecondition",
    "FieldViolation",
    "Internal",
    "InvalidRequest",
    "NotFound",
    "PermissionDenied",
    "PodiumError",
    "ResourceExhausted",
    "Unauthenticated",
    "Unavailable",
]


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One broken rule: where (`field`, a dotted path), what to do, and the rule's stable id."""

    field: str
    description: str
    rule: str = ""


class PodiumError(Exception):
    """Base of every error that Podium raises on purpose.

    Attributes:
        message: what happened and what to do about it, for the caller.
        reason: stable UPPER_SNAKE word, one of `podium.v1.ErrorReason` without its prefix.
        retry_after: seconds after which a retry may succeed, or None when retrying is no use.
        metadata: further facts as strings, safe to show (never a secret, a path, a stack).
    """

    default_reason: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        retry_after: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.retry_after = retry_after
        self.metadata: dict[str, str] = dict(metadata or {})


class InvalidRequest(PodiumError):
    """The request breaks a rule; `violations` names each field and what would be right."""

    default_reason = "INVALID_REQUEST"

    def __init__(
        self,
        message: str,
        *,
        violations: Sequence[FieldViolation] = (),
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.violations = tuple(violations)


class Unauthenticated(PodiumError):
    """No credential, or one that is unknown, expired or revoked."""

    default_reason = "UNAUTHENTICATED"


class PermissionDenied(PodiumError):
    """The credential is good but does not carry the scope that the call needs."""

    default_reason = "PERMISSION_DENIED"


class NotFound(PodiumError):
    """The named thing does not exist, or is not the caller's to see."""

    default_reason = "NOT_FOUND"

    def __init__(self, message: str, *, resource_type: str, resource_name: str, reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.resource_type = resource_type
        self.resource_name = resource_name


class AlreadyExists(PodiumError):
    """The caller-chosen id is taken by something with another content."""

    default_reason = "ALREADY_EXISTS"


class FailedPrecondition(PodiumError):
    """The system is not in the state that the call needs, or the feature is switched off."""

    default_reason = "FAILED_PRECONDITION"


class ResourceExhausted(PodiumError):
    """A rate, quota, queue or size limit is reached. `quota` names it for QuotaFailure."""

    default_reason = "RESOURCE_EXHAUSTED"

    def __init__(
        self,
        message: str,
        *,
        quota: str = "",
        reason: str | None = None,
        retry_after: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, reason=reason, retry_after=retry_after, metadata=metadata)
        self.quota = quota


class DeadlineExceeded(PodiumError):
    """The caller's deadline, or the server's maximum for the method, has passed."""

    default_reason = "DEADLINE_EXCEEDED"


class Cancelled(PodiumError):
    """The work was cancelled before it ended."""

    default_reason = "CANCELLED"


class Unavailable(PodiumError):
    """The service or something it needs cannot answer just now; safe to retry."""

    default_reason = "UNAVAILABLE"


class CircuitOpen(Unavailable):
    """A dependency has failed repeatedly; calls to it are refused until it is tried again."""

    default_reason = "CIRCUIT_OPEN"


class Internal(PodiumError):
    """A fault of ours. The message is constant; details are in the log under the correlation id."""

    default_reason = "INTERNAL"
