"""A worker that dies without a word: last, and with engines of their own (T22, rules 18 and 19)."""

from __future__ import annotations

import asyncio
import json
import signal

import psutil
import pytest

from engine_fixtures import collect, request
from gpu.conftest import REAL, STEP, Stage
from gpu.hosts import PROMPT, running_host
from podium.errors import PodiumError, Unavailable
from podium.inference.engine import TokenDelta
from podium.inference.engine_client import TrtllmEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_package_says_nothing(stage: Stage) -> None:
    result = stage.submit(ignore_eos=True, max_tokens=3000)
    await stage.next(result)
    stage.kill_worker()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(result.aresult(), 10.0 if REAL else 0.3)
    assert stage.llm._check_health()


async def test_the_host_fails_the_stream_and_ends() -> None:
    limit = 5.0 if REAL else 0.5
    options = {"token_limit": limit, "canary_interval": limit, "canary_limit": limit, "shutdown_limit": limit}
    with running_host("--options-json", json.dumps(options), dead_after=60) as host:
        async with TrtllmEngine(host.address) as client, asyncio.timeout(STEP):
            stream = client.generate(request("a", tokens=PROMPT, max_tokens=200, ignore_eos=True))
            assert isinstance(await anext(stream), TokenDelta)
            if REAL:
                for child in psutil.Process(host.process.pid).children(recursive=True):
                    child.send_signal(signal.SIGKILL)
            with pytest.raises(Unavailable):
                async for _ in stream:
                    pass
            # Its supervisor starts another; a status of 0 would say that it was told to end.
            assert await asyncio.to_thread(host.process.wait, STEP) != 0
            with pytest.raises(PodiumError):
                await collect(client, request("b", tokens=PROMPT, max_tokens=2))
