"""An engine's gRPC status as a domain error."""

from __future__ import annotations

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # no stubs are published
from grpc_status import rpc_status

from podium.errors import (
    AlreadyExists,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidRequest,
    PodiumError,
    ResourceExhausted,
    Unavailable,
)

__all__ = ["to_domain"]

_RETRY_AFTER = 1.0
_OUR_DOMAIN = "podium.v1"
# gRPC says nothing else about a message over the limit of one side.
_TOO_LARGE = "larger than max"


def to_domain(error: grpc.aio.AioRpcError) -> PodiumError:  # noqa: PLR0911  # one return a code is plainest
    """Map a failed call to the domain error that says what a caller can do about it.

    Only our own host writes its texts for callers; those of other servers never leave here.
    """
    status = _rich(error)
    retry_after = _retry_after(status)
    metadata = {"engine_status": error.code().name}
    details = error.details() or ""
    match error.code():
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.OUT_OF_RANGE:
            ours = _info(status) is not None
            return InvalidRequest(
                (details if ours else "")
                or "The engine refuses the request: check its lengths, sampling values and guide.",
                violations=_violations(status) if ours else (),
                metadata=metadata,
            )
        case grpc.StatusCode.ALREADY_EXISTS:
            return AlreadyExists("A generation with this id is in flight.", metadata=metadata)
        case grpc.StatusCode.RESOURCE_EXHAUSTED if _TOO_LARGE in details:
            return InvalidRequest(
                "The request or its output is larger than the engine's messages may be: ask for less at once.",
                metadata=metadata,
            )
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return ResourceExhausted(
                "The engine is busy: its queue is full.",
                reason=_reason(status, "OVERLOADED"),
                quota="engine_queue",
                retry_after=_RETRY_AFTER if retry_after is None else retry_after,
                metadata=metadata,
            )
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded("The engine did not finish in time.", metadata=metadata)
        case grpc.StatusCode.CANCELLED:
            return Cancelled("The generation was cancelled.", metadata=metadata)
        case grpc.StatusCode.FAILED_PRECONDITION | grpc.StatusCode.UNIMPLEMENTED:
            return FailedPrecondition("The engine cannot do this as it is set up.", metadata=metadata)
        case grpc.StatusCode.UNAVAILABLE:
            return Unavailable(
                "The engine is not there, or restarted under the request.",
                reason=_reason(status, None),
                retry_after=_RETRY_AFTER if retry_after is None else retry_after,
                metadata=metadata,
            )
        case _:
            return Internal("The engine failed.", metadata=metadata)


def _rich(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    try:
        return rpc_status.from_call(error)  # type: ignore[arg-type]  # it reads the same two methods of either call
    except (ValueError, DecodeError):
        # Another server's details are damaged, or contradict its status: the status alone counts.
        return None


def _retry_after(status: status_pb2.Status | None) -> float | None:
    info = error_details_pb2.RetryInfo()
    for detail in status.details if status is not None else ():
        if detail.Unpack(info):
            return float(info.retry_delay.ToMilliseconds()) / 1000
    return None


def _reason(status: status_pb2.Status | None, default: str | None) -> str | None:
    info = _info(status)
    return default if info is None else str(info.reason)


def _info(status: status_pb2.Status | None) -> error_details_pb2.ErrorInfo | None:
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status is not None else ():
        if detail.Unpack(info) and info.domain == _OUR_DOMAIN:
            return info
    return None


def _violations(status: status_pb2.Status | None) -> list[FieldViolation]:
    bad = error_details_pb2.BadRequest()
    for detail in status.details if status is not None else ():
        if detail.Unpack(bad):
            return [FieldViolation(entry.field, entry.description) for entry in bad.field_violations]
    return []
