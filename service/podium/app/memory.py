"""What gives way when memory gets short."""

from __future__ import annotations

import gc
from collections.abc import Callable

from podium.observability.logging import get_logger
from podium.observability.metrics import Metrics
from podium.orchestration.core import Services
from podium.orchestration.orchestrator import Orchestrator
from podium.resilience.memory import MemoryLevel, MemoryWatch, effective_limit, resident_bytes
from podium.settings import Settings

__all__ = ["watch_memory"]

_GIB = 1 << 30
_log = get_logger("podium.memory")


def watch_memory(
    settings: Settings,
    services: Services,
    orchestrator: Orchestrator,
    metrics: Metrics,
    *,
    read: Callable[[], int] = resident_bytes,
) -> MemoryWatch:
    """Return the watch: near the limit, caches and work that nobody waits for give way, then new runs."""

    def changed(level: MemoryLevel) -> None:
        _log.warning("memory", level=level.name.lower(), limit_bytes=watch.limit)
        metrics.memory_level.set(level)
        services.governor.shed(level >= MemoryLevel.HIGH)
        if level >= MemoryLevel.HIGH:
            gc.collect()  # which is put off otherwise, see `collect_rarely`
            services.cache.drop(1.0 if level is MemoryLevel.CRITICAL else 0.5)
        critical = level is MemoryLevel.CRITICAL
        orchestrator.shed("the server is short of memory; try again shortly" if critical else "")

    watch = MemoryWatch(effective_limit(round(settings.limits.max_memory_gb * _GIB)), on_change=changed, read=read)
    return watch
