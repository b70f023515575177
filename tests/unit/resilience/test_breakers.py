"""The registry of breakers, and which errors count."""

from __future__ import annotations

import asyncio
import enum
from typing import Any

import pytest

from podium import errors
from podium.resilience.breaker import BreakerPolicy
from podium.resilience.breakers import Breakers
from podium.resilience.failures import is_callers_fault, is_unavailable


class Events:
    def __init__(self) -> None:
        self.seen: list[tuple[str, ...]] = []

    def declare(self, breaker: str) -> None:
        self.seen.append(("declare", breaker))

    def changed(self, breaker: str, state: str) -> None:
        self.seen.append(("changed", breaker, state))

    def refused(self, breaker: str) -> None:
        self.seen.append(("refused", breaker))


def test_each_breaker_is_made_once_with_the_nearest_policy() -> None:
    """An exact name wins over a prefix, a longer prefix over a shorter."""
    policies = {"tool:*": BreakerPolicy(failures=2), "tool:web*": BreakerPolicy(failures=3)}
    breakers = Breakers(BreakerPolicy(failures=9), overrides={**policies, "tool:web_get": BreakerPolicy(failures=4)})
    assert breakers.get("model:a") is breakers.get("model:a")
    found = {name: breakers.get(name).policy.failures for name in ("model:a", "tool:x", "tool:web_put", "tool:web_get")}
    assert found == {"model:a": 9, "tool:x": 2, "tool:web_put": 3, "tool:web_get": 4}
    assert {breaker.name for breaker in breakers.matching("tool:*")} == {"tool:x", "tool:web_put", "tool:web_get"}
    assert [breaker.name for breaker in breakers.matching("model:a")] == ["model:a"]
    assert breakers.matching("nothing") == []


def test_statuses_and_reset() -> None:
    """Operators see all breakers by name and may close one."""
    breakers = Breakers()
    breakers.get("b").open()
    breakers.get("a")
    assert [(status.name, status.state) for status in breakers.statuses()] == [("a", "closed"), ("b", "open")]
    assert breakers.reset("b").state == "closed"
    with pytest.raises(errors.NotFound):
        breakers.reset("c")


async def test_events_tell_everything_once() -> None:
    """Making, every change of state and every refusal."""
    now = 0.0
    events = Events()
    breakers = Breakers(BreakerPolicy(failures=1, successes=1), clock=lambda: now, events=events)
    breaker = breakers.get("d")

    async def boom() -> None:
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - any
        await breaker.call_async(boom)
    with pytest.raises(errors.CircuitOpen):
        await breaker.call_async(boom)
    now = 61.0
    await breaker.call_async(asyncio.sleep, 0)
    assert events.seen == [
        ("declare", "d"),
        ("changed", "d", "open"),
        ("refused", "d"),
        ("changed", "d", "half_open"),
        ("changed", "d", "closed"),
    ]


class Rpc(Exception):
    def __init__(self, name: str) -> None:
        self._code: Any = enum.Enum("Code", [name])[name]

    def code(self) -> Any:
        return self._code


@pytest.mark.parametrize(
    ("error", "callers", "lost"),
    [
        (errors.InvalidRequest("x"), True, False),
        (errors.NotFound("x", resource_type="a", resource_name="b"), True, False),
        (errors.CircuitOpen("x"), True, False),
        (errors.Cancelled("x"), True, False),
        (errors.Unavailable("x"), False, True),
        (errors.ResourceExhausted("x"), False, False),
        (errors.DeadlineExceeded("x"), False, False),
        (ConnectionResetError(), False, True),
        (TimeoutError(), False, True),
        (ValueError(), False, False),
        (Rpc("INVALID_ARGUMENT"), True, False),
        (Rpc("CANCELLED"), True, False),
        (Rpc("UNAVAILABLE"), False, True),
        (Rpc("INTERNAL"), False, False),
    ],
)
def test_whose_fault_an_error_is(error: Exception, callers: bool, lost: bool) -> None:
    """The caller's mistakes never count; only the loss of the dependency does in mid-stream."""
    assert (is_callers_fault(error), is_unavailable(error)) == (callers, lost)
