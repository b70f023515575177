# ruff: noqa: N802  # methods are named by the wire contract
"""The engine client against servers that behave well and badly."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from smg_grpc_proto.generated import common_pb2, trtllm_service_pb2_grpc
from smg_grpc_proto.generated import trtllm_service_pb2 as pb

import engine_fixtures
from engine_fixtures import FakeWorld, collect, fake_host, fake_model, request
from podium.engine.servicer import tokenizer_archive
from podium.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidRequest,
    PodiumError,
    ResourceExhausted,
    Unavailable,
)
from podium.inference.engine import FinishReason, Guide, GuideKind, Sampling
from podium.inference.engine_client import TrtllmEngine

short_directory = engine_fixtures.short_directory

Answer = Callable[[pb.GenerateRequest, Any], AsyncIterator[pb.GenerateResponse]]


class Scripted(trtllm_service_pb2_grpc.TrtllmServiceServicer):  # type: ignore[misc]
    """Answers as the test says."""

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.seen: list[pb.GenerateRequest] = []
        self.health = "OK"
        self.archive = tokenizer_archive(fake_model())
        self.digest = hashlib.sha256(self.archive).hexdigest()
        self.cancelled = asyncio.Event()

    async def Generate(self, message: pb.GenerateRequest, context: Any) -> AsyncIterator[pb.GenerateResponse]:
        self.seen.append(message)
        assert self.answer is not None
        try:
            async for item in self.answer(message, context):
                yield item
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def HealthCheck(self, message: object, context: object) -> pb.HealthCheckResponse:
        return pb.HealthCheckResponse(status=self.health)

    async def GetModelInfo(self, message: object, context: object) -> pb.GetModelInfoResponse:
        return pb.GetModelInfoResponse(model_id="m", vocab_size=7)

    async def GetServerInfo(self, message: object, context: object) -> pb.GetServerInfoResponse:
        return pb.GetServerInfoResponse(version="1", backend="tensorrt-llm")

    async def GetTokenizer(self, message: object, context: object) -> AsyncIterator[common_pb2.GetTokenizerChunk]:
        half = len(self.archive) // 2
        yield common_pb2.GetTokenizerChunk(data=self.archive[:half])
        yield common_pb2.GetTokenizerChunk(data=self.archive[half:], sha256=self.digest)


@pytest.fixture
async def served(short_directory: Path) -> AsyncIterator[tuple[Scripted, TrtllmEngine]]:
    server = grpc.aio.server()
    scripted = Scripted()
    trtllm_service_pb2_grpc.add_TrtllmServiceServicer_to_server(scripted, server)
    address = f"unix:{short_directory}/s.sock"
    server.add_insecure_port(address)
    await server.start()
    async with TrtllmEngine(address, request_timeout=5, stall_timeout=3, control_timeout=2) as engine:
        yield scripted, engine
    await server.stop(None)


def chunk(*ids: int) -> pb.GenerateResponse:
    return pb.GenerateResponse(chunk=pb.GenerateStreamChunk(token_ids=ids))


def complete(*ids: int, reason: str = "stop") -> pb.GenerateResponse:
    return pb.GenerateResponse(
        complete=pb.GenerateComplete(
            output_token_ids=ids, finish_reason=reason, prompt_tokens=1, completion_tokens=len(ids), cached_tokens=1
        )
    )


def playing(*items: pb.GenerateResponse) -> Answer:
    async def answer(message: pb.GenerateRequest, context: Any) -> AsyncIterator[pb.GenerateResponse]:
        for item in items:
            yield item

    return answer


def failing(code: grpc.StatusCode, *first: pb.GenerateResponse) -> Answer:
    async def answer(message: pb.GenerateRequest, context: Any) -> AsyncIterator[pb.GenerateResponse]:
        for item in first:
            yield item
        await context.abort(code, "internal detail: /secret/path")

    return answer


Served = tuple[Scripted, TrtllmEngine]


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([chunk(1), chunk(2, 3), complete(1, 2, 3)], [1, 2, 3]),
        ([complete(1, 2, 3)], [1, 2, 3]),
        ([chunk(1), complete(1, 2, 3)], [1, 2, 3]),
        ([chunk(1, 2, 3), complete(1, 2)], [1, 2, 3]),
        ([chunk(), chunk(1), complete(1)], [1]),
        ([complete()], []),
    ],
    ids=["deltas", "no chunks", "tail in the complete", "complete cut shorter", "empty chunk", "nothing"],
)
async def test_chunks_and_complete_make_one_sequence(
    served: Served, items: list[pb.GenerateResponse], expected: list[int]
) -> None:
    scripted, engine = served
    scripted.answer = playing(*items)
    ids, finished = await collect(engine, request("a"))
    assert ids == expected
    assert finished.cached_tokens == 1


@pytest.mark.parametrize("reason", list(FinishReason))
async def test_every_finish_reason_of_the_contract_is_understood(served: Served, reason: FinishReason) -> None:
    scripted, engine = served
    scripted.answer = playing(complete(1, reason=reason.value))
    assert (await collect(engine, request("a")))[1].reason is reason


async def test_an_empty_reason_is_an_error_and_a_strange_one_breaks_the_contract(served: Served) -> None:
    scripted, engine = served
    scripted.answer = playing(complete(1, reason=""))
    assert (await collect(engine, request("a")))[1].reason is FinishReason.ERROR
    scripted.answer = playing(complete(1, reason="not_finished"))
    with pytest.raises(Internal) as broken:
        await collect(engine, request("a"))
    assert broken.value.metadata["finish_reason"] == "not_finished"


async def test_a_stream_without_its_complete_breaks_the_contract(served: Served) -> None:
    scripted, engine = served
    scripted.answer = playing(chunk(1))
    with pytest.raises(Internal):
        await collect(engine, request("a"))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ResourceExhausted),
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (grpc.StatusCode.CANCELLED, Cancelled),
        (grpc.StatusCode.FAILED_PRECONDITION, FailedPrecondition),
        (grpc.StatusCode.UNIMPLEMENTED, FailedPrecondition),
        (grpc.StatusCode.INTERNAL, Internal),
        (grpc.StatusCode.UNKNOWN, Internal),
    ],
)
@pytest.mark.parametrize("first", [[], [chunk(1)]], ids=["at once", "mid-stream"])
async def test_statuses_become_domain_errors(
    served: Served, code: grpc.StatusCode, expected: type[PodiumError], first: list[pb.GenerateResponse]
) -> None:
    scripted, engine = served
    scripted.answer = failing(code, *first)
    with pytest.raises(expected) as failed:
        await collect(engine, request("a"))
    assert type(failed.value) is expected
    if expected in (Unavailable, ResourceExhausted):
        assert failed.value.retry_after
    assert "secret" not in failed.value.message


async def test_everything_that_matters_is_sent(served: Served) -> None:
    scripted, engine = served
    scripted.answer = playing(complete(1))
    guide = Guide(GuideKind.REGEX, "a+")
    await collect(
        engine, request("id-1", tokens=(5, 6), max_tokens=9, guide=guide, stop_token_ids=(7,), ignore_eos=True)
    )
    await collect(
        engine, request("id-2", sampling=Sampling(temperature=0.5, top_p=0.9, top_k=4, seed=3, repetition_penalty=1.1))
    )
    plain, sampled = scripted.seen
    assert plain.request_id.startswith("id-1~")
    assert (list(plain.tokenized.input_token_ids), plain.max_tokens) == ([5, 6], 9)
    assert plain.streaming
    assert plain.ignore_eos
    assert list(plain.stop_token_ids) == [7]
    assert plain.guided_decoding.guide_type == pb.GuidedDecodingParams.GUIDE_TYPE_REGEX
    assert plain.sampling_config.HasField("temperature"), "unset would mean sampling at 1.0"
    assert plain.sampling_config.temperature == 0
    config = sampled.sampling_config
    assert (config.top_k, config.seed) == (4, 3)
    assert config.top_p == pytest.approx(0.9)
    assert config.repetition_penalty == pytest.approx(1.1)


async def test_closing_or_cancelling_reaches_the_engine(served: Served) -> None:
    scripted, engine = served

    async def forever(message: pb.GenerateRequest, context: Any) -> AsyncIterator[pb.GenerateResponse]:
        while True:
            yield chunk(1)
            await asyncio.sleep(0.01)

    scripted.answer = forever
    async with contextlib.aclosing(engine.generate(request("a"))) as items:
        await anext(items)
    async with asyncio.timeout(3):
        await scripted.cancelled.wait()
    scripted.cancelled.clear()
    task = asyncio.create_task(collect(engine, request("b")))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(3):
        await scripted.cancelled.wait()


async def test_a_silent_engine_is_given_up(short_directory: Path, served: Served) -> None:
    scripted, engine = served

    async def silent(message: pb.GenerateRequest, context: Any) -> AsyncIterator[pb.GenerateResponse]:
        yield chunk(1)
        await asyncio.sleep(60)

    scripted.answer = silent
    async with TrtllmEngine(engine.address, stall_timeout=0.1) as impatient:
        with pytest.raises(Unavailable, match="stopped answering"):
            await collect(impatient, request("a"))
    async with TrtllmEngine(engine.address, request_timeout=0.2) as bounded:
        with pytest.raises(DeadlineExceeded):
            await collect(bounded, request("b"))


async def test_nobody_at_the_address_is_unavailable_at_once(short_directory: Path) -> None:
    async with TrtllmEngine(f"unix:{short_directory}/nobody.sock") as engine:
        async with asyncio.timeout(3):
            with pytest.raises(Unavailable) as failed:
                await collect(engine, request("a"))
            with pytest.raises(Unavailable):
                await engine.probe()
            await engine.abort("a")
        assert failed.value.retry_after


async def test_health_is_read_from_the_answer_not_from_the_status(served: Served) -> None:
    scripted, engine = served
    assert (await engine.probe()).backend == "tensorrt-llm"
    scripted.health = "the engine is on fire"
    with pytest.raises(Unavailable):
        await engine.probe()


async def test_a_damaged_tokenizer_is_noticed(served: Served) -> None:
    scripted, engine = served
    assert (await engine.tokenizer()).vocab_size == 10
    scripted.digest = "0" * 64
    with pytest.raises(Internal):
        await engine.tokenizer()


async def test_an_archive_without_the_files_is_refused(served: Served) -> None:
    scripted, engine = served
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("other.txt", "x")
    scripted.archive = buffer.getvalue()
    scripted.digest = hashlib.sha256(scripted.archive).hexdigest()
    with pytest.raises(InvalidRequest):
        await engine.tokenizer()


async def test_an_engine_without_tokenizer_says_what_to_do(short_directory: Path) -> None:
    server = grpc.aio.server()
    trtllm_service_pb2_grpc.add_TrtllmServiceServicer_to_server(trtllm_service_pb2_grpc.TrtllmServiceServicer(), server)
    address = f"unix:{short_directory}/smg.sock"
    server.add_insecure_port(address)
    await server.start()
    async with TrtllmEngine(address) as engine:
        with pytest.raises(FailedPrecondition, match="settings"):
            await engine.tokenizer()
    await server.stop(None)


async def test_a_full_host_tells_when_to_come_back(short_directory: Path) -> None:
    world = FakeWorld(step_seconds=0.005)
    async with (
        fake_host(world, short_directory, max_active=1, max_waiting=1) as address,
        TrtllmEngine(address) as engine,
    ):
        running = [asyncio.create_task(collect(engine, request(f"r{n}", max_tokens=200))) for n in range(2)]
        await asyncio.sleep(0.1)
        with pytest.raises(ResourceExhausted) as refused:
            await collect(engine, request("late"))
        assert refused.value.reason == "OVERLOADED"
        assert refused.value.retry_after
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_deltas_gather_under_load_and_nothing_is_lost(short_directory: Path) -> None:
    world = FakeWorld(step_seconds=0.001)
    async with fake_host(world, short_directory, flush_interval=0.03) as address, TrtllmEngine(address) as engine:
        results = await asyncio.gather(*(_count(engine, f"r{number}", first=number * 100) for number in range(4)))
    for number, (ids, deltas) in enumerate(results):
        assert ids == [number * 100 + index + 1 for index in range(90)]
        assert deltas < 45


async def _count(engine: TrtllmEngine, name: str, *, first: int) -> tuple[list[int], int]:
    ids: list[int] = []
    deltas = 0
    async for item in engine.generate(request(name, tokens=(first,), max_tokens=90, ignore_eos=True)):
        if hasattr(item, "token_ids"):
            ids.extend(item.token_ids)
            deltas += 1
    return ids, deltas


async def test_warming_skips_guides_that_are_refused(short_directory: Path) -> None:
    world = FakeWorld()
    async with fake_host(world, short_directory) as address, TrtllmEngine(address) as engine:
        await engine.warm([Guide(GuideKind.REGEX, "(?=a)"), Guide(GuideKind.REGEX, "abc")], token_id=5)
    assert [handle.spec.guide.text for handle in world.handles if handle.spec.guide] == ["abc"]
