"""Metrics: names, zeros, caps, and the JSON made of them."""

from __future__ import annotations

import io

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from podium.observability.logging import configure_logging, get_logger
from podium.observability.loop_lag import LoopLag
from podium.observability.metrics import BreakerState, EngineState, Metrics
from podium.observability.summary import metrics_as_json, operations_as_json


@pytest.fixture
def metrics() -> Metrics:
    return Metrics.create(version="1.2.3", environment="test", max_label_values=2)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_runs(metrics: Metrics) -> None:
    assert value(metrics, "podium_runs_total", state="failed") == 0
    metrics.runs.started()
    metrics.runs.started()
    metrics.runs.finished("succeeded", seconds=0.3, turns=2)
    assert value(metrics, "podium_runs_active") == 1
    assert value(metrics, "podium_runs_total", state="succeeded") == 1
    assert value(metrics, "podium_run_duration_seconds_sum") == pytest.approx(0.3)
    assert value(metrics, "podium_run_turns_bucket", le="2.0") == 1


def test_tools_are_capped(metrics: Metrics) -> None:
    metrics.tools.declare(["calculate"])
    assert value(metrics, "podium_tool_calls_total", tool="calculate", outcome="ok") == 0
    for tool in ("read_file", "invented_1", "invented_2"):
        metrics.tools.started()
        metrics.tools.finished(tool, "failed", seconds=0.1)
    metrics.tools.refused("x" * 1000)
    metrics.tools.started()
    assert value(metrics, "podium_tools_in_flight") == 1
    assert value(metrics, "podium_tool_calls_total", tool="read_file", outcome="failed") == 1
    assert value(metrics, "podium_tool_calls_total", tool="other", outcome="failed") == 2
    assert value(metrics, "podium_tool_calls_total", tool="other", outcome="refused") == 1
    assert value(metrics, "podium_tool_call_duration_seconds_count", tool="other") == 2


def test_models(metrics: Metrics) -> None:
    metrics.models.declare(["m"])
    assert value(metrics, "podium_model_tokens_total", model="m", kind="cached") == 0
    metrics.models.first_token("m", 0.05)
    metrics.models.finished("m", "ok", seconds=0.5, prompt_tokens=10, completion_tokens=4, cached_tokens=8)
    assert value(metrics, "podium_model_turns_total", model="m", outcome="ok") == 1
    assert value(metrics, "podium_model_tokens_total", model="m", kind="prompt") == 10
    assert value(metrics, "podium_model_first_token_seconds_count", model="m") == 1


def test_a_breaker_is_in_one_state(metrics: Metrics) -> None:
    metrics.breakers.declare("tool:x")
    metrics.breakers.changed("tool:x", BreakerState.OPEN)
    metrics.breakers.refused("tool:x")
    states = {state: value(metrics, "podium_breaker_state", breaker="tool:x", state=state) for state in BreakerState}
    assert states == {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 0, BreakerState.OPEN: 1}
    assert value(metrics, "podium_breaker_changes_total", breaker="tool:x", state="open") == 1
    assert value(metrics, "podium_breaker_refused_total", breaker="tool:x") == 1


def test_breakers_beyond_the_cap_are_counted_but_have_no_state(metrics: Metrics) -> None:
    for name in ("a", "b", "c"):
        metrics.breakers.changed(name, BreakerState.OPEN)
    assert value(metrics, "podium_breaker_changes_total", breaker="other", state="open") == 1
    assert value(metrics, "podium_breaker_state", breaker="other", state="open") is None


def test_engines(metrics: Metrics) -> None:
    metrics.engines.changed("m", EngineState.READY)
    assert value(metrics, "podium_engine_restarts_total", engine="m") == 0
    metrics.engines.restarted("m")
    metrics.engines.changed("m", EngineState.BACKOFF)
    assert value(metrics, "podium_engine_restarts_total", engine="m") == 1
    assert value(metrics, "podium_engine_state", engine="m", state="backoff") == 1
    assert value(metrics, "podium_engine_state", engine="m", state="ready") == 0


def test_the_build_and_the_process_are_described(metrics: Metrics) -> None:
    text = generate_latest(metrics.registry).decode()
    assert 'podium_build_info{environment="test",python="3.' in text
    assert 'version="1.2.3"' in text
    assert "process_resident_memory_bytes" in text


def test_lag_and_log_are_read_at_the_scrape(metrics: Metrics) -> None:
    with configure_logging(stream=io.BytesIO()) as log:
        metrics.watch(lag=LoopLag(), log=log)
        get_logger("x").info("password=a")
        assert value(metrics, "podium_log_secrets_masked_total") == 1
        assert value(metrics, "podium_log_lines_dropped_total") == 0
        assert value(metrics, "podium_event_loop_lag_seconds", quantile="0.99") == 0


def test_two_servers_in_one_process_do_not_share_figures() -> None:
    one, other = Metrics.create(version="1"), Metrics.create(version="1")
    one.runs.started()
    assert value(other, "podium_runs_active") == 0


def test_every_metric_has_our_prefix_a_meaning_and_a_valid_form(metrics: Metrics) -> None:
    assert openmetrics.generate_latest(metrics.registry, version="1.0.0").endswith(b"# EOF\n")  # type: ignore[no-untyped-call]
    for metric in metrics.registry.collect():
        assert metric.name.startswith(("podium_", "process_", "python_")), metric.name
        assert metric.documentation, metric.name


class TestJson:
    def test_counters_gauges_and_histograms(self, metrics: Metrics) -> None:
        for _ in range(99):
            metrics.runs.started()
            metrics.runs.finished("succeeded", seconds=0.2, turns=1)
        metrics.runs.started()
        metrics.runs.finished("failed", seconds=30, turns=3)
        summary = metrics_as_json(metrics.registry)
        assert {"labels": {"state": "succeeded"}, "value": 99.0} in summary["podium_runs"]["series"]
        (series,) = summary["podium_run_duration_seconds"]["series"]
        assert series["count"] == 100
        assert series["avg"] == pytest.approx(0.498)
        assert 0.1 < series["p50"] < series["p95"] <= 0.25
        assert series["p99"] <= 0.25

    def test_operations_are_the_timings(self, metrics: Metrics) -> None:
        metrics.tools.finished("calculate", "ok", seconds=0.003)
        operations = operations_as_json(metrics.registry)
        assert "podium_run_turns" not in operations
        (series,) = operations["podium_tool_call_duration_seconds"]
        assert series["labels"] == {"tool": "calculate"}
        assert 0.001 < series["p95"] <= 0.005

    def test_a_quantile_beyond_the_last_bucket_is_that_bucket(self, metrics: Metrics) -> None:
        metrics.runs.finished("succeeded", seconds=10_000, turns=1)
        (series,) = metrics_as_json(metrics.registry)["podium_run_duration_seconds"]["series"]
        assert series["p50"] == 120

    def test_nothing_measured_is_null(self, metrics: Metrics) -> None:
        (series,) = metrics_as_json(metrics.registry)["podium_run_duration_seconds"]["series"]
        assert (series["count"], series["avg"], series["p99"]) == (0, None, None)
