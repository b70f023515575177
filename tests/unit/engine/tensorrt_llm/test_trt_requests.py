"""One request at the engine: submit, deltas, stops, ends, aborts. Numbered after the reference's test plan."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from typing import Any

import grpc
import grpc.aio
import pytest
from smg_grpc_proto.generated import trtllm_service_pb2 as pb

from podium.engine.backend import EngineState, HostDescription
from podium.engine.job import SamplingSpec
from podium.engine.requests import RequestReader
from podium.engine.servicer import EngineServicer
from podium.engine.tensorrt_llm.capabilities import capabilities
from podium.engine.tensorrt_llm.model import TensorRtModel
from podium.engine.tensorrt_llm.options import TensorRtOptions
from podium.errors import AlreadyExists, Internal, InvalidRequest, ResourceExhausted, Unavailable
from podium.inference.engine import FinishReason
from unit.engine.tensorrt_llm import trtllm_harness
from unit.engine.tensorrt_llm.trtllm_harness import Collected, job, released, running_engine, until

trt = trtllm_harness.trt
trt_model = trtllm_harness.trt_model

PROMPT = (100,)
SAMPLED = SamplingSpec(temperature=1.0)


def script(trt: Any, tokens: list[int], **rest: Any) -> None:
    import tensorrt_llm._control as control

    trt.script(PROMPT, control.Script(tokens=tokens, **rest))


def submits(trt: Any) -> list[Any]:
    """Every submit but the canary's."""
    return [made for made in trt.calls.submits if made.arguments["cache_salt"] != "podium:canary"]


@pytest.mark.parametrize("kind", ["ValueError", "TypeError", "AssertionError", "IndexError"])
async def test_t2_a_refused_submit_is_the_requests_fault_and_takes_no_slot(
    trt: Any, trt_model: TensorRtModel, kind: str
) -> None:
    async with running_engine(trt_model, max_in_flight=1) as (engine, _):
        trt.faults.submit_error = f"{kind}: secret prompt text"
        sink = Collected()
        engine.submit(job(), sink)
        await sink.ended()
        assert isinstance(sink.error, InvalidRequest)
        assert "secret" not in sink.error.message
        await released(engine)
        trt.faults.submit_error = ""
        again = Collected()
        engine.submit(job(), again)
        await again.ended()
        assert again.error is None
        assert engine.state is EngineState.READY


async def test_t2_an_engine_that_shuts_down_fails_everything(trt: Any, trt_model: TensorRtModel) -> None:
    async with running_engine(trt_model) as (engine, states):
        trt.faults.submit_error = "RuntimeError: LLM is shutting down"
        sink = Collected()
        engine.submit(job(), sink)
        await states.until(EngineState.FAILED)
        assert isinstance(sink.error, Unavailable)
        assert sink.error.retry_after


@pytest.mark.parametrize("steps", [1, 4])
async def test_t3_t4_deltas_are_exact_for_interleaved_sequences(trt: Any, trt_model: TensorRtModel, steps: int) -> None:
    trt.settings.tokens_per_step = steps
    sequences = [[11, 12, 13, 14, 15], [21, 22], [31, 32, 33, 34, 35, 36, 37, 38]]
    script(trt, [], sequences=sequences)
    async with running_engine(trt_model) as (engine, _):
        sink = Collected()
        engine.submit(job(sequences=3, max_tokens=20, sampling=SAMPLED), sink)
        await sink.ended(3)
        assert [sink.ids(index) for index in range(3)] == [[*ids, 2] for ids in sequences], "EOS stays the last id"
        assert sink.finishes == [FinishReason.STOP] * 3


@pytest.mark.parametrize("include", [False, True])
async def test_t5_a_shrinking_list_gives_no_duplicate_and_no_negative_delta(
    trt: Any, trt_model: TensorRtModel, include: bool
) -> None:
    script(trt, [11, 12, 13, 14])
    async with running_engine(trt_model) as (engine, _):
        sink = Collected()
        engine.submit(job(stop_token_ids=frozenset({13}), include_stop=include, max_tokens=9), sink)
        await sink.ended()
        assert sink.ids() == ([11, 12, 13] if include else [11, 12])
        assert sink.finishes == [FinishReason.STOP]
        assert sink.outputs[-1].matched_stop == 13


@pytest.mark.parametrize("interval", [1, 4, 20])
async def test_t6_the_stream_interval_changes_nothing_but_the_pieces(
    trt: Any, trt_model: TensorRtModel, interval: int
) -> None:
    script(trt, list(range(10, 40)))
    async with running_engine(trt_model, stream_interval=interval) as (engine, _):
        sink = Collected()
        engine.submit(job(max_tokens=50), sink)
        await sink.ended()
        assert sink.ids() == [*range(10, 40), 2]


async def test_t8_t9_t10_each_request_has_settings_of_its_own_with_every_length_set(
    trt: Any, trt_model: TensorRtModel
) -> None:
    async with running_engine(trt_model) as (engine, _):
        for number in range(3):
            sink = Collected()
            engine.submit(job(f"r{number}", max_tokens=40, ignore_eos=True), sink)
            await sink.ended()
            assert len(sink.ids()) == 40, "not the engine's default of 32"
            assert sink.finishes == [FinishReason.LENGTH]
        assert [made.sampling["max_tokens"] for made in submits(trt)] == [40] * 3
        assert all(made.sampling["detokenize"] is False for made in submits(trt))
        assert all(made.streaming for made in submits(trt))
    assert trt.calls.misuses == []


async def test_t12_a_stop_id_is_found_although_ignore_eos_drops_it_at_the_engine(
    trt: Any, trt_model: TensorRtModel
) -> None:
    async with running_engine(trt_model) as (engine, _):
        free = Collected()
        engine.submit(job("free", max_tokens=30, ignore_eos=True), free)
        await free.ended()
        stop = free.ids()[5]
        trt.settings.tokens_per_second = 200.0
        sink = Collected()
        engine.submit(job("b", max_tokens=200, ignore_eos=True, stop_token_ids=frozenset({stop})), sink)
        await sink.ended()
        assert sink.ids() == free.ids()[: free.ids().index(stop)]
        await released(engine)
        assert len(trt.calls.aborts) == 1, "it must not decode on"
        assert trt.calls.kv_held == 0


@pytest.mark.parametrize("when", ["before the first item", "while it streams"])
async def test_t15_t17_an_abort_ends_the_stream_at_once_and_frees_the_cache(
    trt: Any, trt_model: TensorRtModel, when: str
) -> None:
    trt.settings.tokens_per_second = 100.0
    async with running_engine(trt_model) as (engine, _):
        sink = Collected()
        trt.faults.prefill_seconds = 5.0 if when.startswith("before") else 0.0
        engine.submit(job(max_tokens=200, ignore_eos=True), sink)
        if when.startswith("before"):
            await until(lambda: len(submits(trt)) == 1)
        else:
            await sink.until(lambda: len(sink.ids()) >= 2)
        started = time.monotonic()
        assert engine.abort("a")
        assert engine.abort("a"), "a second abort is harmless"
        await sink.ended()
        assert time.monotonic() - started < 0.5
        assert sink.finishes == [FinishReason.CANCELLED]
        trt.faults.prefill_seconds = 0.0
        await released(engine)
        assert len(trt.calls.aborts) == 1
        await until(lambda: trt.calls.kv_held == 0)
        assert not engine.abort("a"), "it is unknown by now"


async def test_t15_an_abort_that_comes_with_the_submit_never_reaches_the_engine(
    trt: Any, trt_model: TensorRtModel
) -> None:
    async with running_engine(trt_model) as (engine, _):
        sink = Collected()
        engine.submit(job(max_tokens=200, ignore_eos=True), sink)
        engine.abort("a")
        await sink.ended()
        await released(engine)
        assert sink.finishes == [FinishReason.CANCELLED]


async def test_t16_a_deadline_ends_the_request_as_timeout_and_aborts_it(trt: Any, trt_model: TensorRtModel) -> None:
    trt.settings.tokens_per_second = 50.0
    async with running_engine(trt_model) as (engine, _):
        sink = Collected()
        engine.submit(job(max_tokens=200, ignore_eos=True, deadline=time.monotonic() + 0.2), sink)
        await sink.ended()
        assert sink.finishes == [FinishReason.TIMEOUT]
        await released(engine)
        assert len(trt.calls.aborts) == 1


async def test_t18_an_abort_that_is_never_answered_is_given_up(trt: Any, trt_model: TensorRtModel) -> None:
    trt.settings.tokens_per_second = 100.0
    async with running_engine(trt_model, abort_limit=0.2) as (engine, _):
        sink = Collected()
        script(trt, [11], finish="hang")
        trt.faults.abort_ignored = True
        engine.submit(job(max_tokens=200), sink)
        await sink.until(lambda: bool(sink.ids()))
        engine.abort("a")
        await sink.ended()
        started = time.monotonic()
        await released(engine)
        assert time.monotonic() - started < 2
        assert engine.stats.unanswered_aborts == 1


async def test_t19_t20_a_request_error_fails_one_stream_only_and_is_not_iterated_again(
    trt: Any, trt_model: TensorRtModel
) -> None:
    trt.settings.tokens_per_second = 200.0
    script(trt, [11, 12], error="secret of one request")
    async with running_engine(trt_model) as (engine, _):
        bad, good = Collected(), Collected()
        engine.submit(job("bad"), bad)
        engine.submit(job("good", prompt=(101,), max_tokens=20, ignore_eos=True), good)
        await bad.ended()
        await good.ended()
        assert isinstance(bad.error, Internal)
        assert "secret" not in bad.error.message
        assert len(good.ids()) == 20
        await released(engine)
        assert engine.state is EngineState.READY


@pytest.mark.parametrize(
    ("finish", "expected"), [("timeout", FinishReason.TIMEOUT), ("not_finished", None), ("odd_reason", None)]
)
async def test_t40_the_engines_finish_reasons(
    trt: Any, trt_model: TensorRtModel, finish: str, expected: FinishReason | None
) -> None:
    script(trt, [11], finish=finish)
    async with running_engine(trt_model) as (engine, _):
        sink = Collected()
        engine.submit(job(), sink)
        await sink.ended()
        assert sink.finishes == ([] if expected is None else [expected])
        if expected is None:
            assert isinstance(sink.error, Internal)
            assert sink.error.metadata["finish_reason"] == finish
        await released(engine)
        assert engine.state is EngineState.READY


@pytest.mark.parametrize("form", ["dict", "float"])
async def test_t39_log_probabilities_in_either_form_match_the_tokens_after_the_cut(
    trt: Any, trt_model: TensorRtModel, form: str
) -> None:
    trt.settings.logprobs_form = form
    script(trt, [11, 12, 13])
    async with running_engine(trt_model) as (engine, _):
        sink = Collected()
        engine.submit(job(logprobs=1, stop_token_ids=frozenset({13})), sink)
        await sink.ended()
        made = [entry for output in sink.outputs for entry in output.logprobs or ()]
        assert [entry.token_id for entry in made] == sink.ids() == [11, 12]
        assert all(entry.logprob <= 0 for entry in made)
        assert all(len(entry.top) == (1 if form == "dict" else 0) for entry in made)


async def test_t41_nothing_keeps_a_result_alive(
    trt: Any, trt_model: TensorRtModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorrt_llm

    trt.settings.tokens_per_second = 0.0
    results: list[weakref.ref[Any]] = []
    submit = tensorrt_llm.LLM.generate_async

    def remembering(*args: Any, **kwargs: Any) -> Any:
        result = submit(*args, **kwargs)
        results.append(weakref.ref(result))
        return result

    async with running_engine(trt_model) as (engine, _):
        monkeypatch.setattr(tensorrt_llm.LLM, "generate_async", remembering)
        for number in range(200):
            sink = Collected()
            engine.submit(job(f"r{number}", max_tokens=2), sink)
            await sink.ended()
        await released(engine)
        await asyncio.sleep(0.05)
        gc.collect()
        # The dispatcher's thread may still hold its last one.
        assert len(results) == 200
        assert sum(reference() is not None for reference in results) <= 1


async def test_t42_t43_duplicate_ids_and_overload_are_refused_at_once(trt: Any, trt_model: TensorRtModel) -> None:
    trt.settings.tokens_per_second = 20.0
    async with running_engine(trt_model, max_in_flight=2) as (engine, _):
        engine.submit(job("a", max_tokens=200, ignore_eos=True), Collected())
        with pytest.raises(AlreadyExists):
            engine.submit(job("a"), Collected())
        engine.submit(job("b", max_tokens=200, ignore_eos=True), Collected())
        with pytest.raises(ResourceExhausted) as full:
            engine.submit(job("c"), Collected())
        assert full.value.retry_after


async def test_t44_the_cache_salt_is_always_set_and_never_shared(trt: Any, trt_model: TensorRtModel) -> None:
    async with running_engine(trt_model) as (engine, _):
        for name, salt in (("a", "1"), ("b", "2"), ("c", "")):
            sink = Collected()
            engine.submit(job(name, cache_salt=salt), sink)
            await sink.ended()
        salts = [made.arguments["cache_salt"] for made in trt.calls.submits]
        assert all(salts)
        assert len(set(salts)) == 4, "two tenants, those without, and the canary"


async def test_t25_t31_everything_is_submitted_from_one_thread_with_python_ints(
    trt: Any, trt_model: TensorRtModel
) -> None:
    async with running_engine(trt_model) as (engine, _):
        sinks = [Collected() for _ in range(20)]
        for number, sink in enumerate(sinks):
            engine.submit(job(f"r{number}"), sink)
        await asyncio.gather(*(sink.ended() for sink in sinks))
        assert len({made.thread for made in trt.calls.submits}) == 1
        assert all(type(token) is int for made in trt.calls.submits for token in made.prompt_token_ids)
    assert trt.calls.misuses == []


class StuckContext:
    """A call whose client reads nothing after the first message."""

    def __init__(self) -> None:
        self.written = 0
        self.code: object = None

    def time_remaining(self) -> None:
        return None

    async def write(self, message: object) -> None:
        self.written += 1
        if self.written > 1:
            await asyncio.Event().wait()

    async def abort_with_status(self, status: Any) -> None:
        self.code = status.code
        raise grpc.aio.AbortError


async def test_t41_a_reader_that_does_not_read_is_aborted(trt: Any, trt_model: TensorRtModel) -> None:
    trt.settings.tokens_per_second = 100.0
    able = capabilities(TensorRtOptions(), (1, 2, 1), max_batch_size=8)
    about = HostDescription(
        model=trt_model.files, version="1.2.1", backend="t", max_seq_len=256, max_batch_size=8, capabilities=able
    )
    async with running_engine(trt_model) as (engine, _):
        servicer = EngineServicer(
            engine,
            RequestReader(able, max_seq_len=256, vocab_size=1000),
            about,
            flush_interval=0.001,
            request_limit=30.0,
            stall_limit=0.2,
        )
        wanted = pb.GenerateRequest(
            request_id="slow",
            tokenized=pb.TokenizedInput(input_token_ids=[100]),
            max_tokens=200,
            streaming=True,
            ignore_eos=True,
        )
        context = StuckContext()
        with pytest.raises(grpc.aio.AbortError):
            await servicer.Generate(wanted, context)
        assert context.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        await released(engine)
        assert len(trt.calls.aborts) == 1
