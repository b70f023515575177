"""Rate limits: bursts, the long run, everybody together, and bounded memory."""

from __future__ import annotations

from typing import Any

import pytest
from chain_doubles import Clock, admit, make_call, make_method

from podium.errors import ResourceExhausted
from podium.interceptors import MethodClass, MethodPolicy, RateLimit, RateLimits
from podium.security import LOCAL, Principal

RUN = make_method(MethodPolicy("run", MethodClass.RUN))


def caller(name: str = "p") -> Principal:
    return Principal(name, frozenset({"read"}))


def allowed(concern: RateLimit, times: int, **options: Any) -> int:
    """Make calls and return how many passed."""
    passed = 0
    for _ in range(times):
        try:
            admit(concern, make_call(options.get("method"), principal=options.get("principal", caller())))
        except ResourceExhausted:
            continue
        passed += 1
    return passed


def test_the_contracts_figures() -> None:
    """60 at once, one a second afterwards, 1,000 in the hour and the refill of its bucket."""
    clock = Clock()
    concern = RateLimit(RateLimits(global_per_second=None), clock=clock)
    assert allowed(concern, 200) == 60
    clock.now += 10
    assert allowed(concern, 200) == 10
    total = 70
    for _ in range(3_600 // 60):
        clock.now += 60
        total += allowed(concern, 200)
    assert 1_900 <= total <= 2_010  # capacity 1,000 plus an hour's refill of 1,000


def test_classes_and_callers_do_not_share() -> None:
    """A caller's reads leave its runs alone, and other callers."""
    concern = RateLimit(RateLimits(burst=2, global_per_second=None), clock=Clock())
    assert allowed(concern, 5) == 2
    assert allowed(concern, 5, method=RUN) == 2
    assert allowed(concern, 5, principal=caller("q")) == 2


def test_refusals_say_when_and_which() -> None:
    """RetryInfo is exact: at that time the call passes."""
    clock = Clock()
    concern = RateLimit(RateLimits(per_minute=30, burst=1, global_per_second=None), clock=clock)
    admit(concern, make_call(principal=caller()))
    call = make_call(principal=caller())
    with pytest.raises(ResourceExhausted) as caught:
        admit(concern, call)
    error = caught.value
    assert (error.reason, error.quota, error.retry_after) == ("RATE_LIMITED", "p:read", 2.0)
    assert dict(call.trailers) == {"ratelimit-limit": "1", "ratelimit-remaining": "0", "ratelimit-reset": "2"}
    clock.now += error.retry_after or 0
    admit(concern, make_call(principal=caller()))


def test_the_tighter_bucket_is_shown() -> None:
    """The minute's at first, the hour's when that is the one that runs out."""
    concern = RateLimit(RateLimits(per_minute=60, burst=60, per_hour=10, global_per_second=None), clock=Clock())
    call = make_call(principal=caller())
    admit(concern, call)
    figures = dict(call.trailers)
    assert (figures["ratelimit-limit"], figures["ratelimit-remaining"]) == ("10", "9")
    assert figures["ratelimit-reset"] == "360"


def test_everybody_together() -> None:
    """The global bucket refuses whoever comes, and takes nothing from the caller's own."""
    clock = Clock()
    concern = RateLimit(RateLimits(global_per_second=5.0), clock=clock)
    assert sum(allowed(concern, 1, principal=caller(f"p{index}")) for index in range(20)) == 5
    with pytest.raises(ResourceExhausted) as caught:
        admit(concern, make_call(principal=caller("late")))
    assert caught.value.quota == "global"
    clock.now += 1
    call = make_call(principal=caller("late"))
    admit(concern, call)
    assert dict(call.trailers)["ratelimit-remaining"] == "59"


def test_a_refused_caller_takes_nothing_from_everybody() -> None:
    """One caller over its limit does not use up the global bucket."""
    concern = RateLimit(RateLimits(burst=1, global_per_second=3.0), clock=Clock())
    assert allowed(concern, 50) == 1
    assert sum(allowed(concern, 1, principal=caller(f"p{index}")) for index in range(5)) == 2


def test_the_local_caller_is_exempt_unless_set() -> None:
    """On a server without credentials there is nobody to protect from."""
    assert allowed(RateLimit(RateLimits(burst=1), clock=Clock()), 50, principal=LOCAL) == 50
    limited = RateLimit(RateLimits(burst=1, limit_local=True), clock=Clock())
    assert allowed(limited, 50, principal=LOCAL) == 1


def test_open_methods_and_unknown_callers_are_not_counted() -> None:
    """Health may be asked at any rate."""
    concern = RateLimit(RateLimits(burst=1), clock=Clock())
    assert concern.bind(make_method(MethodPolicy(None, MethodClass.OPEN))) is None
    assert concern.bind(make_method(None)) is None
    assert allowed(concern, 5, principal=None) == 5


def test_memory_is_bounded() -> None:
    """A flood of callers forgets the longest quiet one, never the busy one."""
    concern = RateLimit(RateLimits(burst=1, callers=100, global_per_second=None), clock=Clock())
    assert allowed(concern, 1, principal=caller("busy")) == 1
    for index in range(1_000):
        allowed(concern, 1, principal=caller(f"p{index}"))
        assert allowed(concern, 1, principal=caller("busy")) == 0
    assert len(concern) == 100


@pytest.mark.parametrize("wrong", [{"per_minute": 0}, {"burst": 0}, {"callers": 0}, {"global_per_second": 0.5}])
def test_limits_are_checked(wrong: dict[str, Any]) -> None:
    """A limit that refuses everything is a mistake of the settings."""
    with pytest.raises(ValueError, match="at least 1"):
        RateLimits(**wrong)
