"""Readers of the engine's statistics and cache events: one for each, for reading takes them away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from podium.engine.tensorrt_llm.threads import in_thread

__all__ = ["IterationReader"]

_log = logging.getLogger(__name__)

_PAUSE = 0.2
_READ_SECONDS = 1.0
_FAILURE_PAUSE = 5.0


class IterationReader:
    """Reads `get_<name>` of the engine for ever and hands on what came; runs on the engine's event loop.

    Where the engine asks its workers over RPC, even its async call blocks: a thread makes the sync call. Where it
    has a queue, that belongs to the event loop of the first request, and ends after every silence.

    Args:
        name: `stats` or `kv_cache_events`.
        publish: takes each batch, never empty; called on the engine's event loop.
    """

    def __init__(self, llm: Any, name: str, publish: Callable[[list[dict[str, Any]]], None]) -> None:
        self._llm = llm
        self._name = name
        self._publish = publish

    async def run(self) -> None:
        """Read until cancelled."""
        failures = 0
        while True:
            try:
                batch = await self._read()
            except Exception as error:  # noqa: BLE001  # statistics must never end the engine
                failures += 1
                if failures == 1:
                    _log.warning("%s cannot be read: %s", self._name, type(error).__name__)
                await asyncio.sleep(_FAILURE_PAUSE)
                continue
            failures = 0
            if batch:
                self._publish(batch)
            await asyncio.sleep(_PAUSE)

    async def _read(self) -> list[dict[str, Any]]:
        executor = getattr(self._llm, "_executor", None)
        if hasattr(executor, "rpc_client"):
            read = getattr(self._llm, f"get_{self._name}")
            return list(await in_thread(lambda: read(_READ_SECONDS), f"podium-{self._name}"))
        try:
            items = getattr(self._llm, f"get_{self._name}_async")(_READ_SECONDS)
        except AssertionError:
            return []  # there has been no request yet
        batch: list[dict[str, Any]] = []
        async for item in items:
            batch.append(item)
            if len(batch) >= 100:
                break
        return batch
