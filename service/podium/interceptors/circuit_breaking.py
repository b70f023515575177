"""Circuit breaking: a call whose every dependency is cut off is refused before it costs anything."""

from __future__ import annotations

from podium.errors import CircuitOpen
from podium.interceptors.call import Call, Method
from podium.interceptors.concern import Hooks
from podium.resilience.breakers import Breakers

__all__ = ["CircuitBreaking"]


class CircuitBreaking:
    """Looks at the breakers of the method's dependencies. It takes no permits: the work does, later.

    Args:
        breakers: of this process.
    """

    name = "circuit_breaking"

    def __init__(self, breakers: Breakers) -> None:
        self._breakers = breakers

    def bind(self, method: Method) -> Hooks | None:
        """Watch the methods that name dependencies."""
        if method.policy is None or method.open or not method.policy.dependencies:
            return None
        patterns = method.policy.dependencies
        breakers = self._breakers

        def admit(call: Call) -> None:
            del call
            if breakers.all_closed:
                return
            soonest: float | None = None
            for pattern in patterns:
                for breaker in breakers.matching(pattern):
                    wait = breaker.retry_after()
                    if wait <= 0:
                        return
                    soonest = wait if soonest is None else min(soonest, wait)
            if soonest is not None:
                raise CircuitOpen(
                    f"everything that this call depends on is failing; try again in {soonest:.0f} s",
                    retry_after=soonest,
                    metadata={"dependencies": ", ".join(patterns)},
                )

        return Hooks(admit=admit)
