"""Our engine host around the package, as the server meets it: another process, over its socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from engine_fixtures import RunningHost, collect, request
from gpu.conftest import REAL, STEP
from gpu.hosts import PROMPT, running_host
from podium.inference.engine import FinishReason, TokenDelta
from podium.inference.engine_client import TrtllmEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def host() -> Iterator[RunningHost]:
    with running_host() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(host: RunningHost) -> AsyncIterator[TrtllmEngine]:
    async with TrtllmEngine(host.address) as engine:
        yield engine


async def test_it_says_what_it_is(client: TrtllmEngine) -> None:
    async with asyncio.timeout(STEP):
        info = await client.probe()
    assert info.version.startswith("1.")
    assert info.backend == "tensorrt_llm"
    assert 0 < len(PROMPT) < info.max_seq_len


async def test_greedy_answers_repeat_alone_and_in_a_batch(client: TrtllmEngine) -> None:
    async with asyncio.timeout(STEP):
        alone, finished = await collect(client, request("alone", tokens=PROMPT, max_tokens=12, ignore_eos=True))
        assert (len(alone), finished.reason) == (12, FinishReason.LENGTH)
        wanted = [request(f"batch-{number}", tokens=PROMPT, max_tokens=12, ignore_eos=True) for number in range(4)]
        together = await asyncio.gather(*(collect(client, one) for one in wanted))
    assert [len(ids) for ids, _ in together] == [12] * 4
    if not REAL:  # on a GPU a batch may round otherwise
        assert [ids for ids, _ in together] == [alone] * 4


async def test_a_stop_id_is_not_in_the_answer(client: TrtllmEngine) -> None:
    async with asyncio.timeout(STEP):
        free, _ = await collect(client, request("free", tokens=PROMPT, max_tokens=12, ignore_eos=True))
        stop = free[2]
        ids, finished = await collect(client, request("stopped", tokens=PROMPT, max_tokens=12, stop_token_ids=(stop,)))
    assert ids == free[: free.index(stop)]
    assert finished.reason is FinishReason.STOP


async def test_a_stream_that_is_left_does_not_hold_the_engine(client: TrtllmEngine) -> None:
    async with asyncio.timeout(STEP):
        for number in range(20):
            stream = client.generate(request(f"left-{number}", tokens=PROMPT, max_tokens=100, ignore_eos=True))
            async with contextlib.aclosing(stream):
                async for event in stream:
                    assert isinstance(event, TokenDelta)
                    break
        ids, _ = await collect(client, request("after", tokens=PROMPT, max_tokens=4, ignore_eos=True))
    assert len(ids) == 4
