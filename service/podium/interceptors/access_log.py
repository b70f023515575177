"""The access log: one line for every call, under the name `podium.access`. Never a payload."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import grpc
import orjson
import structlog

from podium.interceptors.call import OK, Call, Method, Outcome
from podium.interceptors.reporting import BoundSink

__all__ = ["AccessLog"]

_Code = grpc.StatusCode
_NAME: Final = "podium.access"
_MOST_LINES: Final = 256

# By who has to look at it: errors are ours, warnings somebody's, the rest is daily life.
_LEVELS: Final = {
    _Code.UNKNOWN: "error",
    _Code.INTERNAL: "error",
    _Code.DATA_LOSS: "error",
    _Code.UNIMPLEMENTED: "warning",
    _Code.DEADLINE_EXCEEDED: "warning",
    _Code.UNAVAILABLE: "warning",
    _Code.RESOURCE_EXHAUSTED: "warning",
    _Code.UNAUTHENTICATED: "warning",
    _Code.PERMISSION_DENIED: "warning",
}


# The figures of a call that has ended, in the order of `_BoundLog.ended`. A plain tuple, made at
# every call; nothing of the call itself is kept, for that would hold on to gRPC's own objects.
_Line = tuple[Outcome, float, str, str, str, str, str, str, float, int, int, float | None]


class _BoundLog:
    __slots__ = ("_add", "_kind", "_now", "_rpc", "arrived")

    def __init__(self, add: Callable[[_Line], None], now: Callable[[], float], method: Method) -> None:
        self._add = add
        self._now = now
        self._rpc = method.rpc
        self._kind = method.kind.value
        self.arrived = None

    def ended(self, call: Call, outcome: Outcome, seconds: float) -> None:
        principal = call.principal
        first = call.first_sent
        self._add(
            (
                outcome,
                self._now(),
                call.correlation_id,
                call.request_id,
                self._rpc,
                self._kind,
                "" if principal is None else principal.name,
                call.context.peer(),
                seconds,
                call.received,
                call.sent,
                None if first is None else first - call.started,
            )
        )


def _unchanged(text: str) -> str:
    return text


class AccessLog:
    """Writes the lines.

    Those of calls that went well wait a moment and are written together, which costs half of
    writing each in the middle of its call; a line of any other call is written at once, after
    those that wait. `close` writes what waits.

    Args:
        redact: takes secrets out of the texts of refusals, the only free text of a line.
        logger: a structlog logger.
        write: takes finished lines of JSON instead of the logger. Everything else in a line is of
            known form, so it needs no masking, and this costs a fifth of the logger's general way.
        linger: seconds that a line may wait; 0 for none.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        *,
        redact: Callable[[str], str] = _unchanged,
        logger: Any = None,
        write: Callable[[bytes], None] | None = None,
        linger: float = 0.05,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._log = logger if logger is not None else structlog.get_logger(_NAME)
        self._write = write
        self._redact = redact
        self._linger = linger
        self._now = now
        self._lines: list[_Line] = []
        self._timer: asyncio.TimerHandle | None = None
        self._second = -1
        self._prefix = ""

    def bind(self, method: Method) -> BoundSink:
        """Return what serves one method."""
        return _BoundLog(self._add, self._now, method)

    def close(self) -> None:
        """Write what waits. More may come afterwards."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        write = self._write
        for line in lines:
            if write is None:
                self._send(line)
            else:
                write(orjson.dumps(self._fields(line)))

    def _add(self, line: _Line) -> None:
        lines = self._lines
        lines.append(line)
        if line[0] is not OK or len(lines) >= _MOST_LINES or not self._linger:
            self.close()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._linger, self.close)

    def _send(self, line: _Line) -> None:
        fields = self._fields(line)
        fields.update(fields.pop("context"))
        for name in ("timestamp", "level", "logger", "message"):  # the logger has its own
            del fields[name]
        getattr(self._log, _LEVELS.get(line[0].code, "info"))("call", **fields)

    def _fields(self, line: _Line) -> dict[str, Any]:
        """Return a line's fields, in the shape and order of every line of the log."""
        outcome, at, correlation_id, request_id, rpc, kind, user_id, peer, seconds, received, sent, first = line
        rest: dict[str, Any] = {"kind": kind, "peer": peer, "received": received, "sent": sent}
        if first is not None:
            rest["first_message_ms"] = round(first * 1000, 3)
        if outcome.reason:
            rest["reason"] = outcome.reason
            rest["detail"] = self._redact(outcome.message)
        return {
            "timestamp": self._stamp(at),
            "level": "INFO" if outcome is OK else _LEVELS.get(outcome.code, "info").upper(),
            "logger": _NAME,
            "message": "call",
            "correlation_id": correlation_id,
            "request_id": request_id,
            "rpc": rpc,
            "user_id": user_id,
            "duration_ms": round(seconds * 1000, 3),
            "status": "OK" if outcome is OK else outcome.code.name,
            "context": rest,
        }

    def _stamp(self, at: float) -> str:
        """Write a time as ISO 8601; all but the fraction is worked out once a second."""
        second = int(at)
        if second != self._second:
            self._second = second
            self._prefix = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        return f"{self._prefix}{int((at - second) * 1_000_000):06d}Z"
