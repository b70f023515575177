"""Tools that misbehave, for a server under test."""

from __future__ import annotations

import asyncio
import threading

from podium.tools import tool


@tool(side_effects="none", timeout=0.5)
async def hang_async() -> str:
    """Wait for ever, as an async tool."""
    await asyncio.Event().wait()
    return "never"


@tool(side_effects="none", timeout=0.5)
def hang_in_thread() -> str:
    """Wait for a minute, in a thread, where nobody can stop it."""
    threading.Event().wait(60)
    return "never"


@tool(side_effects="none")
def blow_up() -> str:
    """Raise an error whose text holds a secret."""
    msg = "failed with sk-ant-abcdefghijklmnopqrstuvwxyz0123456789"
    raise RuntimeError(msg)


@tool(side_effects="none")
def flood() -> str:
    """Return far too much."""
    return "x" * (4 << 20)


@tool(side_effects="none")
def fine(n: int) -> int:
    """Return the next number."""
    return n + 1
