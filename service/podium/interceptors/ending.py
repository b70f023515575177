"""How a call ends: what its outcome is, and what must be true before its status is sent."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import grpc

from podium.interceptors import status
from podium.interceptors.call import Call, Metadata, Outcome
from podium.interceptors.concern import Translate

__all__ = [
    "GoneError",
    "absorb_cancellation",
    "check_ended",
    "ids_settled",
    "outcome_of",
    "send_ids_aside",
    "trailers_of",
]

_log = logging.getLogger(__name__)
# Seconds before a deadline within which its expiry may be seen: the server counts from when the call arrives, and on a
# busy machine that is milliseconds after the client began to count.
_NEAR: Final = 0.02


class GoneError(Exception):
    """The client left while the server wrote to it; the cause is gRPC's own error."""

    def __init__(self, cause: grpc.aio.BaseError) -> None:
        super().__init__()
        self.cause = cause


def outcome_of(call: Call, error: BaseException, translate: Translate) -> Outcome:
    """Return how a call that raised `error` ended. With details there is a status to send."""
    if isinstance(error, grpc.aio.AbortError):
        return Outcome(call.context.code() or grpc.StatusCode.UNKNOWN, error=error)
    if call.ended_by is not None:
        return translate(call, call.ended_by)
    if isinstance(error, GoneError):
        return Outcome(_left(call), error=error)
    if isinstance(error, asyncio.CancelledError):
        # A cancellation of something the handler waited for must not leave it: gRPC would send no
        # status at all.
        return Outcome(_left(call), error=error) if call.task.cancelling() else translate(call, _escaped(error))
    if isinstance(error, Exception):
        return translate(call, error)
    return Outcome(grpc.StatusCode.INTERNAL, error=error)  # the process is ending


def _left(call: Call) -> grpc.StatusCode:
    """Return why the client went: its deadline, or its own choice."""
    remaining: float | None = call.context.time_remaining()
    near = remaining is not None and remaining < _NEAR
    return grpc.StatusCode.DEADLINE_EXCEEDED if near else grpc.StatusCode.CANCELLED


def _escaped(error: asyncio.CancelledError) -> Exception:
    found = RuntimeError("a cancellation that nobody asked for left the handler")
    found.__cause__ = error
    return found


def trailers_of(call: Call) -> Metadata:
    """Return our trailers and those that the handler set, if there is room for them."""
    found: Any = call.context.trailing_metadata()
    extra = tuple(pair for pair in found or () if pair not in call.trailers)
    if extra and status.wire_size(call.trailers + extra) > status.TRAILER_BYTES:
        _log.warning("the trailers that the handler of %s set are too large and were dropped", call.method.rpc)
        return call.trailers
    return call.trailers + extra


async def check_ended(call: Call) -> None:
    """Raise if the call was ended while its handler finished: a cancellation may still be under way."""
    if call.ended_by is not None:
        await absorb_cancellation(0)
        raise call.ended_by


async def send_ids_aside(call: Call) -> None:
    """Send the ids while the handler works. The call must not end before this has: `ids_settled`."""
    try:
        await call.context.send_initial_metadata(call.ids)
    except grpc.aio.BaseError:
        _log.debug("the client left, or the handler sent initial metadata of its own")


async def ids_settled(call: Call) -> None:
    """Wait until ids that are being sent are sent: gRPC would otherwise send initial metadata twice."""
    if call.ids_sending is not None:
        await asyncio.wait((call.ids_sending,))


async def absorb_cancellation(seconds: float) -> None:
    """Take the one cancellation that is under way. Whoever calls this ends the call right after."""
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        _log.debug("took a cancellation that was under way")
