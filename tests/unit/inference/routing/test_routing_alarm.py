"""The time limit over a turn's events: it ends waits, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from podium.inference.routing.alarm import Alarm, TimeIsUp
from support.virtual_time import run_virtual


async def every(seconds: float, times: int) -> AsyncGenerator[int, None]:
    for number in range(times):
        await asyncio.sleep(seconds)
        yield number


def now() -> float:
    return asyncio.get_running_loop().time()


def test_wait_is_cut_short_and_the_task_goes_on() -> None:
    async def main() -> None:
        events, alarm = every(2.0, 9), Alarm(5.0)
        assert [await alarm.next(events), await alarm.next(events)] == [0, 1]
        with pytest.raises(TimeIsUp):
            await alarm.next(events)
        assert now() == 5.0
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(1)
        with pytest.raises(TimeIsUp):
            await alarm.next(events)

    run_virtual(main())


def test_alarm_that_is_put_off_or_finds_nobody_waiting_cancels_nobody() -> None:
    async def main() -> None:
        events, alarm = every(1.0, 3), Alarm(1.5)
        await alarm.next(events)
        await asyncio.sleep(10)  # it rings here
        assert alarm.rung
        off = Alarm(now() + 1)
        off.close()
        assert await off.next(every(5.0, 1)) == 0
        with pytest.raises(StopAsyncIteration):
            await off.next(every(0, 0))

    run_virtual(main())


@pytest.mark.parametrize("moment", [3.0, 5.0])
def test_cancellation_by_others_comes_through_also_in_the_same_moment(moment: float) -> None:
    async def main() -> None:
        alarm = Alarm(5.0)

        async def wait() -> None:
            await alarm.next(every(60.0, 1))

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_at(moment, task.cancel)
        await asyncio.wait([task])
        assert task.cancelled()
        assert now() == moment
        alarm.close()

    run_virtual(main())


def test_event_or_error_in_place_of_a_cancellation_leaves_no_trace() -> None:
    async def stubborn(error: Exception | None) -> AsyncGenerator[int, None]:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if error is not None:
                raise error from None
        yield 7

    async def main() -> None:
        assert await Alarm(1.0).next(stubborn(None)) == 7
        with pytest.raises(OSError, match="late"):
            await Alarm(2.0).next(stubborn(OSError("late")))
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(1)

    run_virtual(main())
