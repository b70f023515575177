"""The breaker: its cycle, and every defect of the library that it mends."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiobreaker
import pytest

from podium.errors import CircuitOpen, InvalidRequest, Unavailable
from podium.resilience.breaker import Breaker, BreakerPolicy


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("dependency", clock=clock)


async def fine() -> str:
    return "fine"


async def broken() -> str:
    raise ValueError("broken")


async def fail(breaker: Breaker, times: int = 5) -> None:
    for _ in range(times):
        with pytest.raises(ValueError, match="broken"):
            await breaker.call_async(broken)


async def opened(breaker: Breaker, clock: Clock) -> None:
    """Open it and let the recovery time pass."""
    await fail(breaker)
    clock.now += 60.1


class TestCycle:
    """5 failures, 60 seconds, 2 successes."""

    async def test_full_cycle(self, breaker: Breaker, clock: Clock) -> None:
        await fail(breaker, 4)
        assert await breaker.call_async(fine) == "fine"  # a success in between starts the count again
        await fail(breaker, 5)
        assert breaker.status().state == "open"
        with pytest.raises(CircuitOpen) as caught:
            await breaker.call_async(fine)
        assert caught.value.retry_after == 60
        assert caught.value.metadata == {"breaker": "dependency"}
        clock.now += 59
        with pytest.raises(CircuitOpen):
            await breaker.call_async(fine)
        clock.now += 1.1
        assert await breaker.call_async(fine) == "fine"
        assert (breaker.status().state, breaker.status().successes) == ("half_open", 1)
        assert await breaker.call_async(fine) == "fine"
        assert (breaker.status().state, breaker.status().failures) == ("closed", 0)

    async def test_a_failed_trial_opens_it_for_the_whole_time_again(self, breaker: Breaker, clock: Clock) -> None:
        await opened(breaker, clock)
        await fail(breaker, 1)
        assert breaker.status().retry_after == 60

    async def test_reset(self, breaker: Breaker, clock: Clock) -> None:
        await fail(breaker)
        breaker.reset()
        status = breaker.status()
        assert (status.state, status.failures, status.retry_after) == ("closed", 0, 0.0)
        assert await breaker.call_async(fine) == "fine"

    @pytest.mark.parametrize("wrong", [{"failures": 0}, {"successes": 0}, {"recovery_seconds": 0}, {"call_seconds": 0}])
    def test_policies_are_checked(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"must|needs"):
            BreakerPolicy(**wrong)


class TestDefectsOfTheLibrary:
    """Each of these fails with aiobreaker 1.2.0 itself."""

    async def test_half_open_admits_only_the_trials_it_needs(self, breaker: Breaker, clock: Clock) -> None:
        """Fifty callers at once: two reach the dependency."""
        await opened(breaker, clock)
        reached = 0
        go_on = asyncio.Event()

        async def trial() -> None:
            nonlocal reached
            reached += 1
            await go_on.wait()

        calls = [asyncio.create_task(breaker.call_async(trial)) for _ in range(50)]
        await asyncio.sleep(0)
        go_on.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert reached == 2
        assert sum(isinstance(result, CircuitOpen) for result in results) == 48
        assert breaker.status().state == "closed"

    async def test_the_call_that_trips_it_gets_its_own_error(self, breaker: Breaker) -> None:
        await fail(breaker, 4)
        with pytest.raises(ValueError, match="broken"):
            await breaker.call_async(broken)
        assert breaker.status().state == "open"

    async def test_excluded_errors_are_neutral_when_closed(self, breaker: Breaker) -> None:
        """They neither count nor reset the count."""

        async def wrong() -> None:
            raise InvalidRequest("wrong")

        await fail(breaker, 4)
        with pytest.raises(InvalidRequest):
            await breaker.call_async(wrong)
        assert breaker.status().failures == 4
        await fail(breaker, 1)
        assert breaker.status().state == "open"

    async def test_excluded_errors_do_not_close_a_half_open_breaker(self, breaker: Breaker, clock: Clock) -> None:
        async def wrong() -> None:
            raise InvalidRequest("wrong")

        await opened(breaker, clock)
        for _ in range(5):  # each gives its trial back, too
            with pytest.raises(InvalidRequest):
                await breaker.call_async(wrong)
        assert (breaker.status().state, breaker.status().successes) == ("half_open", 0)

    async def test_a_cancelled_trial_gives_its_slot_back(self, breaker: Breaker, clock: Clock) -> None:
        await opened(breaker, clock)
        for _ in range(5):
            task = asyncio.create_task(breaker.call_async(asyncio.Event().wait))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await breaker.call_async(fine)
        await breaker.call_async(fine)
        assert breaker.status().state == "closed"

    async def test_running_out_of_time_counts(self, clock: Clock) -> None:
        """The limit is applied inside the breaker, so that it is seen."""
        breaker = Breaker("slow", BreakerPolicy(failures=1, call_seconds=0.001), clock=clock)
        with pytest.raises(TimeoutError):
            await breaker.call_async(asyncio.Event().wait)
        assert breaker.status().state == "open"

    async def test_an_outside_timeout_is_a_cancellation_and_neutral(self, breaker: Breaker) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await breaker.call_async(asyncio.Event().wait)
        assert breaker.status().failures == 0

    async def test_async_generators_are_guarded_to_their_end(self, breaker: Breaker) -> None:
        """Decorated, they do not count as done when they have only been made."""

        @breaker
        async def stream() -> Any:
            raise ValueError("broken")
            yield

        for _ in range(5):
            with pytest.raises(ValueError, match="broken"):
                async for _ in stream():
                    pass
        assert breaker.status().state == "open"

    async def test_callable_objects_and_partials_may_be_decorated(self, breaker: Breaker) -> None:
        class Callme:
            async def __call__(self, value: int) -> int:
                return value + 1

        async def add(first: int, second: int) -> int:
            return first + second

        decorated: list[Callable[[int], Awaitable[int]]] = [breaker(Callme()), breaker()(functools.partial(add, 1))]
        for each in decorated:
            assert asyncio.iscoroutinefunction(each)
            assert await each(2) == 3

    async def test_classes_with_a_metaclass_exclude_themselves_only(self, clock: Clock) -> None:
        class Meta(type):
            pass

        class Odd(Exception, metaclass=Meta):
            pass

        async def odd() -> None:
            raise Odd

        breaker = Breaker("odd", clock=clock, exclude=[Odd])
        with pytest.raises(Odd):
            await breaker.call_async(odd)
        assert breaker.status().failures == 0
        await fail(breaker)
        assert breaker.status().state == "open"

    async def test_late_failures_do_not_push_the_opening_forward(self, breaker: Breaker, clock: Clock) -> None:
        """Calls that began before it opened say nothing about now."""
        go_on = asyncio.Event()

        async def late() -> None:
            await go_on.wait()
            raise ValueError("broken")

        slow = [asyncio.create_task(breaker.call_async(late)) for _ in range(3)]
        await asyncio.sleep(0)
        await fail(breaker)
        clock.now += 30
        go_on.set()
        await asyncio.gather(*slow, return_exceptions=True)
        assert breaker.status().retry_after == 30
        assert breaker.status().failures == 5

    async def test_late_results_do_not_touch_a_later_half_open(self, breaker: Breaker, clock: Clock) -> None:
        go_on = asyncio.Event()

        async def late() -> None:
            await go_on.wait()

        slow = asyncio.create_task(breaker.call_async(late))
        await asyncio.sleep(0)
        await opened(breaker, clock)
        await breaker.call_async(fine)
        go_on.set()
        await slow
        assert (breaker.status().state, breaker.status().successes) == ("half_open", 1)

    async def test_a_raising_listener_changes_nothing(self, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
        class Bad(aiobreaker.CircuitBreakerListener):  # type: ignore[misc]
            def before_call(self, breaker: Any, func: Any, *args: Any, **kwargs: Any) -> None:
                raise RuntimeError("listener")

            success = failure = state_change = before_call

        breaker = Breaker("listened", clock=clock, listeners=[Bad()])
        assert await breaker.call_async(fine) == "fine"
        await fail(breaker)
        assert breaker.status().state == "open"
        assert "a listener of breaker listened failed" in caplog.text

    async def test_times_before_the_first_opening(self, breaker: Breaker) -> None:
        assert breaker.opens_at is None
        assert breaker.time_until_open is None
        assert breaker.status().opened is None

    @pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
    async def test_times_do_not_depend_on_the_time_zone(
        self, breaker: Breaker, zone: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        try:
            await fail(breaker)
            opens_at = breaker.opens_at
            assert opens_at is not None
            assert abs(opens_at - datetime.now(UTC) - timedelta(seconds=60)) < timedelta(seconds=5)
            assert breaker.time_until_open == timedelta(seconds=60)
        finally:
            monkeypatch.undo()
            time.tzset()


class TestPlainCalls:
    """`call` is for functions that are done when they return."""

    def test_counts(self, breaker: Breaker) -> None:
        assert breaker.call(len, "abc") == 3
        for _ in range(5):
            with pytest.raises(ZeroDivisionError):
                breaker.call(lambda: 1 / 0)
        with pytest.raises(CircuitOpen):
            breaker.call(len, "abc")

    def test_what_has_only_begun_is_refused(self, breaker: Breaker) -> None:
        with pytest.raises(TypeError, match="only begun"):
            breaker.call(fine)
        with pytest.raises(TypeError, match="only begun"):
            breaker.call(lambda: (number for number in range(3)))
        assert breaker.status().failures == 0

    def test_decorating_nothing_callable(self, breaker: Breaker) -> None:
        with pytest.raises(TypeError, match="decorate"):
            breaker("text")


class TestGuard:
    """Streams: the first message is the success."""

    async def test_an_error_before_the_first_message_counts(self, breaker: Breaker) -> None:
        for _ in range(5):
            with pytest.raises(ValueError, match="broken"):
                async with breaker.guard():
                    raise ValueError("broken")
        with pytest.raises(CircuitOpen):
            await breaker.guard().__aenter__()

    async def test_the_first_message_is_the_success(self, breaker: Breaker, clock: Clock) -> None:
        await opened(breaker, clock)
        for _ in range(2):
            async with breaker.guard() as guard:
                guard.started()
                guard.started()
        assert breaker.status().state == "closed"

    async def test_a_clean_end_without_messages_is_a_success(self, breaker: Breaker) -> None:
        await fail(breaker, 4)
        async with breaker.guard():
            pass
        assert breaker.status().failures == 0

    async def test_only_the_loss_of_the_dependency_counts_in_mid_stream(self, breaker: Breaker) -> None:
        for error, failures in ((ValueError("theirs"), 0), (Unavailable("gone"), 1), (ConnectionResetError(), 1)):
            with pytest.raises(type(error)):  # noqa: PT012 - the guard is what is under test
                async with breaker.guard() as guard:
                    guard.started()
                    raise error
            assert breaker.status().failures == failures

    @pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit])
    async def test_leaving_is_neutral_and_gives_the_trial_back(
        self, breaker: Breaker, clock: Clock, error: type[BaseException]
    ) -> None:
        await opened(breaker, clock)
        for _ in range(5):
            with pytest.raises(error):
                async with breaker.guard():
                    raise error
        assert breaker.status().state == "half_open"
        async with breaker.guard() as first, breaker.guard() as second:
            with pytest.raises(CircuitOpen):
                await breaker.guard().__aenter__()
            first.started()
            second.started()
        assert breaker.status().state == "closed"

    async def test_a_refused_guard_releases_nothing(self, breaker: Breaker, clock: Clock) -> None:
        await opened(breaker, clock)
        async with breaker.guard(), breaker.guard():
            for _ in range(3):
                with pytest.raises(CircuitOpen):
                    async with breaker.guard():
                        raise AssertionError("entered")
            assert breaker.retry_after() > 0
