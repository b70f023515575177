"""Errors, messages and the queue between the dispatcher thread and an event loop."""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["AsyncQueue", "ErrorResponse", "FinishReason", "MisuseError", "RequestError", "Response", "has_event_loop"]


class RequestError(RuntimeError):
    """One request failed; the engine goes on. It is a RuntimeError (rule 33, `executor/utils.py`)."""


class MisuseError(Exception):
    """Only in the fake: a use that really ends in a hang later is refused here instead."""


class FinishReason(enum.Enum):
    """The bindings' finish reasons."""

    NOT_FINISHED = "not_finished"
    END_ID = "eos"
    STOP_WORDS = "stop_words"
    LENGTH = "length"
    TIMED_OUT = "timeout"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Response:
    """What the worker sends for one sequence. `finish` is a plain word where a script names an unknown reason."""

    client_id: int
    sequence_index: int
    tokens: list[int]
    finish: FinishReason | str
    is_final: bool
    decoding_iter: int
    cached_tokens: int
    logprobs: list[Any] | None = None
    context_only: bool = False
    metrics: Any = None

    @property
    def is_sequence_final(self) -> bool:
        """Whether this sequence has ended; `is_final` says that all of the request's have."""
        return self.finish is not FinishReason.NOT_FINISHED


@dataclass(slots=True)
class ErrorResponse:
    """A failed request."""

    client_id: int
    error_msg: str
    is_final: bool = True


def has_event_loop() -> bool:
    """Whether a loop is running on the calling thread (rule 17)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class AsyncQueue:
    """Filled by the dispatcher thread, read on the loop it was made on. Unbounded (rule 35).

    The item is taken after the wait and without another await, so a timed-out `get` loses nothing (rule 14,
    `llmapi/utils.py` `AsyncQueue.get`).
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._items: deque[Any] = deque()
        self._event = asyncio.Event()

    def put_silently(self, item: Any) -> None:
        """Add an item; whoever waits learns of it through `notify_many`."""
        self._items.append(item)

    async def get(self) -> Any:
        """Wait for an item and take it."""
        await self._event.wait()
        item = self._items.popleft()
        if not self._items:
            self._event.clear()
        return item

    @staticmethod
    def notify_many(loop: asyncio.AbstractEventLoop, queues: Iterable[AsyncQueue]) -> None:
        """Wake the readers of all queues on ONE loop: "all the loops are identical" (rule 17)."""
        waiting = list(queues)

        def wake() -> None:
            for queue in waiting:
                # An item taken since then must not leave the event set, or the next `get` would find nothing.
                if queue._items:
                    queue._event.set()

        try:
            loop.call_soon_threadsafe(wake)
        except RuntimeError:
            if not loop.is_closed():
                raise
