"""`grpc.health.v1.Health`: Check, Watch and List, for probes, meshes and load balancers.

The library's own servicer answers List with UNIMPLEMENTED and lets an open Watch hold up a
shutdown for its whole grace, so this one is ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1.health_pb2_grpc import HealthServicer

from podium.errors import NotFound

__all__ = ["ServingBoard", "StandardHealthServicer"]

SERVING: int = pb.HealthCheckResponse.SERVING
NOT_SERVING: int = pb.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN: int = pb.HealthCheckResponse.SERVICE_UNKNOWN


class ServingBoard:
    """Which services can answer now. `""` stands for the server as a whole."""

    def __init__(self, services: Iterable[str]) -> None:
        self._serving = dict.fromkeys(("", *services), False)
        self._closed = False
        self._changed = asyncio.Event()

    def set(self, service: str, serving: bool) -> None:
        """Say whether one service can answer; nothing can once the board is closed."""
        serving = serving and not self._closed
        if self._serving[service] != serving:
            self._serving[service] = serving
            self._signal()

    def close(self) -> None:
        """Say that nothing serves any more, and let watchers end after they were told."""
        self._closed = True
        for service in self._serving:
            self._serving[service] = False
        self._signal()

    @property
    def closed(self) -> bool:
        """Whether the board is closed."""
        return self._closed

    def serving(self, service: str) -> bool | None:
        """Return whether a service can answer, None when there is no such service."""
        return self._serving.get(service)

    def snapshot(self) -> dict[str, bool]:
        """Return the state of every service."""
        return dict(self._serving)

    async def changed(self) -> None:
        """Wait for the next change."""
        await self._changed.wait()

    def _signal(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class StandardHealthServicer(HealthServicer):  # type: ignore[misc] # the library is untyped
    """Answers from a `ServingBoard`."""

    def __init__(self, board: ServingBoard) -> None:
        self._board = board

    async def Check(self, request: pb.HealthCheckRequest, context: object) -> pb.HealthCheckResponse:
        """Return one service's state; NOT_FOUND for a service that the server does not have."""
        serving = self._board.serving(request.service)
        if serving is None:
            raise NotFound(
                f"this server has no service {request.service!r}",
                resource_type="service",
                resource_name=request.service,
            )
        return pb.HealthCheckResponse(status=_status(serving))

    async def List(self, request: pb.HealthListRequest, context: object) -> pb.HealthListResponse:
        """Return every service's state."""
        statuses = {
            name: pb.HealthCheckResponse(status=_status(serving)) for name, serving in self._board.snapshot().items()
        }
        return pb.HealthListResponse(statuses=statuses)

    async def Watch(self, request: pb.HealthCheckRequest, context: object) -> AsyncIterator[pb.HealthCheckResponse]:
        """Stream one service's state, now and whenever it changes, until the server shuts down."""
        last: int | None = None
        while True:
            status = _status(self._board.serving(request.service))
            if status != last:
                yield pb.HealthCheckResponse(status=status)
                last = status
            elif self._board.closed:
                return
            else:
                await self._board.changed()


def _status(serving: bool | None) -> int:
    if serving is None:
        return SERVICE_UNKNOWN
    return SERVING if serving else NOT_SERVING
