"""Turns a failed gRPC call into a typed error: the one table from status code to class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # googleapis ships none

from podium_client import errors
from podium_client._correlation import CORRELATION_KEY

_STATUS_KEY = "grpc-status-details-bin"

_CLASSES: Mapping[grpc.StatusCode, type[errors.PodiumError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FailedPrecondition,
    grpc.StatusCode.ABORTED: errors.FailedPrecondition,
    grpc.StatusCode.UNIMPLEMENTED: errors.Unsupported,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ResourceExhausted,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.CANCELLED: errors.Cancelled,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
}


class FailedCall(Protocol):
    """What this needs of a gRPC error; the sync and the async one both have it."""

    def code(self) -> grpc.StatusCode:
        """Return the status code."""

    def details(self) -> str | None:
        """Return the message."""

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """Return the trailers."""


def typed_error(failed: FailedCall, *, sent_correlation_id: str) -> errors.PodiumError:
    """Return the error to raise for `failed`, with everything the server said about it."""
    trailers = {key: value for key, value in failed.trailing_metadata() or () if key in (_STATUS_KEY, CORRELATION_KEY)}
    code = failed.code()
    status = _rich_status(trailers.get(_STATUS_KEY))
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    missing = error_details_pb2.ResourceInfo()
    hinted = False
    violations: list[errors.Violation] = []
    for detail in status.details:
        if detail.Unpack(info) or detail.Unpack(missing):
            continue
        if detail.Unpack(retry):
            hinted = True
            continue
        violations.extend(_violations(detail))
    echoed = trailers.get(CORRELATION_KEY, "")
    error = _CLASSES.get(code, errors.Internal)(
        failed.details() or status.message or f"the call failed with {code.name}",
        code=code,
        reason=info.reason,
        retry_after=retry.retry_delay.ToTimedelta().total_seconds() if hinted else None,
        violations=violations,
        correlation_id=echoed if isinstance(echoed, str) and echoed else sent_correlation_id,
        metadata=info.metadata,
    )
    if isinstance(error, errors.NotFound):
        error.resource_type = missing.resource_type
        error.resource_name = missing.resource_name
    return error


def _rich_status(value: str | bytes | None) -> status_pb2.Status:
    if not isinstance(value, bytes):
        return status_pb2.Status()
    try:
        return status_pb2.Status.FromString(value)
    except DecodeError:  # a proxy's doing; the code and the message still stand
        return status_pb2.Status()


def _violations(detail: object) -> list[errors.Violation]:
    bad = error_details_pb2.BadRequest()
    quota = error_details_pb2.QuotaFailure()
    precondition = error_details_pb2.PreconditionFailure()
    unpack = detail.Unpack  # type: ignore[attr-defined]  # google.protobuf.any_pb2.Any, untyped as an element
    if unpack(bad):
        return [errors.Violation(v.field, v.description, v.reason) for v in bad.field_violations]
    if unpack(quota):
        return [errors.Violation(v.subject, v.description) for v in quota.violations]
    if unpack(precondition):
        return [errors.Violation(v.subject, v.description, v.type) for v in precondition.violations]
    return []
