"""Load shedding: what the server cannot take on now it refuses at once, instead of queueing it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from podium.errors import ResourceExhausted
from podium.interceptors.call import Call, Method, MethodClass, Outcome
from podium.interceptors.concern import Hooks
from podium.interceptors.drain import Drain, DrainState, draining_error

__all__ = ["DEFAULT_LIMITS", "LoadShedding"]

DEFAULT_LIMITS: Final[Mapping[MethodClass, int]] = MappingProxyType(
    {MethodClass.RUN: 1_024, MethodClass.READ: 1_024, MethodClass.ADMIN: 64}
)
_RETRY_AFTER: Final = 1.0


class _Active:
    """The calls of one class in progress."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0


class LoadShedding:
    """Refuses new work while draining, and calls beyond the limit on calls in progress.

    Args:
        drain: tells whether the server is shutting down.
        limits: calls in progress for each class of method; a class left out has no limit.
    """

    name = "load_shedding"

    def __init__(self, drain: DrainState | None = None, *, limits: Mapping[MethodClass, int] = DEFAULT_LIMITS) -> None:
        self._drain = drain if drain is not None else Drain()
        self._limits = dict(limits)
        self._active = {each: _Active() for each in MethodClass}

    def active(self, method_class: MethodClass) -> int:
        """Return the calls of a class in progress."""
        return self._active[method_class].calls

    def bind(self, method: Method) -> Hooks | None:
        """Watch every method but the open ones: health must answer while the server drains."""
        if method.policy is None or method.open:
            return None
        method_class = method.policy.method_class
        limit = self._limits.get(method_class)
        active = self._active[method_class]
        drain = self._drain

        def admit(call: Call) -> None:
            del call
            if drain.draining:
                raise draining_error(drain.retry_after)
            if limit is not None and active.calls >= limit:
                raise ResourceExhausted(
                    f"{limit} calls of this kind are in progress, as many as the server takes: try again soon",
                    quota=f"active:{method_class}",
                    reason="OVERLOADED",
                    retry_after=_RETRY_AFTER,
                )
            active.calls += 1

        def finish(call: Call, outcome: Outcome) -> None:
            del call, outcome
            active.calls -= 1

        return Hooks(admit=admit, finish=finish)
