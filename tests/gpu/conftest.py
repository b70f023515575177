"""Which TensorRT-LLM the suite runs against.

With `PODIUM_TEST_GPU=1` it is the installed one, and `PODIUM_TEST_GPU_MODEL` names a model's folder; the interpreter
must be the engine's. Otherwise it is the fake, with the same tests. `PODIUM_TEST_GPU_REPORT` names a file for what was
seen: signatures, versions and differences from the fake.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
import pytest_asyncio

from podium.engine.tensorrt_llm.probe import probe_tensorrt_llm
from support.fake_tensorrt_llm import fake_tensorrt_llm

REAL = os.environ.get("PODIUM_TEST_GPU") == "1"
# Longer for the real one: loading takes minutes.
TIMEOUT = 1800 if REAL else 60
# How long a step may take: the first token of a cold engine included.
STEP = 60.0 if REAL else 20.0

_status: list[int] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = os.path.dirname(__file__)  # noqa: PTH120
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.timeout(TIMEOUT))


def pytest_sessionfinish(exitstatus: int) -> None:
    _status.append(int(exitstatus))


def pytest_unconfigure() -> None:
    """Leave at once: the hooks at exit that the real package registers may hang (rule 19)."""
    if REAL and _status:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_status[-1])


@dataclass
class Stage:
    """An engine and how to treat it; the same for the real one and the fake."""

    trt: Any
    llm: Any
    step: float = STEP
    # Ids that any vocabulary has, and that lead somewhere.
    prompt: tuple[int, ...] = tuple(range(100, 116))

    def submit(self, *, streaming: bool = True, **sampling: Any) -> Any:
        """Submit the prompt, greedily, with fresh parameters."""
        params = self.trt.SamplingParams(**{"max_tokens": 16, "temperature": 0.0} | sampling)
        return self.llm.generate_async(list(self.prompt), sampling_params=params, streaming=streaming)

    async def next(self, result: Any) -> Any:
        """Take one item within the limit."""
        async with asyncio.timeout(self.step):
            return await anext(result)

    async def drain(self, result: Any) -> list[list[int]]:
        """Return the ids of the first output after each step."""
        seen: list[list[int]] = []
        while True:
            try:
                item = await self.next(result)
            except StopAsyncIteration:
                return seen
            seen.append(list(item.outputs[0].token_ids))

    async def iterations(self, quiet: float = 0.5) -> int:
        """Return how many iterations the engine has made since this was last asked."""
        return len(await asyncio.to_thread(self.llm.get_stats, quiet))

    async def idle(self) -> bool:
        """Whether the engine stops making iterations within the limit."""
        async with asyncio.timeout(self.step):
            while await self.iterations():
                pass
        return True

    def kill_worker(self) -> None:
        """Let the engine's worker die as by the kernel's memory killer."""
        if not REAL:
            self.trt.fake.kill_workers()
            return
        children = psutil.Process().children(recursive=True)
        assert children, "no worker process is visible; do not set TLLM_WORKER_USE_SINGLE_PROCESS"
        for child in children:
            child.send_signal(signal.SIGKILL)


@pytest.fixture(scope="module")
def trt() -> Iterator[Any]:
    """The package under test."""
    if not REAL:
        with fake_tensorrt_llm() as module:
            yield module
        return
    result = probe_tensorrt_llm(timeout=600)
    if not result.usable:
        pytest.fail(f"PODIUM_TEST_GPU=1, but: {result.detail}")
    import tensorrt_llm  # type: ignore[import-not-found,unused-ignore]

    yield tensorrt_llm


@pytest.fixture(scope="module")
def make_llm(trt: Any) -> Callable[[], Any]:
    """Make an engine with the options of a service."""

    def make() -> Any:
        model = os.environ.get("PODIUM_TEST_GPU_MODEL", "")
        if REAL and not model:
            pytest.fail("PODIUM_TEST_GPU=1 needs PODIUM_TEST_GPU_MODEL, the folder of a small model")
        if not REAL:
            trt.fake.settings.natural_length = 10_000
            trt.fake.settings.tokens_per_second = 500
        return trt.LLM(
            model=model or "fake",
            max_batch_size=8,
            max_seq_len=4096,
            enable_chunked_prefill=True,
            enable_iter_perf_stats=True,
            kv_cache_config=trt.llmapi.KvCacheConfig(free_gpu_memory_fraction=0.5),
        )

    return make


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(trt: Any, make_llm: Callable[[], Any]) -> AsyncIterator[Stage]:
    """One engine for a module, on the module's one loop."""
    llm = await asyncio.to_thread(make_llm)
    yield Stage(trt, llm)
    # It may hang (rule 19), and a pool's thread that hangs would keep the loop from closing.
    ending = threading.Thread(target=llm.shutdown, daemon=True)
    ending.start()
    await asyncio.to_thread(ending.join, STEP)
    if REAL and ending.is_alive():
        for child in psutil.Process().children(recursive=True):
            child.kill()
    else:
        assert not ending.is_alive()
