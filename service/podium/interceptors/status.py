"""`google.rpc.Status` for errors, kept small enough for every transport.

gRPC refuses trailers at random above 8 KiB and always above 16 KiB, so everything that goes out
with a status stays under 4 KiB: long texts are cut, violations beyond the twentieth are left out,
and more is left out, last things first, when it would still be too much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # no stubs are published

from podium.errors import InvalidRequest, NotFound, PodiumError, ResourceExhausted

__all__ = ["DETAILS_KEY", "DOMAIN", "ROOM", "TRAILER_BYTES", "build", "cut", "wire_size"]

DOMAIN: Final = "podium.v1"
DETAILS_KEY: Final = "grpc-status-details-bin"
TRAILER_BYTES: Final = 4_096
"""Everything that goes out with a status, as HTTP/2 counts it."""
ROOM: Final = 3_400
"""Of these, for message and status when nothing is known of the rest."""

_MESSAGE_CHARACTERS: Final = 512
_MESSAGE_BYTES: Final = 768
_VIOLATIONS: Final = 20
_VIOLATION_CHARACTERS: Final = 160
_METADATA_ENTRIES: Final = 8
_METADATA_CHARACTERS: Final = 128


def cut(text: str, length: int) -> str:
    """Return the text, shortened with an ellipsis when it is longer."""
    return text if len(text) <= length else text[: length - 3] + "..."


def wire_size(metadata: tuple[tuple[str, str | bytes], ...]) -> int:
    """Return the bytes that HTTP/2 counts for these pairs: texts plus 32 each, binary in base 64."""
    return sum(
        32 + len(key) + (4 * math.ceil(len(value) / 3) if isinstance(value, bytes) else len(value))
        for key, value in metadata
    )


def build(
    code: grpc.StatusCode,
    reason: str,
    *,
    message: str,
    error: PodiumError,
    retry_after: float | None,
    metadata: Mapping[str, str],
    room: int = ROOM,
) -> tuple[str, bytes]:
    """Return the message to send and the serialised status with its details.

    Args:
        code: of the status.
        reason: of the ErrorInfo.
        message: for the caller; cut to 512 characters, fewer when they are long on the wire.
        error: gives the details that its class has: violations, quota, resource.
        retry_after: seconds for a RetryInfo, or None.
        metadata: of the ErrorInfo.
        room: bytes on the wire for message and status together.
    """
    message = cut(message, _MESSAGE_CHARACTERS)
    while _percent_size(message) > _MESSAGE_BYTES:
        message = cut(message, max(16, 2 * len(message) // 3))
    info = _info(reason, metadata)
    details = _details(error, retry_after)
    # In base 64 four bytes carry three.
    limit = (room - 64 - len(DETAILS_KEY) - _percent_size(message)) * 3 // 4
    status = _status(code, message, info, details)
    while status.ByteSize() > limit and _shrink(details, info):
        status = _status(code, message, info, details)
    return message, status.SerializeToString()


def _percent_size(text: str) -> int:
    """Return the length of the text as `grpc-message`: anything but printable ASCII is %XX."""
    return sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in text.encode())


def _info(reason: str, metadata: Mapping[str, str]) -> error_details_pb2.ErrorInfo:
    entries = list(metadata.items())[:_METADATA_ENTRIES]
    shown = {cut(key, 64): cut(value, _METADATA_CHARACTERS) for key, value in entries}
    return error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=shown)


def _details(error: PodiumError, retry_after: float | None) -> list[Message]:
    found: list[Message] = []
    if retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(math.ceil(max(0.0, min(retry_after, 86_400.0)) * 1000))
        found.append(retry)
    if isinstance(error, InvalidRequest) and error.violations:
        found.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(
                        field=cut(violation.field, _VIOLATION_CHARACTERS),
                        description=cut(violation.description, _VIOLATION_CHARACTERS),
                        reason=cut(violation.rule, 64),
                    )
                    for violation in error.violations[:_VIOLATIONS]
                ]
            )
        )
    elif isinstance(error, ResourceExhausted) and error.quota:
        violation = error_details_pb2.QuotaFailure.Violation(
            subject=cut(error.quota, 128), description=cut(error.message, _VIOLATION_CHARACTERS)
        )
        found.append(error_details_pb2.QuotaFailure(violations=[violation]))
    elif isinstance(error, NotFound):
        found.append(
            error_details_pb2.ResourceInfo(
                resource_type=cut(error.resource_type, 64), resource_name=cut(error.resource_name, 256)
            )
        )
    return found


def _status(
    code: grpc.StatusCode, message: str, info: error_details_pb2.ErrorInfo, details: list[Message]
) -> status_pb2.Status:
    packed = []
    for detail in (info, *details):
        wrapped = any_pb2.Any()
        wrapped.Pack(detail)
        packed.append(wrapped)
    return status_pb2.Status(code=code.value[0], message=message, details=packed)


def _shrink(details: list[Message], info: error_details_pb2.ErrorInfo) -> bool:
    """Leave something out; return whether there was something to leave out."""
    for detail in details:
        if isinstance(detail, error_details_pb2.BadRequest) and len(detail.field_violations) > 1:
            del detail.field_violations[-1]
            return True
    if info.metadata:
        del info.metadata[next(iter(sorted(info.metadata, reverse=True)))]
        return True
    if len(details) > 1 or (details and not isinstance(details[0], error_details_pb2.RetryInfo)):
        details.pop()
        return True
    return False
