"""The engine's life: loading, health, death, shutdown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from podium.engine.backend import EngineState
from podium.engine.tensorrt_llm.engine import StallMeter
from podium.engine.tensorrt_llm.model import TensorRtModel
from podium.errors import Unavailable
from unit.engine.tensorrt_llm import trtllm_harness
from unit.engine.tensorrt_llm.trtllm_harness import Collected, job, released, running_engine, until

trt = trtllm_harness.trt
trt_model = trtllm_harness.trt_model


@asynccontextmanager
async def heartbeat(limit: float) -> AsyncIterator[None]:
    """Fail when the serving loop stands still for longer than `limit` seconds."""
    worst = 0.0

    async def beat() -> None:
        nonlocal worst
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            worst = max(worst, time.monotonic() - before - 0.01)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(beat())
        yield
        task.cancel()
    assert worst < limit


async def test_t21_a_fatal_error_in_anothers_submit_stalls_nobody_but_the_engine(
    trt: Any, trt_model: TensorRtModel
) -> None:
    trt.settings.tokens_per_second = 50.0
    async with running_engine(trt_model, loop_stall_limit=0.5) as (engine, states), heartbeat(0.3):
        streams = [Collected() for _ in range(3)]
        for number, sink in enumerate(streams):
            engine.submit(job(f"s{number}", max_tokens=200, ignore_eos=True), sink)
        await asyncio.gather(*(sink.until(lambda sink=sink: bool(sink.ids())) for sink in streams))  # type: ignore[misc]
        trt.faults.shutdown_seconds = 3.0
        trt.fail(RuntimeError("CUDA error"))
        started = time.monotonic()
        await asyncio.gather(*(sink.ended() for sink in streams))
        assert time.monotonic() - started < 2, "not as long as the engine blocks"
        assert all(isinstance(sink.error, Unavailable) for sink in streams)
        assert states.seen[-1] is EngineState.FAILED
        with pytest.raises(Unavailable):
            engine.submit(job("late"), Collected())
        trt.reset()


async def test_t22_a_silent_worker_is_found_by_the_limits_and_the_canary(trt: Any, trt_model: TensorRtModel) -> None:
    trt.settings.tokens_per_second = 100.0
    limits = {"token_limit": 0.2, "first_token_limit": 0.3, "canary_limit": 0.2, "abort_limit": 0.1}
    async with running_engine(trt_model, **limits) as (engine, states):
        streaming, waiting = Collected(), Collected()
        engine.submit(job("a", max_tokens=200, ignore_eos=True), streaming)
        await streaming.until(lambda: bool(streaming.ids()))
        trt.kill_workers()
        engine.submit(job("b", max_tokens=200, ignore_eos=True), waiting)
        await streaming.ended()
        await waiting.ended()
        assert isinstance(streaming.error, Unavailable)
        assert isinstance(waiting.error, Unavailable)
        await states.until(EngineState.UNHEALTHY)
        with pytest.raises(Unavailable):
            engine.submit(job("c"), Collected())
        await states.until(EngineState.FAILED)
        assert "canary" in engine.failure


@pytest.mark.parametrize("fault", ["wrong_tokens", "zero_tokens"])
async def test_t24_a_canary_with_wrong_or_no_tokens_turns_readiness_off_and_recovers(
    trt: Any, trt_model: TensorRtModel, fault: str
) -> None:
    async with running_engine(trt_model, canary_interval=0.1) as (engine, states):
        setattr(trt.faults, fault, True)
        await states.until(EngineState.UNHEALTHY)
        setattr(trt.faults, fault, False)
        await until(lambda: engine.state is EngineState.READY)
        assert engine.stats.canary_failures >= 1


async def test_t24_a_long_prefill_under_its_limit_is_left_alone(trt: Any, trt_model: TensorRtModel) -> None:
    async with running_engine(trt_model, first_token_limit=5.0, token_limit=0.1) as (engine, states):
        trt.faults.prefill_seconds = 0.4
        sink = Collected()
        engine.submit(job(max_tokens=5, ignore_eos=True), sink)
        await sink.ended()
        assert len(sink.ids()) == 5
        assert EngineState.UNHEALTHY not in states.seen


async def test_rule_34_empty_completions_bring_the_canary_forward(trt: Any, trt_model: TensorRtModel) -> None:
    async with running_engine(trt_model, canary_interval=600.0) as (engine, states):
        trt.faults.zero_tokens = True
        for number in range(3):
            sink = Collected()
            engine.submit(job(f"r{number}"), sink)
            await sink.ended()
        await states.until(EngineState.UNHEALTHY)
        assert engine.stats.empty_completions >= 3


async def test_t27_a_hanging_shutdown_is_bounded_and_runs_elsewhere(trt: Any, trt_model: TensorRtModel) -> None:
    import threading

    async with heartbeat(0.3), running_engine(trt_model, shutdown_limit=0.3) as (engine, states):
        trt.faults.shutdown_hang = True
        started = time.monotonic()
        await engine.aclose()
        assert time.monotonic() - started < 2
        assert states.seen[-1] is EngineState.STOPPED
        assert trt.calls.shutdowns
        assert threading.get_ident() not in trt.calls.shutdowns
        # A second close, by the context, found nothing to wait for.
    trt.reset()


@pytest.mark.parametrize(
    ("fault", "value"), [("construct_error", "no memory at /secret/path"), ("construct_hang", True)]
)
async def test_t28_a_construction_that_fails_or_hangs_ends_the_host(
    trt: Any, trt_model: TensorRtModel, fault: str, value: object
) -> None:
    setattr(trt.faults, fault, value)
    async with running_engine(trt_model, ready=False, construct_limit=0.5) as (engine, states):
        await states.until(EngineState.FAILED)
        assert EngineState.READY not in states.seen
        assert engine.failure
        assert "secret" not in engine.failure
    trt.reset()


async def test_t28_a_slow_construction_is_not_ready_until_its_canary(trt: Any, trt_model: TensorRtModel) -> None:
    trt.faults.construct_seconds = 0.3
    async with running_engine(trt_model, ready=False) as (engine, states):
        with pytest.raises(Unavailable):
            engine.submit(job(), Collected())
        assert engine.state is EngineState.STARTING
        await states.until(EngineState.READY)
        assert [made.arguments["cache_salt"] for made in trt.calls.submits] == ["podium:canary"]


async def test_closing_with_streams_running_ends_them_as_retryable(trt: Any, trt_model: TensorRtModel) -> None:
    trt.settings.tokens_per_second = 50.0
    async with running_engine(trt_model) as (engine, _):
        sink = Collected()
        engine.submit(job(max_tokens=200, ignore_eos=True), sink)
        await sink.until(lambda: bool(sink.ids()))
        await engine.aclose()
        assert isinstance(sink.error, Unavailable)
        assert sink.error.retry_after
        await released(engine)


def test_a_loop_is_stalled_only_while_ours_turns() -> None:
    meter = StallMeter(0.0)
    assert meter.tick(0.1, 1.0) == 0.0
    assert meter.tick(60.1, 1.0) < 1.0, "nobody turned for a minute: the interpreter was held"
    assert meter.tick(60.2, 2.0) == 0.0
    stalled = [meter.tick(60.2 + tick / 10, 2.0) for tick in range(1, 31)]
    assert stalled[-1] == pytest.approx(3.0)
