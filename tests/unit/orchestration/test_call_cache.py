"""One call in place of many equal ones, and what is kept of it, for how long and for whom."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.orchestration.cache_memory import Entry, MemoryTier, Packed, pack, unpack
from podium.orchestration.call_cache import CacheKey, CallCache, Served, cache_key, canonical
from podium.orchestration.events import ResultSource
from podium.orchestration.tool import ToolFailure, ToolFailureCode, ToolResult, ToolSpec
from support.virtual_time import run_virtual

SPEC = ToolSpec(name="weather", description="", input_schema={})
KEY = cache_key("acme", SPEC, b'{"city": "Oslo"}')
OVERHEAD = 600


def key(name: str, tenant: str = "acme") -> CacheKey:
    return cache_key(tenant, SPEC, orjson.dumps({"name": name}))


def result(text: str | bytes = "fine") -> ToolResult:
    return ToolResult(result_json=text if isinstance(text, bytes) else orjson.dumps(text))


def virtual_cache(**options: Any) -> CallCache:
    time = asyncio.get_running_loop().time
    return CallCache(**{"clock": time, "wall": lambda: 1e9 + time(), **options})


class Tool:
    """Takes a second of virtual time, and counts."""

    def __init__(self, answer: ToolResult | Exception | None = None, seconds: float = 1.0) -> None:
        self.answer = answer or result()
        self.seconds = seconds
        self.calls = 0
        self.at_once = 0

    async def __call__(self) -> ToolResult:
        self.calls += 1
        self.at_once += 1
        assert self.at_once == 1
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.at_once -= 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class FakeTier:
    """A second tier in a dictionary."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.values: dict[CacheKey, bytes] = {}
        self.gets = 0

    async def get(self, key: CacheKey) -> bytes | None:
        self.gets += 1
        await asyncio.sleep(self.seconds)
        return self.values.get(key)

    async def set(self, key: CacheKey, value: bytes, ttl: float) -> None:
        await asyncio.sleep(self.seconds)
        self.values[key] = value


# Keys


def test_equal_arguments_have_one_key_however_they_are_written() -> None:
    same = [b'{"a":1,"b":[true,null]}', b' { "b" : [ true , null ] , "a" : 1 }', b'{"\\u0061":1,"b":[true,null]}']
    assert len({cache_key("t", SPEC, text) for text in same}) == 1
    assert cache_key("t", SPEC, b"") == cache_key("t", SPEC, b"{}")
    assert canonical({"b": 1.5, "a": "ø"}) == '{"a":"ø","b":1.5}'.encode()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":1}', b'{"a":1.0}'),
        (b'{"a":1}', b'{"a":"1"}'),
        (b'{"a":1}', b'{"a":true}'),
        (b'{"a":[1,2]}', b'{"a":[2,1]}'),
        (b'{"a":null}', b"{}"),
        (b'{"a":123456789012345678901}', b'{"a":123456789012345678902}'),
        (b'{"a":0.12345678901234567}', b'{"a":0.123456789012345671}'),
    ],
)
def test_different_arguments_have_different_keys(one: bytes, other: bytes) -> None:
    assert cache_key("t", SPEC, one) != cache_key("t", SPEC, other)


def test_tenant_tool_and_version_are_part_of_the_key() -> None:
    others = [
        cache_key("umbrella", SPEC, b"{}"),
        cache_key("acme", ToolSpec(name="time", description="", input_schema={}), b"{}"),
        cache_key("acme", ToolSpec(name="weather", description="", input_schema={}, version="2"), b"{}"),
    ]
    assert len({cache_key("acme", SPEC, b"{}"), *others}) == 4


def test_a_key_shows_nothing_of_the_arguments() -> None:
    shown = repr(cache_key("acme", SPEC, b'{"password":"hunter2-hunter2"}'))
    assert "hunter2" not in shown
    assert "password" not in shown


@pytest.mark.parametrize("text", [b"{", b'{"a":NaN}', b"\xff"])
def test_what_is_no_json_has_no_key(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"line \d+ column \d+"):
        cache_key("t", SPEC, text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text('ab1ø"', max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(
    one=st.dictionaries(st.text("ab", max_size=2), JSON, max_size=3),
    other=st.dictionaries(st.text("ab", max_size=2), JSON, max_size=3),
    tenants=st.tuples(st.sampled_from(["a", "ab", "b"]), st.sampled_from(["a", "ab", "b"])),
)
def test_keys_are_equal_just_when_tenant_and_canonical_arguments_are(
    one: dict[str, Any], other: dict[str, Any], tenants: tuple[str, str]
) -> None:
    keys = [cache_key(tenant, SPEC, orjson.dumps(value)) for tenant, value in zip(tenants, (one, other), strict=True)]
    same = tenants[0] == tenants[1] and canonical(one) == canonical(other)
    assert (keys[0] == keys[1]) is same


# One call at a time


def test_a_hundred_equal_calls_of_ten_runs_are_one_and_another_tenant_makes_its_own() -> None:
    async def main() -> None:
        cache = virtual_cache()
        ours, theirs = Tool(result("ours")), Tool(result("theirs"))

        async def run_of(tenant: str, tool: Tool) -> list[Served]:
            return await asyncio.gather(*(cache.run(key("x", tenant), 60, tool) for _ in range(10)))

        runs = await asyncio.gather(*(run_of("a", ours) for _ in range(10)), run_of("b", theirs))
        served = list(itertools.chain(*runs[:10]))
        assert (ours.calls, theirs.calls) == (1, 1)
        assert {each.result for each in served} == {result("ours")}
        assert {each.result for each in runs[10]} == {result("theirs")}
        assert Counter(each.source for each in served) == {ResultSource.TOOL: 1, ResultSource.JOINED: 99}
        stats = cache.stats
        assert (stats.misses, stats.joins, stats.hits, stats.entries) == (2, 99 + 9, 0, 2)

    run_virtual(main())


def test_a_kept_result_says_how_old_it_is_and_goes_when_its_time_is_over() -> None:
    async def main() -> None:
        cache, tool = virtual_cache(), Tool()
        assert cache.peek(KEY) is None
        assert (await cache.run(KEY, 60, tool)).source is ResultSource.TOOL
        await asyncio.sleep(59.5)
        assert cache.peek(KEY) == Served(result(), ResultSource.CACHE, 59.5)
        assert await cache.run(KEY, 60, tool) == cache.peek(KEY)
        await asyncio.sleep(0.5)
        assert cache.peek(KEY) is None
        assert cache.stats.entries == 0
        assert (await cache.run(KEY, 60, tool)).source is ResultSource.TOOL
        assert tool.calls == 2
        assert (cache.stats.hits, cache.stats.misses) == (3, 2)

    run_virtual(main())


def test_without_time_to_keep_it_a_result_is_still_shared_by_those_who_wait() -> None:
    async def main() -> None:
        cache, tool = virtual_cache(), Tool()
        await asyncio.gather(*(cache.run(KEY, 0, tool) for _ in range(5)))
        assert (tool.calls, cache.stats.joins, cache.stats.entries) == (1, 4, 0)

    run_virtual(main())


def test_a_cancelled_leader_is_followed_by_the_one_who_waited_longest() -> None:
    """One more call is made, in the task of that follower; the others wait on."""

    async def main() -> None:
        cache, tools = virtual_cache(), [Tool(result(number)) for number in ("0", "1", "2", "3")]
        tasks = [asyncio.create_task(cache.run(KEY, 60, tool)) for tool in tools]
        await asyncio.sleep(0.5)
        tasks[0].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(outcomes[0], asyncio.CancelledError)
        assert outcomes[1] == Served(result("1"), ResultSource.TOOL)
        assert outcomes[2] == outcomes[3] == Served(result("1"), ResultSource.JOINED)
        assert [tool.calls for tool in tools] == [1, 1, 0, 0]
        assert asyncio.get_running_loop().time() == 1.5
        assert not cache._flights

    run_virtual(main())


def test_followers_who_leave_disturb_nobody_and_the_last_to_leave_ends_it() -> None:
    async def main() -> None:
        cache, tool = virtual_cache(), Tool()
        tasks = [asyncio.create_task(cache.run(KEY, 60, tool)) for _ in range(4)]
        await asyncio.sleep(0.5)
        tasks[1].cancel()
        tasks[2].cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Served] + 2 * [asyncio.CancelledError] + [Served]
        assert tool.calls == 1

        cache.clear()
        tasks = [asyncio.create_task(cache.run(KEY, 60, tool)) for _ in range(3)]
        await asyncio.sleep(0.5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Whoever was given the lead while being cancelled passed it on: nobody is left to wait for it.
        assert not cache._flights
        assert (await cache.run(KEY, 60, tool)).source is ResultSource.TOOL

    run_virtual(main())


def test_a_follower_cancelled_as_the_lead_reaches_it_passes_it_on() -> None:
    async def main() -> None:
        cache, tool = virtual_cache(), Tool()
        tasks = [asyncio.create_task(cache.run(KEY, 60, tool)) for _ in range(3)]
        await asyncio.sleep(0.5)
        tasks[0].cancel()
        await asyncio.sleep(0)
        assert tool.at_once == 0
        tasks[1].cancel()  # it has the lead, and has not run since
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(outcomes[1], asyncio.CancelledError)
        assert outcomes[2] == Served(result(), ResultSource.TOOL)
        assert tool.calls == 2

    run_virtual(main())


def test_a_failure_is_everybodys_and_is_not_kept() -> None:
    async def main() -> None:
        cache = virtual_cache()
        failure = ToolFailure(ToolFailureCode.UNAVAILABLE, "try later", retryable=True, retry_after=3.0)
        tool = Tool(failure)
        outcomes = await asyncio.gather(*(cache.run(KEY, 60, tool) for _ in range(5)), return_exceptions=True)
        assert tool.calls == 1
        assert len({id(outcome) for outcome in outcomes}) == 5
        for outcome in outcomes:
            assert isinstance(outcome, ToolFailure)
            assert (outcome.code, outcome.message) == (failure.code, failure.message)
            assert (outcome.retryable, outcome.retry_after) == (True, 3.0)
        assert (cache.stats.entries, cache.stats.joins) == (0, 4)
        tool.answer = result("better")
        assert (await cache.run(KEY, 60, tool)).result == result("better")

    run_virtual(main())


def test_any_other_error_reaches_everybody_too_and_leaves_nothing_behind() -> None:
    async def main() -> None:
        cache, tool = virtual_cache(), Tool(KeyError("bug"))
        outcomes = await asyncio.gather(*(cache.run(KEY, 60, tool) for _ in range(3)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == 3 * [KeyError]
        assert tool.calls == 1
        assert not cache._flights

    run_virtual(main())


def test_a_call_that_was_cancelled_is_no_failure_of_those_who_wait() -> None:
    async def main() -> None:
        cache = virtual_cache()
        cancelled, good = Tool(ToolFailure(ToolFailureCode.CANCELLED, "the run was cancelled")), Tool()
        outcomes = await asyncio.gather(
            cache.run(KEY, 60, cancelled), cache.run(KEY, 60, good), cache.run(KEY, 60, good), return_exceptions=True
        )
        assert isinstance(outcomes[0], ToolFailure)
        assert outcomes[1:] == [Served(result(), ResultSource.TOOL), Served(result(), ResultSource.JOINED)]
        assert (cancelled.calls, good.calls) == (1, 1)

    run_virtual(main())


# Room


def test_the_number_of_entries_is_bounded() -> None:
    async def main() -> None:
        cache, tool = virtual_cache(max_entries=10), Tool()
        for number in range(100):
            await cache.run(key(str(number)), 1e6, tool)
        assert (cache.stats.entries, cache.stats.evictions) == (10, 90)
        assert [number for number in range(100) if cache.peek(key(str(number)))] == list(range(90, 100))
        assert len(cache._memory._by_worth) <= 20
        assert len(cache._memory._by_expiry) <= 20

    run_virtual(main())


def test_large_results_go_before_small_ones_and_slow_ones_stay_longest() -> None:
    async def main() -> None:
        cache = virtual_cache(max_bytes=4 * (OVERHEAD + 1_016), compress_over=10**9)
        for name, seconds, size in (("small", 1.0, 100), ("slow", 9.0, 1_000), ("large", 1.0, 1_000)):
            await cache.run(key(name), 1e6, Tool(result(b"x" * size), seconds))
        await cache.run(key("new"), 1e6, Tool(result(b"x" * 2_500)))
        there = {name for name in ("large", "small", "slow", "new") if cache.peek(key(name))}
        assert there == {"small", "slow", "new"}
        assert cache.stats.bytes == 3 * (OVERHEAD + 16) + 100 + 1_000 + 2_500

    run_virtual(main())


def test_what_is_used_stays() -> None:
    async def main() -> None:
        cache, tool = virtual_cache(max_entries=10), Tool()
        await cache.run(key("used"), 1e6, tool)
        for number in range(50):
            await cache.run(key(str(number)), 1e6, tool)
            assert cache.peek(key("used"))

    run_virtual(main())


def test_what_was_slow_to_make_but_is_never_used_goes_in_the_end() -> None:
    async def main() -> None:
        cache, tool = virtual_cache(max_entries=10), Tool()
        await cache.run(key("slow"), 1e6, Tool(seconds=5.0))
        stayed = 0
        for number in range(100):
            await cache.run(key(str(number)), 1e6, tool)
            stayed += key("slow") in cache._memory._entries
        assert 10 < stayed < 60

    run_virtual(main())


def test_an_entry_put_again_takes_the_place_of_the_one_before() -> None:
    memory = MemoryTier(max_entries=10, max_bytes=10_000)
    for text in ("first", "second"):
        entry = Entry(KEY, pack(result(text), 1_000), made=0.0, expires=9.0, cost=1.0)
        memory.put(entry, 0.0)
        assert memory.get(KEY, 1.0) is entry
        assert (len(memory), memory.bytes) == (1, entry.size)


def test_what_is_larger_than_all_room_is_not_kept_and_pushes_nothing_out() -> None:
    async def main() -> None:
        cache = virtual_cache(max_bytes=2_000)
        await cache.run(key("small"), 60, Tool())
        await cache.run(key("large"), 60, Tool(result(bytes(range(48, 58)) * 200 + orjson.dumps(list(range(1000))))))
        assert cache.peek(key("large")) is None
        assert cache.peek(key("small"))

    run_virtual(main())


def test_what_is_over_its_time_makes_room_first() -> None:
    async def main() -> None:
        cache, tool = virtual_cache(max_entries=2), Tool()
        await cache.run(key("long"), 1e6, tool)
        await cache.run(key("short"), 5, Tool(seconds=5.0))
        await asyncio.sleep(10)
        await cache.run(key("new"), 1e6, tool)
        assert cache.peek(key("long"))
        assert cache.stats.evictions == 0

    run_virtual(main())


def test_under_pressure_a_share_of_the_bytes_goes() -> None:
    async def main() -> None:
        cache, tool = virtual_cache(), Tool()
        for number in range(100):
            await cache.run(key(str(number)), 1e6, tool)
        before = cache.stats.bytes
        assert cache.drop(0.25) == before // 4
        assert (cache.stats.bytes, cache.stats.entries) == (before - before // 4, 75)
        assert cache.drop() >= cache.stats.bytes
        cache.drop(1.0)
        assert (cache.stats.bytes, cache.stats.entries, cache.drop()) == (0, 0, 0)

    run_virtual(main())


def test_clearing_takes_one_tenants_entries_and_what_its_running_calls_return() -> None:
    async def main() -> None:
        cache = virtual_cache()
        for tenant in ("a", "b"):
            await cache.run(key("kept", tenant), 60, Tool())
        running = [asyncio.create_task(cache.run(key("running", tenant), 60, Tool())) for tenant in ("a", "b")]
        await asyncio.sleep(0.5)
        cache.clear("a")
        await asyncio.gather(*running)
        there = {(name, tenant) for name in ("kept", "running") for tenant in "ab" if cache.peek(key(name, tenant))}
        assert there == {("kept", "b"), ("running", "b")}
        cache.clear()
        assert (cache.stats.entries, cache.stats.bytes, cache.stats.evictions) == (0, 0, 0)

    run_virtual(main())


@pytest.mark.parametrize(("entries", "size"), [(0, 1), (1, 0)])
def test_a_cache_without_room_is_refused(entries: int, size: int) -> None:
    with pytest.raises(ValueError, match="room"):
        CallCache(max_entries=entries, max_bytes=size)


# Compression


def test_long_results_are_compressed_where_it_helps_and_come_back_whole() -> None:
    async def main() -> None:
        cache = virtual_cache()
        bodies = {
            "long": orjson.dumps(["the same again"] * 1_000),
            "short": orjson.dumps(["the same again"] * 50),
            "huge": orjson.dumps(["the same again"] * 10_000),
        }
        sizes = {}
        for name, body in bodies.items():
            before = cache.stats.bytes
            await cache.run(key(name), 60, Tool(ToolResult(result_json=body, content_type="text/x")))
            sizes[name] = cache.stats.bytes - before - OVERHEAD - 6
            found = cache.peek(key(name))
            assert found is not None
            assert found.result == ToolResult(result_json=body, content_type="text/x")
        assert sizes["long"] < len(bodies["long"]) / 10
        assert sizes["short"] == len(bodies["short"])
        assert sizes["huge"] == len(bodies["huge"])  # compressing it would hold up the loop

    run_virtual(main())


@given(body=st.binary(max_size=3_000), over=st.integers(0, 4_000), content_type=st.text("a/øx", max_size=9))
def test_packing_and_encoding_lose_nothing(body: bytes, over: int, content_type: str) -> None:
    given_result = ToolResult(result_json=body * 3, content_type=content_type)
    packed = pack(given_result, over)
    assert unpack(packed) == given_result
    assert len(packed.body) <= len(given_result.result_json)
    assert Packed.decode(packed.encode(12.5, 0.25), 10_000) == (packed, 12.5, 0.25)


def test_damaged_values_are_refused_and_none_unpacks_to_more_than_it_says() -> None:
    encoded = pack(result(b"[" + b"1," * 2_000 + b"1]"), 100).encode(1.0, 1.0)
    for cut in range(len(encoded)):
        with pytest.raises(ValueError, match=r"truncated|damaged|codec"):
            unpack(Packed.decode(encoded[:cut], 10_000)[0])
    with pytest.raises(ValueError, match="too large"):
        Packed.decode(encoded, 1_000)
    packed, _, _ = Packed.decode(encoded, 10_000)
    with pytest.raises(ValueError, match="damaged"):
        unpack(Packed(packed.body, "", packed.length - 1))
    with pytest.raises(ValueError, match="damaged"):
        unpack(Packed(packed.body, "", packed.length + 1))


# The second tier


def test_two_caches_share_results_through_the_second_tier() -> None:
    async def main() -> None:
        tier, tool = FakeTier(), Tool(result("x" * 5_000))
        async with virtual_cache(tier=tier) as one, virtual_cache(tier=tier) as other:
            await one.run(KEY, 60, tool)
            await asyncio.sleep(10)
            assert await other.run(KEY, 60, tool) == Served(tool.answer, ResultSource.CACHE, 10.0)
            await asyncio.sleep(10)
            assert other.peek(KEY) == Served(tool.answer, ResultSource.CACHE, 20.0)
            assert (other.stats.hits, other.stats.tier_hits, other.stats.misses) == (2, 1, 0)
            await asyncio.sleep(40)
            # What came from the tier is not kept longer than it would have been by its maker.
            assert other.peek(KEY) is None
            # Nor is what the tier still has, past its time.
            assert (await other.run(KEY, 60, tool)).source is ResultSource.TOOL
        assert tool.calls == 2
        assert tier.gets == 3

    run_virtual(main())


def test_the_result_is_there_before_it_is_written_and_the_block_waits_for_writes() -> None:
    async def main() -> None:
        tier = FakeTier(seconds=0.25)
        time = asyncio.get_running_loop().time
        async with virtual_cache(tier=tier) as cache:
            await cache.run(KEY, 60, Tool())
            assert time() == 1.25  # looking it up, and the call
            assert not tier.values
        assert list(tier.values) == [KEY]
        assert time() == 1.5

    run_virtual(main())


def test_those_who_join_while_the_second_tier_is_asked_get_what_it_has() -> None:
    async def main() -> None:
        tier, tool = FakeTier(seconds=0.25), Tool()
        async with virtual_cache(tier=tier) as one, virtual_cache(tier=tier) as other:
            await one.run(KEY, 60, tool)
            await asyncio.sleep(1)
            served = await asyncio.gather(*(other.run(KEY, 60, tool) for _ in range(5)))
            assert {each.source for each in served} == {ResultSource.CACHE}
            assert (other.stats.hits, other.stats.tier_hits, other.stats.joins) == (5, 1, 0)
        assert (tool.calls, tier.gets) == (1, 2)

    run_virtual(main())


def test_a_tier_that_takes_no_writes_costs_a_bounded_number_of_them_and_of_seconds() -> None:
    async def main() -> None:
        class Stuck(FakeTier):
            async def set(self, key: CacheKey, value: bytes, ttl: float) -> None:
                await asyncio.Event().wait()

        time = asyncio.get_running_loop().time
        async with virtual_cache(tier=Stuck()) as cache:
            for number in range(130):
                await cache.run(key(str(number)), 60, Tool(seconds=0))
            assert cache.stats.dropped_writes == 30
            before = time()
        assert time() - before == 1.0

    run_virtual(main())


def test_a_tier_that_breaks_its_promise_on_a_write_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        class Raising(FakeTier):
            async def set(self, key: CacheKey, value: bytes, ttl: float) -> None:
                raise RuntimeError("bug")

        async with virtual_cache(tier=Raising()) as cache:
            await cache.run(KEY, 60, Tool())
            await asyncio.sleep(1)
            assert cache.peek(KEY)

    run_virtual(main())
    assert "could not be written" in caplog.text


def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    async def main() -> None:
        async with virtual_cache(tier=FakeTier(seconds=0.1)) as cache:
            await cache.run(KEY, 60, Tool())
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_virtual(main())


@pytest.mark.parametrize("value", [b"", b"\x00" * 22, b"nonsense" * 10, b"\xff" * 100])
def test_a_value_that_cannot_be_read_is_a_miss(value: bytes) -> None:
    async def main() -> None:
        tier, tool = FakeTier(), Tool()
        tier.values[KEY] = value
        async with virtual_cache(tier=tier) as cache:
            assert (await cache.run(KEY, 60, tool)).source is ResultSource.TOOL
        assert tool.calls == 1

    run_virtual(main())


def test_what_the_tier_answers_after_a_clearing_is_not_kept() -> None:
    async def main() -> None:
        tier = FakeTier(seconds=0.5)
        async with virtual_cache(tier=tier) as one, virtual_cache(tier=tier) as other:
            await one.run(KEY, 60, Tool())
            await asyncio.sleep(1)
            running = asyncio.create_task(other.run(KEY, 60, Tool()))
            await asyncio.sleep(0.25)
            other.clear("acme")
            assert (await running).source is ResultSource.CACHE
            assert other.peek(KEY) is None

    run_virtual(main())


def test_large_values_pass_through_the_tier_compressed() -> None:
    """In real time: they are compressed in a thread."""

    async def main() -> None:
        tier, tool = FakeTier(), Tool(result(orjson.dumps(["the same again"] * 20_000)), seconds=0)
        async with CallCache(tier=tier) as cache:
            await cache.run(KEY, 60, tool)
        assert len(tier.values[KEY]) < len(tool.answer.result_json) / 10
        async with CallCache(tier=tier) as cache:
            assert (await cache.run(KEY, 60, tool)).result == tool.answer
            assert cache.stats.tier_hits == 1
        assert tool.calls == 1

    asyncio.run(main())


def test_a_leader_cancelled_while_the_tier_is_asked_is_followed_too() -> None:
    async def main() -> None:
        tool = Tool()
        async with virtual_cache(tier=FakeTier(seconds=0.5)) as cache:
            tasks = [asyncio.create_task(cache.run(KEY, 60, tool)) for _ in range(3)]
            await asyncio.sleep(0.25)
            tasks[0].cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, Served, Served]
            assert tool.calls == 1

    run_virtual(main())


# Everything at once


@dataclass(frozen=True)
class Call:
    """One call of a random run: `at`, for whom, how the tool behaves, and when the caller leaves."""

    at: float
    tenant: str
    name: str
    seconds: float
    fails: bool
    leaves_after: float | None
    cache: int


@dataclass
class World:
    """What is observed from outside."""

    running: Counter[tuple[int, CacheKey]] = field(default_factory=Counter)
    made: dict[bytes, tuple[CacheKey, float]] = field(default_factory=dict)

    def tool(self, call: Call, its_key: CacheKey) -> Callable[[], Awaitable[ToolResult]]:
        async def produce() -> ToolResult:
            place = (call.cache, its_key)
            assert not self.running[place], "two calls of one key at once"
            self.running[place] += 1
            try:
                await asyncio.sleep(call.seconds)
            finally:
                self.running[place] -= 1
            if call.fails:
                raise ToolFailure(ToolFailureCode.RAISED, f"{its_key}")
            body = b"%d" % len(self.made)
            self.made[body] = (its_key, asyncio.get_running_loop().time())
            return ToolResult(result_json=body)

        return produce


QUARTERS = st.integers(0, 24).map(lambda number: number / 4)
CALLS = st.lists(
    st.builds(
        Call,
        at=QUARTERS,
        tenant=st.sampled_from(["a", "b"]),
        name=st.sampled_from(["x", "y"]),
        seconds=st.sampled_from([0.0, 0.25, 1.0, 2.0]),
        fails=st.sampled_from([False, False, False, True]),
        leaves_after=st.none() | st.integers(0, 8).map(lambda number: number / 4),
        cache=st.sampled_from([0, 1]),
    ),
    max_size=30,
)
TTL = 1.5


@settings(max_examples=120, deadline=None)
@given(calls=CALLS, tiered=st.booleans(), clears=st.lists(QUARTERS, max_size=2))
def test_whoever_calls_leaves_or_waits_there_is_one_call_and_the_right_result(
    calls: list[Call], tiered: bool, clears: list[float]
) -> None:
    async def main() -> None:
        world, time = World(), asyncio.get_running_loop().time
        tier = FakeTier(seconds=0.25) if tiered else None

        async def one(cache: CallCache, call: Call) -> None:
            await asyncio.sleep(call.at)
            its_key = key(call.name, call.tenant)
            try:
                async with asyncio.timeout(call.leaves_after):
                    served = await cache.run(its_key, TTL, world.tool(call, its_key))
            except ToolFailure as failure:
                assert failure.message == f"{its_key}"
                return
            except TimeoutError:
                return
            made_for, made_at = world.made[served.result.result_json]
            assert made_for == its_key
            if served.source is ResultSource.CACHE:
                assert served.age_seconds == pytest.approx(time() - made_at)
                assert served.age_seconds < TTL
            else:
                assert made_at == time()

        async def clear(cache: CallCache, at: float) -> None:
            await asyncio.sleep(at)
            cache.clear("a")

        async with virtual_cache(tier=tier) as first, virtual_cache(tier=tier) as second:
            caches = (first, second)
            async with asyncio.TaskGroup() as group:
                for call in calls:
                    group.create_task(one(caches[call.cache], call))
                for at in clears:
                    group.create_task(clear(first, at))
            for cache in caches:
                assert not cache._flights
                assert cache.stats.bytes == sum(entry.size for entry in cache._memory._entries.values())
                stats = cache.stats
                assert stats.hits + stats.joins + stats.misses <= 2 * len(calls)

    run_virtual(main())


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 3_000), st.sampled_from([0.0, 0.5, 3.0]), st.booleans()),
        max_size=60,
    )
)
def test_bounds_hold_whatever_comes(steps: list[tuple[int, int, float, bool]]) -> None:
    async def main() -> None:
        cache = virtual_cache(max_entries=5, max_bytes=6_000, compress_over=10**9)
        for number, size, pause, drop in steps:
            name = key(str(number))
            with contextlib.suppress(ToolFailure):
                served = await cache.run(name, 2.0, Tool(result(b"%d." % number + b"x" * size), pause))
                assert served.result.result_json.startswith(b"%d." % number)
            if drop:
                cache.drop(0.3)
            stats = cache.stats
            assert stats.entries <= 5
            assert stats.bytes <= 6_000
            assert stats.bytes == sum(entry.size for entry in cache._memory._entries.values())
            assert len(cache._memory._by_worth) <= 11
            assert len(cache._memory._by_expiry) <= 11

    run_virtual(main())
