"""How a server is, and everything it depends on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from podium.v1 import health_pb2
from podium_client._wire import enum_of, when

__all__ = ["HealthComponent", "HealthReport", "HealthStatus"]


class HealthStatus(StrEnum):
    """How something is."""

    UNSPECIFIED = "UNSPECIFIED"
    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    UNHEALTHY = "UNHEALTHY"

    @classmethod
    def of(cls, number: int) -> Self:
        """Return the status with this number on the wire."""
        return enum_of(cls, health_pb2.HealthStatus, "HEALTH_STATUS_", number)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthComponent:
    """One thing the server depends on. The server is ready without it when it is `optional`."""

    name: str
    status: HealthStatus
    detail: str
    latency: timedelta
    check_time: datetime | None
    last_error: str
    optional: bool

    @classmethod
    def of(cls, raw: health_pb2.HealthComponent) -> Self:
        """Return the view of the message."""
        return cls(
            name=raw.name,
            status=HealthStatus.of(raw.status),
            detail=raw.detail,
            latency=raw.latency.ToTimedelta(),
            check_time=when(raw.check_time) if raw.HasField("check_time") else None,
            last_error=raw.last_error,
            optional=raw.optional,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """The server's report: the worst of what is needed, and each component by name."""

    status: HealthStatus
    components: tuple[HealthComponent, ...]
    version: str
    uptime: timedelta

    @classmethod
    def of(cls, raw: health_pb2.CheckResponse) -> Self:
        """Return the view of the message."""
        return cls(
            status=HealthStatus.of(raw.status),
            components=tuple(HealthComponent.of(component) for component in raw.components),
            version=raw.version,
            uptime=raw.uptime.ToTimedelta(),
        )
