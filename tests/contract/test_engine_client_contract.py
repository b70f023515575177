"""The engines' contract over the client and the pool, and what only shows on a wire."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import test_engine_contract as suite

import engine_fixtures
from engine_fixtures import collect, request
from podium.errors import DeadlineExceeded, Internal, InvalidRequest, PodiumError, ResourceExhausted, Unavailable
from podium.inference.engine import TokensFinished
from podium.inference.engine_client import TrtllmEngine
from podium.inference.engine_endpoint import PoolPolicy
from podium.inference.engine_pool import EnginePool
from support.fake_engine_server import (
    FakeEngine,
    Job,
    chunk,
    counting,
    decoding,
    failing,
    idle_after,
    in_band_error,
    playing,
    prefilling,
    serving,
)

short_directory = engine_fixtures.short_directory

# Every engine is tested by the one suite, here with the `engine` below.
globals().update({name: value for name, value in vars(suite).items() if name.startswith("test_")})


@dataclass
class Under:
    """An engine under test, and the servers behind it."""

    engine: TrtllmEngine | EnginePool
    fakes: list[FakeEngine]
    addresses: list[str]

    def behave(self, behaviour: Any) -> None:
        for fake in self.fakes:
            fake.behaviour = behaviour

    @property
    def jobs(self) -> list[Job]:
        return [job for fake in self.fakes for job in fake.jobs.values()]

    @property
    def live(self) -> set[str]:
        return set().union(*(fake.live for fake in self.fakes))


def make(kind: str, addresses: list[str], *, request_timeout: float = 30.0) -> TrtllmEngine | EnginePool:
    if kind == "client":
        return TrtllmEngine(addresses[0], request_timeout=request_timeout)
    return EnginePool(addresses, policy=PoolPolicy(request_timeout=request_timeout))


@pytest.fixture(params=["client", "pool"])
async def under(request: pytest.FixtureRequest, short_directory: Path) -> AsyncIterator[Under]:
    fakes = [FakeEngine() for _ in range(1 if request.param == "client" else 2)]
    async with contextlib.AsyncExitStack() as stack:
        addresses = [
            await stack.enter_async_context(serving(fake, f"unix:{short_directory}/{number}.sock"))
            for number, fake in enumerate(fakes)
        ]
        engine = await stack.enter_async_context(make(request.param, addresses))
        yield Under(engine, fakes, addresses)


@pytest.fixture
def engine(under: Under) -> TrtllmEngine | EnginePool:
    return under.engine


async def test_deltas_come_in_order_and_one_finish_after_them(under: Under) -> None:
    async def one(number: int) -> None:
        items = [item async for item in under.engine.generate(request(f"r{number}", tokens=(number,), max_tokens=50))]
        assert [isinstance(item, TokensFinished) for item in items] == [False] * (len(items) - 1) + [True]
        ids = [token for item in items[:-1] for token in item.token_ids]  # type: ignore[union-attr]
        assert ids == list(range(number + 1, number + 51))

    await asyncio.gather(*(one(number) for number in range(20)))


@pytest.mark.parametrize("phase", [prefilling, decoding, idle_after(2)], ids=["prefill", "decode", "idle"])
async def test_a_cancel_is_seen_upstream(under: Under, phase: Any) -> None:
    """Within 50 ms on a machine that has the time: the median of twenty says so."""
    under.behave(phase)
    loop = asyncio.get_running_loop()
    delays = []
    for number in range(20):
        task = asyncio.create_task(collect(under.engine, request(f"r{number}")))
        async with asyncio.timeout(10):
            while len(under.jobs) <= number:  # noqa: ASYNC110  # on whichever server
                await asyncio.sleep(0.001)
        job = max(under.jobs, key=lambda job: job.message.request_id.startswith(f"r{number}~"))
        if phase is not prefilling:
            async with asyncio.timeout(10):
                await job.began.wait()
        left = loop.time()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10):
            await job.aborted.wait()
        assert job.aborted_at is not None
        delays.append(job.aborted_at - left)
    assert sorted(delays)[10] < 0.05
    assert not under.live


async def test_the_deadline_is_honoured_and_the_engine_freed(under: Under) -> None:
    under.behave(decoding)
    kind = "client" if isinstance(under.engine, TrtllmEngine) else "pool"
    async with make(kind, under.addresses, request_timeout=0.2) as hurried:
        started = asyncio.get_running_loop().time()
        with pytest.raises(DeadlineExceeded):
            await collect(hurried, request("a"))
        assert 0.15 < asyncio.get_running_loop().time() - started < 5
    assert not under.live, "closing waited until the engine knew"


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (failing(grpc.StatusCode.INVALID_ARGUMENT), InvalidRequest),
        (failing(grpc.StatusCode.RESOURCE_EXHAUSTED), ResourceExhausted),
        (failing(grpc.StatusCode.UNAVAILABLE), Unavailable),
        (failing(grpc.StatusCode.INTERNAL, chunk(1)), Internal),
        (playing(chunk(1)), Internal),
        (playing(chunk(1), in_band_error(500)), Internal),
    ],
    ids=["refused", "full", "away", "failed", "incomplete", "in band"],
)
async def test_errors_are_typed_and_tell_nothing_of_the_inside(
    under: Under, behaviour: Any, expected: type[PodiumError]
) -> None:
    under.behave(behaviour)
    with pytest.raises(PodiumError) as failed:
        await collect(under.engine, request("a"))
    assert type(failed.value) is expected
    assert "secret" not in f"{failed.value} {failed.value.metadata}"
    under.behave(counting)
    await collect(under.engine, request("a", max_tokens=2))


@pytest.mark.parametrize("kind", ["client", "pool"])
async def test_nothing_is_left_of_1000_mixed_requests(kind: str, short_directory: Path) -> None:
    """No task, no connection, no place in an engine, however they ended."""
    ends = [counting, decoding, prefilling, failing(grpc.StatusCode.INTERNAL, chunk(1)), playing(chunk(1))]

    async def mixed(engine: FakeEngine, job: Job) -> AsyncIterator[Any]:
        async for response in ends[int(job.message.request_id.split("~")[0]) % len(ends)](engine, job):
            yield response

    async def one(engine: TrtllmEngine | EnginePool, number: int) -> str:
        try:
            async with asyncio.timeout(0.05 if number % len(ends) == 2 else 20):
                async with contextlib.aclosing(engine.generate(request(f"{number}", max_tokens=5))) as items:
                    async for item in items:
                        if number % len(ends) == 1 or isinstance(item, TokensFinished):
                            break
        except (PodiumError, TimeoutError) as error:
            return type(error).__name__
        return "left" if number % len(ends) == 1 else "finished"

    fakes = [FakeEngine(mixed) for _ in range(2)]
    async with contextlib.AsyncExitStack() as stack:
        addresses = [
            await stack.enter_async_context(serving(fake, f"unix:{short_directory}/{number}.sock"))
            for number, fake in enumerate(fakes)
        ]
        tasks, files = len(asyncio.all_tasks()), open_files()
        outcomes: list[str] = []
        async with make(kind, addresses) as engine:
            for start in range(0, 1000, 50):
                outcomes += await asyncio.gather(*(one(engine, number) for number in range(start, start + 50)))
        counted = {name: outcomes.count(name) for name in set(outcomes)}
        assert counted == {"finished": 200, "left": 200, "TimeoutError": 200, "Internal": 400}
        async with asyncio.timeout(30):
            # Servers and sockets take a moment to notice; a server renews its own tasks, so they are counted.
            while len(asyncio.all_tasks()) > tasks or open_files() > files or any(fake.live for fake in fakes):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert not any(fake.duplicates for fake in fakes)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # the names alone are wanted
