"""The ops HTTP port: metrics and health for scrapers, probes and people with curl.

It runs in threads of its own, so it answers (and says so) when the event loop is stuck. It shows
figures and states only: no request, no argument, no credential ever reaches it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any, Self

import orjson
import psutil
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from podium.observability._bounded_http import BoundedHandler, BoundedServer
from podium.observability.checks import HealthChecks
from podium.observability.logging import get_logger
from podium.observability.summary import metrics_as_json, operations_as_json

__all__ = ["OpsHttp", "Reply"]

log = get_logger(__name__)

Environ = Mapping[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]

_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("Server", "podium"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: HTTPStatus
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


def _json(value: Any, status: HTTPStatus = HTTPStatus.OK) -> Reply:
    return Reply(status, orjson.dumps(value, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE))


class OpsHttp:
    """Serves the ops paths in threads. A context manager; the port is bound when it is made.

    Args:
        host, port: where to listen; port 0 takes any free one.
        registry: the metrics.
        health: the checks.
        max_connections: connections handled at once; others get 503.
        request_seconds: how long a client may take to send its header, and to read the answer.

    Raises:
        OSError: the address cannot be bound.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        registry: CollectorRegistry,
        health: HealthChecks,
        max_connections: int = 32,
        request_seconds: float = 5.0,
    ) -> None:
        self._registry = registry
        self._health = health
        self._routes: dict[str, Callable[[Environ], Reply]] = {
            "/health": self._overall,
            "/metrics": self._prometheus,
            "/performance": self._performance,
            "/api/v1/health": self._overall,
            "/api/v1/health/detailed": self._detailed,
            "/api/v1/health/live": self._live,
            "/api/v1/health/metrics": self._machine,
            "/api/v1/health/ready": self._ready,
            "/api/v1/health/services": self._services,
            "/api/v1/metrics": self._metrics,
            "/api/v1/metrics/prometheus": self._prometheus,
        }
        limits = {"max_connections": max_connections, "request_seconds": request_seconds}
        self._server = type("_Server", (BoundedServer,), limits)((host, port), BoundedHandler)
        self._server.set_app(self._answer)
        self._thread = threading.Thread(target=self._server.serve_forever, name="podium-ops", args=(0.2,), daemon=True)
        self._process = psutil.Process()

    def __enter__(self) -> Self:
        self._process.cpu_percent()  # the first reading is the base of the next
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on."""
        return self._server.server_name, self._server.server_port

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path it knows."""
        return tuple(sorted(self._routes))

    def _answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        reply = self._reply(environ)
        headers = [
            ("Content-Type", reply.content_type),
            ("Content-Length", str(len(reply.body))),
            *reply.headers,
            *_HEADERS,
        ]
        start_response(f"{reply.status.value} {reply.status.phrase}", headers)
        return [reply.body]

    def _reply(self, environ: Environ) -> Reply:
        if environ["REQUEST_METHOD"] != "GET":
            refusal = _json({"error": "only GET is served here"}, HTTPStatus.METHOD_NOT_ALLOWED)
            return Reply(refusal.status, refusal.body, headers=(("Allow", "GET"),))
        route = self._routes.get(str(environ.get("PATH_INFO", "")).rstrip("/"))
        if route is None:
            return _json({"error": "there is no such path", "paths": self.paths}, HTTPStatus.NOT_FOUND)
        try:
            return route(environ)
        except Exception:
            log.exception("ops HTTP answer failed")
            return _json({"error": "internal error; see the log"}, HTTPStatus.INTERNAL_SERVER_ERROR)

    def _prometheus(self, environ: Environ) -> Reply:
        encode, content_type = choose_encoder(str(environ.get("HTTP_ACCEPT", "")))
        return Reply(HTTPStatus.OK, encode(self._registry), content_type)

    def _overall(self, _: Environ) -> Reply:
        report = self._health.report()
        return _json({"status": report.status, "overall_status": report.status}, _ok_if(report.ready))

    def _detailed(self, _: Environ) -> Reply:
        report = self._health.report()
        return _json(asdict(report), _ok_if(report.ready))

    def _live(self, _: Environ) -> Reply:
        report = self._health.report()
        return _json({"live": report.live, "uptime_seconds": report.uptime_seconds}, _ok_if(report.live))

    def _ready(self, _: Environ) -> Reply:
        report = self._health.report()
        return _json({"ready": report.ready, "reasons": report.reasons}, _ok_if(report.ready))

    def _services(self, _: Environ) -> Reply:
        return _json({name: asdict(component) for name, component in self._health.components.items()})

    def _metrics(self, _: Environ) -> Reply:
        return _json(metrics_as_json(self._registry))

    def _performance(self, _: Environ) -> Reply:
        return _json({"operations": operations_as_json(self._registry)})

    def _machine(self, _: Environ) -> Reply:
        memory, disk = psutil.virtual_memory(), psutil.disk_usage("/")
        with self._process.oneshot():
            resident = self._process.memory_info()
            process = {
                "rss_bytes": resident.rss,
                "vms_bytes": resident.vms,
                "cpu_percent": self._process.cpu_percent(),
                "threads": self._process.num_threads(),
            }
        system = {
            "cpu_percent": psutil.cpu_percent(),
            "memory_total_bytes": memory.total,
            "memory_available_bytes": memory.available,
            "disk_total_bytes": disk.total,
            "disk_free_bytes": disk.free,
        }
        return _json({"system": system, "process": process})


def _ok_if(good: bool) -> HTTPStatus:
    return HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
