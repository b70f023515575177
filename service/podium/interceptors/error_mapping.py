"""Error mapping: the one table from domain errors to gRPC codes, and what callers are told.

Every refusal carries a `google.rpc.Status` with an ErrorInfo (domain `podium.v1`). The text of an
exception that is not ours never leaves the process: the caller gets a constant and the
correlation id, the log gets the traceback.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
import structlog
from google.protobuf.message import DecodeError

from podium import errors
from podium.interceptors import status
from podium.interceptors.call import Call, Method, Outcome
from podium.interceptors.concern import Hooks

__all__ = ["TABLE", "ErrorMapping", "Row", "row_for"]

_Code = grpc.StatusCode


@dataclass(frozen=True, slots=True)
class Row:
    """How one class of errors is sent.

    Attributes:
        retry: whether a client may try again, and after what.
        default_retry_after: seconds for RetryInfo when the error names none; None for no RetryInfo.
        detail: what accompanies the ErrorInfo besides RetryInfo.
    """

    error: type[errors.PodiumError]
    code: grpc.StatusCode
    retry: str
    default_retry_after: float | None = None
    detail: str = ""


TABLE: Final = (
    Row(errors.InvalidRequest, _Code.INVALID_ARGUMENT, "no: mend the request", detail="BadRequest"),
    Row(errors.Unauthenticated, _Code.UNAUTHENTICATED, "with another credential"),
    Row(errors.PermissionDenied, _Code.PERMISSION_DENIED, "no: ask for the right"),
    Row(errors.NotFound, _Code.NOT_FOUND, "no: check the name", detail="ResourceInfo"),
    Row(errors.AlreadyExists, _Code.ALREADY_EXISTS, "no: choose another id"),
    Row(errors.FailedPrecondition, _Code.FAILED_PRECONDITION, "after changing the state"),
    Row(errors.ResourceExhausted, _Code.RESOURCE_EXHAUSTED, "after RetryInfo", 1.0, "QuotaFailure"),
    Row(errors.DeadlineExceeded, _Code.DEADLINE_EXCEEDED, "with more time or less to do"),
    Row(errors.Cancelled, _Code.CANCELLED, "if the caller still wants it"),
    Row(errors.CircuitOpen, _Code.UNAVAILABLE, "after RetryInfo", 1.0),
    Row(errors.Unavailable, _Code.UNAVAILABLE, "after RetryInfo", 1.0),
    Row(errors.Internal, _Code.INTERNAL, "no: report it"),
    Row(errors.PodiumError, _Code.INTERNAL, "no: report it"),
)
"""Looked up by the error's nearest class, so the order does not matter."""

_EARLY: Final = 0.005  # timers and clocks of loops are only so exact
_BY_CLASS: Final = {row.error: row for row in TABLE}
_INTERNAL_TEXT: Final = "the server failed to serve this call: quote the correlation id to its operator"


def row_for(error: errors.PodiumError) -> Row:
    """Return the row of an error's nearest class."""
    for cls in type(error).__mro__:
        row = _BY_CLASS.get(cls)
        if row is not None:
            return row
    raise TypeError(f"{type(error).__name__} has no row in the table")  # PodiumError itself has one


def _unchanged(text: str) -> str:
    return text


class ErrorMapping:
    """Turns what a call raised into what its caller is told.

    Args:
        redact: takes secrets out of texts for callers.
        logger: for errors that are nobody's intention.
    """

    name = "error_mapping"

    def __init__(self, *, redact: Callable[[str], str] = _unchanged, logger: Any = None) -> None:
        self._redact = redact
        self._log = logger if logger is not None else structlog.get_logger("podium.errors")

    def bind(self, method: Method) -> Hooks | None:
        """Serve every method alike."""
        del method
        return Hooks(translate=self.translate)

    def translate(self, call: Call, error: BaseException) -> Outcome:
        """Return the outcome of a call that raised `error`."""
        known = self._known(call, error)
        row = row_for(known)
        retry_after = known.retry_after if known.retry_after is not None else row.default_retry_after
        metadata = {key: self._redact(value) for key, value in known.metadata.items()}
        if row.code is _Code.INTERNAL:
            # Also for our own Internal: its message may be written for us rather than for callers.
            text = _INTERNAL_TEXT
            metadata["correlation_id"] = call.correlation_id
        else:
            text = self._redact(known.message)
        message, details = status.build(
            row.code,
            known.reason,
            message=text,
            error=known,
            retry_after=retry_after,
            metadata=metadata,
            room=status.TRAILER_BYTES - status.wire_size(call.trailers),
        )
        return Outcome(row.code, known.reason, message, details, error)

    def _known(self, call: Call, error: BaseException) -> errors.PodiumError:
        if isinstance(error, errors.PodiumError):
            if row_for(error).code is _Code.INTERNAL:
                self._report(call, error)
            return error
        if isinstance(error, TimeoutError):
            return self._timeout(call)
        if isinstance(error, DecodeError):
            return errors.InvalidRequest("the request's bytes are not a message of the method's type")
        self._report(call, error)
        return errors.Internal(_INTERNAL_TEXT)

    def _timeout(self, call: Call) -> errors.PodiumError:
        # A handler's own limit ran out: the call's, or that of something it waited for.
        deadline = call.deadline
        if deadline is not None and call.task.get_loop().time() >= deadline - _EARLY:
            return errors.DeadlineExceeded("the call took longer than its deadline allowed")
        return errors.Unavailable("something that the call needs did not answer in time", retry_after=1.0)

    def _report(self, call: Call, error: BaseException) -> None:
        self._log.error(
            "unexpected error",
            rpc=call.method.rpc,
            correlation_id=call.correlation_id,
            request_id=call.request_id,
            error=type(error).__name__,
            exc_info=error,
        )
