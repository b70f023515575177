"""What an engine hears of the runs behind its requests: whose they are, how long they pause, and their end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from podium.inference.remote_engine import RemoteEngineModel
from podium.orchestration.events import RunEnded, RunSpec, RunState, TurnEnded
from podium.orchestration.orchestrator import Orchestrator, Submitter
from support.byte_tokenizer import TEMPLATE, byte_tokenizer, tokenizer_archive
from support.fake_engine_server import FakeEngine, Job, chunk, complete, serving
from support.fakes import FakeTools, ToolBody, make_orchestrator, sleeping

# Words that tell the Hermes dialect.
HERMES = TEMPLATE + "{# <tool_call> #}"
TOKENS = byte_tokenizer(HERMES)
CALL = TOKENS.encode('<tool_call>\n{"name": "work", "arguments": {}}\n</tool_call>')
ANSWER = TOKENS.encode("Done.")
SECONDS = 0.08


def by(tenant: str) -> Submitter:
    return Submitter(owner=tenant, tenant=tenant, correlation_id="c")


def is_last_turn(job: Job) -> bool:
    """Whether the prompt has the tool's result."""
    return "=c0_0" in TOKENS.decode(list(job.message.tokenized.input_token_ids))


async def calling(engine: FakeEngine, job: Job) -> AsyncIterator[Any]:
    """Ask for a tool in the first turn, answer in the second."""
    ids = ANSWER if is_last_turn(job) else CALL
    yield chunk(*ids)
    yield complete(*ids, reason="stop", prompt_tokens=len(job.message.tokenized.input_token_ids))


async def endless(engine: FakeEngine, job: Job) -> AsyncIterator[Any]:
    """Write until told to stop."""
    job.began.set()
    while not job.aborted.is_set():
        yield chunk(*ANSWER)
        await asyncio.sleep(0.005)
    yield complete(reason="cancelled")


@asynccontextmanager
async def orchestrating(folder: Path, engine: FakeEngine, body: ToolBody) -> AsyncIterator[Orchestrator]:
    engine.archive = tokenizer_archive(HERMES)
    engine.features = ("cache_salt", "kv_cache_retention")
    ready = asyncio.Event()
    async with (
        serving(engine, f"unix:{folder}/e") as address,
        RemoteEngineModel("gpu", [address], on_change=ready.set) as model,
    ):
        async with asyncio.timeout(10):
            await ready.wait()
        async with make_orchestrator(model, FakeTools(work=body)) as orchestrator:
            yield orchestrator


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("h")


async def test_every_turn_before_tools_says_how_long_they_will_take(folder: Path) -> None:
    """At least the 90th percentile of what they took; salts keep tenants' caches apart."""
    engine = FakeEngine(calling)
    async with orchestrating(folder, engine, sleeping(SECONDS)) as orchestrator:
        for tenant in ("acme", "acme", "other"):
            async with aclosing(orchestrator.stream(RunSpec(input="go"), by(tenant))) as stream:
                events = [event async for event in stream]
            ended = events[-1].kind
            assert isinstance(ended, RunEnded)
            assert (ended.state, ended.answer) == (RunState.SUCCEEDED, "Done.")
    first, *later = engine.messages
    assert not first.HasField("kv_cache_retention"), "nothing is known yet"
    for message in later:
        (found,) = json.loads(message.kv_cache_retention.config_json)["token_range_retention_configs"]
        assert found["duration_ms"] >= SECONDS * 1000
        assert found["token_end"] == len(message.tokenized.input_token_ids)
    salts = [message.cache_salt_id for message in engine.messages]
    assert len(set(salts[:4])) == len(set(salts[4:])) == 1
    assert salts[0] != salts[4]


async def test_a_run_that_is_left_leaves_nothing_in_the_engine(folder: Path) -> None:
    """Left while the tool works: there is nothing to abort. Left while the model writes: the engine hears of it."""
    working = asyncio.Event()

    async def never(_arguments: dict[str, Any]) -> Any:
        working.set()
        await asyncio.Event().wait()

    engine = FakeEngine(calling)
    async with orchestrating(folder, engine, never) as orchestrator:
        for _ in range(50):
            working.clear()
            async with aclosing(orchestrator.stream(RunSpec(input="go"), by("acme"))) as stream:
                async for event in stream:
                    if isinstance(event.kind, TurnEnded):
                        await working.wait()
                        break
            assert not engine.live
        assert not engine.aborts
        engine.behaviour = endless
        waits = []
        for _ in range(50):
            async with aclosing(orchestrator.stream(RunSpec(input="go"), by("acme"))) as stream:
                async for _event in stream:
                    if engine.live and (job := list(engine.jobs.values())[-1]).began.is_set():
                        break
            left = asyncio.get_running_loop().time()
            async with asyncio.timeout(5):
                await job.aborted.wait()
            waits.append(asyncio.get_running_loop().time() - left)
        assert sorted(waits)[len(waits) // 2] < 0.05
        await engine.wait_for(lambda: not engine.live)
        assert not engine.duplicates
