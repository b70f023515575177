"""Watches how much memory the process uses, so that it gives work up before it is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Final, Self

import psutil

__all__ = ["MemoryLevel", "MemoryWatch", "container_limit", "effective_limit", "resident_bytes"]

_HIGH: Final = 0.80
_CRITICAL: Final = 0.92
_HYSTERESIS: Final = 0.05
_CONTAINER_SHARE: Final = 0.75
_UNLIMITED: Final = 1 << 60  # what version 1 shows without a limit is the largest number of whole pages
_CGROUPS: Final = Path("/sys/fs/cgroup")
_MEMBERSHIP: Final = Path("/proc/self/cgroup")
_V1_NAME: Final = "memory.limit_in_bytes"


class MemoryLevel(IntEnum):
    """How short memory is, and so what gives way."""

    NORMAL = 0
    HIGH = 1  # work that nobody waits for, and caches
    CRITICAL = 2  # new runs too


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(psutil.Process().memory_info().rss)


def container_limit(root: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int | None:
    """Return the memory in bytes that the container or service may use; None without such a limit.

    Control groups nest, and the tightest limit counts. Version 2 (`memory.max`) is asked first, then
    version 1 (`memory/memory.limit_in_bytes`). `membership` names the groups of this process.
    """
    for version_root, controller, name in ((root, "", "memory.max"), (root / "memory", "memory", _V1_NAME)):
        found = [
            limit
            for directory in _groups(version_root, controller, membership)
            if (limit := _read_limit(directory / name)) is not None
        ]
        if found:
            return min(found)
    return None


def effective_limit(setting_bytes: int, container_bytes: Callable[[], int | None] = container_limit) -> int:
    """Return the limit in bytes to keep to: the setting, or 75 % of the container's limit where that is less."""
    container = container_bytes()
    return setting_bytes if container is None else min(setting_bytes, int(container * _CONTAINER_SHARE))


class MemoryWatch:
    """Compares the memory in use with a limit, now and then, and says when the level changes.

    HIGH from 80 % of the limit on, CRITICAL from 92 %; a level is left 5 points below where it began.
    An async context manager, which reads once on entering. A callback must not raise.

    Args:
        limit: bytes; see `effective_limit`.
        on_change: told the new level, on the event loop.
        interval: seconds between readings.
        read: returns the bytes in use.

    Raises:
        ValueError: the limit or the interval is not above 0.
    """

    def __init__(
        self,
        limit: int,
        on_change: Callable[[MemoryLevel], None],
        *,
        interval: float = 1.0,
        read: Callable[[], int] = resident_bytes,
    ) -> None:
        if limit <= 0 or interval <= 0:
            raise ValueError("a memory limit and the time between readings must be above 0")
        self._limit = limit
        self._on_change = on_change
        self._interval = interval
        self._read = read
        self._level = MemoryLevel.NORMAL
        self._used = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def level(self) -> MemoryLevel:
        """The level of the last reading."""
        return self._level

    @property
    def limit(self) -> int:
        """The limit in bytes."""
        return self._limit

    @property
    def used(self) -> int:
        """The bytes in use at the last reading; 0 before the first."""
        return self._used

    async def __aenter__(self) -> Self:
        self.check()
        self._task = asyncio.create_task(self._watch(), name="memory-watch")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def check(self) -> MemoryLevel:
        """Read now, and return the level."""
        self._used = self._read()
        level = _next_level(self._level, self._used / self._limit)
        if level is not self._level:
            self._level = level
            self._on_change(level)
        return level

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            self.check()


def _next_level(level: MemoryLevel, share: float) -> MemoryLevel:
    for candidate, begins in ((MemoryLevel.CRITICAL, _CRITICAL), (MemoryLevel.HIGH, _HIGH)):
        # The small addition keeps 87 % of a round limit from counting as 86.99999 %.
        if share + 1e-9 >= (begins - _HYSTERESIS if level >= candidate else begins):
            return candidate
    return MemoryLevel.NORMAL


def _groups(root: Path, controller: str, membership: Path) -> list[Path]:
    """Return the directories of the process's groups, from its own to the root.

    In a container the root shown is often its own group already, and the path in `membership` the host's.
    """
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            own = root / path.lstrip("/")
            return [own, *(each for each in own.parents if each.is_relative_to(root))]
    return [root]


def _read_limit(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() and int(text) < _UNLIMITED else None
