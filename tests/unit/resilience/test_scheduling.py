"""Scheduling as a batch process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from podium.resilience import scheduling

SCRIPT = """
import os, threading
from podium.resilience.scheduling import prefer_throughput
assert prefer_throughput()
found = []
thread = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
thread.start(); thread.join()
print(os.sched_getscheduler(0) == found[0] == os.SCHED_BATCH)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has batch scheduling")
def test_threads_started_later_follow() -> None:
    """In a process of its own, as it cannot be undone everywhere."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_a_refusal_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sandboxes may forbid it, other systems do not have it."""

    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", forbidden, raising=False)
    assert scheduling.prefer_throughput() is False
    monkeypatch.setattr(sys, "platform", "darwin")
    assert scheduling.prefer_throughput() is False
