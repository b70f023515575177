"""The engine client and pool when callers leave and servers fail, in numbers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import engine_fixtures
from engine_fixtures import collect, request
from podium.errors import PodiumError, Unavailable
from podium.inference.engine import TokenDelta, TokensFinished
from podium.inference.engine_client import TrtllmEngine
from podium.inference.engine_endpoint import EndpointState, PoolPolicy
from podium.inference.engine_pool import EnginePool
from support.fake_engine_server import FakeEngine, Job, decoding, idle_after, prefilling, serving

short_directory = engine_fixtures.short_directory

CANCELS = 500
AT_ONCE = 25
# What is promised, and what a tenth may take on a machine that does other things as well: client and
# server share this process, and a busy one stands still for a second now and then.
PROMISED_SECONDS, ALLOWED_SECONDS = 0.050, 0.500

PHASES = {"prefill": prefilling, "decode": decoding, "idle": idle_after(2)}


async def mixed(engine: FakeEngine, job: Job) -> AsyncIterator[object]:
    """The phase that the request's id names."""
    phase = job.message.request_id.split("-")[0]
    async for response in PHASES[phase](engine, job):
        yield response


async def leave(engine: TrtllmEngine | EnginePool, fakes: list[FakeEngine], name: str, *, cancel: bool) -> float:
    """Begin a generation, leave it in the phase its name says, and return seconds until Abort was seen."""
    loop = asyncio.get_running_loop()
    reached = asyncio.Event()
    left = 0.0

    async def read() -> None:
        nonlocal left
        seen = 0
        async with contextlib.aclosing(engine.generate(request(name, max_tokens=10_000))) as items:
            async for _ in items:
                seen += 1
                if seen == 2:
                    reached.set()
                    if not cancel:
                        left = loop.time()
                        return

    def job() -> Job | None:
        found = (job for fake in fakes for wire_id, job in fake.jobs.items() if wire_id.startswith(f"{name}~"))
        return next(found, None)

    task = asyncio.create_task(read())
    if name.startswith("prefill"):
        async with asyncio.timeout(30):
            while job() is None:  # noqa: ASYNC110  # any of the servers may get it
                await asyncio.sleep(0.001)
    else:
        async with asyncio.timeout(30):
            await reached.wait()
    left = left or loop.time()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    found = job()
    assert found is not None
    async with asyncio.timeout(10):
        await found.aborted.wait()
    assert found.aborted_at is not None
    return found.aborted_at - left


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("deaf", [False, True], ids=["notices cancels", "hears only Abort"])
async def test_500_cancels_are_all_seen_in_time_and_leave_nothing_behind(
    short_directory: Path, deaf: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """C11: in prefill, while decoding, and while the stream is idle."""
    fake = FakeEngine(mixed, deaf=deaf)
    delays: list[float] = []
    async with serving(fake, f"unix:{short_directory}/e.sock") as address, TrtllmEngine(address) as engine:
        names = [f"{list(PHASES)[number % 3]}-{number}" for number in range(CANCELS)]
        for start in range(0, CANCELS, AT_ONCE):
            batch = names[start : start + AT_ONCE]
            # A reader may be cancelled, or leave by itself.
            delays += await asyncio.gather(
                *(leave(engine, [fake], name, cancel=number % 2 == 0) for number, name in enumerate(batch))
            )
        assert len(delays) == len(fake.jobs) == CANCELS
        await fake.wait_for(lambda: len(fake.aborts) == CANCELS)
        assert len(set(fake.aborts)) == CANCELS, "each is told once"
        assert not fake.live, "nothing is left in the engine"
        assert not fake.duplicates
    shares = {f"p{share}": percentile(delays, share / 100) for share in (50, 90, 99, 100)}
    with capsys.disabled():
        print("\nabort seen after " + ", ".join(f"{name} {delay * 1e3:.1f} ms" for name, delay in shares.items()))
    assert shares["p50"] < PROMISED_SECONDS
    assert shares["p90"] < ALLOWED_SECONDS


async def test_cancels_through_a_pool_reach_the_engine_that_has_the_request(short_directory: Path) -> None:
    fakes = [FakeEngine(mixed, deaf=True) for _ in range(2)]
    async with contextlib.AsyncExitStack() as stack:
        addresses = [
            await stack.enter_async_context(serving(fake, f"unix:{short_directory}/{number}.sock"))
            for number, fake in enumerate(fakes)
        ]
        pool = await stack.enter_async_context(EnginePool(addresses))
        delays = await asyncio.gather(
            *(leave(pool, fakes, f"{list(PHASES)[n % 3]}-{n}", cancel=n % 2 == 0) for n in range(60))
        )
        assert percentile(delays, 0.5) < ALLOWED_SECONDS
        assert all(fake.aborts for fake in fakes), "both had work"
        assert not any(fake.live for fake in fakes)
        assert not any(endpoint.in_flight for endpoint in pool.status())


FAST = PoolPolicy(probe_interval=0.05, down_interval=0.02, probe_timeout=2.0)


async def test_a_pool_lives_through_the_loss_and_return_of_an_endpoint(short_directory: Path) -> None:
    """Streams on the lost endpoint fail retryable, new requests all succeed, and it is used again."""
    addresses = [f"unix:{short_directory}/{number}.sock" for number in range(2)]
    stays, goes = FakeEngine(), FakeEngine(decoding)
    async with serving(stays, addresses[0]), EnginePool(addresses[:1], policy=FAST) as pool:
        async with contextlib.AsyncExitStack() as server:
            await server.enter_async_context(serving(goes, addresses[1]))
            pool.add(addresses[1])
            streams = []
            while not goes.jobs:
                items = pool.generate(request(f"s{len(streams)}", max_tokens=200))
                streams.append(items)
                await anext(items)
        outcomes = [await outcome(items) for items in streams]
        assert isinstance(outcomes[-1], Unavailable)
        assert not any(isinstance(each, Unavailable) for each in outcomes[:-1])
        for number in range(20):
            ids, _ = await collect(pool, request(f"n{number}", tokens=(5,), max_tokens=2))
            assert ids == [6, 7]
        await state(pool, addresses[1], EndpointState.DOWN)
        back = FakeEngine()
        async with serving(back, addresses[1]):
            await state(pool, addresses[1], EndpointState.UP)
            await asyncio.gather(*(collect(pool, request(f"b{n}", max_tokens=100)) for n in range(8)))
            assert back.jobs


async def outcome(items: AsyncIterator[TokenDelta | TokensFinished]) -> object:
    last: object = None
    try:
        async for item in items:
            last = item
    except PodiumError as error:
        return error
    return last


async def state(pool: EnginePool, address: str, wanted: EndpointState) -> None:
    """Wait until an endpoint is in a state."""
    async with asyncio.timeout(10):
        while next(e.state for e in pool.status() if e.address == address) is not wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
