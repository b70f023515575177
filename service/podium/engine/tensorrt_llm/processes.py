"""The engine's worker processes, which may outlive it and hold a device's memory."""

from __future__ import annotations

import contextlib
import os
import signal

import psutil

__all__ = ["kill_workers"]


def kill_workers() -> int:
    """Kill what this process has started, and the rest of its process group if it leads one.

    Returns how many were killed. This process itself goes on, to end with a status of its own.
    """
    own = os.getpid()
    doomed = {child.pid for child in psutil.Process().children(recursive=True)}
    if os.getpgrp() == own:
        for pid in psutil.pids():
            with contextlib.suppress(OSError):
                if os.getpgid(pid) == own:
                    doomed.add(pid)
    doomed.discard(own)
    killed = 0
    for pid in doomed:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed
