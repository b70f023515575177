"""Statistics and cache events: one reader each, folded and fanned out."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.request
from typing import Any

import pytest

from podium.engine.tensorrt_llm.kv_events import KvEventPublisher
from podium.engine.tensorrt_llm.model import TensorRtModel
from podium.engine.tensorrt_llm.stats import EngineStats, serve_metrics
from podium.errors import FailedPrecondition, ResourceExhausted
from unit.engine.tensorrt_llm import trtllm_harness
from unit.engine.tensorrt_llm.test_trt_engine_life import heartbeat
from unit.engine.tensorrt_llm.trtllm_harness import Collected, job, running_engine, until

trt = trtllm_harness.trt
trt_model = trtllm_harness.trt_model


@pytest.mark.parametrize("form", ["rpc", "queue"])
async def test_t37_statistics_in_both_forms_without_stalling_the_loop(
    trt: Any, trt_model: TensorRtModel, form: str
) -> None:
    trt.settings.stats_form = form
    async with heartbeat(0.3), running_engine(trt_model, iteration_stats=True) as (engine, _):
        sink = Collected()
        engine.submit(job(max_tokens=20, ignore_eos=True), sink)
        await sink.ended()
        await until(lambda: engine.stats.iterations > 0 and "kv_cache_blocks" in engine.stats.iteration)
        snapshot = engine.stats.snapshot()
        assert snapshot["requests_total"] == 1
        assert snapshot["kv_cache_blocks"] > 0


async def test_t37_statistics_that_fail_do_not_disturb_the_engine(trt: Any, trt_model: TensorRtModel) -> None:
    trt.faults.stats_fail = True
    async with running_engine(trt_model, iteration_stats=True) as (engine, _):
        sink = Collected()
        engine.submit(job(), sink)
        await sink.ended()
        assert sink.error is None
        assert engine.stats.iterations == 0


def test_reports_of_another_form_are_left_out() -> None:
    stats = EngineStats()
    stats.take([{"numActiveRequests": 3, "kvCacheStats": None, "other": "x"}, {"numActiveRequests": "many"}])
    assert stats.iterations == 2
    assert stats.iteration == {}
    stats.take([{"numActiveRequests": 3, "kvCacheStats": {"usedNumBlocks": 7}}])
    assert stats.iteration == {"engine_active_requests": 3.0, "kv_cache_used_blocks": 7.0}


async def test_metrics_are_served_on_loopback() -> None:
    stats = EngineStats(requests=4)
    stats.take([{"numQueuedRequests": 2}])
    with serve_metrics("127.0.0.1:0", stats.snapshot) as port:
        url = f"http://127.0.0.1:{port}/metrics"
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=5).read().decode())
    assert "podium_tensorrt_llm_requests_total 4.0" in text
    assert "podium_tensorrt_llm_engine_queued_requests 2.0" in text
    with serve_metrics("", stats.snapshot) as none:
        assert none == 0


def stored(number: int, *hashes: int, parent: int | None = None) -> dict[str, Any]:
    blocks = [
        {"type": "stored_block", "block_hash": value, "tokens": [{"token_id": 1, "token_extra_id": 0}] * 2}
        for value in hashes
    ]
    return {"event_id": number, "data": {"type": "stored", "parent_hash": parent, "blocks": blocks}}


def removed(number: int, *hashes: int) -> dict[str, Any]:
    return {"event_id": number, "data": {"type": "removed", "block_hashes": list(hashes)}}


async def test_t38_events_fold_into_the_picture_that_a_new_subscriber_gets() -> None:
    publisher = KvEventPublisher()
    publisher.publish([{"event_id": 0, "data": {"type": "created"}}, stored(1, 2**64 - 1, 11), removed(2, 11)])
    publisher.publish([stored(3, 12, parent=2**64 - 1)])
    assert publisher.blocks == {-1, 12}
    async with contextlib.aclosing(publisher.subscribe(0)) as batches:
        first = await anext(batches)
        assert [event.stored.blocks[0].block_hash for event in first.events] == [-1, 12]
        assert first.events[1].stored.parent_block_hash == -1
        assert first.events[0].stored.blocks[0].token_ids == [1, 1]
        publisher.publish([removed(4, 12)])
        following = await anext(batches)
        assert following.sequence_number == first.sequence_number + 1
        assert list(following.events[0].removed.block_hashes) == [12]


async def test_t38_a_gap_in_the_engines_numbers_clears_the_picture() -> None:
    publisher = KvEventPublisher()
    publisher.publish([stored(1, 10)])
    async with contextlib.aclosing(publisher.subscribe(1)) as batches:
        assert (await anext(batches)).events[0].HasField("stored")
        publisher.publish([stored(5, 50)])
        batch = await anext(batches)
        assert [event.WhichOneof("data") for event in batch.events] == ["cleared", "stored"]
    assert publisher.blocks == {50}


async def test_t38_a_number_that_is_not_to_be_had_and_a_slow_reader_start_over() -> None:
    publisher = KvEventPublisher()
    publisher.publish([stored(1, 1)])
    with pytest.raises(FailedPrecondition):
        await anext(publisher.subscribe(9))
    batches = publisher.subscribe(1)
    await anext(batches)
    for number in range(300):
        publisher.publish([stored(2 + number, number)])
    with pytest.raises(ResourceExhausted):
        await anext(batches)


@pytest.mark.parametrize("form", ["rpc", "queue"])
async def test_t38_the_engines_own_events_arrive(trt: Any, trt_model: TensorRtModel, form: str) -> None:
    trt.settings.stats_form = form
    async with running_engine(trt_model, kv_event_buffer=1000) as (engine, _):
        publisher = engine.kv_events
        assert publisher is not None
        sink = Collected()
        engine.submit(job(prompt=tuple(range(10, 110)), max_tokens=2), sink)
        await sink.ended()
        await until(lambda: len(publisher.blocks) >= 3)
