"""Metrics of the orchestration core: predicted calls, the cache of results, slots, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["CoreCollector", "CoreFigures", "PredictionMetrics"]


class PredictionMetrics:
    """Predicted tool calls: what they saved and wasted."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._total = Counter(
            "podium_predictions",
            "Predicted calls, by whether the model asked for them.",
            ["outcome"],
            registry=registry,
        )
        self._outcomes = {hit: self._total.labels("hit" if hit else "miss") for hit in (True, False)}
        self._saved = Counter("podium_prediction_saved_seconds", "Time that predicted calls saved.", registry=registry)
        self._wasted = Counter(
            "podium_prediction_wasted_seconds", "Tool time of predicted calls that nobody asked for.", registry=registry
        )

    def settled(self, *, hit: bool, spent: float, saved: float) -> None:
        """Count a predicted call that the model asked for, or did not."""
        self._outcomes[hit].inc()
        if hit:
            self._saved.inc(saved)
        else:
            self._wasted.inc(spent)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreFigures:
    """How the core stands, as its parts count it themselves."""

    slots_taken: int
    calls_waiting: int
    cache_entries: int
    cache_bytes: int
    cache_hits: int
    cache_misses: int
    cache_joins: int
    cache_evictions: int
    budget_overshoots: int


class CoreCollector(Collector):
    """Reads the core's own counts when somebody asks for them."""

    def __init__(self, figures: Callable[[], CoreFigures]) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        """Return the figures as they stand."""
        now = self._figures()
        yield GaugeMetricFamily("podium_tool_slots_taken", "Slots for tool calls that are taken.", now.slots_taken)
        yield GaugeMetricFamily("podium_tool_calls_waiting", "Tool calls that wait for a slot.", now.calls_waiting)
        yield GaugeMetricFamily("podium_cache_entries", "Results kept in memory.", now.cache_entries)
        yield GaugeMetricFamily("podium_cache_bytes", "Bytes of the results kept in memory.", now.cache_bytes)
        yield CounterMetricFamily("podium_cache_hits", "Calls answered from the cache.", now.cache_hits)
        yield CounterMetricFamily("podium_cache_misses", "Calls that the cache had no result for.", now.cache_misses)
        yield CounterMetricFamily("podium_cache_joins", "Calls that waited for an equal one.", now.cache_joins)
        yield CounterMetricFamily("podium_cache_evictions", "Results dropped to make room.", now.cache_evictions)
        yield CounterMetricFamily(
            "podium_budget_overshoots", "Turns that took more than was reserved for them.", now.budget_overshoots
        )
