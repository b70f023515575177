"""Which errors say that a dependency is ill, and which only that the caller asked wrongly."""

from __future__ import annotations

import asyncio
from typing import Final

from podium import errors

__all__ = ["is_callers_fault", "is_unavailable"]

_CALLERS: Final = (
    errors.InvalidRequest,
    errors.Unauthenticated,
    errors.PermissionDenied,
    errors.NotFound,
    errors.AlreadyExists,
    errors.FailedPrecondition,
    errors.Cancelled,
    # Another breaker refused: the call never reached this dependency.
    errors.CircuitOpen,
    asyncio.CancelledError,
)

# By name, so that this module needs no gRPC: an error of a stub has `code()`.
_CALLERS_CODES: Final = frozenset(
    {
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "FAILED_PRECONDITION",
        "OUT_OF_RANGE",
        "ABORTED",
        "CANCELLED",
        "UNIMPLEMENTED",
    }
)


def _code(error: BaseException) -> str:
    code = getattr(error, "code", None)
    value = code() if callable(code) else None
    return str(getattr(value, "name", ""))


def is_callers_fault(error: BaseException) -> bool:
    """Return whether the error is the caller's doing, so that it says nothing about the dependency."""
    return isinstance(error, _CALLERS) or _code(error) in _CALLERS_CODES


def is_unavailable(error: BaseException) -> bool:
    """Return whether the error means that the dependency was lost, also in the middle of a stream."""
    if isinstance(error, errors.CircuitOpen):
        return False
    return isinstance(error, errors.Unavailable | OSError) or _code(error) == "UNAVAILABLE"
