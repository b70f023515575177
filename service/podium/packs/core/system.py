"""`system_status`: how the machine that runs the service is doing."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from podium.tools import Tool, tool, tool_of

__all__ = ["SystemStatus", "system_tools"]

_SAMPLE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class SystemStatus:
    """Load of the machine. Memory and disk in gigabytes (10^9 bytes), uptime in hours."""

    cpu_percent: float
    cpu_count: int
    load_average_1m: float
    memory_percent: float
    memory_used_gb: float
    memory_total_gb: float
    disk_percent: float
    disk_free_gb: float
    uptime_hours: float
    processes: int


def system_tools(disk: Path | None = None) -> list[Tool]:
    """Return the tools of this module.

    Args:
        disk: a folder on the disk to report on; the working folder's when None.
    """

    @tool(
        answer=(
            "The processor is {cpu_percent} % busy ({cpu_count} cores), memory is {memory_percent} % "
            "used ({memory_used_gb} of {memory_total_gb} GB), the disk is {disk_percent} % full "
            "({disk_free_gb} GB free); {processes} processes, up for {uptime_hours} hours."
        ),
        side_effects="none",
        type="system",
        examples=[
            ("how is the system doing?", {}),
            ("show CPU and memory usage", {}),
            ("What's the server's load right now?", {}),
            ("how much free disk space is left", {}),
            ("is the machine running out of memory", {}),
            ("system status please", {}),
            ("how long has this computer been up", {}),
            ("check the health of the host", {}),
            ("how busy is the processor", {}),
            ("how many processes are running", {}),
        ],
    )
    def system_status() -> SystemStatus:
        """Report the machine's processor load, memory, free disk space, uptime and number of processes."""
        memory = psutil.virtual_memory()
        usage = psutil.disk_usage(str(_existing(disk or Path())))
        return SystemStatus(
            cpu_percent=psutil.cpu_percent(interval=_SAMPLE_SECONDS),
            cpu_count=psutil.cpu_count() or 1,
            load_average_1m=round(os.getloadavg()[0], 2),
            memory_percent=memory.percent,
            memory_used_gb=_gigabytes(memory.total - memory.available),
            memory_total_gb=_gigabytes(memory.total),
            disk_percent=usage.percent,
            disk_free_gb=_gigabytes(usage.free),
            uptime_hours=round((time.time() - psutil.boot_time()) / 3600, 1),
            processes=len(psutil.pids()),
        )

    return [made for made in (tool_of(system_status),) if made is not None]


def _existing(path: Path) -> Path:
    path = path.resolve()
    return next(candidate for candidate in (path, *path.parents) if candidate.exists())


def _gigabytes(count: int) -> float:
    return round(count / 10**9, 2)
