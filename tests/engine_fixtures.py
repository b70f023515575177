"""Engines for tests: the real embedded host, a host around a fake pipeline, and an engine in memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from podium.engine.arguments import HostArguments
from podium.engine.host import serve
from podium.engine.job import JobSpec, StepResult
from podium.errors import AlreadyExists, InvalidRequest
from podium.inference.engine import (
    EngineInfo,
    EngineRequest,
    FinishReason,
    Sampling,
    TokenDelta,
    TokensFinished,
)
from podium.inference.engine_client import TrtllmEngine
from podium.inference.gguf_tokenizer import build_tokenizer as _  # noqa: F401  # imported before any host starts
from podium.inference.model_files import Dimensions, ModelFiles
from podium.inference.model_store import ModelStore
from podium.inference.tokenizer import Tokenizer

FAKE_EOS = 2
FAKE_VOCABULARY = 1000
FAKE_CONTEXT = 256


# The embedded model and its host.


@pytest.fixture(scope="session")
def embedded_model() -> Path:
    """The default model's folder in the user's cache; pulled once, by whichever worker comes first."""
    return ModelStore().pull().path


@dataclass
class RunningHost:
    """A host started as a process of its own."""

    process: subprocess.Popen[str]
    address: str
    ready: threading.Event = field(default_factory=threading.Event)
    log: list[str] = field(default_factory=list)

    def follow(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if "engine ready" in line:
                self.ready.set()


def start_host(
    model: Path,
    directory: Path,
    *options: str,
    command: Sequence[str] = (sys.executable, "-m", "podium.engine"),
    environment: Mapping[str, str] | None = None,
) -> RunningHost:
    """Start a host on a socket in `directory`, which must have a short path."""
    address = f"unix:{directory}/engine.sock"
    process = subprocess.Popen(
        [*command, "--model", str(model), "--listen", address, "--exit-with-stdin", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=None if environment is None else {**os.environ, **environment},
    )
    host = RunningHost(process, address)
    threading.Thread(target=host.follow, daemon=True).start()
    return host


def wait_for_host(host: RunningHost, limit: float = 50.0) -> None:
    give_up = time.monotonic() + limit
    while not host.ready.wait(0.05):
        if host.process.poll() is not None or time.monotonic() > give_up:
            raise AssertionError(f"the engine host did not start: {''.join(host.log)[-2000:]}")


def stop_host(host: RunningHost) -> None:
    with contextlib.suppress(BrokenPipeError):
        assert host.process.stdin is not None
        host.process.stdin.close()
    try:
        host.process.wait(15)
    except subprocess.TimeoutExpired:
        host.process.kill()
        host.process.wait(5)
    assert host.process.stderr is not None
    host.process.stderr.close()


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name (pytest's own is too long)."""
    directory = Path(tempfile.mkdtemp(prefix="pdm-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def embedded_host(embedded_model: Path) -> Iterator[RunningHost]:
    """A real host around the embedded model, shared by the tests of one worker."""
    directory = Path(tempfile.mkdtemp(prefix="pdm-"))
    host = start_host(embedded_model, directory)
    try:
        wait_for_host(host)
        yield host
    finally:
        stop_host(host)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def embedded_tokenizer(embedded_model: Path) -> Tokenizer:
    return Tokenizer.from_directory(embedded_model)


@pytest.fixture
async def embedded_engine(embedded_host: RunningHost) -> AsyncIterator[TrtllmEngine]:
    """A client of the real host."""
    async with TrtllmEngine(embedded_host.address) as engine:
        yield engine


# A pipeline that counts instead of thinking.


def fake_logprob(token: int) -> float:
    """Return the log-probability that the fakes tell of a token; a number that the wire holds exactly."""
    return -(token % 8) / 8


@dataclass
class FakeHandle:
    spec: JobSpec
    pending: list[int] = field(default_factory=list)
    produced: int = 0
    finish: FinishReason | None = None
    cancelled: bool = False

    def read(self) -> StepResult:
        ids, self.pending = self.pending, []
        return StepResult(ids, self.finish, None if self.spec.logprobs is None else list(map(fake_logprob, ids)))

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class FakeWorld:
    """What survives a rebuild: how fakes behave, and what tests look at."""

    step_seconds: float = 0.0
    poison: str = ""
    fail_next_steps: int = 0
    fail_builds: int = 0
    gate: threading.Event | None = None
    builds: int = 0
    steps: int = 0
    handles: list[FakeHandle] = field(default_factory=list)

    def build(self) -> FakePipeline:
        self.builds += 1
        if self.fail_builds:
            self.fail_builds -= 1
            raise RuntimeError("no memory")
        return FakePipeline(self)


class FakePipeline:
    """Writes prompt[-1] + 1, + 2, ... as token ids; a guide with the poisonous text makes `step` raise for ever."""

    def __init__(self, world: FakeWorld) -> None:
        self._world = world
        self._live: list[FakeHandle] = []
        self._broken = False

    def add(self, number: int, spec: JobSpec) -> FakeHandle:
        if spec.prompt[-1] == FAKE_VOCABULARY - 1:
            raise InvalidRequest("the fake engine refuses this token")
        handle = FakeHandle(spec)
        self._live.append(handle)
        self._world.handles.append(handle)
        return handle

    def step(self) -> None:
        world = self._world
        if world.gate is not None:
            world.gate.wait(10)
        if world.step_seconds:
            time.sleep(world.step_seconds)
        if world.fail_next_steps:
            world.fail_next_steps -= 1
            self._broken = True
        if world.poison and any(h.spec.guide and world.poison in h.spec.guide.text for h in self._live):
            self._broken = True
        if self._broken:
            raise RuntimeError("/src/cpp/json_schema_converter.cc:898: Unsupported: secret text of a guide")
        world.steps += 1
        self._live = [handle for handle in self._live if not handle.cancelled and handle.finish is None]
        for handle in self._live:
            handle.produced += 1
            handle.pending.append((handle.spec.prompt[-1] + handle.produced) % FAKE_VOCABULARY)
            if handle.produced >= handle.spec.max_tokens:
                handle.finish = FinishReason.LENGTH


def fake_model() -> ModelFiles:
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {f"t{index}": index for index in range(10)}, "unk_token": "t0"},
    }
    return ModelFiles(
        name="fake",
        weights=Path("/nowhere"),
        tokenizer_json=json.dumps(tokenizer).encode(),
        tokenizer_config=json.dumps({"eos_token_id": FAKE_EOS, "model_max_length": FAKE_CONTEXT}).encode(),
        dimensions=Dimensions(context_length=FAKE_CONTEXT, vocab_size=FAKE_VOCABULARY),
    )


@contextlib.asynccontextmanager
async def fake_host(world: FakeWorld, directory: Path, **options: object) -> AsyncIterator[str]:
    """Serve a fake pipeline from this process, through the host's own server; yields the address."""
    address = f"unix:{directory}/fake.sock"
    arguments = HostArguments(model=Path("/nowhere"), listen=address, drain_limit=0.2, **options)  # type: ignore[arg-type]
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(arguments, fake_model(), world.build, version="fake 1", stop=stop))
    try:
        async with TrtllmEngine(address) as engine:
            async with asyncio.timeout(10):
                while not serving.done():
                    with contextlib.suppress(Exception):
                        await engine.probe()
                        break
                    await asyncio.sleep(0.01)
        yield address
    finally:
        stop.set()
        await serving


# An engine without a wire.


class MemoryEngine:
    """The `Engine` protocol in a few lines: counts up from the last token of the prompt."""

    def __init__(self) -> None:
        self._in_flight: dict[str, asyncio.Event] = {}

    async def generate(self, request: EngineRequest) -> AsyncIterator[TokenDelta | TokensFinished]:
        if request.request_id in self._in_flight:
            raise AlreadyExists("in flight")
        if not request.token_ids or request.max_tokens < 1 or len(request.token_ids) >= FAKE_CONTEXT:
            raise InvalidRequest("lengths")
        if request.guide is not None and not request.guide.text.strip("{"):
            raise InvalidRequest("guide")
        aborted = self._in_flight[request.request_id] = asyncio.Event()
        produced = 0
        reason = FinishReason.LENGTH
        try:
            while produced < min(request.max_tokens, FAKE_CONTEXT - len(request.token_ids)):
                await asyncio.sleep(0.001)
                token = (request.token_ids[-1] + produced + 1) % FAKE_VOCABULARY
                if aborted.is_set():
                    reason = FinishReason.CANCELLED
                    break
                if token in request.stop_token_ids:
                    reason = FinishReason.STOP
                    break
                produced += 1
                yield TokenDelta((token,), (fake_logprob(token),) if request.logprobs else ())
            yield TokensFinished(
                reason=reason, prompt_tokens=len(request.token_ids), completion_tokens=produced, cached_tokens=0
            )
        finally:
            del self._in_flight[request.request_id]

    async def abort(self, request_id: str) -> None:
        if request_id in self._in_flight:
            self._in_flight[request_id].set()

    async def probe(self) -> EngineInfo:
        return EngineInfo(
            model_id="memory",
            max_seq_len=FAKE_CONTEXT,
            vocab_size=FAKE_VOCABULARY,
            features=frozenset({"logprobs"}),
        )


# What tests say often.


def request(request_id: str, *, tokens: Sequence[int] = (100,), max_tokens: int = 8, **rest: object) -> EngineRequest:
    return EngineRequest(request_id=request_id, token_ids=tuple(tokens), max_tokens=max_tokens, **rest)  # type: ignore[arg-type]


async def deltas(engine: object, wanted: EngineRequest) -> list[TokenDelta]:
    """Run a generation to its end; return its deltas."""
    return [item async for item in engine.generate(wanted) if isinstance(item, TokenDelta)]  # type: ignore[attr-defined]


async def collect(engine: object, wanted: EngineRequest) -> tuple[list[int], TokensFinished]:
    """Run a generation to its end."""
    ids: list[int] = []
    async for item in engine.generate(wanted):  # type: ignore[attr-defined]
        if isinstance(item, TokensFinished):
            return ids, item
        ids.extend(item.token_ids)
    raise AssertionError("the generation ended without its last item")


GREEDY = Sampling()
