"""Reporting: one line in the access log and the RPC metrics for every call, refused ones too.

The timing is taken once, here; the two sinks only format. Payloads are never written.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any, Final, Protocol

import grpc
import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from podium.interceptors.call import OK, Call, Method, Outcome
from podium.interceptors.concern import Hooks

__all__ = ["AccessLog", "Reporting", "RpcMetrics", "Sink"]

_Code = grpc.StatusCode
_MOST_LINES: Final = 256
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

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


class BoundSink(Protocol):
    """What a sink does for one method."""

    @property
    def admit(self) -> Callable[[Call], None] | None:
        """Called when a call arrives, or None."""
        ...

    def ended(self, call: Call, outcome: Outcome, seconds: float) -> None:
        """It is over."""
        ...


class Sink(Protocol):
    """Somewhere that calls are reported to."""

    def bind(self, method: Method) -> BoundSink:
        """Return what serves one method."""
        ...

    def close(self) -> None:
        """Write what waits."""
        ...


class _MethodFigures:
    """The figures of one method, as plain numbers: a call pays for additions, a scrape for the rest."""

    __slots__ = ("active", "buckets", "codes", "ok", "received", "rpc", "seconds", "sent", "started")

    def __init__(self, rpc: str) -> None:
        self.rpc = rpc
        self.active = 0
        self.started = 0
        self.ok = 0
        self.codes = dict.fromkeys(_Code, 0)
        self.buckets = [0] * (len(_SECONDS) + 1)
        self.seconds = 0.0
        self.received = 0
        self.sent = 0

    def admit(self, call: Call) -> None:
        del call
        self.active += 1
        self.started += 1

    def ended(self, call: Call, outcome: Outcome, seconds: float) -> None:
        self.active -= 1
        if outcome is OK:
            self.ok += 1
        else:
            self.codes[outcome.code] += 1
        self.buckets[bisect_left(_SECONDS, seconds)] += 1
        self.seconds += seconds
        self.received += call.received
        self.sent += call.sent

    def cumulated(self) -> list[tuple[str, float]]:
        """Return the histogram's buckets as Prometheus has them."""
        edges = [str(edge) for edge in _SECONDS] + ["+Inf"]
        return list(zip(edges, map(float, accumulate(self.buckets)), strict=True))


class RpcMetrics(Collector):
    """The metrics of RPCs. Written from the event loop, read from any thread.

    Args:
        registry: where they are registered.
        methods: paths whose series are there from the start, so that zero is visible.
    """

    def __init__(self, registry: CollectorRegistry, methods: Iterable[str] = ()) -> None:
        self._figures: dict[str, _MethodFigures] = {}
        for path in methods:
            self._for(path.lstrip("/"))
        registry.register(self)

    def bind(self, method: Method) -> BoundSink:
        """Return what serves one method."""
        return self._for(method.rpc)

    def close(self) -> None:
        """Nothing waits here."""

    def describe(self) -> Iterable[Metric]:
        """Return the families without their series, which is what registering asks for."""
        return self._families()

    def collect(self) -> Iterable[Metric]:
        """Return the families as they stand."""
        started, handled, seconds, received, sent, active = families = self._families()
        for each in list(self._figures.values()):
            labels = [each.rpc]
            started.add_metric(labels, each.started)
            for code, count in each.codes.items():
                handled.add_metric([each.rpc, code.name], count + each.ok if code is _Code.OK else count)
            seconds.add_metric(labels, each.cumulated(), each.seconds)
            received.add_metric(labels, each.received)
            sent.add_metric(labels, each.sent)
            active.add_metric(labels, each.active)
        return families

    @staticmethod
    def _families() -> tuple[
        CounterMetricFamily,
        CounterMetricFamily,
        HistogramMetricFamily,
        CounterMetricFamily,
        CounterMetricFamily,
        GaugeMetricFamily,
    ]:
        return (
            CounterMetricFamily("podium_rpc_started", "Calls that arrived.", labels=["rpc"]),
            CounterMetricFamily("podium_rpc_handled", "Calls that ended, by code.", labels=["rpc", "code"]),
            HistogramMetricFamily("podium_rpc_duration_seconds", "From arrival to status.", labels=["rpc"]),
            CounterMetricFamily("podium_rpc_messages_received", "Request messages taken.", labels=["rpc"]),
            CounterMetricFamily("podium_rpc_messages_sent", "Response messages.", labels=["rpc"]),
            GaugeMetricFamily("podium_rpc_in_flight", "Calls in progress.", labels=["rpc"]),
        )

    def _for(self, rpc: str) -> _MethodFigures:
        return self._figures.setdefault(rpc, _MethodFigures(rpc))


def _nothing(text: str) -> str:
    return text


class _BoundLog:
    __slots__ = ("_access", "_kind", "_rpc", "admit")

    def __init__(self, access: AccessLog, method: Method) -> None:
        self._access = access
        self._rpc = method.rpc
        self._kind = method.kind.value
        self.admit = None

    def ended(self, call: Call, outcome: Outcome, seconds: float) -> None:
        principal = call.principal
        first = call.first_sent
        self._access.add(
            (
                outcome,
                call.correlation_id,
                call.request_id,
                self._rpc,
                self._kind,
                principal.name if principal is not None else "",
                call.context.peer(),
                seconds,
                call.received,
                call.sent,
                None if first is None else first - call.started,
            )
        )


_Line = tuple[Outcome, str, str, str, str, str, str, float, int, int, float | None]


class AccessLog:
    """Writes one line a call to the logger `podium.access`; never a payload.

    Lines of calls that went well are written a few at a time, a moment later: formatting many at
    once costs half of formatting each in the middle of its call. Lines of all others are written
    at once, after those that wait. `close` writes what waits.

    Args:
        redact: takes secrets out of texts.
        logger: a structlog logger.
        linger: seconds that a line may wait; 0 for none.
    """

    def __init__(self, *, redact: Callable[[str], str] = _nothing, logger: Any = None, linger: float = 0.05) -> None:
        self._log = logger if logger is not None else structlog.get_logger("podium.access")
        self._redact = redact
        self._linger = linger
        self._lines: list[_Line] = []
        self._timer: asyncio.TimerHandle | None = None

    def bind(self, method: Method) -> BoundSink:
        """Return what serves one method."""
        return _BoundLog(self, method)

    def add(self, line: _Line) -> None:
        """Take the figures of one call."""
        self._lines.append(line)
        if line[0] is not OK or len(self._lines) >= _MOST_LINES or not self._linger:
            self.close()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._linger, self.close)

    def close(self) -> None:
        """Write what waits. More may be added afterwards."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        for line in lines:
            self._write(*line)

    def _write(  # noqa: PLR0917 - the fields of a line, in its order
        self,
        outcome: Outcome,
        correlation_id: str,
        request_id: str,
        rpc: str,
        kind: str,
        user_id: str,
        peer: str,
        seconds: float,
        received: int,
        sent: int,
        first: float | None,
    ) -> None:
        fields: dict[str, Any] = {
            "correlation_id": correlation_id,
            "request_id": request_id,
            "rpc": rpc,
            "user_id": user_id,
            "duration_ms": round(seconds * 1000, 3),
            "status": outcome.code.name,
            "kind": kind,
            "peer": peer,
            "received": received,
            "sent": sent,
        }
        if first is not None:
            fields["first_message_ms"] = round(first * 1000, 3)
        if outcome is OK:
            self._log.info("call", **fields)
            return
        if outcome.reason:
            fields["reason"] = outcome.reason
            fields["detail"] = self._redact(outcome.message)
        getattr(self._log, _LEVELS.get(outcome.code, "info"))("call", **fields)


class Reporting:
    """Times every call once and tells the sinks.

    Args:
        sinks: told in order.
        clock: the chain's, in seconds. Not the loop's, which uvloop keeps in whole milliseconds.
    """

    name = "reporting"

    def __init__(self, *sinks: Sink, clock: Callable[[], float] = time.monotonic) -> None:
        self._sinks = sinks
        self._clock = clock

    def bind(self, method: Method) -> Hooks | None:
        """Report every method."""
        bound = [sink.bind(method) for sink in self._sinks]
        arrivals = tuple(sink.admit for sink in bound if sink.admit is not None)
        ends = tuple(sink.ended for sink in bound)
        clock = self._clock

        def admit(call: Call) -> None:
            for arrived in arrivals:
                arrived(call)

        def finish(call: Call, outcome: Outcome) -> None:
            seconds = max(0.0, clock() - call.started)
            for ended in ends:
                ended(call, outcome, seconds)

        return Hooks(admit=admit, finish=finish)

    def close(self) -> None:
        """Let the sinks write what waits."""
        for sink in self._sinks:
            sink.close()
