"""Lag is what a beat comes too late; a loop that does not turn is noticed from outside."""

from __future__ import annotations

import asyncio
import threading

import pytest

from podium.observability.loop_lag import LoopLag


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_lag_is_the_lateness_of_beats() -> None:
    clock = Clock()
    lag = LoopLag(interval=0.0, window=100, clock=clock)
    async with lag:
        for late in (0.0, 0.0, 0.5, 0.0):
            clock.now += late
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    assert lag.quantile(1.0) == pytest.approx(0.5)
    assert lag.quantile(0.5) == 0
    assert lag.p99 == pytest.approx(0.5)


def test_nothing_measured_is_no_lag() -> None:
    lag = LoopLag(clock=Clock())
    assert (lag.p99, lag.beat_age(), lag.is_stuck(0)) == (0, 0, False)


async def test_a_stuck_loop_is_seen_from_another_thread() -> None:
    clock = Clock()
    seen: list[bool] = []
    async with LoopLag(interval=0.01, clock=clock) as lag:
        clock.now += 11
        thread = threading.Thread(target=lambda: seen.append(lag.is_stuck(10)))
        thread.start()
        thread.join()
    assert seen == [True]
    assert not lag.is_stuck(10), "after the end nothing is measured, so nothing is stuck"


async def test_leaving_stops_the_timer() -> None:
    async with LoopLag(interval=1000) as lag:
        assert lag._timer is not None
    assert lag._timer is None


def test_old_beats_are_forgotten() -> None:
    lag = LoopLag(window=2, clock=Clock())
    lag._samples.extend([9.0, 1.0, 2.0])
    assert lag.quantile(1.0) == 2.0
