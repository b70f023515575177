"""Metrics as JSON: counters and gauges as they are, histograms as count, average and quantiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

__all__ = ["metrics_as_json", "operations_as_json"]

_QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


@dataclass(slots=True)
class _Histogram:
    buckets: list[tuple[float, float]] = field(default_factory=list)
    total: float = 0.0
    count: float = 0.0

    def as_json(self) -> dict[str, float | None]:
        """Return count, average and quantiles; quantiles are interpolated within their bucket."""
        average = self.total / self.count if self.count else None
        return {"count": self.count, "avg": average, **{name: self._quantile(q) for name, q in _QUANTILES}}

    def _quantile(self, share: float) -> float | None:
        if not self.count:
            return None
        rank, lower, before = share * self.count, 0.0, 0.0
        for upper, cumulative in sorted(self.buckets):
            if cumulative >= rank:
                if upper == float("inf"):
                    return lower
                inside = cumulative - before
                return lower + (upper - lower) * ((rank - before) / inside if inside else 1.0)
            lower, before = upper, cumulative
        return lower


def _histograms(metric: Metric) -> dict[tuple[tuple[str, str], ...], _Histogram]:
    found: dict[tuple[tuple[str, str], ...], _Histogram] = {}
    for sample in metric.samples:
        labels = tuple(sorted((key, value) for key, value in sample.labels.items() if key != "le"))
        histogram = found.setdefault(labels, _Histogram())
        if sample.name.endswith("_bucket"):
            histogram.buckets.append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_sum"):
            histogram.total = sample.value
        elif sample.name.endswith("_count"):
            histogram.count = sample.value
    return found


def _series(metric: Metric) -> Iterator[dict[str, Any]]:
    if metric.type == "histogram":
        for labels, histogram in _histograms(metric).items():
            yield {"labels": dict(labels), **histogram.as_json()}
        return
    for sample in metric.samples:
        if not sample.name.endswith("_created"):
            yield {"labels": dict(sample.labels), "value": sample.value}


def _ours(registry: CollectorRegistry) -> Iterable[Metric]:
    return sorted(registry.collect(), key=lambda metric: metric.name)


def metrics_as_json(registry: CollectorRegistry) -> Mapping[str, Any]:
    """Return every metric by name, with its type, meaning and series."""
    return {
        metric.name: {"type": metric.type, "help": metric.documentation, "series": list(_series(metric))}
        for metric in _ours(registry)
    }


def operations_as_json(registry: CollectorRegistry) -> Mapping[str, Any]:
    """Return the timing of every operation: the histograms in seconds, by name."""
    return {
        metric.name: list(_series(metric))
        for metric in _ours(registry)
        if metric.type == "histogram" and metric.name.endswith("_seconds")
    }
