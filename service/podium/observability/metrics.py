"""The metrics that are not about single RPCs, as small classes whose methods callers call.

Everything lives in one registry that the composition root makes; nothing is global. Names begin
with `podium_`, units are seconds, bytes and tokens. Series that must show zero are made at once.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from podium.observability._labels import OTHER, LabelCap, Series
from podium.observability.core_metrics import CoreCollector, CoreFigures, PredictionMetrics
from podium.observability.logging import LogPipeline
from podium.observability.loop_lag import LoopLag

__all__ = [
    "BreakerMetrics",
    "BreakerState",
    "EngineMetrics",
    "EngineState",
    "LogCollector",
    "LoopCollector",
    "Metrics",
    "ModelMetrics",
    "RunMetrics",
    "ToolMetrics",
    "new_registry",
]

RUN_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120)
TOOL_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
MODEL_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
TURNS = (1, 2, 3, 4, 6, 8, 12, 16, 32)


class BreakerState(StrEnum):
    """State of a circuit breaker."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class EngineState(StrEnum):
    """State of an engine host."""

    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    STOPPED = "stopped"


RunEnd = Literal["succeeded", "failed", "cancelled"]
ToolOutcome = Literal["ok", "failed", "timeout", "cancelled", "refused"]
TurnOutcome = Literal["ok", "failed", "cancelled"]

_RUN_ENDS: tuple[RunEnd, ...] = ("succeeded", "failed", "cancelled")
_TURN_OUTCOMES: tuple[TurnOutcome, ...] = ("ok", "failed", "cancelled")


def new_registry(*, version: str, environment: str = "") -> CollectorRegistry:
    """Return a registry with the process's own figures and the build's."""
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    Info("podium_build", "What is running.", registry=registry).info(
        {"version": version, "python": platform.python_version(), "environment": environment}
    )
    return registry


class RunMetrics:
    """Runs: how many, how they ended, how long they took."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._active = Gauge("podium_runs_active", "Runs going on now.", registry=registry)
        self._total = Counter("podium_runs", "Runs that ended, by state.", ["state"], registry=registry)
        self._ends = {state: self._total.labels(state) for state in _RUN_ENDS}
        self._seconds = Histogram(
            "podium_run_duration_seconds", "Time from a run's start to its end.", buckets=RUN_SECONDS, registry=registry
        )
        self._exhausted = Counter(
            "podium_budget_exhausted", "Budgets that runs met the end of.", ["scope", "dimension"], registry=registry
        )
        self._wound_down = Counter(
            "podium_runs_wound_down",
            "Runs that had to answer from what they had, by cause.",
            ["cause"],
            registry=registry,
        )
        self._turns = Histogram("podium_run_turns", "Model turns of a run.", buckets=TURNS, registry=registry)

    def started(self) -> None:
        """Count a run that starts."""
        self._active.inc()

    def finished(self, state: RunEnd, *, seconds: float, turns: int) -> None:
        """Count a run that ends; once for every `started`."""
        self._active.dec()
        self._ends[state].inc()
        self._seconds.observe(seconds)
        self._turns.observe(turns)

    def budget_exhausted(self, scope: str, dimension: str) -> None:
        """Count a budget that a run met the end of; never with whose it is."""
        self._exhausted.labels(scope, dimension).inc()

    def wound_down(self, cause: str) -> None:
        """Count a run that had to answer from what it had."""
        self._wound_down.labels(cause).inc()


class ToolMetrics:
    """Tool calls, by tool and outcome."""

    def __init__(self, registry: CollectorRegistry, *, limit: int = 100) -> None:
        self._cap = LabelCap(limit)
        self._in_flight = Gauge("podium_tools_in_flight", "Tool calls going on now.", registry=registry)
        self._total = Series(
            Counter(
                "podium_tool_calls",
                "Tool calls that ended, by tool and outcome.",
                ["tool", "outcome"],
                registry=registry,
            )
        )
        self._results = Series(
            Counter(
                "podium_tool_results",
                "Results of tool calls, by where they came from.",
                ["tool", "source"],
                registry=registry,
            )
        )
        self._retries = Counter(
            "podium_tool_retries", "Attempts that failed and were followed by another.", ["tool"], registry=registry
        )
        self._seconds = Series(
            Histogram(
                "podium_tool_call_duration_seconds",
                "Time of a tool call.",
                ["tool"],
                buckets=TOOL_SECONDS,
                registry=registry,
            )
        )

    def declare(self, tools: Iterable[str]) -> None:
        """Make the series of known tools, so that they show zero and are never lumped together."""
        for tool in tools:
            label = self._cap(tool)
            self._total(label, "ok")
            self._seconds(label)

    def started(self) -> None:
        """Count a call that starts."""
        self._in_flight.inc()

    def finished(self, tool: str, outcome: ToolOutcome, *, seconds: float) -> None:
        """Count a call that ends; once for every `started`."""
        label = self._cap(tool)
        self._in_flight.dec()
        self._total(label, outcome).inc()
        self._seconds(label).observe(seconds)

    def answered(self, tool: str, source: str) -> None:
        """Count a result by where it came from: tool, cache, joined, predicted, fallback."""
        self._results(self._cap(tool), source).inc()

    def retried(self, tool: str) -> None:
        """Count an attempt that failed and is followed by another."""
        self._retries.labels(self._cap(tool)).inc()

    def refused(self, tool: str) -> None:
        """Count a call that never started."""
        self._total(self._cap(tool), "refused").inc()


class ModelMetrics:
    """Model turns and tokens, by model."""

    def __init__(self, registry: CollectorRegistry, *, limit: int = 100) -> None:
        self._cap = LabelCap(limit)
        self._turns = Counter("podium_model_turns", "Model turns, by outcome.", ["model", "outcome"], registry=registry)
        self._tokens = Counter("podium_model_tokens", "Tokens read and written.", ["model", "kind"], registry=registry)
        self._seconds = Histogram(
            "podium_model_turn_duration_seconds", "Time of a turn.", ["model"], buckets=MODEL_SECONDS, registry=registry
        )
        self._first = Histogram(
            "podium_model_first_token_seconds",
            "Time to a turn's first token.",
            ["model"],
            buckets=MODEL_SECONDS,
            registry=registry,
        )

    def declare(self, models: Iterable[str]) -> None:
        """Make the series of the configured models."""
        for model in models:
            label = self._cap(model)
            for outcome in _TURN_OUTCOMES:
                self._turns.labels(label, outcome)
            for kind in ("prompt", "completion", "cached"):
                self._tokens.labels(label, kind)

    def first_token(self, model: str, seconds: float) -> None:
        """Record how long a turn's first token took."""
        self._first.labels(self._cap(model)).observe(seconds)

    def finished(
        self,
        model: str,
        outcome: TurnOutcome,
        *,
        seconds: float,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        cached_tokens: int = 0,
    ) -> None:
        """Count a turn that ends, with what it read and wrote."""
        label = self._cap(model)
        self._turns.labels(label, outcome).inc()
        self._seconds.labels(label).observe(seconds)
        self._tokens.labels(label, "prompt").inc(prompt_tokens)
        self._tokens.labels(label, "completion").inc(completion_tokens)
        self._tokens.labels(label, "cached").inc(cached_tokens)


class BreakerMetrics:
    """Circuit breakers: one series a state, 1 for the one that holds."""

    def __init__(self, registry: CollectorRegistry, *, limit: int = 100) -> None:
        self._cap = LabelCap(limit)
        self._state = Gauge(
            "podium_breaker_state", "1 for the state it is in.", ["breaker", "state"], registry=registry
        )
        self._changes = Counter(
            "podium_breaker_changes", "Changes into a state.", ["breaker", "state"], registry=registry
        )
        self._refused = Counter(
            "podium_breaker_refused", "Calls that an open breaker refused.", ["breaker"], registry=registry
        )

    def declare(self, breaker: str) -> None:
        """Make the series of a breaker, closed."""
        self._show(self._cap(breaker), BreakerState.CLOSED)

    def changed(self, breaker: str, state: BreakerState) -> None:
        """Show that a breaker changed into a state."""
        label = self._cap(breaker)
        self._show(label, state)
        self._changes.labels(label, state.value).inc()

    def refused(self, breaker: str) -> None:
        """Count a call that was refused."""
        self._refused.labels(self._cap(breaker)).inc()

    def _show(self, label: str, state: BreakerState) -> None:
        if label == OTHER:
            return  # many breakers in one series would contradict each other
        for each in BreakerState:
            self._state.labels(label, each.value).set(1 if each is state else 0)


class EngineMetrics:
    """Engine hosts: state and restarts."""

    def __init__(self, registry: CollectorRegistry, *, limit: int = 100) -> None:
        self._cap = LabelCap(limit)
        self._state = Gauge("podium_engine_state", "1 for the state it is in.", ["engine", "state"], registry=registry)
        self._restarts = Counter("podium_engine_restarts", "Restarts after a crash.", ["engine"], registry=registry)

    def changed(self, engine: str, state: EngineState) -> None:
        """Show the state of a host."""
        label = self._cap(engine)
        self._restarts.labels(label)
        for each in EngineState:
            self._state.labels(label, each.value).set(1 if each is state else 0)

    def restarted(self, engine: str) -> None:
        """Count a restart."""
        self._restarts.labels(self._cap(engine)).inc()


class LoopCollector(Collector):
    """Event-loop lag, read when somebody scrapes."""

    def __init__(self, lag: LoopLag) -> None:
        self._lag = lag

    def collect(self) -> Iterable[Metric]:
        """Yield lag quantiles and the age of the last beat."""
        family = Metric(
            "podium_event_loop_lag_seconds", "How late the event loop turns, over the last minute.", "gauge"
        )
        for name, quantile in (("0.5", 0.5), ("0.99", 0.99), ("1", 1.0)):
            family.add_sample("podium_event_loop_lag_seconds", {"quantile": name}, self._lag.quantile(quantile))
        yield family
        beat = Metric("podium_event_loop_beat_age_seconds", "Time since the event loop last turned.", "gauge")
        beat.add_sample("podium_event_loop_beat_age_seconds", {}, self._lag.beat_age())
        yield beat


class LogCollector(Collector):
    """Lines lost and secrets masked, read when somebody scrapes."""

    def __init__(self, pipeline: LogPipeline) -> None:
        self._pipeline = pipeline

    def collect(self) -> Iterable[Metric]:
        """Yield the two counters."""
        yield CounterMetricFamily("podium_log_lines_dropped", "Log lines that were lost.", value=self._pipeline.dropped)
        yield CounterMetricFamily(
            "podium_log_secrets_masked", "Texts in which a secret was masked.", value=self._pipeline.masked
        )


@dataclass(frozen=True, slots=True)
class Metrics:
    """All of them, in one registry."""

    registry: CollectorRegistry
    runs: RunMetrics
    tools: ToolMetrics
    models: ModelMetrics
    breakers: BreakerMetrics
    engines: EngineMetrics
    predictions: PredictionMetrics
    memory_level: Gauge

    @classmethod
    def create(cls, *, version: str, environment: str = "", max_label_values: int = 100) -> Self:
        """Make a registry and the metrics in it."""
        registry = new_registry(version=version, environment=environment)
        return cls(
            registry=registry,
            runs=RunMetrics(registry),
            tools=ToolMetrics(registry, limit=max_label_values),
            models=ModelMetrics(registry, limit=max_label_values),
            breakers=BreakerMetrics(registry, limit=max_label_values),
            engines=EngineMetrics(registry, limit=max_label_values),
            predictions=PredictionMetrics(registry),
            memory_level=Gauge(
                "podium_memory_level", "How short memory is: 0 normal, 1 high, 2 critical.", registry=registry
            ),
        )

    def watch(
        self,
        *,
        lag: LoopLag | None = None,
        log: LogPipeline | None = None,
        core: Callable[[], CoreFigures] | None = None,
    ) -> None:
        """Add the figures of things that are made elsewhere."""
        if core is not None:
            self.registry.register(CoreCollector(core))
        if lag is not None:
            self.registry.register(LoopCollector(lag))
        if log is not None:
            self.registry.register(LogCollector(log))
