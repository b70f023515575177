"""Tools for the benchmarks of the core; `tools.python` names this module in the server."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

from podium.observability.loop_lag import LoopLag
from podium.tools import tool

__all__ = ["BACKENDS", "EFFECTS", "OPEN_MS", "RESULTS", "SEARCH_MS", "page_url"]

BACKENDS = 8
SEARCH_MS, OPEN_MS = 300.0, 400.0
RESULTS = 8  # of one search
EFFECTS = "BENCH_EFFECTS"  # names the file in which `send` notes what it did

_LONG = 600.0  # far longer than any of them works
_BEAT_SECONDS = 0.005


@tool(side_effects="none", timeout=_LONG, type="pause")
async def pause(i: int, ms: float) -> dict[str, Any]:
    """Wait for so many milliseconds and give the number back."""
    await asyncio.sleep(ms / 1000)
    return {"i": i}


@tool(side_effects="none", timeout=_LONG, type="instant")
async def instant(i: int) -> dict[str, Any]:
    """Give the number back."""
    return {"i": i}


@tool(side_effects="none", timeout=_LONG, type="watch")
async def watch_loop(seconds: float) -> dict[str, Any]:
    """Measure how late this process's event loop turns, a beat every 5 ms; in milliseconds."""
    async with LoopLag(interval=_BEAT_SECONDS, window=1_000_000) as lag:
        await asyncio.sleep(seconds)
        return {"lag_ms": [round(one * 1000, 2) for one in lag._samples]}


# --- backends, each with a limit of its own: the limit per type -----------------------------------


def _backend(number: int) -> Callable[..., Any]:
    async def backend(ms: float) -> dict[str, Any]:
        """Do some work on one backend, which takes so many milliseconds."""
        await asyncio.sleep(ms / 1000)
        return {"backend": number}

    return tool(name=f"backend_{number}", side_effects="none", timeout=_LONG, type=f"backend-{number}")(backend)


backend_0, backend_1, backend_2, backend_3 = (_backend(number) for number in range(4))
backend_4, backend_5, backend_6, backend_7 = (_backend(number) for number in range(4, 8))


# --- a search, a page and a message -----------------------------------------------------------------


def page_url(query: str, index: int) -> str:
    """Return the address of one result of a search."""
    return f"https://pages.test/{query}/{index}"


@tool(side_effects="none", timeout=_LONG, type="search")
async def search(query: str) -> dict[str, Any]:
    """Search for pages."""
    await asyncio.sleep(SEARCH_MS / 1000)
    pages = [{"url": page_url(query, index), "title": f"Page {index} on {query}"} for index in range(RESULTS)]
    return {"results": pages}


@tool(name="open", side_effects="none", timeout=_LONG, type="pages")
async def open_page(url: str) -> dict[str, Any]:
    """Open a page and read it."""
    await asyncio.sleep(OPEN_MS / 1000)
    return {"text": f"This is what {url} says."}


@tool(side_effects="effectful", timeout=_LONG, type="mail")
async def send(to: str, subject: str) -> dict[str, Any]:
    """Send a message."""
    if path := os.environ.get(EFFECTS):
        _note(path, f"{subject} {time.time_ns()}\n")
    return {"sent": True}


def _note(path: str, line: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)
