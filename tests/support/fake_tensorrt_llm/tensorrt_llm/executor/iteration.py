"""Stats and KV events in the two forms of rule 26; both have one consumer and reading takes the items away."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from tensorrt_llm._control import fake
from tensorrt_llm.executor.utils import has_event_loop

__all__ = ["IterationResult", "RpcClient", "RpcIterationResult", "empty_async_iterable"]

_POLL = 0.005


async def empty_async_iterable() -> AsyncIterator[dict[str, Any]]:
    """Yield nothing: stats before the first request, in the queue form."""
    return
    yield {}


class IterationResult:
    """Queue form (`result.py` [A]): made at the first request, on its loop; a read ends after `timeout` of silence
    and stays ended until another request."""

    def __init__(self, take: Callable[[], list[dict[str, Any]]]) -> None:
        self._take = take
        self._loop = asyncio.get_running_loop() if has_event_loop() else None
        self._items: deque[dict[str, Any]] = deque()
        self._done = False
        self._timeout = 2.0

    def set_timeout(self, timeout: float) -> None:
        """Set how long a read waits for the next item, in seconds."""
        self._timeout = timeout

    def mark_undone(self) -> None:
        """Let reads go on: called at each submit."""
        self._done = False

    def get_results(self) -> list[dict[str, Any]]:
        """Read until `timeout` of silence, blocking."""
        results: list[dict[str, Any]] = []
        quiet_since = time.monotonic()
        while not self._done:
            items = self._take()
            if items:
                results += items
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since >= self._timeout:
                self._done = True
            else:
                time.sleep(_POLL)
        return results

    def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        return self

    async def __anext__(self) -> dict[str, Any]:
        if self._done:
            raise StopAsyncIteration
        assert self._loop is not None, (
            "The asyncio event loop was not present during initialization, so async operations are not available."
        )
        if self._loop is not asyncio.get_running_loop():
            raise RuntimeError("the queue is bound to a different event loop")
        quiet_since = time.monotonic()
        while not self._items:
            self._items.extend(self._take())
            if not self._items:
                if time.monotonic() - quiet_since >= self._timeout:
                    self._done = True
                    raise StopAsyncIteration
                await asyncio.sleep(_POLL)
        return self._items.popleft()


class RpcIterationResult:
    """RPC form (`result.py@1726d38` [C]): what one remote call has brought; iterating it does not wait."""

    def __init__(self, items: list[dict[str, Any]]) -> None:
        self._items = deque(items)

    def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        return self

    async def __anext__(self) -> dict[str, Any]:
        if not self._items:
            raise StopAsyncIteration
        return self._items.popleft()


class RpcClient:
    """The attribute by which a wrapper tells the RPC form: `executor.rpc_client`."""

    def fetch(self, take: Callable[[], list[dict[str, Any]]], timeout: float) -> list[dict[str, Any]]:
        """Block the CALLING thread until there is something, for at most `timeout` seconds.

        A failure is an empty list: only logged, at debug level.
        """
        end = time.monotonic() + timeout
        while True:
            items = [] if fake.faults.stats_fail else take()
            if items or fake.faults.stats_fail or time.monotonic() >= end:
                return items
            time.sleep(_POLL)
