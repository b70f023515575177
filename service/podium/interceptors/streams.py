"""The two halves of streaming calls that need state of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from podium.errors import ResourceExhausted
from podium.interceptors.call import Call

__all__ = ["Requests", "SlowReader"]


class Requests:
    """The request stream as the handler sees it: parsed, checked and counted by `receive`.

    A class and not a generator, so that nothing is left to close when the handler stops early.
    """

    __slots__ = ("_receive", "_source")

    def __init__(self, receive: Callable[[Any], Any], source: AsyncIterator[Any]) -> None:
        self._receive = receive
        self._source = source

    def __aiter__(self) -> Requests:
        return self

    async def __anext__(self) -> Any:
        return self._receive(await self._source.__anext__())


class SlowReader:
    """Ends a call whose client has not taken a message for too long.

    One timer that is set again when it finds the stream moving, so that a message costs nothing.
    """

    __slots__ = ("_call", "_clock", "_seconds", "_timer")

    def __init__(self, call: Call, seconds: float, clock: Callable[[], float]) -> None:
        self._call = call
        self._seconds = seconds
        self._clock = clock
        self._timer = call.task.get_loop().call_later(seconds, self._check)

    def cancel(self) -> None:
        """Stop watching."""
        self._timer.cancel()

    def _check(self) -> None:
        since = self._call.writing_since
        stuck = 0.0 if since is None else self._clock() - since
        if stuck >= self._seconds:
            text = f"no message was taken for {self._seconds:g} s: read faster, or ask for less"
            self._call.interrupt(ResourceExhausted(text, reason="SLOW_READER", quota="stream:send"))
            return
        self._timer = self._call.task.get_loop().call_later(max(self._seconds - stuck, 0.001), self._check)
