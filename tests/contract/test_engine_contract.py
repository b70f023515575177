"""What every `Engine` promises, whoever implements it."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import engine_fixtures
from engine_fixtures import FakeWorld, MemoryEngine, RunningHost, collect, deltas, fake_host, request
from podium.errors import AlreadyExists, InvalidRequest
from podium.inference.engine import Engine, FinishReason, Guide, GuideKind, TokensFinished
from podium.inference.engine_client import TrtllmEngine

embedded_model = engine_fixtures.embedded_model
embedded_host = engine_fixtures.embedded_host
short_directory = engine_fixtures.short_directory


@pytest.fixture(params=["memory", "fake host", pytest.param("embedded", marks=pytest.mark.embedded)])
async def engine(request: pytest.FixtureRequest, short_directory: Path) -> AsyncIterator[Engine]:
    if request.param == "memory":
        yield MemoryEngine()
    elif request.param == "fake host":
        async with (
            fake_host(FakeWorld(step_seconds=0.001), short_directory) as address,
            TrtllmEngine(address) as client,
        ):
            yield client
    else:
        host: RunningHost = request.getfixturevalue("embedded_host")
        async with TrtllmEngine(host.address) as client:
            yield client


async def test_deltas_are_never_empty_and_the_last_item_counts_them(engine: Engine) -> None:
    seen: list[int] = []
    last = None
    async for item in engine.generate(request("a", max_tokens=8, ignore_eos=True)):
        assert last is None, "nothing follows the last item"
        if isinstance(item, TokensFinished):
            last = item
        else:
            assert item.token_ids
            seen.extend(item.token_ids)
    assert last is not None
    assert last.reason is FinishReason.LENGTH
    assert (last.prompt_tokens, last.completion_tokens) == (1, 8)
    assert len(seen) == 8


async def test_the_default_is_repeatable(engine: Engine) -> None:
    first, _ = await collect(engine, request("a", max_tokens=12))
    second, _ = await collect(engine, request("b", max_tokens=12))
    assert first == second


async def test_requests_run_side_by_side_and_alike(engine: Engine) -> None:
    alone, _ = await collect(engine, request("alone", max_tokens=10, ignore_eos=True))
    together = await asyncio.gather(
        *(collect(engine, request(f"r{number}", max_tokens=10, ignore_eos=True)) for number in range(8))
    )
    assert all(len(ids) == 10 for ids, _ in together)
    # Batched arithmetic may round in another way, so only the beginning must agree.
    assert all(ids[:1] == alone[:1] for ids, _ in together)


async def test_a_stop_token_ends_the_output_and_is_not_part_of_it(engine: Engine) -> None:
    free, _ = await collect(engine, request("free", max_tokens=6, ignore_eos=True))
    stop = free[3]
    ids, finished = await collect(engine, request("stopped", max_tokens=6, ignore_eos=True, stop_token_ids=(stop,)))
    assert ids == free[: free.index(stop)]
    assert finished.reason is FinishReason.STOP


async def test_each_token_has_its_log_probability_when_asked_for_where_the_engine_can(engine: Engine) -> None:
    told = "logprobs" in (await engine.probe()).features
    plain = await deltas(engine, request("plain", max_tokens=8, ignore_eos=True))
    asked = await deltas(engine, request("asked", max_tokens=8, ignore_eos=True, logprobs=True))
    assert not any(delta.logprobs for delta in plain), "nobody pays for what they do not ask for"
    assert [token for delta in asked for token in delta.token_ids] == [t for delta in plain for t in delta.token_ids]
    assert [len(delta.logprobs) for delta in asked] == [len(delta.token_ids) if told else 0 for delta in asked]
    assert all(math.isfinite(value) and value <= 0 for delta in asked for value in delta.logprobs)


async def test_a_stop_takes_its_log_probability_with_it(engine: Engine) -> None:
    free = await deltas(engine, request("free", max_tokens=6, ignore_eos=True, logprobs=True))
    ids = [token for delta in free for token in delta.token_ids]
    values = [value for delta in free for value in delta.logprobs]
    end = ids.index(ids[3])
    cut = await deltas(engine, request("cut", max_tokens=6, ignore_eos=True, stop_token_ids=(ids[3],), logprobs=True))
    assert [token for delta in cut for token in delta.token_ids] == ids[:end]
    # What was computed before is taken from the cache, so a real engine may round in another way.
    assert [value for delta in cut for value in delta.logprobs] == pytest.approx(values[:end], abs=0.5)


async def test_an_id_in_flight_is_refused_and_free_again_afterwards(engine: Engine) -> None:
    async with contextlib.aclosing(engine.generate(request("same", max_tokens=200, ignore_eos=True))) as items:  # type: ignore[type-var]
        await anext(items)
        with pytest.raises(AlreadyExists):
            await collect(engine, request("same"))
    for attempt in range(50):
        try:
            await collect(engine, request("same", max_tokens=1))
        except AlreadyExists:
            assert attempt < 49
            await asyncio.sleep(0.05)
        else:
            return


@pytest.mark.parametrize(
    "broken",
    [
        request("empty", tokens=()),
        request("none", max_tokens=0),
        request("long", tokens=(1,) * 9000),
        request("guide", guide=Guide(GuideKind.JSON_SCHEMA, "{")),
    ],
    ids=lambda wanted: wanted.request_id,
)
async def test_a_request_that_cannot_be_served_is_refused(engine: Engine, broken: object) -> None:
    with pytest.raises(InvalidRequest):
        await collect(engine, broken)  # type: ignore[arg-type]
    await collect(engine, request(broken.request_id, max_tokens=1))  # type: ignore[attr-defined]


async def test_abort_ends_the_generation_as_cancelled(engine: Engine) -> None:
    items = engine.generate(request("a", max_tokens=200, ignore_eos=True))
    await anext(items)
    await engine.abort("a")
    async with asyncio.timeout(20):
        last = [item async for item in items][-1]
    assert isinstance(last, TokensFinished)
    assert last.reason is FinishReason.CANCELLED
    assert last.completion_tokens < 200


async def test_abort_of_an_unknown_id_is_harmless(engine: Engine) -> None:
    await engine.abort("never")
    assert await engine.probe(), "the engine goes on"


async def test_output_is_cut_where_the_context_ends(engine: Engine) -> None:
    length = (await engine.probe()).max_seq_len
    if length > 1000:
        pytest.skip("filling the whole context of a real model takes over ten seconds")
    ids, finished = await collect(engine, request("a", tokens=(100,) * (length - 3), max_tokens=50, ignore_eos=True))
    assert len(ids) == 3
    assert finished.reason is FinishReason.LENGTH


async def test_probe_describes_the_engine(engine: Engine) -> None:
    info = await engine.probe()
    assert info.model_id
    assert info.max_seq_len > 0
    assert info.vocab_size > 0
