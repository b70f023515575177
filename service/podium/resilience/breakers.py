"""All breakers of a process, by name, and what operators may ask of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import aiobreaker
from aiobreaker import CircuitBreakerState as BreakerState

from podium.errors import NotFound
from podium.resilience.breaker import Breaker, BreakerPolicy, BreakerStatus

__all__ = ["BreakerEvents", "Breakers"]


class BreakerEvents(Protocol):
    """Hears of every breaker; metrics are one."""

    def declare(self, breaker: str) -> None:
        """A breaker was made; it is closed."""
        ...

    def changed(self, breaker: str, state: str) -> None:
        """It changed to `closed`, `half_open` or `open`."""
        ...

    def refused(self, breaker: str) -> None:
        """It refused a call."""
        ...


class _Troubled(aiobreaker.CircuitBreakerListener):  # type: ignore[misc]  # the library has no types
    """Counts the breakers that are not closed."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def __len__(self) -> int:
        return len(self._names)

    def state_change(self, breaker: Breaker, old: Any, new: Any) -> None:
        """Count a change of state."""
        del old
        if new.state is BreakerState.CLOSED:
            self._names.discard(breaker.name)
        else:
            self._names.add(breaker.name)


class _Relay(aiobreaker.CircuitBreakerListener):  # type: ignore[misc]  # the library has no types
    """Passes the library's events on."""

    def __init__(self, events: BreakerEvents) -> None:
        self._events = events

    def state_change(self, breaker: Breaker, old: Any, new: Any) -> None:
        """Pass on a change of state."""
        del old
        self._events.changed(breaker.name, new.state.name.lower())

    def refused(self, breaker: Breaker) -> None:
        """Pass on a refusal, which the library has no event for."""
        self._events.refused(breaker.name)


class Breakers:
    """Makes each breaker once and keeps it.

    Args:
        policy: for every breaker that `overrides` does not name.
        overrides: policies by name, or by a prefix that ends in `*` (`tool:*`); the longest
            match wins.
        clock: monotonic seconds.
        events: hears of every breaker, or None.
        listeners: told of every breaker's events.
    """

    def __init__(
        self,
        policy: BreakerPolicy | None = None,
        *,
        overrides: Mapping[str, BreakerPolicy] | None = None,
        clock: Callable[[], float] = time.monotonic,
        events: BreakerEvents | None = None,
        listeners: Iterable[aiobreaker.CircuitBreakerListener] = (),
    ) -> None:
        self._policy = policy or BreakerPolicy()
        self._overrides = dict(overrides or {})
        self._clock = clock
        self._events = events
        self._troubled = _Troubled()
        self._listeners = [self._troubled, *listeners, *([_Relay(events)] if events else [])]
        self._breakers: dict[str, Breaker] = {}

    def __iter__(self) -> Iterator[Breaker]:
        return iter(self._breakers.values())

    @property
    def all_closed(self) -> bool:
        """Whether no breaker is open or on trial, which is nearly always."""
        return not self._troubled

    def get(self, name: str) -> Breaker:
        """Return the breaker of a dependency, making it at the first asking."""
        breaker = self._breakers.get(name)
        if breaker is None:
            if self._events is not None:
                self._events.declare(name)
            breaker = Breaker(name, self._policy_for(name), clock=self._clock, listeners=self._listeners)
            self._breakers[name] = breaker
        return breaker

    def matching(self, pattern: str) -> list[Breaker]:
        """Return the breakers of that name, or with that prefix when it ends in `*`; made ones only."""
        if not pattern.endswith("*"):
            breaker = self._breakers.get(pattern)
            return [] if breaker is None else [breaker]
        prefix = pattern[:-1]
        return [breaker for name, breaker in self._breakers.items() if name.startswith(prefix)]

    def statuses(self) -> list[BreakerStatus]:
        """Return how all breakers stand, by name."""
        return [self._breakers[name].status() for name in sorted(self._breakers)]

    def reset(self, name: str) -> BreakerStatus:
        """Close one breaker by hand.

        Raises:
            NotFound: there is none of that name.
        """
        breaker = self._breakers.get(name)
        if breaker is None:
            raise NotFound(f"there is no breaker {name!r}", resource_type="breaker", resource_name=name)
        breaker.reset()
        return breaker.status()

    def _policy_for(self, name: str) -> BreakerPolicy:
        exact = self._overrides.get(name)
        if exact is not None:
            return exact
        prefixes = [key for key in self._overrides if key.endswith("*") and name.startswith(key[:-1])]
        return self._overrides[max(prefixes, key=len)] if prefixes else self._policy
