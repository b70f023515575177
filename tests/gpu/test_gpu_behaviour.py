"""The behaviour that the wrapper is built on. T numbers and rules are the reference's."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from gpu.conftest import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_stats_before_the_first_request(stage: Stage) -> None:  # T37; first in this file
    assert await asyncio.to_thread(stage.llm.get_stats, 0.1) == []


async def test_generate_async_is_plain_and_its_result_reads_three_ways(stage: Stage) -> None:  # T1
    assert not inspect.iscoroutinefunction(stage.llm.generate_async)
    result = stage.submit(streaming=False)
    assert all(hasattr(result, name) for name in ("__aiter__", "__await__", "__iter__"))
    assert await asyncio.wait_for(result, stage.step) is result
    assert result.finished


async def test_one_object_with_cumulative_ids(stage: Stage) -> None:  # T3, T4
    result = stage.submit(ignore_eos=True)
    first = await stage.next(result)
    held = first.outputs[0].token_ids
    seen = await stage.drain(result)
    assert [len(ids) for ids in seen] == sorted({len(ids) for ids in seen})
    assert len(seen[-1]) == 16
    assert held == seen[-1][: len(held)]
    assert result.outputs[0].finish_reason == "length"


async def test_not_streaming_gives_one_item(stage: Stage) -> None:  # T7
    assert len(await stage.drain(stage.submit(streaming=False))) == 1


async def test_stop_ids_are_cut_off(stage: Stage) -> None:  # T5, rule 6
    free = (await stage.drain(stage.submit(ignore_eos=True)))[-1]
    stop = free[2]
    result = stage.submit(stop_token_ids=[stop])
    ids = (await stage.drain(result))[-1]
    assert ids == free[: free.index(stop)]
    assert (result.outputs[0].finish_reason, result.outputs[0].stop_reason) == ("stop", stop)


async def test_ignore_eos_drops_stop_ids(stage: Stage) -> None:  # T12, rule 9
    free = (await stage.drain(stage.submit(ignore_eos=True)))[-1]
    assert (await stage.drain(stage.submit(ignore_eos=True, stop_token_ids=[free[5]])))[-1] == free


async def test_end_id_with_stop_strings_fails_at_iteration(stage: Stage) -> None:  # T11, rule 8
    result = stage.submit(end_id=2, stop="x")
    with pytest.raises(RuntimeError, match="not processed by tokenizer"):
        await stage.drain(result)
    assert not result.finished  # rule 16: and it must not be iterated again


async def test_a_text_stop_leaves_the_engine_decoding(stage: Stage) -> None:  # T13, rules 9 and 11
    free = stage.submit(ignore_eos=True)
    await stage.drain(free)
    text = free.outputs[0].text
    stop = text[len(text) // 2 :][:3]
    await stage.idle()
    result = stage.submit(stop=stop, ignore_eos=True, max_tokens=3000)
    await stage.drain(result)
    assert (result.outputs[0].finish_reason, result.outputs[0].stop_reason) == ("stop", stop)
    await stage.iterations(0.1)
    assert await stage.iterations() > 0
    result.abort()
    assert await stage.idle()


async def test_cancelling_the_task_does_not_abort(stage: Stage) -> None:  # T15, rules 14 and 15
    await stage.idle()
    result = stage.submit(ignore_eos=True, max_tokens=3000)
    await stage.next(result)
    task = asyncio.ensure_future(stage.drain(result))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await stage.iterations(0.1)
    assert await stage.iterations() > 0
    result.abort()
    result.abort()
    await stage.drain(result)
    assert result.outputs[0].finish_reason == "cancelled"
    assert await stage.idle()


async def test_a_timed_out_step_loses_nothing(stage: Stage) -> None:  # T24, rule 14
    result = stage.submit(ignore_eos=True)
    seen: list[int] = []
    for _ in range(10_000):
        try:
            item: Any = await asyncio.wait_for(anext(result), 0.001)
        except TimeoutError:
            continue
        except StopAsyncIteration:
            break
        seen = list(item.outputs[0].token_ids)
    assert len(result.outputs[0].token_ids) == 16
    assert seen == result.outputs[0].token_ids[: len(seen)]


async def test_stats_have_one_reader(stage: Stage) -> None:  # T37, rule 26
    await stage.drain(stage.submit())
    first = await asyncio.to_thread(stage.llm.get_stats, 0.5)
    assert first
    assert all(isinstance(entry, dict) and "iter" in entry for entry in first)
    assert not await stage.iterations(0.2)
    assert stage.llm._check_health()
