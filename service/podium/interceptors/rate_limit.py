"""Rate limits: so many calls a minute and an hour for each caller and class of method.

Each caller has two buckets per class, one for bursts (60, refilled at 60 a minute) and one for
the long run (1,000 an hour); a global bucket of 100 a second stands before all. The figures of
the tighter of the caller's two go out with every call as `ratelimit-*`.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from podium.errors import ResourceExhausted
from podium.interceptors.call import Call, Method, MethodClass
from podium.interceptors.concern import Hooks
from podium.resilience.token_bucket import TokenBucket

__all__ = ["RateLimit", "RateLimits"]


@dataclass(frozen=True, slots=True)
class RateLimits:
    """How much a caller may do.

    Attributes:
        per_minute, per_hour, burst: for each caller and class of method.
        global_per_second: for everybody together; None for no such limit.
        limit_local: whether the caller of a server without credentials is limited too.
        callers: how many callers are remembered for each class; beyond that the longest quiet one is
            forgotten.
    """

    per_minute: int = 60
    per_hour: int = 1_000
    burst: int = 60
    global_per_second: float | None = 100.0
    limit_local: bool = False
    callers: int = 10_000

    def __post_init__(self) -> None:
        if min(self.per_minute, self.per_hour, self.burst, self.callers) < 1:
            raise ValueError("rate limits must be at least 1")
        if self.global_per_second is not None and self.global_per_second < 1:
            raise ValueError("the global limit must be at least 1 a second, or None")


_SMALL: Final = tuple(map(str, range(4_096)))


def _text(number: int) -> str:
    return _SMALL[number] if number < 4_096 else str(number)


class _Pair:
    """One caller's buckets for one class of method."""

    __slots__ = ("_hour_limit", "_minute_limit", "hour", "minute")

    def __init__(self, limits: RateLimits, now: float) -> None:
        self.minute = TokenBucket(limits.burst, limits.per_minute / 60, now)
        self.hour = TokenBucket(limits.per_hour, limits.per_hour / 3600, now)
        self._minute_limit = ("ratelimit-limit", str(limits.burst))
        self._hour_limit = ("ratelimit-limit", str(limits.per_hour))

    def figures(self) -> tuple[tuple[str, str], ...]:
        """Return what callers are told of the tighter bucket; both have just been filled."""
        bucket, limit = self.minute, self._minute_limit
        tokens = bucket.tokens
        if self.hour.tokens < tokens:
            bucket, limit = self.hour, self._hour_limit
            tokens = bucket.tokens
        reset = math.ceil((bucket.capacity - tokens) / bucket.rate)
        return limit, ("ratelimit-remaining", _text(int(tokens))), ("ratelimit-reset", _text(reset))


class RateLimit:
    """Counts calls in token buckets and refuses those beyond.

    Args:
        limits: how much.
        clock: monotonic seconds.
    """

    name = "rate_limit"

    def __init__(self, limits: RateLimits | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits or RateLimits()
        self._clock = clock
        self._pairs: dict[MethodClass, OrderedDict[str, _Pair]] = {each: OrderedDict() for each in MethodClass}
        rate = self._limits.global_per_second
        self._global = None if rate is None else TokenBucket(max(rate, 1.0), rate, clock())

    def __len__(self) -> int:
        return sum(map(len, self._pairs.values()))

    def bind(self, method: Method) -> Hooks | None:
        """Limit every method but the open ones."""
        if method.policy is None or method.open:
            return None
        method_class = method.policy.method_class
        pairs = self._pairs[method_class]
        limit_local = self._limits.limit_local
        clock = self._clock
        shared = self._global

        def admit(call: Call) -> None:
            principal = call.principal
            if principal is None or (principal.local and not limit_local):
                return
            now = clock()
            pair = pairs.get(principal.name)
            if pair is None:
                pair = self._add(pairs, principal.name, now)
            else:
                pairs.move_to_end(principal.name)
            minute, hour = pair.minute, pair.hour
            # Nothing is taken from any bucket unless all have it.
            if minute.fill(now) < 1 or hour.fill(now) < 1:
                call.trailers += pair.figures()
                wait = max(minute.wait(now), hour.wait(now))
                raise _refusal(f"{principal.name}:{method_class}", "this caller's calls of this kind", wait)
            if shared is not None and not shared.take(now):
                call.trailers += pair.figures()
                raise _refusal("global", "all calls to this server together", shared.wait(now))
            minute.tokens -= 1
            hour.tokens -= 1
            call.trailers += pair.figures()

        return Hooks(admit=admit)

    def _add(self, pairs: OrderedDict[str, _Pair], name: str, now: float) -> _Pair:
        pair = pairs[name] = _Pair(self._limits, now)
        if len(pairs) > self._limits.callers:
            pairs.popitem(last=False)
        return pair


def _refusal(quota: str, what: str, wait: float) -> ResourceExhausted:
    seconds = max(wait, 0.001)
    return ResourceExhausted(
        f"the rate limit on {what} is reached: try again in {math.ceil(seconds)} s",
        quota=quota,
        reason="RATE_LIMITED",
        retry_after=seconds,
    )
