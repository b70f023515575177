"""The TensorRT-LLM host around the fake package, in this process, and the pieces that tests look at."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine_fixtures import FAKE_CONTEXT, FAKE_EOS, FAKE_VOCABULARY, fake_model
from podium.engine.arguments import HostArguments
from podium.engine.backend import EngineState
from podium.engine.job import JobOutput, JobSpec
from podium.engine.tensorrt_llm.engine import TensorRtEngine
from podium.engine.tensorrt_llm.host import build_engine, serve_tensorrt
from podium.engine.tensorrt_llm.model import TensorRtModel, open_tensorrt_model
from podium.engine.tensorrt_llm.options import TensorRtOptions
from podium.errors import PodiumError
from podium.inference.engine import FinishReason
from podium.inference.engine_client import TrtllmEngine

FAKE_PARENT = Path(__file__).parents[3] / "support" / "fake_tensorrt_llm"
# Short enough that a test which waits for one of them ends soon.
FAST: dict[str, Any] = {"abort_limit": 0.3, "shutdown_limit": 0.5, "canary_interval": 60.0, "canary_limit": 2.0}


@pytest.fixture
def trt() -> Iterator[Any]:
    """`tensorrt_llm.fake`, reset before and after."""
    sys.path.insert(0, str(FAKE_PARENT))
    try:
        control = importlib.import_module("tensorrt_llm").fake
    finally:
        sys.path.remove(str(FAKE_PARENT))
    control.reset()
    yield control
    control.reset()


def write_model(folder: Path, **config: Any) -> Path:
    """Write a model folder in Hugging Face's format, without weights."""
    folder.mkdir(exist_ok=True)
    values = {"max_position_embeddings": FAKE_CONTEXT, "vocab_size": FAKE_VOCABULARY, "num_hidden_layers": 2}
    (folder / "config.json").write_text(json.dumps(values | config))
    (folder / "tokenizer.json").write_bytes(fake_model().tokenizer_json)
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token_id": FAKE_EOS}))
    return folder


@pytest.fixture
def trt_model(tmp_path: Path) -> TensorRtModel:
    return open_tensorrt_model(write_model(tmp_path / "model"))


class Collected:
    """A sink that keeps what came."""

    def __init__(self) -> None:
        self.outputs: list[JobOutput] = []
        self.changed = asyncio.Event()

    def put(self, output: JobOutput) -> None:
        self.outputs.append(output)
        self.changed.set()

    def ids(self, sequence: int = 0) -> list[int]:
        return [token for output in self.outputs if output.sequence == sequence for token in output.token_ids]

    @property
    def finishes(self) -> list[FinishReason]:
        return [output.finish for output in self.outputs if output.finish is not None]

    @property
    def error(self) -> PodiumError | None:
        return next((output.error for output in self.outputs if output.error is not None), None)

    async def until(self, condition: Callable[[], bool], limit: float = 10.0) -> None:
        async with asyncio.timeout(limit):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def ended(self, sequences: int = 1, limit: float = 10.0) -> None:
        await self.until(lambda: len(self.finishes) == sequences or self.error is not None, limit)


def job(name: str = "a", *, prompt: tuple[int, ...] = (100,), max_tokens: int = 8, **rest: Any) -> JobSpec:
    return JobSpec(request_id=name, prompt=prompt, max_tokens=max_tokens, **{"deadline": time.monotonic() + 30, **rest})


class States:
    """Follows an engine's state."""

    def __init__(self) -> None:
        self.seen: list[EngineState] = []
        self.changed = asyncio.Event()

    def __call__(self, state: EngineState) -> None:
        self.seen.append(state)
        self.changed.set()

    async def until(self, state: EngineState, limit: float = 10.0) -> None:
        async with asyncio.timeout(limit):
            while state not in self.seen:
                self.changed.clear()
                await self.changed.wait()


@contextlib.asynccontextmanager
async def running_engine(
    model: TensorRtModel, *, ready: bool = True, max_in_flight: int = 64, max_batch_size: int = 32, **options: Any
) -> AsyncIterator[tuple[TensorRtEngine, States]]:
    """An engine around the fake; waits until it is ready unless told otherwise."""
    given = TensorRtOptions.of({**FAST, **options})
    states = States()
    build = functools.partial(
        build_engine,
        given,
        model,
        max_batch_size=max_batch_size,
        max_seq_len=model.files.dimensions.context_length,
    )
    engine = TensorRtEngine(build, given, max_in_flight=max_in_flight, on_state=states)
    engine.start()
    try:
        if ready:
            await states.until(EngineState.READY)
        yield engine, states
    finally:
        async with asyncio.timeout(15):
            await engine.aclose()


async def released(engine: TensorRtEngine, limit: float = 10.0) -> None:
    """Wait until the engine has let go of everything."""
    async with asyncio.timeout(limit):
        while engine.in_flight:  # noqa: ASYNC110  # another thread's progress
            await asyncio.sleep(0.005)


async def until(condition: Callable[[], bool], limit: float = 10.0) -> None:
    """Wait for something that another thread does."""
    async with asyncio.timeout(limit):
        while not condition():  # noqa: ASYNC110  # another thread's progress
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running_host(
    model: TensorRtModel, directory: Path, *, options: dict[str, Any] | None = None, **arguments: Any
) -> AsyncIterator[str]:
    """Serve the fake from this process through the host's own server; yields the address."""
    address = f"unix:{directory}/trt.sock"
    host = HostArguments(
        model=model.files.weights,
        listen=address,
        engine="tensorrt_llm",
        **{"drain_limit": 0.2, **arguments},
    )
    given = TensorRtOptions.of({**FAST, **(options or {})})
    stop = asyncio.Event()
    serving = asyncio.create_task(serve_tensorrt(host, given, model, version="1.2.1", stop=stop))
    try:
        async with TrtllmEngine(address) as client, asyncio.timeout(10):
            while not serving.done():
                with contextlib.suppress(PodiumError):
                    await client.probe()
                    break
                await asyncio.sleep(0.01)
        yield address
    finally:
        stop.set()
        async with asyncio.timeout(15):
            await serving
