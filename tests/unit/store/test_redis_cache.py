"""Results in a real Redis: shared between caches, unreadable without the key, and a miss when in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import engine_fixtures
from podium.orchestration.call_cache import CallCache, cache_key
from podium.orchestration.events import ResultSource
from podium.orchestration.tool import ToolResult, ToolSpec
from podium.security.value_cipher import ValueCipher
from podium.store.redis_cache import RedisCacheTier
from support.real_redis import RealRedis

short_directory = engine_fixtures.short_directory

SPEC = ToolSpec(name="weather", description="", input_schema={})
ARGUMENTS = b'{"city":"Oslo-in-the-arguments"}'
KEY = cache_key("acme", SPEC, ARGUMENTS)
OTHER_TENANT = cache_key("umbrella", SPEC, ARGUMENTS)
RESULT = ToolResult(result_json=b'"plain words of a result"')
SECRET = "a secret that is long enough for anybody"
# Far from what a busy machine needs: time limits are the subject of the tests of faults.
PATIENT = 5.0


@pytest.fixture
def redis(short_directory: Path) -> Iterator[RealRedis]:
    server = RealRedis(short_directory)
    server.start()
    yield server
    server.kill()


def cipher(secret: str = SECRET) -> ValueCipher:
    return ValueCipher(secret, salt="salt")


@asynccontextmanager
async def tier(redis: RealRedis, **options: Any) -> AsyncIterator[RedisCacheTier]:
    made = RedisCacheTier(redis.url, **{"cipher": cipher(), "timeout": PATIENT, **options})
    try:
        yield made
    finally:
        await made.aclose()


def keys(redis: RealRedis) -> list[bytes]:
    return [line for line in redis.say(b"KEYS", b"*").split(b"\r\n") if line[:1] not in (b"*", b"$", b"")]


async def produce() -> ToolResult:
    return RESULT


async def never() -> ToolResult:
    pytest.fail("the result was not found")


@pytest.mark.parametrize("sealing", [cipher(), None], ids=["sealed", "open"])
async def test_two_servers_share_results(redis: RealRedis, sealing: ValueCipher | None) -> None:
    async with tier(redis, cipher=sealing) as ones, tier(redis, cipher=sealing) as others:
        async with CallCache(tier=ones) as one:
            assert (await one.run(KEY, 60, produce)).source is ResultSource.TOOL
        async with CallCache(tier=others) as other:
            served = await other.run(KEY, 60, never)
            assert (served.result, served.source) == (RESULT, ResultSource.CACHE)
            assert 0 <= served.age_seconds < 60
            assert (await other.run(OTHER_TENANT, 60, produce)).source is ResultSource.TOOL
        assert ones.failures == others.failures == others.unusable == 0


async def test_redis_itself_forgets_when_the_time_is_over(redis: RealRedis) -> None:
    async with tier(redis) as shared:
        await shared.set(KEY, b"value", 90.0)
        [name] = keys(redis)
        left = int(redis.say(b"PTTL", name).strip(b":\r\n"))
        assert 60_000 < left <= 90_000
        await shared.set(OTHER_TENANT, b"value", 0.0)
        assert keys(redis) == [name]


async def test_neither_arguments_nor_results_can_be_read_in_what_redis_has(redis: RealRedis) -> None:
    async with tier(redis) as shared, CallCache(tier=shared) as cache:
        await cache.run(KEY, 60, produce)
    dump = redis.dump()
    assert b"podium:cache:acme:weather:" in dump
    for secret in (b"plain words", b"Oslo", b"city", KEY.digest, KEY.digest.hex().encode()):
        assert secret not in dump


async def test_without_a_cipher_the_result_can_be_read_but_not_the_arguments(redis: RealRedis) -> None:
    """The counterpart of the test above: it would notice a dump in which nothing can be found."""
    async with tier(redis, cipher=None) as shared, CallCache(tier=shared) as cache:
        await cache.run(KEY, 60, produce)
    dump = redis.dump()
    assert b"plain words" in dump
    assert b"Oslo" not in dump


async def test_with_another_key_everything_is_a_miss(redis: RealRedis) -> None:
    async with tier(redis) as ours, tier(redis, cipher=cipher(SECRET[::-1])) as theirs:
        await ours.set(KEY, b"value", 60)
        assert await theirs.get(KEY) is None
        # Even if they knew under which name it is kept.
        [name] = keys(redis)
        kept = redis.say(b"GET", name).split(b"\r\n", 1)[1][:-2]
        redis.say(b"SET", theirs._name(KEY).encode(), kept)
        assert await theirs.get(KEY) is None
        assert theirs.unusable == 1
        assert await ours.get(KEY) == b"value"


async def test_a_value_under_another_name_is_a_miss(redis: RealRedis) -> None:
    """Who can write to Redis cannot pass one result off as that of another call."""
    other = cache_key("acme", SPEC, b'{"city":"Bergen"}')
    async with tier(redis) as shared:
        await shared.set(KEY, b"value", 60)
        redis.say(b"RENAME", shared._name(KEY).encode(), shared._name(other).encode())
        assert await shared.get(other) is None
        assert shared.unusable == 1


@pytest.mark.parametrize("cut", [0, 1, 2, 13, 30, -1])
async def test_a_cut_value_is_a_miss_and_counted(redis: RealRedis, cut: int) -> None:
    async with tier(redis) as shared:
        name = shared._name(KEY)
        whole = shared._wrapped(KEY, name, b"value")
        redis.say(b"SET", name.encode(), whole[:cut])
        assert await shared.get(KEY) is None
        assert shared.unusable == 1
        redis.say(b"SET", name.encode(), whole)
        assert await shared.get(KEY) == b"value"


@pytest.mark.parametrize("position", [0, 1, 2, 10, 20, -1])
async def test_an_altered_value_is_a_miss_and_the_call_is_made(redis: RealRedis, position: int) -> None:
    async with tier(redis) as shared, CallCache(tier=shared) as cache:
        name = shared._name(KEY)
        altered = bytearray(shared._wrapped(KEY, name, b"value"))
        altered[position] ^= 1
        redis.say(b"SET", name.encode(), bytes(altered))
        assert (await cache.run(KEY, 60, produce)).source is ResultSource.TOOL
        assert shared.unusable == 1
        assert shared.available


@pytest.mark.parametrize("kind", [b"LPUSH", b"SADD"])
async def test_a_command_that_redis_refuses_is_a_miss_and_no_reason_to_leave_it_alone(
    redis: RealRedis, kind: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with tier(redis) as shared:
        redis.say(kind, shared._name(KEY).encode(), b"not a string")
        for _ in range(3):
            assert await shared.get(KEY) is None
        assert (shared.failures, shared.available) == (3, True)
        assert caplog.text.count("refuses") == 1


async def test_large_values_pass_and_those_too_large_are_not_shared(redis: RealRedis) -> None:
    async with tier(redis, max_value_bytes=500_000) as shared:
        await shared.set(KEY, b"x" * 500_000, 60)
        assert await shared.get(KEY) == b"x" * 500_000
        await shared.set(OTHER_TENANT, b"x" * 500_001, 60)
        assert await shared.get(OTHER_TENANT) is None
        assert shared.oversized == 1


async def test_many_calls_at_once_make_do_with_few_connections_and_never_seem_a_failure(redis: RealRedis) -> None:
    many = [cache_key("acme", SPEC, b'{"n":%d}' % number) for number in range(200)]
    async with tier(redis, connections=4) as shared:
        await asyncio.gather(*(shared.set(key, key.digest, 60) for key in many))
        assert [await shared.get(key) for key in many] == [key.digest for key in many]
        found = await asyncio.gather(*(shared.get(key) for key in many))
        # The first eight are looked up, the others are told at once to make their call.
        assert found == [key.digest for key in many[:8]] + 192 * [None]
        assert (shared.skipped, shared.failures, shared.available) == (192, 0, True)
        clients = int(redis.say(b"INFO", b"clients").split(b"connected_clients:")[1].split(b"\r\n")[0])
        assert clients <= 4 + 1


def test_an_address_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="scheme"):
        RedisCacheTier("somewhere", cipher=None)


async def test_the_password_in_the_address_is_shown_nowhere(
    short_directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = RedisCacheTier(f"unix://user:hunter2@{short_directory}/none.sock", cipher=None, timeout=PATIENT)
    assert await made.get(KEY) is None
    await made.aclose()
    assert made.failures == 1
    assert "hunter2" not in repr(made) + str(made) + caplog.text
    assert "going on without it" in caplog.text
