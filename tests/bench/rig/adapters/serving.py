"""What every adapter speaks: one JSON object a line, asked on standard input, answered on standard output.

- `{"do": "rounds", "script": S, "count": N, "in_flight": K}` runs a script N times, K at a time, and answers
  `{"rounds": [...]}`, each with start, end, answer and error.
- `{"do": "cancel", "script": S, "after_ms": T, "how": H}` starts a run and cancels it after T, as a client of that
  system does; answers when it was started, when it was cancelled and when the system had given it back. H names
  the adapter's way to do it: `cancelled`, or `disconnected` where there is a connection.
- `{"do": "launch", "script": S, "count": N}` starts N runs and answers at once.

All times are nanoseconds of the machine's monotonic clock. The input's end ends the process. Only the standard
library: this runs in the interpreters of other libraries, too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from typing import Any, Protocol

__all__ = ["System", "cancel_task", "main", "versions"]


class System(Protocol):
    """A system under test."""

    async def run(self, script: str) -> str:
        """Run a script to its end and return the answer. Raises whatever a caller of the system would see."""

    async def cancelled(self, script: str, seconds: float) -> tuple[int, int]:
        """Run a script and cancel it after so long; return when it began and when it was cancelled."""


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of packages."""
    return {name: version(name) for name in packages}


async def cancel_task(run: Awaitable[Any], seconds: float) -> tuple[int, int]:
    """Cancel a run as asyncio does it: cancel its task."""
    began = time.monotonic_ns()
    task = asyncio.ensure_future(run)
    await asyncio.sleep(seconds)
    cancelled = time.monotonic_ns()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task
    return began, cancelled


async def _round(system: System, script: str) -> dict[str, Any]:
    answer, error = "", ""
    start = time.monotonic_ns()
    try:
        answer = await system.run(script)
    except BaseException as raised:
        # Groups of exceptions, too: what a caller would see is what is measured.
        if isinstance(raised, KeyboardInterrupt | SystemExit | asyncio.CancelledError):
            raise
        error = _described(raised)
    return {"start_ns": start, "end_ns": time.monotonic_ns(), "answer": answer, "error": error}


def _described(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return f"{type(error).__name__}({', '.join(_described(one) for one in error.exceptions)})"
    return f"{type(error).__name__}: {error}"[:300]


async def _rounds(system: System, script: str, count: int, in_flight: int) -> list[dict[str, Any]]:
    rounds: list[dict[str, Any]] = []
    left = iter(range(count))

    async def one_after_another() -> None:
        rounds.extend([await _round(system, script) for _ in left])

    if in_flight == 1:
        await one_after_another()
    else:
        await asyncio.gather(*(one_after_another() for _ in range(in_flight)))
    return rounds


async def _obey(system: System, order: dict[str, Any], background: set[asyncio.Task[Any]]) -> dict[str, Any]:
    script = order["script"]
    if order["do"] == "rounds":
        return {"rounds": await _rounds(system, script, order["count"], order["in_flight"])}
    if order["do"] == "cancel":
        how = getattr(system, order.get("how", "cancelled"))
        began, cancelled = await how(script, order["after_ms"] / 1000)
        return {"start_ns": began, "cancel_ns": cancelled, "end_ns": time.monotonic_ns()}
    background.update(asyncio.create_task(_round(system, script)) for _ in range(order["count"]))
    return {}


async def _lines() -> AsyncIterator[bytes]:
    reader = asyncio.StreamReader(limit=1 << 24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line


async def _serve(
    open_system: Callable[[str], AbstractAsyncContextManager[System]], base_url: str, ready: dict[str, Any]
) -> None:
    background: set[asyncio.Task[Any]] = set()
    async with open_system(base_url) as system:
        print(json.dumps({"pid": getattr(system, "pid", os.getpid()), **ready}), flush=True)
        async for line in _lines():
            print(json.dumps(await _obey(system, json.loads(line), background)), flush=True)
        for task in background:
            task.cancel()


def main(open_system: Callable[[str], Any], *packages: str) -> None:
    """Run an adapter: `MODULE BASE_URL`.

    Args:
        open_system: from the upstream's base URL to the system, or to an async context manager of it.
        packages: whose versions are reported.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("base_url")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)

    @asynccontextmanager
    async def opened(base_url: str) -> AsyncIterator[System]:
        made = open_system(base_url)
        if hasattr(made, "__aenter__"):
            async with made as system:
                yield system
        else:
            yield made

    asyncio.run(_serve(opened, arguments.base_url, {"versions": versions(*packages)}))
