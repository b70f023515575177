"""What a call can raise: one base, one class for each thing a caller can do about it.

PodiumError
├── InvalidRequest        the request breaks a rule: mend it (`violations` says where)
├── Unauthenticated       no API key, or not a valid one: present another
├── PermissionDenied      the key may not do this: ask for the scope
├── NotFound              no such run, tool or model: check the name
├── AlreadyExists         the `request_id` was used for something else: choose another
├── FailedPrecondition    wrong state, or a feature is off: change that first
├── Unsupported           the server does not know this call: it is older than the client
├── ResourceExhausted     a limit is reached: wait `retry_after` seconds
├── DeadlineExceeded      time ran out: allow more, or ask for less
├── Cancelled             somebody cancelled it
├── Unavailable           nobody answers just now: try again, after `retry_after` if given
├── Internal              the server's fault: quote `correlation_id` to its operator
└── RunFailed             the run itself ended without an answer (`RunResult.raise_for_state`)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from podium_client.runs import RunResult

__all__ = [
    "AlreadyExists",
    "Cancelled",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Internal",
    "InvalidRequest",
    "NotFound",
    "PermissionDenied",
    "PodiumError",
    "ResourceExhausted",
    "RunFailed",
    "Unauthenticated",
    "Unavailable",
    "Unsupported",
    "Violation",
]


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: the `field` (a dotted path; or the subject of a quota) and what would be right."""

    field: str
    description: str
    rule: str = ""


class PodiumError(Exception):
    """Base of everything the client raises about a call.

    Attributes:
        code: the gRPC status code.
        reason: a stable word, one of `podium.v1.ErrorReason` without its prefix; empty when the
            transport failed before the server could say anything.
        message: what happened and what to do about it.
        retry_after: seconds after which trying again may help; None when the server gave no hint.
        violations: the rules or quotas that were broken.
        correlation_id: what to quote to the server's operator; it is in every log line of the call.
        metadata: further facts of the server, as strings.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        retry_after: float | None = None,
        violations: Sequence[Violation] = (),
        correlation_id: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        self.violations = tuple(violations)
        self.correlation_id = correlation_id
        self.metadata: dict[str, str] = dict(metadata or {})

    def __str__(self) -> str:
        marks = [self.reason or self.code.name]
        if self.correlation_id:
            marks.append(self.correlation_id)
        return f"{self.message} [{', '.join(marks)}]"


class InvalidRequest(PodiumError):
    """The request breaks a rule; `violations` names each field and what would be right."""


class Unauthenticated(PodiumError):
    """No credential, or one that is malformed, unknown, expired or revoked."""


class PermissionDenied(PodiumError):
    """The credential is good but does not carry the scope that the call needs."""


class NotFound(PodiumError):
    """The named run, tool or model does not exist, or is not the caller's to see.

    Attributes:
        resource_type: what kind of thing it is; empty when the server did not say.
        resource_name: the name that was not found; empty when the server did not say.
    """

    resource_type: str = ""
    resource_name: str = ""


class AlreadyExists(PodiumError):
    """The `request_id` was used before, with another request."""


class FailedPrecondition(PodiumError):
    """The system is not in the state that the call needs, or the feature is off."""


class Unsupported(PodiumError):
    """The server does not know the method: it is older than this client, or not a Podium."""


class ResourceExhausted(PodiumError):
    """A rate, quota, queue or size limit is reached; `violations` names it where the server said."""


class DeadlineExceeded(PodiumError):
    """The deadline has passed. Work on the server has been cancelled with it."""


class Cancelled(PodiumError):
    """The call or the run was cancelled by somebody else. (Your own cancelling is `CancelledError`.)"""


class Unavailable(PodiumError):
    """The server, or something it needs, cannot answer just now. Trying again is safe."""


class Internal(PodiumError):
    """A fault of the server. Quote `correlation_id` to its operator."""


class RunFailed(PodiumError):
    """The run ended without an answer. `run` holds all of it, `reason` and `message` say why."""

    def __init__(self, run: RunResult) -> None:
        error = run.error
        super().__init__(
            (error.message if error else "") or f"the run ended in state {run.state}",
            code=grpc.StatusCode.OK,
            reason=(error.reason if error else "") or str(run.state),
            correlation_id=run.correlation_id,
        )
        self.run = run
