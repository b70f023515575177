"""The TensorRT-LLM host on its wire: what `trtllm.TrtllmService` promises, with the fake package behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from smg_grpc_proto.generated import common_pb2, trtllm_service_pb2_grpc
from smg_grpc_proto.generated import trtllm_service_pb2 as pb

import engine_fixtures
from engine_fixtures import collect, request
from podium.engine.tensorrt_llm.model import TensorRtModel
from podium.errors import Cancelled, PodiumError, Unavailable
from podium.inference.engine import FinishReason, TokensFinished
from podium.inference.engine_client import TrtllmEngine
from unit.engine.tensorrt_llm import trtllm_harness
from unit.engine.tensorrt_llm.trtllm_harness import running_host, until

short_directory = engine_fixtures.short_directory
trt = trtllm_harness.trt
trt_model = trtllm_harness.trt_model

Guided = pb.GuidedDecodingParams


class Wire:
    """Hosts of one test, and a stub for the last one."""

    def __init__(self, model: TensorRtModel, directory: Path) -> None:
        self._model = model
        self._directory = directory
        self.address = ""

    @contextlib.asynccontextmanager
    async def serving(self, options: dict[str, Any] | None = None, **arguments: Any) -> AsyncIterator[Any]:
        async with (
            running_host(self._model, self._directory, options=options, **arguments) as self.address,
            grpc.aio.insecure_channel(self.address) as channel,
        ):
            yield trtllm_service_pb2_grpc.TrtllmServiceStub(channel)


@pytest.fixture
def wire(trt: Any, trt_model: TensorRtModel, short_directory: Path) -> Wire:
    return Wire(trt_model, short_directory)


def message(name: str = "a", **values: Any) -> Any:
    given: dict[str, Any] = {
        "tokenized": pb.TokenizedInput(input_token_ids=[100]),
        "max_tokens": 8,
        "streaming": True,
        **values,
    }
    return pb.GenerateRequest(request_id=name, **given)


async def test_several_sequences_stream_beside_each_other(trt: Any, wire: Wire) -> None:
    import tensorrt_llm._control as control

    trt.script((100,), control.Script(sequences=[[11, 12, 13], [21], [31, 32]]))
    async with wire.serving() as stub:
        call = stub.Generate(message(sampling_config=pb.SamplingConfig(num_return_sequences=3)), timeout=10)
        chunks: dict[int, list[int]] = {}
        completes: dict[int, list[int]] = {}
        async for item in call:
            if item.WhichOneof("response") == "chunk":
                assert item.chunk.sequence_index not in completes, "nothing follows a sequence's complete"
                ids = chunks.setdefault(item.chunk.sequence_index, [])
                ids += item.chunk.token_ids
                assert item.chunk.completion_tokens == len(ids)
            else:
                assert item.complete.sequence_index not in completes
                completes[item.complete.sequence_index] = list(item.complete.output_token_ids)
        assert chunks == completes == {0: [11, 12, 13, 2], 1: [21, 2], 2: [31, 32, 2]}


async def test_t7_without_streaming_there_is_one_message(wire: Wire) -> None:
    async with wire.serving() as stub:
        wanted = message(streaming=False, ignore_eos=True)
        items = [item async for item in stub.Generate(wanted, timeout=10)]
        assert [item.WhichOneof("response") for item in items] == ["complete"]
        assert len(items[0].complete.output_token_ids) == 8


async def test_log_probabilities_come_with_chunks_and_complete(wire: Wire) -> None:
    async with wire.serving() as stub:
        wanted = message(output_config=pb.OutputConfig(logprobs=1), ignore_eos=True)
        items = [item async for item in stub.Generate(wanted, timeout=10)]
        complete = items[-1].complete
        assert [entry.token_id for entry in complete.logprobs] == list(complete.output_token_ids)
        streamed = [entry for item in items[:-1] for entry in item.chunk.logprobs]
        assert streamed == list(complete.logprobs)


async def test_t36_unset_sampling_means_sampling_and_zero_means_greedy(trt: Any, wire: Wire) -> None:
    async with wire.serving() as stub:
        await stub.Generate(message("unset"), timeout=10).read()
        await stub.Generate(message("zero", sampling_config=pb.SamplingConfig(temperature=0)), timeout=10).read()
        unset, zero = (made.sampling for made in trt.calls.submits[-2:])
        assert (unset["temperature"], unset["top_p"]) == (1.0, 1.0)
        assert (zero["temperature"], zero["top_k"]) == (0.0, 1)


@pytest.mark.parametrize(
    ("code", "values"),
    [
        ("FAILED_PRECONDITION", {"sampling_config": pb.SamplingConfig(repetition_penalty=1.1)}),
        ("FAILED_PRECONDITION", {"sampling_config": pb.SamplingConfig(presence_penalty=0.5)}),
        ("FAILED_PRECONDITION", {"sampling_config": pb.SamplingConfig(seed=0)}),
        ("FAILED_PRECONDITION", {"lora_config": pb.LoraConfig(task_id=7)}),
        ("INVALID_ARGUMENT", {"lora_config": pb.LoraConfig(task_id=7, weights=b"x")}),
        ("INVALID_ARGUMENT", {"sampling_config": pb.SamplingConfig(num_return_sequences=99)}),
        ("INVALID_ARGUMENT", {"sampling_config": pb.SamplingConfig(num_return_sequences=2, temperature=0)}),
        ("INVALID_ARGUMENT", {"sampling_config": pb.SamplingConfig(beam_width=2)}),
        ("INVALID_ARGUMENT", {"sampling_config": pb.SamplingConfig(no_repeat_ngram_size=2)}),
        ("INVALID_ARGUMENT", {"output_config": pb.OutputConfig(logprobs=21)}),
        ("INVALID_ARGUMENT", {"output_config": pb.OutputConfig(prompt_logprobs=1)}),
        ("INVALID_ARGUMENT", {"stop": ["x"]}),
        ("INVALID_ARGUMENT", {"multimodal_input": pb.MultimodalInput()}),
        ("INVALID_ARGUMENT", {"kv_cache_retention": pb.KvCacheRetentionConfig(config_json="[]")}),
        ("INVALID_ARGUMENT", {"guided_decoding": Guided(guide_type=Guided.GUIDE_TYPE_JSON_SCHEMA, guide="{")}),
        ("INVALID_ARGUMENT", {"guided_decoding": Guided(guide_type=Guided.GUIDE_TYPE_STRUCTURAL_TAG, guide="{}")}),
        ("INVALID_ARGUMENT", {"tokenized": pb.TokenizedInput(input_token_ids=[1] * 256)}),
        ("INVALID_ARGUMENT", {"tokenized": pb.TokenizedInput(input_token_ids=[1000])}),
        ("INVALID_ARGUMENT", {"tokenized": pb.TokenizedInput()}),
        ("INVALID_ARGUMENT", {"max_tokens": 0}),
    ],
    ids=str,
)
async def test_t32_t34_t35_t46_what_cannot_be_honoured_never_reaches_the_engine(
    trt: Any, wire: Wire, code: str, values: dict[str, Any]
) -> None:
    async with wire.serving() as stub:
        before = len(trt.calls.submits)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Generate(message(**values), timeout=10).read()
        assert refused.value.code().name == code, refused.value.details()
        assert len(trt.calls.submits) == before


async def test_t32_a_prompt_above_one_step_needs_chunked_prefill(trt: Any, wire: Wire) -> None:
    long = message(tokenized=pb.TokenizedInput(input_token_ids=[5] * 100))
    async with wire.serving({"enable_chunked_prefill": False, "max_num_tokens": 64}) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Generate(long, timeout=10).read()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    trt.reset()
    async with wire.serving({"max_num_tokens": 64}) as stub:
        assert await stub.Generate(long, timeout=10).read()


async def test_t34_a_guide_needs_a_backend_and_loses_its_wrapper(trt: Any, wire: Wire) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
    wrapped = Guided(
        guide_type=Guided.GUIDE_TYPE_JSON_SCHEMA, guide=json.dumps({"name": "n", "schema": schema, "strict": True})
    )
    async with wire.serving({"guided_decoding_backend": None}) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Generate(message(guided_decoding=wrapped), timeout=10).read()
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "guided_decoding" not in (await stub.GetModelInfo(pb.GetModelInfoRequest())).supported_features
    trt.reset()
    async with wire.serving() as stub:
        await stub.Generate(message(guided_decoding=wrapped), timeout=10).read()
        sent = trt.calls.submits[-1]
        assert sent.guide_enforced
        assert json.loads(sent.sampling["guided_decoding"].json) == schema


async def test_the_salt_of_the_wire_reaches_the_engine(trt: Any, wire: Wire) -> None:
    async with wire.serving() as stub:
        await stub.Generate(message(cache_salt_id=-5), timeout=10).read()
        assert trt.calls.submits[-1].arguments["cache_salt"] == "podium:-5"


async def test_adapters_of_the_configuration_are_named_and_used(trt: Any, wire: Wire, tmp_path: Path) -> None:
    from tensorrt_llm import llmapi

    class LoraConfig:
        def __init__(self, **values: Any) -> None:
            self.values = values

    adapter = tmp_path / "adapter"
    adapter.mkdir()
    had = getattr(llmapi, "LoraConfig", None)
    llmapi.LoraConfig = had or LoraConfig
    try:
        async with wire.serving({"lora": {"legal": str(adapter)}}) as stub:
            features = (await stub.GetModelInfo(pb.GetModelInfoRequest())).supported_features
            number = next(int(entry.partition("=")[2]) for entry in features if entry.startswith("lora:legal="))
            await stub.Generate(message(lora_config=pb.LoraConfig(task_id=number)), timeout=10).read()
            sent = trt.calls.submits[-1].arguments["lora_request"]
            assert (sent.lora_name, sent.lora_int_id, sent.lora_path) == ("legal", number, str(adapter))
    finally:
        if had is None:
            del llmapi.LoraConfig


async def test_retention_hints_reach_the_engine(trt: Any, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorrt_llm import llmapi

    class KvCacheRetentionConfig:
        """As the bindings' class is called: positional, times as timedelta."""

        TokenRangeRetentionConfig = staticmethod(lambda *values: values)

        def __init__(self, ranges: list[Any], decode_priority: int, decode_duration: object) -> None:
            self.ranges = ranges

    monkeypatch.setattr(llmapi, "KvCacheRetentionConfig", KvCacheRetentionConfig, raising=False)
    ranges = [{"token_start": 0, "token_end": 1, "priority": 90, "duration_ms": 1500}]
    async with wire.serving() as stub:
        hints = pb.KvCacheRetentionConfig(config_json=json.dumps({"token_range_retention_configs": ranges}))
        await stub.Generate(message(kv_cache_retention=hints), timeout=10).read()
        sent = trt.calls.submits[-1].arguments["kv_cache_retention_config"]
        assert sent.ranges == [(0, 1, 90, timedelta(seconds=1.5))]
        for wrong in ({"priority": 101}, {"token_start": 1}, {"duration_ms": -1}, {"token_end": 0}):
            bad = json.dumps({"token_range_retention_configs": [{**ranges[0], **wrong}]})
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.Generate(
                    message(kv_cache_retention=pb.KvCacheRetentionConfig(config_json=bad)), timeout=10
                ).read()
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_host_says_what_it_is(wire: Wire) -> None:
    async with wire.serving({"tensor_parallel_size": 2}, max_active=5) as stub:
        model = await stub.GetModelInfo(pb.GetModelInfoRequest(), timeout=5)
        server = await stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=5)
        assert (await stub.HealthCheck(pb.HealthCheckRequest(), timeout=5)).status == "OK"
        assert (model.max_seq_len, model.vocab_size, model.max_batch_size) == (256, 1000, 5)
        assert {"guided_decoding", "cache_salt", "structural_tag"} <= set(model.supported_features)
        assert (server.backend, server.version, server.world_size) == ("tensorrt_llm", "1.2.1", 2)
        for call in (
            stub.Embed(pb.EmbedRequest(), timeout=5),
            stub.SubscribeKvEvents(common_pb2.SubscribeKvEventsRequest(), timeout=5).read(),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        async with TrtllmEngine(wire.address) as engine:
            assert (await engine.tokenizer()).eos_token_id == 2


async def test_t38_cache_events_are_streamed(wire: Wire) -> None:
    async with wire.serving({"kv_event_buffer": 1000}) as stub:
        call = stub.SubscribeKvEvents(common_pb2.SubscribeKvEventsRequest(), timeout=10)
        wanted = message(tokenized=pb.TokenizedInput(input_token_ids=list(range(10, 110))), max_tokens=2)
        async for _ in stub.Generate(wanted, timeout=10):
            continue
        seen: list[int] = []
        while len(seen) < 3:
            batch = await call.read()
            seen += [block.block_hash for event in batch.events for block in event.stored.blocks]
        call.cancel()
    assert len(set(seen)) == len(seen), "each block is told once"


async def test_abort_is_seen_by_the_engine_within_50_ms(trt: Any, wire: Wire) -> None:
    trt.settings.tokens_per_second = 200.0
    async with wire.serving(), TrtllmEngine(wire.address) as engine:
        waits: list[float] = []
        for number in range(10):
            items = engine.generate(request(f"a{number}", max_tokens=200, ignore_eos=True))
            async with contextlib.aclosing(items):
                await anext(items)
                started = time.perf_counter()
                await engine.abort(f"a{number}")
                await until(lambda number=number: len(trt.calls.aborts) == number + 1)  # type: ignore[misc]
                waits.append(time.perf_counter() - started)
                last = [item async for item in items][-1]
            assert isinstance(last, TokensFinished)
            assert last.reason is FinishReason.CANCELLED
        # Other processes of a busy machine may delay some of them.
        assert sorted(waits)[2] < 0.05, waits


async def test_t16_a_client_that_goes_away_frees_the_engine(trt: Any, wire: Wire) -> None:
    trt.settings.tokens_per_second = 100.0
    async with wire.serving():
        gone = TrtllmEngine(wire.address)
        items = gone.generate(request("a", max_tokens=200, ignore_eos=True))
        await anext(items)
        await gone.aclose()
        await until(lambda: len(trt.calls.aborts) == 1 and trt.calls.kv_held == 0)
        with contextlib.suppress(Cancelled):
            await items.aclose()


async def test_t16_a_clients_deadline_frees_the_engine(trt: Any, wire: Wire) -> None:
    trt.settings.tokens_per_second = 50.0
    async with wire.serving() as stub:
        try:
            wanted = message(max_tokens=200, ignore_eos=True, streaming=False)
            answer = await stub.Generate(wanted, timeout=0.3).read()
        except grpc.aio.AioRpcError as late:
            # The host's own end may come a moment too late.
            assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        else:
            assert answer.complete.finish_reason == "timeout"
            assert 0 < len(answer.complete.output_token_ids) < 200
        await until(lambda: trt.calls.kv_held == 0)
        assert len(trt.calls.aborts) == 1


async def test_t21_streams_of_a_dead_engine_are_unavailable(trt: Any, wire: Wire) -> None:
    trt.settings.tokens_per_second = 50.0
    async with wire.serving(), TrtllmEngine(wire.address) as engine:
        items = engine.generate(request("a", max_tokens=200, ignore_eos=True))
        async with contextlib.aclosing(items):
            await anext(items)
            trt.fail(RuntimeError("CUDA error: an illegal memory access"))
            with pytest.raises(Unavailable) as failed:
                [item async for item in items]
        assert failed.value.retry_after


async def test_a_thousand_mixed_requests_leave_nothing_behind(trt: Any, wire: Wire) -> None:
    """Finished, aborted, abandoned, refused and failed ones."""
    import tensorrt_llm._control as control

    trt.settings.tokens_per_second = 0.0
    trt.script((101,), control.Script(tokens=[5], error="one request"))
    async with wire.serving(max_waiting=400), TrtllmEngine(wire.address) as engine:
        tasks = len(asyncio.all_tasks())
        gate = asyncio.Semaphore(40)

        async def one(number: int) -> str:
            async with gate:
                name = f"m{number}"
                kind = number % 5
                try:
                    if kind == 0:
                        await collect(engine, request(name, max_tokens=4))
                    elif kind == 1:
                        await collect(engine, request(name, tokens=()))
                    elif kind == 2:
                        await collect(engine, request(name, tokens=(101,)))
                    else:
                        items = engine.generate(request(name, max_tokens=200, ignore_eos=True))
                        async with contextlib.aclosing(items):
                            await anext(items)
                            if kind == 3:
                                await engine.abort(name)
                                async for _ in items:
                                    continue
                except PodiumError as error:
                    return type(error).__name__
                return "fine"

        outcomes = await asyncio.gather(*(one(number) for number in range(1000)))
        assert outcomes.count("fine") == 600
        assert outcomes.count("InvalidRequest") == 200
        assert outcomes.count("Internal") == 200
        await until(lambda: trt.calls.kv_held == 0 and not trt.calls.live)
        await until(lambda: len(asyncio.all_tasks()) <= tasks + 3)
        # Every slot is free again.
        await collect(engine, request("last", max_tokens=2))
    assert trt.calls.misuses == []
