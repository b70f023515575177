"""`podium.v1.HealthService` over the health checks."""

from __future__ import annotations

from google.protobuf import timestamp_pb2

from podium.observability.checks import Component, HealthChecks, Status
from podium.rpc.times import duration_message
from podium.v1 import health_pb2 as pb
from podium.v1.health_pb2_grpc import HealthServiceServicer

__all__ = ["HealthServicer"]

_STATUSES = {status: pb.HealthStatus.Value(f"HEALTH_STATUS_{status.name}") for status in Status}


class HealthServicer(HealthServiceServicer):
    """Tells how the server is; answers come from the last results and cost nothing."""

    def __init__(self, checks: HealthChecks) -> None:
        self._checks = checks

    async def Check(self, request: pb.CheckRequest, context: object) -> pb.CheckResponse:
        """Return the whole report."""
        report = self._checks.report()
        return pb.CheckResponse(
            status=_STATUSES[report.status],
            components=[_component_message(component) for component in report.components],
            version=report.version,
            uptime=duration_message(report.uptime_seconds),
        )

    async def Live(self, request: pb.LiveRequest, context: object) -> pb.LiveResponse:
        """Return whether the process works."""
        report = self._checks.report()
        return pb.LiveResponse(live=report.live, uptime=duration_message(report.uptime_seconds))

    async def Ready(self, request: pb.ReadyRequest, context: object) -> pb.ReadyResponse:
        """Return whether the server can answer requests."""
        report = self._checks.report()
        return pb.ReadyResponse(ready=report.ready, reasons=report.reasons)


def _component_message(component: Component) -> pb.HealthComponent:
    check_time = None
    if component.checked_at is not None:
        check_time = timestamp_pb2.Timestamp()
        check_time.FromDatetime(component.checked_at)
    return pb.HealthComponent(
        name=component.name,
        status=_STATUSES[component.status],
        detail=component.detail,
        latency=duration_message(component.latency_seconds),
        check_time=check_time,
        last_error=component.last_error,
        optional=component.optional,
    )
