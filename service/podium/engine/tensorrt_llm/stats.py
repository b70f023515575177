"""What the host knows of its engine, as numbers, and as Prometheus metrics on loopback."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from podium.errors import FailedPrecondition

__all__ = ["EngineStats", "serve_metrics"]

_log = logging.getLogger(__name__)

# Of one iteration of the engine: (path in its report, our name).
_ITERATION = (
    (("numActiveRequests",), "engine_active_requests"),
    (("numQueuedRequests",), "engine_queued_requests"),
    (("iterLatencyMS",), "engine_iteration_milliseconds"),
    (("gpuMemUsage",), "engine_device_memory_bytes"),
    (("kvCacheStats", "maxNumBlocks"), "kv_cache_blocks"),
    (("kvCacheStats", "usedNumBlocks"), "kv_cache_used_blocks"),
    (("kvCacheStats", "freeNumBlocks"), "kv_cache_free_blocks"),
    (("kvCacheStats", "cacheHitRate"), "kv_cache_hit_ratio"),
)


@dataclass(slots=True)
class EngineStats:
    """Counts since the start, and the engine's own report of its last iteration."""

    requests: int = 0
    tokens: int = 0
    aborts: int = 0
    unanswered_aborts: int = 0
    stalls: int = 0
    empty_completions: int = 0
    canary_failures: int = 0
    iterations: int = 0
    iteration: Mapping[str, float] = field(default_factory=dict)

    def take(self, reports: Iterable[Mapping[str, Any]]) -> None:
        """Keep the last of the engine's reports; unknown forms are left out."""
        for report in reports:
            self.iterations += 1
            self.iteration = dict(_numbers(report))

    def snapshot(self) -> dict[str, float]:
        """Return everything by name."""
        counts = {
            "requests_total": self.requests,
            "tokens_total": self.tokens,
            "aborts_total": self.aborts,
            "unanswered_aborts_total": self.unanswered_aborts,
            "stalls_total": self.stalls,
            "empty_completions_total": self.empty_completions,
            "canary_failures_total": self.canary_failures,
            "iterations_total": self.iterations,
        }
        return {**counts, **self.iteration}


def _numbers(report: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for path, name in _ITERATION:
        value: Any = report
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield name, float(value)


class _Numbers(Collector):
    def __init__(self, read: Callable[[], Mapping[str, float]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        for name, value in sorted(self._read().items()):
            kind = "counter" if name.endswith("_total") else "gauge"
            family = Metric(f"podium_tensorrt_llm_{name.removesuffix('_total')}", "See the backend's guide.", kind)
            family.add_sample(f"podium_tensorrt_llm_{name}", {}, value)
            yield family


@contextmanager
def serve_metrics(address: str, read: Callable[[], Mapping[str, float]]) -> Iterator[int]:
    """Serve what `read` returns on loopback for as long as the context is open; yields the port.

    An empty address serves nothing and yields 0.

    Raises:
        FailedPrecondition: the address is taken.
    """
    if not address:
        yield 0
        return
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Numbers(read))
    host, _, port = address.rpartition(":")
    try:
        server, thread = start_http_server(int(port), addr=host.strip("[]"), registry=registry)
    except OSError as error:
        raise FailedPrecondition("The address for metrics is taken; choose another --metrics-listen.") from error
    try:
        yield int(server.server_port)
    finally:
        # It waits for its own serving loop, which answers within half a second.
        threading.Thread(target=server.shutdown, daemon=True).start()
        thread.join(2)
        server.server_close()
