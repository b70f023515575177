"""The result cache when its Redis is killed, frozen or missing, in numbers."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import engine_fixtures
from podium.orchestration.call_cache import CacheKey, CallCache, cache_key
from podium.orchestration.events import ResultSource
from podium.orchestration.tool import ToolResult, ToolSpec
from podium.security.value_cipher import ValueCipher
from podium.store.redis_cache import RedisCacheTier
from support.real_redis import RealRedis

short_directory = engine_fixtures.short_directory

SPEC = ToolSpec(name="weather", description="", input_schema={})
CIPHER = ValueCipher("a secret that is long enough for anybody", salt="salt")
TIMEOUT = 0.05
# What a machine that does other things as well may add to it.
SLACK = 0.45
# A healthy Redis must not seem slow on such a machine either.
PATIENT = 2.0
_numbers = itertools.count()


class Clock:
    """Moves by hand."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def redis(short_directory: Path) -> Iterator[RealRedis]:
    server = RealRedis(short_directory)
    server.start()
    yield server
    server.kill()


def fresh() -> CacheKey:
    return cache_key("acme", SPEC, b'{"number":%d}' % next(_numbers))


async def produce() -> ToolResult:
    return ToolResult(result_json=b'"fine"')


async def calls(cache: CallCache, number: int) -> float:
    """Make calls that nobody has made, all at once, and return the seconds they took."""
    began = time.perf_counter()
    served = await asyncio.gather(*(cache.run(fresh(), 60, produce) for _ in range(number)))
    assert {each.source for each in served} == {ResultSource.TOOL}
    return time.perf_counter() - began


async def test_killed_in_mid_use_it_costs_nothing_and_comes_back_by_itself(redis: RealRedis) -> None:
    clock = Clock()
    tier = RedisCacheTier(redis.url, cipher=CIPHER, timeout=PATIENT, clock=clock)
    async with CallCache(tier=tier) as cache:
        await calls(cache, 20)
        assert tier.available
        redis.kill()
        assert await calls(cache, 20) < PATIENT
        assert not tier.available
        failures = tier.failures
        await calls(cache, 100)
        assert tier.failures == failures, "it was asked again during the pause"

        redis.start()
        await calls(cache, 20)
        assert not tier.available
        clock.now += 0.5
        await calls(cache, 20)
        assert tier.available
    assert tier.failures == failures
    key = fresh()
    await tier.set(key, b"value", 60)
    assert await tier.get(key) == b"value"
    await tier.aclose()


async def test_frozen_it_costs_each_call_its_time_limit_once(redis: RealRedis) -> None:
    clock = Clock()
    tier = RedisCacheTier(redis.url, cipher=CIPHER, timeout=TIMEOUT, clock=clock)
    async with CallCache(tier=tier) as cache:
        await calls(cache, 5)
        redis.freeze()
        clock.now += 60  # should this machine have been too slow before: not resting now
        assert await calls(cache, 50) < TIMEOUT + SLACK
        assert not tier.available
        began = time.perf_counter()
        for _ in range(20):
            await calls(cache, 1)
        assert time.perf_counter() - began < 20 * TIMEOUT / 2, "calls wait during the pause"
        redis.thaw()
    await tier.aclose()


async def test_pauses_double_up_to_half_a_minute_and_one_call_at_a_time_tries(redis: RealRedis) -> None:
    redis.kill()
    clock = Clock()
    tier = RedisCacheTier(redis.url, cipher=None, timeout=PATIENT, clock=clock)
    assert await tier.get(fresh()) is None
    asked = tier.failures
    for pause in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        clock.now += pause - 0.01
        assert await tier.get(fresh()) is None
        assert tier.failures == asked
        clock.now += 0.01
        await asyncio.gather(*(tier.get(fresh()) for _ in range(10)))
        asked += 1
        assert tier.failures == asked
    redis.start()
    clock.now += 30
    await tier.get(fresh())
    assert tier.available
    redis.kill()
    # After good times it begins with the short pause again.
    await tier.get(fresh())
    asked = tier.failures
    clock.now += 0.5
    await tier.get(fresh())
    assert tier.failures == asked + 1
    await tier.aclose()


async def test_a_trial_that_is_cancelled_leaves_the_next_one_to_another(redis: RealRedis) -> None:
    clock = Clock()
    tier = RedisCacheTier(redis.url, cipher=None, timeout=PATIENT, clock=clock)
    redis.kill()
    assert await tier.get(fresh()) is None
    clock.now += 0.5
    redis.start()
    redis.freeze()
    trial = asyncio.create_task(tier.get(fresh()))
    await asyncio.sleep(0)
    assert await tier.get(fresh()) is None  # at once: another tries
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    redis.thaw()
    await tier.get(fresh())
    assert tier.available
    await tier.aclose()


async def test_callers_who_leave_in_mid_command_never_leave_their_answer_to_others(redis: RealRedis) -> None:
    """A connection that was left with an answer due must not be used again."""
    tier = RedisCacheTier(redis.url, cipher=CIPHER, timeout=PATIENT, connections=5)
    keys = [fresh() for _ in range(50)]
    for key in keys:
        await tier.set(key, key.digest, 60)
    for steps in range(12):
        tasks = [asyncio.create_task(tier.get(key)) for key in keys[:10]]
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        for key, answer in zip(keys, answers, strict=False):
            assert isinstance(answer, asyncio.CancelledError) or answer == key.digest
    assert [await tier.get(key) for key in keys] == [key.digest for key in keys]
    assert tier.skipped == 0
    await tier.aclose()


async def test_a_server_may_start_before_its_redis(short_directory: Path) -> None:
    redis = RealRedis(short_directory)
    clock = Clock()
    tier = RedisCacheTier(redis.url, cipher=CIPHER, timeout=PATIENT, clock=clock)
    async with CallCache(tier=tier) as cache:
        await calls(cache, 3)
        redis.start()
        try:
            clock.now += 0.5
            await calls(cache, 3)
            assert tier.available
        finally:
            redis.kill()
    await tier.aclose()
