"""How many tool calls may work at once: in the process, in one run, and of one tool type."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

__all__ = ["CallGate", "ConcurrencyLimits", "RunGate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyLimits:
    """Tool calls at once (seeds S1-03, S1-04)."""

    per_process: int = 50
    per_run: int = 30
    per_type: int = 10


class CallGate:
    """Slots for tool calls, shared by every run of the process. Waiters are served in order."""

    def __init__(self, limits: ConcurrencyLimits) -> None:
        self._limits = limits
        self._process = asyncio.Semaphore(limits.per_process)
        self._types: dict[str, asyncio.Semaphore] = {}

    def for_run(self) -> RunGate:
        """Return the slots of one run."""
        return RunGate(self, asyncio.Semaphore(self._limits.per_run))

    @asynccontextmanager
    async def slot(self, run: asyncio.Semaphore, tool_type: str) -> AsyncIterator[None]:
        """Hold one slot of each limit. The scarcest is taken last, so that waiting for it holds up nobody else."""
        by_type = self._types.setdefault(tool_type, asyncio.Semaphore(self._limits.per_type))
        async with run, by_type, self._process:
            yield


@dataclass(frozen=True, slots=True)
class RunGate:
    """The slots of one run."""

    gate: CallGate
    semaphore: asyncio.Semaphore

    @asynccontextmanager
    async def slot(self, tool_type: str) -> AsyncIterator[None]:
        """Hold a slot for one call of a tool of this type."""
        async with self.gate.slot(self.semaphore, tool_type):
            yield
