"""The limits of one model turn, and the clock that holds it to them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from podium.errors import DeadlineExceeded, PodiumError, Unavailable

__all__ = ["TurnClock", "TurnLimits"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnLimits:
    """Limits of one model turn. Times are in seconds.

    Attributes:
        connect: to connect, TLS included, and to wait for a free connection.
        first_event: from the start of the turn to the server's first event.
        between_events: between two events; comments and pings of the server count.
        total: for the whole turn.
        control: for the small requests beside turns: probes, listings, counts.
        event_bytes: of one event. One call's arguments are held to it, too.
        body_bytes: of one whole response.
    """

    connect: float = 5.0
    first_event: float = 60.0
    between_events: float = 30.0
    total: float = 120.0
    control: float = 10.0
    event_bytes: int = 1 << 20
    body_bytes: int = 64 << 20


class TurnClock:
    """Holds one turn to its limits. Only time spent waiting for the server counts towards a stall."""

    def __init__(self, limits: TurnLimits, model: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._model = model
        self._end = self._loop.time() + limits.total
        self._left = limits.first_event
        self._begun = False

    def progress(self) -> None:
        """Note that the server has sent something whole."""
        self._begun = True
        self._left = self._limits.between_events

    async def wait(self, step: Awaitable[T]) -> T:
        """Wait for the server's next step.

        Raises:
            Unavailable: it stalls.
            DeadlineExceeded: the whole turn takes too long.
        """
        began = self._loop.time()
        due = min(self._end, began + self._left)
        try:
            # A deadline in the past lets the step run to its first suspension, and no further.
            async with asyncio.timeout_at(due) as limit:
                result = await step
        except TimeoutError:
            if not limit.expired():
                raise
            # Not by the clock: uvloop's timers may go off a little early.
            raise self._too_slow(ended=due == self._end) from None
        now = self._loop.time()
        self._left = max(self._left - (now - began), 0.0)
        if now > self._end:  # a server that always has something ready never makes us wait
            raise self._too_slow(ended=True)
        return result

    def _too_slow(self, *, ended: bool) -> PodiumError:
        if ended:
            message = f"model {self._model!r} did not end its turn within {self._limits.total:g} s: ask for less"
            return DeadlineExceeded(message)
        if self._begun:
            message = f"model {self._model!r} sent nothing for {self._limits.between_events:g} s: try again"
        else:
            message = f"model {self._model!r} did not begin to answer within {self._limits.first_event:g} s: try again"
        return Unavailable(message, retry_after=1.0)
