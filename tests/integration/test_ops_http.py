"""The ops HTTP port over real sockets: its paths, and clients that behave badly."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import orjson
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from podium.observability.checks import HealthChecks, Status
from podium.observability.logging import configure_logging
from podium.observability.loop_lag import LoopLag
from podium.observability.metrics import Metrics
from podium.observability.ops_http import OpsHttp

PATHS = [
    "/api/v1/health",
    "/api/v1/health/detailed",
    "/api/v1/health/live",
    "/api/v1/health/metrics",
    "/api/v1/health/ready",
    "/api/v1/health/services",
    "/api/v1/metrics",
    "/api/v1/metrics/prometheus",
    "/health",
    "/metrics",
    "/performance",
]


@pytest.fixture
def log() -> Iterator[io.BytesIO]:
    stream = io.BytesIO()
    with configure_logging(stream=stream):
        yield stream


@pytest.fixture
def metrics() -> Metrics:
    return Metrics.create(version="1.2.3")


@pytest.fixture
def health(log: io.BytesIO) -> HealthChecks:
    checks = HealthChecks(version="1.2.3")
    checks.add("model:m")
    checks.set("model:m", Status.HEALTHY)
    return checks


@pytest.fixture
def ops(metrics: Metrics, health: HealthChecks) -> Iterator[OpsHttp]:
    with serve(metrics, health) as server:
        yield server


def serve(metrics: Metrics, health: HealthChecks, host: str = "127.0.0.1", **limits: Any) -> OpsHttp:
    return OpsHttp(host=host, port=0, registry=metrics.registry, health=health, **limits)


def get(ops: OpsHttp, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(*ops.address, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response, response.read()


def get_json(ops: OpsHttp, path: str) -> tuple[int, Any]:
    response, body = get(ops, path)
    assert response.headers["Content-Type"] == "application/json"
    return response.status, orjson.loads(body)


def connect(ops: OpsHttp) -> socket.socket:
    return socket.create_connection(ops.address, timeout=10)


def raw(ops: OpsHttp, request: bytes) -> bytes:
    """Send bytes, then read to the end; a reset counts as the end."""
    with connect(ops) as client:
        with contextlib.suppress(OSError):
            client.sendall(request)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := client.recv(65536):
                received += chunk
        return received


class TestPaths:
    def test_every_path_answers(self, ops: OpsHttp) -> None:
        assert list(ops.paths) == PATHS
        for path in PATHS:
            response, body = get(ops, path)
            assert response.status == 200, path
            assert body, path
            assert get(ops, path + "/")[0].status == 200

    def test_answers_are_not_kept_framed_or_guessed_at(self, ops: OpsHttp) -> None:
        for path in [*PATHS, "/nope"]:
            headers = get(ops, path)[0].headers
            assert headers["Cache-Control"] == "no-store"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["X-Frame-Options"] == "DENY"
            assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
            assert "python" not in headers["Server"].lower()

    def test_other_paths_get_the_list_of_paths(self, ops: OpsHttp) -> None:
        status, body = get_json(ops, "/nope?token=s3cret")
        assert status == 404
        assert body == {"error": "there is no such path", "paths": PATHS}

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE"])
    def test_only_get_is_served(self, ops: OpsHttp, method: str) -> None:
        response, _ = get(ops, "/metrics", method)
        assert (response.status, response.headers["Allow"]) == (405, "GET")

    def test_ipv6(self, metrics: Metrics, health: HealthChecks) -> None:
        with serve(metrics, health, host="::1") as ops:
            assert get(ops, "/health")[0].status == 200

    def test_a_port_that_is_taken_is_an_error_at_once(
        self, ops: OpsHttp, metrics: Metrics, health: HealthChecks
    ) -> None:
        with pytest.raises(OSError, match="in use"):
            OpsHttp(host="127.0.0.1", port=ops.address[1], registry=metrics.registry, health=health)

    def test_a_server_that_was_never_entered_can_be_closed(self, metrics: Metrics, health: HealthChecks) -> None:
        serve(metrics, health).__exit__(None, None, None)


class TestMetrics:
    def test_prometheus_text(self, ops: OpsHttp, metrics: Metrics) -> None:
        metrics.runs.started()
        response, body = get(ops, "/metrics")
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        families = {family.name: family for family in parse_text(body.decode())}
        assert families["podium_runs_active"].samples[0].value == 1
        assert get(ops, "/api/v1/metrics/prometheus")[0].headers["Content-Type"] == response.headers["Content-Type"]

    def test_openmetrics_when_it_is_asked_for(self, ops: OpsHttp) -> None:
        response, body = get(ops, "/metrics", Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
        assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert "podium_build" in {family.name for family in parse_openmetrics(body.decode())}  # type: ignore[no-untyped-call]

    def test_json(self, ops: OpsHttp, metrics: Metrics) -> None:
        metrics.tools.finished("calculate", "ok", seconds=0.01)
        status, body = get_json(ops, "/api/v1/metrics")
        assert status == 200
        assert body["podium_tool_calls"]["type"] == "counter"
        status, body = get_json(ops, "/performance")
        assert body["operations"]["podium_tool_call_duration_seconds"][0]["count"] == 1

    def test_the_machine(self, ops: OpsHttp) -> None:
        _, body = get_json(ops, "/api/v1/health/metrics")
        assert body["process"]["rss_bytes"] > 0
        assert body["system"]["memory_total_bytes"] > body["process"]["rss_bytes"]

    def test_an_answer_that_fails_is_logged_and_tells_nothing(
        self, ops: OpsHttp, metrics: Metrics, log: io.BytesIO
    ) -> None:
        class Broken:
            def collect(self) -> Any:
                raise RuntimeError("password=hunter2")

            def describe(self) -> list[Any]:
                return []

        metrics.registry.register(Broken())
        status, body = get_json(ops, "/api/v1/metrics")
        assert (status, body) == (500, {"error": "internal error; see the log"})


class TestHealth:
    def test_healthy(self, ops: OpsHttp) -> None:
        assert get_json(ops, "/health") == (200, {"status": "healthy", "overall_status": "healthy"})
        assert get_json(ops, "/api/v1/health/ready") == (200, {"ready": True, "reasons": []})
        status, body = get_json(ops, "/api/v1/health/detailed")
        assert (status, body["version"], body["components"][0]["name"]) == (200, "1.2.3", "model:m")
        assert get_json(ops, "/api/v1/health/services")[1]["model:m"]["status"] == "healthy"

    def test_not_ready_is_503_and_still_live(self, ops: OpsHttp, health: HealthChecks) -> None:
        health.set("model:m", Status.UNHEALTHY, "the engine host restarts")
        reasons = ["model:m: the engine host restarts"]
        assert get_json(ops, "/api/v1/health/ready") == (503, {"ready": False, "reasons": reasons})
        for path in ("/health", "/api/v1/health", "/api/v1/health/detailed"):
            assert get(ops, path)[0].status == 503
        status, body = get_json(ops, "/api/v1/health/live")
        assert (status, body["live"]) == (200, True)

    async def test_it_answers_when_the_event_loop_is_stuck(self, metrics: Metrics, log: io.BytesIO) -> None:
        now = 0.0
        async with LoopLag(interval=1000, clock=lambda: now) as lag:
            with serve(metrics, HealthChecks(version="1", lag=lag, stuck_after=10)) as ops:
                now = 11.0
                status, body = get_json(ops, "/api/v1/health/live")  # blocks this very loop
        assert (status, body["live"]) == (503, False)

    async def test_it_runs_beside_an_event_loop(self, ops: OpsHttp) -> None:
        replies = await asyncio.gather(*(asyncio.to_thread(get, ops, path) for path in PATHS))
        assert {response.status for response, _ in replies} == {200}


class TestBadClients:
    @pytest.mark.parametrize(
        "request_bytes",
        [
            b"\r\n\r\n",
            b"garbage\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET /metrics HTTP/9.9\r\n\r\n",
            b"GET /%00%ff HTTP/1.1\r\n\r\n",
            b"GET http://[ HTTP/1.1\r\n\r\n",
            b"GET /metrics HTTP/1.1\r\nno colon\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) + b"\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET /metrics HTTP/1.1\r\nContent-Length: 99999999\r\n\r\nbody that never comes",
            b"GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
        ],
    )
    def test_garbage_does_no_harm(self, ops: OpsHttp, request_bytes: bytes) -> None:
        raw(ops, request_bytes)
        assert get(ops, "/health")[0].status == 200

    @pytest.mark.parametrize(
        "request_bytes",
        [
            b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nX: " + b"a" * 1_000_000,
            b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
        ],
    )
    def test_a_huge_header_is_cut_off(self, ops: OpsHttp, request_bytes: bytes) -> None:
        answer = raw(ops, request_bytes)
        assert answer == b"" or answer.startswith(b"HTTP/1.0 431 ")
        assert get(ops, "/health")[0].status == 200

    def test_a_slow_client_is_cut_off_in_total_time(self, metrics: Metrics, health: HealthChecks) -> None:
        with serve(metrics, health, request_seconds=0.2) as ops, connect(ops) as client:
            started = time.monotonic()
            client.sendall(b"GET /metrics HTTP/1.1\r\n")
            assert client.recv(100) == b""
            assert time.monotonic() - started < 5

    def test_silent_connections_cannot_take_every_place_for_long(self, metrics: Metrics, health: HealthChecks) -> None:
        with serve(metrics, health, max_connections=4, request_seconds=0.3) as ops:
            idle = [connect(ops) for _ in range(4)]
            try:
                refused = raw(ops, b"GET /health HTTP/1.1\r\n\r\n")
                assert refused == b"" or refused.startswith(b"HTTP/1.0 503 ")
                for client in idle:
                    assert client.recv(1) == b""  # their time is up
                wait_for_answer(ops)
            finally:
                for client in idle:
                    client.close()

    def test_a_client_that_does_not_read_gives_its_place_back(self, metrics: Metrics, health: HealthChecks) -> None:
        metrics.tools.declare(f"tool_{number:050d}" for number in range(100))
        with serve(metrics, health, max_connections=1, request_seconds=0.2) as ops, socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            client.connect(ops.address)
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            wait_for_answer(ops)

    def test_many_connections_at_once(self, metrics: Metrics, health: HealthChecks) -> None:
        with serve(metrics, health, max_connections=8) as ops:
            clients = [connect(ops) for _ in range(200)]
            assert threading.active_count() < 60
            for client in clients:
                client.close()
            wait_for_answer(ops)

    def test_two_hundred_scrapes(self, ops: OpsHttp) -> None:
        assert {get(ops, "/health")[0].status for _ in range(200)} == {200}


def wait_for_answer(ops: OpsHttp) -> None:
    """Ask until it answers; the test's own time limit ends the wait."""
    while True:
        with contextlib.suppress(OSError):
            if raw(ops, b"GET /health HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.0 200"):
                return
