"""The metrics of RPCs: calls, codes, durations, messages, calls in progress, by method."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from typing import Final

import grpc
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from podium.interceptors.call import OK, Call, Method, Outcome
from podium.interceptors.reporting import BoundSink

__all__ = ["RpcMetrics"]

_Code = grpc.StatusCode
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


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

    def arrived(self, call: Call) -> None:
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
