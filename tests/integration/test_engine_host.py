"""The real engine host, a process around the embedded model, with real tokens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import psutil
import pytest
from smg_grpc_proto.generated import common_pb2, trtllm_service_pb2_grpc
from smg_grpc_proto.generated import trtllm_service_pb2 as pb

import engine_fixtures
from engine_fixtures import RunningHost, collect, request, start_host, stop_host, wait_for_host
from podium.errors import Unavailable
from podium.inference.engine import FinishReason, Guide, GuideKind, Sampling, TokenDelta
from podium.inference.engine_client import TrtllmEngine
from podium.inference.supervisor import EngineHostSupervisor, HostState
from podium.inference.tokenizer import Tokenizer

pytestmark = pytest.mark.embedded

embedded_model = engine_fixtures.embedded_model
embedded_host = engine_fixtures.embedded_host
embedded_engine = engine_fixtures.embedded_engine
embedded_tokenizer = engine_fixtures.embedded_tokenizer
short_directory = engine_fixtures.short_directory


@pytest.fixture
async def stub(embedded_host: RunningHost) -> AsyncIterator[trtllm_service_pb2_grpc.TrtllmServiceStub]:
    async with grpc.aio.insecure_channel(embedded_host.address) as channel:
        yield trtllm_service_pb2_grpc.TrtllmServiceStub(channel)


def chat(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode_chat([{"role": "user", "content": text}])


async def test_the_model_answers_in_words(embedded_engine: TrtllmEngine, embedded_tokenizer: Tokenizer) -> None:
    ids, finished = await collect(
        embedded_engine,
        request("a", tokens=chat(embedded_tokenizer, "Write a two-line poem about rain."), max_tokens=80),
    )
    assert "rain" in embedded_tokenizer.decode(ids)
    assert finished.reason is FinishReason.STOP
    assert ids[-1] == embedded_tokenizer.eos_token_id, "the end of sequence stays as the last id"


async def test_what_repeats_its_prompt_takes_fewer_steps(
    embedded_engine: TrtllmEngine, embedded_tokenizer: Tokenizer
) -> None:
    """Tokens that followed the same ones before are guessed and checked several at once."""
    prompt = embedded_tokenizer.encode("\n".join(["one fish two fish red fish blue fish"] * 4) + "\none fish two")
    asked = request("a", tokens=prompt, max_tokens=32, ignore_eos=True)
    deltas = [item async for item in embedded_engine.generate(asked) if isinstance(item, TokenDelta)]
    tokens = [token for delta in deltas for token in delta.token_ids]
    assert embedded_tokenizer.decode(tokens).startswith(" fish red fish blue fish")
    assert len(tokens) == 32
    assert len(deltas) < len(tokens)


async def test_guides_of_every_kind_shape_the_output(
    embedded_engine: TrtllmEngine, embedded_tokenizer: Tokenizer
) -> None:
    prompt = chat(embedded_tokenizer, "Name an animal and its legs.")
    schema = {
        "type": "object",
        "properties": {"animal": {"enum": ["cat", "hen"]}, "legs": {"type": "integer", "minimum": 2, "maximum": 4}},
        "required": ["animal", "legs"],
        "additionalProperties": False,
    }
    guides = {
        "json": Guide(GuideKind.JSON_SCHEMA, json.dumps(schema)),
        "regex": Guide(GuideKind.REGEX, "(cat|hen) with [24] legs"),
        "ebnf": Guide(GuideKind.EBNF, 'root ::= animal " " [24]\nanimal ::= "cat" | "hen"'),
    }
    results = await asyncio.gather(
        *(collect(embedded_engine, request(k, tokens=prompt, max_tokens=60, guide=g)) for k, g in guides.items())
    )
    texts = {k: embedded_tokenizer.decode(ids) for k, (ids, _) in zip(guides, results, strict=True)}
    assert set(json.loads(texts["json"])) == {"animal", "legs"}
    assert re.fullmatch("(cat|hen) with [24] legs", texts["regex"])
    assert re.fullmatch("(cat|hen) [24]", texts["ebnf"])


async def test_log_probabilities_are_the_models_own_whatever_shapes_the_output(
    embedded_engine: TrtllmEngine, embedded_tokenizer: Tokenizer
) -> None:
    """A guide that leaves no choice, a temperature or penalties do not change them."""
    prompt = chat(embedded_tokenizer, "Why is the sky blue?")

    async def told(name: str, **how: Any) -> list[tuple[int, float]]:
        wanted = request(name, tokens=prompt, max_tokens=2, logprobs=True, **how)
        items = [item async for item in embedded_engine.generate(wanted) if isinstance(item, TokenDelta)]
        return [pair for item in items for pair in zip(item.token_ids, item.logprobs, strict=True)]

    free = await told("free")
    guide = Guide(GuideKind.REGEX, re.escape(embedded_tokenizer.decode([token for token, _ in free])) + "[ a-z]{1,9}")
    shaped = [
        await told("guided", guide=guide),
        await told("cold", guide=guide, sampling=Sampling(temperature=0.1, seed=1)),
        await told("penalised", guide=guide, sampling=Sampling(repetition_penalty=1.5)),
    ]
    assert -3 < sum(value for _, value in free) < -0.1, "the model is not certain, so a mask would show"
    for pairs in shaped:
        # Another number format of the cached prompt may move a logit by its last place.
        assert pairs == [(token, pytest.approx(value, abs=0.3)) for token, value in free]
    forced = await told("forced", guide=Guide(GuideKind.REGEX, "zebra cage"))
    # The rest of a word is likely once it is begun.
    assert forced[0][1] < -2, "what only the guide wanted stays unlikely"


async def test_a_seed_repeats_a_sample_and_another_seed_does_not(embedded_engine: TrtllmEngine) -> None:
    def sampled(name: str, seed: int | None) -> object:
        return collect(
            embedded_engine,
            request(name, max_tokens=16, ignore_eos=True, sampling=Sampling(temperature=1.0, seed=seed)),
        )

    (one, _), (same, _), (other, _), (free, _), (free_again, _) = await asyncio.gather(
        sampled("a", 5), sampled("b", 5), sampled("c", 6), sampled("d", None), sampled("e", None)
    )  # type: ignore[misc]
    assert one == same
    assert one != other
    assert free != free_again


async def test_streaming_and_not_streaming_bring_the_same_ids(stub: trtllm_service_pb2_grpc.TrtllmServiceStub) -> None:
    def message(name: str, *, streaming: bool) -> pb.GenerateRequest:
        return pb.GenerateRequest(
            request_id=name,
            tokenized=pb.TokenizedInput(input_token_ids=[504, 1977]),
            sampling_config=pb.SamplingConfig(temperature=0),
            max_tokens=12,
            streaming=streaming,
            ignore_eos=True,
        )

    streamed = [item async for item in stub.Generate(message("a", streaming=True), timeout=30)]
    whole = [item async for item in stub.Generate(message("b", streaming=False), timeout=30)]
    chunks = [list(item.chunk.token_ids) for item in streamed[:-1]]
    assert [item.WhichOneof("response") for item in streamed] == ["chunk"] * len(chunks) + ["complete"]
    assert [token for ids in chunks for token in ids] == list(streamed[-1].complete.output_token_ids), (
        "chunks are deltas, the complete repeats all"
    )
    assert [item.chunk.completion_tokens for item in streamed[:-1]][-1] == 12
    assert len(whole) == 1
    assert whole[0].complete.output_token_ids == streamed[-1].complete.output_token_ids
    assert whole[0].complete.finish_reason == "length"


async def test_unset_sampling_means_sampling_on_this_wire(stub: trtllm_service_pb2_grpc.TrtllmServiceStub) -> None:
    async def run(name: str) -> tuple[int, ...]:
        message = pb.GenerateRequest(
            request_id=name,
            tokenized=pb.TokenizedInput(input_token_ids=[504, 1977]),
            max_tokens=16,
            ignore_eos=True,
        )
        async for item in stub.Generate(message, timeout=30):
            return tuple(item.complete.output_token_ids)
        raise AssertionError("no answer")

    assert len({await run(f"u{number}") for number in range(3)}) > 1


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("sampling_config.beam_width", {"sampling_config": pb.SamplingConfig(beam_width=2)}),
        ("sampling_config.num_return_sequences", {"sampling_config": pb.SamplingConfig(num_return_sequences=2)}),
        ("sampling_config.top_p_decay", {"sampling_config": pb.SamplingConfig(top_p_decay=0.5)}),
        ("sampling_config.temperature", {"sampling_config": pb.SamplingConfig(temperature=-1)}),
        ("sampling_config.top_p", {"sampling_config": pb.SamplingConfig(top_p=float("nan"))}),
        ("output_config.logprobs", {"output_config": pb.OutputConfig(logprobs=1)}),
        ("output_config.return_context_logits", {"output_config": pb.OutputConfig(return_context_logits=True)}),
        ("stop", {"stop": ["x"]}),
        ("bad_token_ids", {"bad_token_ids": [1]}),
        ("embedding_bias", {"embedding_bias": [0.5]}),
        ("lora_config", {"lora_config": pb.LoraConfig(task_id=1)}),
        ("cache_salt_id", {"cache_salt_id": 1}),
        ("stop_token_ids", {"stop_token_ids": [49152]}),
        ("max_tokens", {"max_tokens": 0}),
        ("request_id", {"request_id": ""}),
        ("guided_decoding.guide_type", {"guided_decoding": pb.GuidedDecodingParams(guide_type=5, guide="x")}),
        ("tokenized.input_token_ids", {"tokenized": pb.TokenizedInput(input_token_ids=[49152])}),
        ("tokenized.query_token_ids", {"tokenized": pb.TokenizedInput(input_token_ids=[1], query_token_ids=[1])}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_cannot_be_honoured_is_refused_by_name(
    stub: trtllm_service_pb2_grpc.TrtllmServiceStub, field: str, change: dict[str, object]
) -> None:
    values: dict[str, object] = {
        "request_id": "a",
        "tokenized": pb.TokenizedInput(input_token_ids=[504]),
        "max_tokens": 4,
        **change,
    }
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Generate(pb.GenerateRequest(**values), timeout=10).read()  # type: ignore[arg-type]
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in (refused.value.details() or "")


async def test_the_host_says_what_it_is(stub: trtllm_service_pb2_grpc.TrtllmServiceStub) -> None:
    model = await stub.GetModelInfo(pb.GetModelInfoRequest(), timeout=5)
    server = await stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=5)
    assert (await stub.HealthCheck(pb.HealthCheckRequest(), timeout=5)).status == "OK"
    assert (model.max_seq_len, model.vocab_size, model.num_layers) == (8192, 49152, 30)
    assert server.backend == "openvino"
    for call in (
        stub.Embed(pb.EmbedRequest(), timeout=5),
        stub.SubscribeKvEvents(common_pb2.SubscribeKvEventsRequest(), timeout=5).read(),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_the_tokenizer_that_the_host_hands_out_is_the_models(
    embedded_engine: TrtllmEngine, embedded_tokenizer: Tokenizer
) -> None:
    fetched = await embedded_engine.tokenizer()
    text = "Convert 12.5 km to miles; naïve 日本 😀 <|im_end|>"
    assert fetched.encode(text) == embedded_tokenizer.encode(text)
    assert fetched.chat_template is not None


async def test_closing_early_really_stops_the_engine(embedded_host: RunningHost, embedded_engine: TrtllmEngine) -> None:
    process = psutil.Process(embedded_host.process.pid)
    async with contextlib.aclosing(embedded_engine.generate(request("a", max_tokens=4000, ignore_eos=True))) as items:
        await anext(items)
    await asyncio.sleep(0.5)
    before = sum(process.cpu_times()[:2])
    await asyncio.sleep(1.0)
    assert sum(process.cpu_times()[:2]) - before < 0.2, "an idle host burns no processor time"


async def test_warming_makes_the_first_use_of_a_guide_quick(
    embedded_engine: TrtllmEngine,
) -> None:
    guide = Guide(GuideKind.JSON_SCHEMA, json.dumps({"enum": [f"Area/Place_{n}_{n * 7}" for n in range(900)]}))
    await embedded_engine.warm([guide, Guide(GuideKind.REGEX, "(?=x)")])
    started = time.monotonic()
    await collect(embedded_engine, request("a", max_tokens=1, guide=guide))
    assert time.monotonic() - started < 2.0


async def test_many_at_once_all_finish(embedded_engine: TrtllmEngine) -> None:
    results = await asyncio.gather(
        *(
            collect(embedded_engine, request(f"m{n}", tokens=(504, 1977 + n), max_tokens=8, ignore_eos=True))
            for n in range(48)
        )
    )
    assert all(len(ids) == 8 for ids, _ in results)


async def test_the_host_has_no_network_socket(embedded_host: RunningHost, embedded_engine: TrtllmEngine) -> None:
    await collect(embedded_engine, request("a"))
    process = psutil.Process(embedded_host.process.pid)
    assert process.net_connections(kind="inet") == []


def test_the_host_ends_with_its_parents_pipe_and_leaves_no_telemetry_behind(
    embedded_model: Path, short_directory: Path, tmp_path: Path
) -> None:
    host = start_host(embedded_model, short_directory, environment={"HOME": str(tmp_path)})
    wait_for_host(host)
    # OpenVINO's telemetry writes ~/intel when it is merely imported, before it sends anything.
    assert list(tmp_path.iterdir()) == []
    assert (short_directory / "engine.sock").exists()
    started = time.monotonic()
    stop_host(host)
    assert time.monotonic() - started < 12
    assert host.process.returncode == 0
    assert not (short_directory / "engine.sock").exists()


@pytest.mark.parametrize("arguments", [["--model", "/nowhere"], ["--model", "/nowhere", "--engine", "tensorrt_llm"]])
def test_a_host_that_cannot_run_says_why_and_ends_with_2(arguments: list[str], short_directory: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "podium.engine", "--listen", f"unix:{short_directory}/e.sock", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "ERROR" in done.stderr
    assert "Traceback" not in done.stderr


async def test_the_supervisor_brings_a_host_up_niced_and_takes_it_down(embedded_model: Path) -> None:
    states: list[HostState] = []
    async with EngineHostSupervisor(embedded_model, on_change=lambda status: states.append(status.state)) as supervisor:
        await supervisor.wait_ready(50)
        pid = supervisor.status.pid
        assert pid is not None
        assert psutil.Process(pid).nice() == 10
        socket = Path(supervisor.address.removeprefix("unix:"))
        assert socket.parent.stat().st_mode & 0o777 == 0o700
        async with TrtllmEngine(supervisor.address) as engine:
            ids, _ = await collect(engine, request("a", max_tokens=3, ignore_eos=True))
            assert len(ids) == 3
    assert states == [HostState.READY, HostState.STOPPED]
    assert not psutil.pid_exists(pid)
    assert not socket.parent.exists()


async def test_a_supervised_host_that_cannot_run_is_failed_with_the_reason(tmp_path: Path) -> None:
    async with EngineHostSupervisor(tmp_path) as supervisor:
        with pytest.raises(Unavailable, match="cannot run as configured"):
            await supervisor.wait_ready(30)
        assert supervisor.status.state is HostState.FAILED
