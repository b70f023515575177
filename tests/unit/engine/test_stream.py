"""One request's output on its way from the stepper to its call."""

from __future__ import annotations

import asyncio

import pytest

from podium.engine.job import JobOutput
from podium.engine.stream import OutputStream, deliver
from podium.errors import Unavailable
from podium.inference.engine import FinishReason


async def test_ids_that_gather_between_two_reads_come_together() -> None:
    stream = OutputStream()
    deliver([(stream, JobOutput([1])), (stream, JobOutput([2, 3]))])
    assert await stream.read() == ([1, 2, 3], False)
    stream.put(JobOutput([4], finish=FinishReason.LENGTH))
    assert await stream.read() == ([4], True)
    assert stream.ids == [1, 2, 3, 4]


async def test_what_comes_while_a_delta_is_sent_is_not_lost_at_the_end() -> None:
    """The end may arrive between a read and the next: its ids still belong into a delta."""
    stream = OutputStream()
    stream.put(JobOutput([1]))
    ids, ended = await stream.read()
    stream.put(JobOutput([2], finish=FinishReason.STOP))
    assert (ids, ended) == ([1], False)
    assert await stream.read() == ([2], True)


async def test_a_read_waits_and_an_error_is_raised_to_it() -> None:
    stream = OutputStream()
    reader = asyncio.create_task(stream.read())
    await asyncio.sleep(0)
    assert not reader.done()
    stream.put(JobOutput([], error=Unavailable("gone")))
    with pytest.raises(Unavailable):
        await reader
