"""Health: what the server depends on, how each is, and whether the server is live and ready.

Components are probed in the background, and told about by their owners; readers get the last
result, so a probe from outside never reaches a dependency. Readiness asks the required
components; liveness asks only whether the event loop turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Self

from podium.observability.logging import get_logger
from podium.observability.loop_lag import LoopLag

__all__ = ["Component", "HealthChecks", "HealthReport", "Outcome", "Status"]

Probe = Callable[[], Awaitable["Outcome | None"]]

log = get_logger(__name__)


class Status(StrEnum):
    """How something is; degraded still serves."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


_RANK = {Status.HEALTHY: 0, Status.DEGRADED: 1, Status.UNHEALTHY: 2}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a probe found; `detail` is for people and holds no internals."""

    status: Status = Status.HEALTHY
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One thing that the server depends on, as last seen.

    Attributes:
        name: such as `model:embedded`.
        status: how it is.
        detail: what is the matter; empty when healthy.
        latency_seconds: how long the last probe took.
        checked_at: when that was; None before the first result.
        last_error: the last thing that was the matter, kept after it has passed.
        optional: whether the server is ready without it.
    """

    name: str
    status: Status = Status.UNHEALTHY
    detail: str = "not checked yet"
    latency_seconds: float = 0.0
    checked_at: datetime | None = None
    last_error: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """The whole picture at one moment."""

    status: Status
    live: bool
    ready: bool
    reasons: tuple[str, ...]
    components: tuple[Component, ...]
    version: str
    uptime_seconds: float


@dataclass(frozen=True, slots=True)
class _Registered:
    probe: Probe
    timeout: float


class HealthChecks:
    """Owns the components and the task that probes them. An async context manager.

    Reading is safe from any thread. `on_change` callbacks run on the event loop whenever readiness
    or a component's status may have changed.

    Args:
        version: of the server.
        interval: seconds between rounds of probes.
        lag: what knows whether the event loop turns.
        stuck_after: seconds without a turn after which the process is not live.
        clock: monotonic seconds.
        now: the wall clock.
    """

    def __init__(
        self,
        *,
        version: str,
        interval: float = 30.0,
        lag: LoopLag | None = None,
        stuck_after: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._version = version
        self._interval = interval
        self._lag = lag
        self._stuck_after = stuck_after
        self._clock = clock
        self._now = now
        self._started = clock()
        self._lock = threading.Lock()
        self._components: dict[str, Component] = {}
        self._probes: dict[str, _Registered] = {}
        self._listeners: list[Callable[[HealthReport], None]] = []
        self._draining = ""
        self._early = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._rounds(), name="podium-health")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def add(self, name: str, probe: Probe | None = None, *, optional: bool = False, timeout: float = 5.0) -> None:
        """Add a component, unhealthy until something is known of it.

        Args:
            name: unique.
            probe: returns an outcome (None: healthy) or raises; without one, the owner calls `set`.
            optional: whether the server is ready without it.
            timeout: seconds after which a probe counts as failed.
        """
        with self._lock:
            if name in self._components:
                raise ValueError(f"there is a component {name!r} already")
            self._components[name] = Component(name=name, optional=optional)
        if probe is not None:
            self._probes[name] = _Registered(probe, timeout)

    def remove(self, name: str) -> None:
        """Forget a component; a probe of it that is under way counts for nothing."""
        with self._lock:
            self._components.pop(name, None)
        self._probes.pop(name, None)
        self._tell()

    def require(self, name: str, *, optional: bool) -> None:
        """Say whether the server is ready without a component."""
        with self._lock:
            self._components[name] = replace(self._components[name], optional=optional)
        self._tell()

    def on_change(self, listener: Callable[[HealthReport], None]) -> None:
        """Call `listener` with the report after each change."""
        self._listeners.append(listener)

    def set(self, name: str, status: Status, detail: str = "", *, latency_seconds: float = 0.0) -> None:
        """Record how a component is; for owners that know, and for the probes. Nothing for one that was removed."""
        with self._lock:
            before = self._components.get(name)
            if before is None:
                return
            self._components[name] = replace(
                before,
                status=status,
                detail="" if status is Status.HEALTHY else detail,
                latency_seconds=latency_seconds,
                checked_at=self._now(),
                last_error=before.last_error if status is Status.HEALTHY else (detail or status.value),
            )
        if before.status is not status or before.checked_at is None:
            log.info("health changed", component=name, status=status.value, detail=detail)
            self._tell()

    def drain(self, reason: str = "the server is shutting down") -> None:
        """Say that the server takes no more work: not ready from now on, still live."""
        with self._lock:
            self._draining = reason
        self._tell()

    def check_soon(self) -> None:
        """Begin the next round now: something has changed that a probe will see. Call it on the event loop."""
        self._early.set()

    async def check_now(self) -> HealthReport:
        """Probe every component at once and return the report."""
        await asyncio.gather(*(self._check(name, registered) for name, registered in list(self._probes.items())))
        return self.report()

    def is_live(self) -> bool:
        """Whether the event loop turns; dependencies do not count."""
        return self._lag is None or not self._lag.is_stuck(self._stuck_after)

    def is_ready(self) -> bool:
        """Whether the server can answer requests now."""
        return self.report().ready

    def report(self) -> HealthReport:
        """Return the whole picture, from what is known already."""
        with self._lock:
            components = tuple(self._components[name] for name in sorted(self._components))
            draining = self._draining
        live = self.is_live()
        reasons = tuple(
            f"{each.name}: {each.detail or each.status.value}"
            for each in components
            if each.status is Status.UNHEALTHY and not each.optional
        )
        if draining:
            reasons = (draining, *reasons)
        if not live:
            reasons = ("the event loop does not turn", *reasons)
        return HealthReport(
            status=Status.UNHEALTHY if reasons else _worst(components),
            live=live,
            ready=not reasons,
            reasons=reasons,
            components=components,
            version=self._version,
            uptime_seconds=self._clock() - self._started,
        )

    @property
    def components(self) -> Mapping[str, Component]:
        """The components by name, as last seen."""
        with self._lock:
            return MappingProxyType(dict(self._components))

    async def _rounds(self) -> None:
        while True:
            self._early.clear()
            await self.check_now()
            # Running out of time is what usually ends the wait.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._early.wait()

    async def _check(self, name: str, registered: _Registered) -> None:
        started = self._clock()
        try:
            async with asyncio.timeout(registered.timeout):
                outcome = await registered.probe() or Outcome()
        except TimeoutError:
            outcome = Outcome(Status.UNHEALTHY, f"no answer within {registered.timeout:g} s")
        except Exception as error:  # whatever a probe raises is what is the matter
            log.warning("health probe failed", component=name, exc_info=error)
            outcome = Outcome(Status.UNHEALTHY, f"the check failed ({type(error).__name__})")
        self.set(name, outcome.status, outcome.detail, latency_seconds=self._clock() - started)

    def _tell(self) -> None:
        report = self.report()
        for listener in self._listeners:
            listener(report)


def _worst(components: tuple[Component, ...]) -> Status:
    worst = max((each.status for each in components), key=_RANK.__getitem__, default=Status.HEALTHY)
    # What is unhealthy here is optional: the server works, but not fully.
    return Status.DEGRADED if worst is Status.UNHEALTHY else worst
