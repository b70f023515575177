"""Reporting: every call is timed once and told to the sinks, refused ones too."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from podium.interceptors.call import Call, Method, Outcome
from podium.interceptors.concern import Hooks

__all__ = ["BoundSink", "Reporting", "Sink"]


class BoundSink(Protocol):
    """What a sink does for one method."""

    @property
    def arrived(self) -> Callable[[Call], None] | None:
        """Called when a call arrives, or None."""
        ...

    def ended(self, call: Call, outcome: Outcome, seconds: float) -> None:
        """Called when it is over."""
        ...


class Sink(Protocol):
    """Somewhere that calls are reported to: the access log, the metrics. Payloads go nowhere."""

    def bind(self, method: Method) -> BoundSink:
        """Return what serves one method."""
        ...

    def close(self) -> None:
        """Write what waits."""
        ...


class Reporting:
    """Times every call once and tells the sinks.

    Args:
        sinks: told in order.
        clock: the chain's, in seconds. Not the loop's, which uvloop keeps in whole milliseconds.
    """

    name = "reporting"

    def __init__(self, *sinks: Sink, clock: Callable[[], float] = time.monotonic) -> None:
        self._sinks = sinks
        self._clock = clock

    def bind(self, method: Method) -> Hooks | None:
        """Report every method."""
        bound = [sink.bind(method) for sink in self._sinks]
        arrivals = tuple(sink.arrived for sink in bound if sink.arrived is not None)
        ends = tuple(sink.ended for sink in bound)
        clock = self._clock

        def admit(call: Call) -> None:
            for arrived in arrivals:
                arrived(call)

        def finish(call: Call, outcome: Outcome) -> None:
            seconds = clock() - call.started
            seconds = max(seconds, 0.0)
            for ended in ends:
                ended(call, outcome, seconds)

        return Hooks(admit=admit, finish=finish)

    def close(self) -> None:
        """Let the sinks write what waits."""
        for sink in self._sinks:
            sink.close()
