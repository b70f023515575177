"""The tools of every system under test: plain async functions, the same for all.

What they do depends on the script of this process (`BENCH_SCRIPT`). Where `BENCH_TOOL_LOG` names a file, each
start and each end is one line there: what, index, nanoseconds of the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.rig.workloads import DAG_PARENTS, IDLE_SECONDS, IDLE_WAVE_CALLS, sleep_ms, tools_of

__all__ = ["HANG_TIMEOUT_SECONDS", "TOOLS", "echo", "hang", "offered", "step", "work"]

HANG_TIMEOUT_SECONDS = 0.05

_SCRIPT = os.environ.get("BENCH_SCRIPT", "")
_LOG = os.environ.get("BENCH_TOOL_LOG", "")
_EXPECTED = int(os.environ.get("BENCH_EXPECTED", "0"))
_file = os.open(_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT) if _LOG else -1
_all_there = asyncio.Event()
_arrived = 0
_asleep = 0


def _note(what: str, index: int) -> None:
    if _file >= 0:
        os.write(_file, f"{what} {index} {time.monotonic_ns()}\n".encode())


async def echo(i: int) -> dict[str, Any]:
    """Give the number back."""
    return {"i": i}


async def work(i: int) -> dict[str, Any]:
    """Work for a while and give the number back."""
    if _SCRIPT == "idle":
        return await _sleep_together(i)
    _note("begin", i)
    try:
        await asyncio.sleep(sleep_ms(_SCRIPT, i) / 1000)
        if _SCRIPT == "raise" and i == 3:
            raise RuntimeError("the third disk is broken")
    finally:
        _note("end", i)
    return {"i": i}


async def hang(i: int) -> dict[str, Any]:
    """Work for a while and give the number back."""
    return await work(i)


async def step(i: int, uses: list[int]) -> dict[str, Any]:
    """Take one step of a plan.

    Args:
        i: which step.
        uses: ids of the steps that it builds on.
    """
    expected = [100 + parent for parent in DAG_PARENTS[i]]
    if uses != expected:
        raise ValueError(f"step {i} was given {uses}, not {expected}")
    _note("begin", i)
    try:
        await asyncio.sleep(sleep_ms(_SCRIPT, i) / 1000)
    finally:
        _note("end", i)
    return {"id": 100 + i}


async def _sleep_together(i: int) -> dict[str, Any]:
    """Sleep from the moment on at which all calls have come, so that starting up takes nothing of the wait."""
    global _arrived, _asleep  # noqa: PLW0603  one process is one measurement
    _arrived += 1
    if _arrived % IDLE_WAVE_CALLS == 0:
        _note("arrived", _arrived)
    if _arrived == _EXPECTED:
        _all_there.set()
    await _all_there.wait()
    _asleep += 1
    if _asleep == _EXPECTED:
        _note("asleep", _asleep)
    await asyncio.sleep(IDLE_SECONDS)
    return {"i": i}


TOOLS: dict[str, Callable[..., Any]] = {"echo": echo, "work": work, "hang": hang, "step": step}


def offered(script: str) -> Sequence[Callable[..., Any]]:
    """Return the tools that a run of a script is offered."""
    return [TOOLS[name] for name in tools_of(script)]
