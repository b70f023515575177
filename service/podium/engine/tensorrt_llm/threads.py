"""Blocking calls in threads that may hang for ever without keeping the process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["in_thread"]

T = TypeVar("T")


async def in_thread(function: Callable[[], T], name: str) -> T:
    """Run a blocking function in a daemon thread of its own and wait for it.

    The executor's threads are joined at the end of a loop; one that hangs in native code would never let it end.
    Cancelling the wait leaves the thread to itself.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only where T is

    def run() -> None:
        result: T | None = None
        failed: BaseException | None = None
        try:
            result = function()
        except Exception as error:  # noqa: BLE001  # handed to whoever waits
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop has ended before the function did
            loop.call_soon_threadsafe(settle, result, failed)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future
