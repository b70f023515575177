"""A time limit over all events of a turn that costs next to nothing an event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

__all__ = ["Alarm", "TimeIsUp"]

T = TypeVar("T")


class TimeIsUp(Exception):
    """The alarm went off."""


class Alarm:
    """Cuts waiting for a turn's next event short at a given time.

    `asyncio.timeout` around each event would cost more than all else that is done for it. This sets
    one timer for the whole turn. Like that it cancels only the task that waits at that moment, and
    tells its own cancellation from anybody else's.

    Args:
        when: by the running loop's clock.
    """

    __slots__ = ("_cancelled", "_timer", "_waiting", "rung")

    def __init__(self, when: float) -> None:
        self.rung = False
        self._cancelled = False
        self._waiting: asyncio.Task[object] | None = None
        self._timer = asyncio.get_running_loop().call_at(when, self._ring)

    def close(self) -> None:
        """Put the alarm off."""
        self._timer.cancel()

    async def next(self, events: AsyncGenerator[T, None]) -> T:
        """Return the next event.

        Raises:
            TimeIsUp: it did not come in time, or time was up before.
            StopAsyncIteration: there is none.
        """
        if self.rung:
            raise TimeIsUp
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("events are awaited inside a task")
        others = task.cancelling()
        self._waiting = task
        try:
            event = await anext(events)
        except asyncio.CancelledError:
            if self._cancelled and self._took_back(task) <= others:
                raise TimeIsUp from None
            raise
        except BaseException:
            self._took_back(task)
            raise
        else:
            self._took_back(task)
            return event
        finally:
            self._waiting = None

    def _ring(self) -> None:
        self.rung = True
        if self._waiting is not None:
            self._cancelled = True
            self._waiting.cancel()

    def _took_back(self, task: asyncio.Task[object]) -> int:
        """Take our own cancellation back, if there was one; return how many of others' there are."""
        if self._cancelled:
            self._cancelled = False
            return task.uncancel()
        return task.cancelling()
