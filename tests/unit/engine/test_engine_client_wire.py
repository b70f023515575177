"""What the engine client sends, and how it bears the ways in which servers differ."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from smg_grpc_proto.generated import trtllm_service_pb2 as pb

import engine_fixtures
from engine_fixtures import collect, request
from podium.errors import (
    AlreadyExists,
    DeadlineExceeded,
    Internal,
    InvalidRequest,
    PodiumError,
    ResourceExhausted,
    Unavailable,
)
from podium.inference.engine import FinishReason, Guide, GuideKind, Sampling, TokenDelta
from podium.inference.engine_client import TrtllmEngine
from podium.inference.engine_messages import HINTS, cache_salt_id, generate_request
from support.fake_engine_server import (
    FakeEngine,
    Job,
    chunk,
    complete,
    decoding,
    failing,
    idle_after,
    in_band_error,
    playing,
    prefilling,
    raw_response,
    serving,
)

short_directory = engine_fixtures.short_directory
Served = tuple[FakeEngine, TrtllmEngine]


@pytest.fixture
async def served(short_directory: Path) -> AsyncIterator[Served]:
    fake = FakeEngine()
    async with serving(fake, f"unix:{short_directory}/e.sock") as address, TrtllmEngine(address) as engine:
        yield fake, engine


# What is sent.


async def test_every_sampling_value_is_sent_and_an_unset_one_is_not(served: Served) -> None:
    fake, engine = served
    fake.behaviour = playing(complete(1))
    sampling = Sampling(
        temperature=0.5,
        top_p=0.75,
        top_k=4,
        seed=2**63,
        repetition_penalty=1.5,
        presence_penalty=-0.5,
        frequency_penalty=0.25,
        min_p=0.125,
    )
    await collect(engine, request("all", sampling=sampling))
    await collect(engine, request("none"))
    everything, nothing = (message.sampling_config for message in fake.messages)
    for name in ("temperature", "top_p", "top_k", "seed", "repetition_penalty", "presence_penalty", "min_p"):
        assert getattr(everything, name) == getattr(sampling, name)
    assert everything.frequency_penalty == 0.25
    sent = {field.name for field, _ in nothing.ListFields()}
    # Unset, the first two would mean sampling at 1.0.
    assert sent == {"temperature", "top_p", "beam_width", "num_return_sequences"}
    assert all(message.max_tokens == 8 and message.streaming for message in fake.messages)


async def test_the_stop_token_and_structural_tags_are_asked_for(served: Served) -> None:
    fake, engine = served
    fake.behaviour = playing(complete(1))
    guide = Guide(GuideKind.STRUCTURAL_TAG, '{"structures": []}')
    await collect(engine, request("a", include_stop_token=True, guide=guide))
    await collect(engine, request("b"))
    first, second = fake.messages
    assert first.include_stop_token_in_output
    assert first.guided_decoding.guide_type == pb.GuidedDecodingParams.GUIDE_TYPE_STRUCTURAL_TAG
    assert not second.include_stop_token_in_output
    assert not second.HasField("guided_decoding")


HINTED: dict[str, Any] = {"cache_salt": "tenant", "retain_seconds": 2.5, "priority": 0.75}


async def test_hints_go_to_servers_that_name_them_and_features_are_asked_for_once(served: Served) -> None:
    fake, engine = served
    fake.behaviour = playing(complete(1))
    await collect(engine, request("plain"))
    assert fake.model_asked == 0, "nobody waits for what they do not need"
    await asyncio.gather(*(collect(engine, request(f"r{n}", **HINTED)) for n in range(4)))
    assert fake.model_asked == 1
    assert not any(m.HasField("cache_salt_id") or m.HasField("kv_cache_retention") for m in fake.messages)
    fake.features = ("cache_salt", "kv_cache_retention", "priority", "abort")
    await engine.probe()
    await collect(engine, request("hinted", tokens=(1, 2, 3), **HINTED))
    message = fake.messages[-1]
    assert message.cache_salt_id == cache_salt_id("tenant")
    assert message.kv_cache_retention.policy == "token_ranges"
    retention = json.loads(message.kv_cache_retention.config_json)
    assert retention["request_priority"] == 0.75
    (span,) = retention["token_range_retention_configs"]
    assert (span["token_start"], span["token_end"], span["duration_ms"]) == (0, 3, 2500)
    assert span["priority"] > 35, "more than TensorRT-LLM gives a block by itself"


@pytest.mark.parametrize("hints", [True, False])
async def test_whoever_makes_the_client_may_decide_about_hints(short_directory: Path, hints: bool) -> None:
    fake = FakeEngine(playing(complete(1)))
    fake.features = () if hints else ("cache_salt", "kv_cache_retention", "priority")
    async with (
        serving(fake, f"unix:{short_directory}/e.sock") as address,
        TrtllmEngine(address, hints=hints) as engine,
    ):
        await engine.probe()
        await collect(engine, request("a", **HINTED))
    assert fake.messages[0].HasField("cache_salt_id") is hints
    assert fake.messages[0].HasField("kv_cache_retention") is hints


async def test_a_server_that_does_not_describe_its_model_gets_no_hints(served: Served) -> None:
    fake, engine = served
    fake.unimplemented.add("GetModelInfo")
    await collect(engine, request("a", **HINTED))
    assert not fake.messages[0].HasField("cache_salt_id")


def sent_retention(**hints: Any) -> Any:
    message = generate_request(request("a", **hints), "w", HINTS)
    return json.loads(message.kv_cache_retention.config_json) if message.HasField("kv_cache_retention") else None


def test_hints_stay_within_what_hosts_accept() -> None:
    assert sent_retention(priority=7.0) == {"token_range_retention_configs": [], "request_priority": 1.0}
    assert sent_retention(retain_seconds=1e9)["token_range_retention_configs"][0]["duration_ms"] == 86_400_000
    assert sent_retention(retain_seconds=1e-9)["token_range_retention_configs"][0]["duration_ms"] == 1
    assert sent_retention(retain_seconds=0) is None
    assert sent_retention() is None
    with pytest.raises(InvalidRequest):
        sent_retention(priority=float("nan"))


def test_salts_have_the_same_signed_id_in_every_process() -> None:
    assert cache_salt_id("tenant-a") == 6994903606963124815
    ids = {cache_salt_id(f"tenant-{n}") for n in range(1000)}
    assert len(ids) == 1000
    assert all(-(2**63) <= salt < 2**63 for salt in ids)
    assert min(ids) < 0 < max(ids)


@pytest.mark.parametrize(
    "broken",
    [
        {"tokens": (-1,)},
        {"tokens": (2**32,)},
        {"tokens": ("secret",)},
        {"max_tokens": -5},
        {"sampling": Sampling(top_k=2**40)},
        {"stop_token_ids": (-3,)},
    ],
    ids=str,
)
async def test_values_that_the_wire_cannot_hold_are_refused_unsent(served: Served, broken: dict[str, Any]) -> None:
    fake, engine = served
    with pytest.raises(InvalidRequest) as refused:
        await collect(engine, request("a", **broken))
    assert "secret" not in refused.value.message
    assert not fake.jobs
    await collect(engine, request("a"))


async def test_a_request_over_32_mib_is_refused_and_one_below_arrives(served: Served) -> None:
    fake, engine = served
    fake.behaviour = playing(complete(1))
    with pytest.raises(InvalidRequest, match="32 MiB"):
        await collect(engine, request("a", guide=Guide(GuideKind.EBNF, "x" * (32 << 20))))
    assert not fake.jobs
    await collect(engine, request("a", guide=Guide(GuideKind.EBNF, "x" * (31 << 20))))
    assert len(fake.jobs) == 1


async def test_a_response_over_32_mib_is_not_worth_a_retry(served: Served) -> None:
    fake, engine = served
    # Its own sending limit keeps this server from it, as trtllm-serve's does.
    fake.behaviour = playing(complete(*([2**31] * (7 << 20))))
    with pytest.raises(InvalidRequest, match="larger"):
        await collect(engine, request("a"))


async def test_no_two_generations_share_an_id_on_the_wire(served: Served) -> None:
    """A late abort of the first must not meet the second, and servers mix up equal ids."""
    fake, engine = served
    fake.behaviour = decoding
    for _ in range(5):
        async with contextlib.aclosing(engine.generate(request("same"))) as items:
            await anext(items)
            with pytest.raises(AlreadyExists):
                await collect(engine, request("same"))
    await fake.wait_for(lambda: len(fake.aborts) == 5)
    assert len(fake.jobs) == 5
    assert sorted(fake.aborts) == sorted(fake.jobs)
    assert not fake.duplicates


async def test_long_ids_stay_within_what_hosts_accept(served: Served) -> None:
    fake, engine = served
    await collect(engine, request("x" * 500))
    await collect(engine, request(""))
    assert all(1 <= len(wire_id) <= 256 for wire_id in fake.jobs)


# What comes back.


@pytest.mark.parametrize(
    ("responses", "ids", "counted"),
    [
        ([chunk(1), chunk(2, 3), complete(1, 2)], [1, 2, 3], 3),
        ([chunk(1, 2), complete(1, 2, completion_tokens=5)], [1, 2], 5),
        ([chunk(1, 2), complete(1, 2, completion_tokens=0)], [1, 2], 2),
        ([complete(9, 8, index=1), chunk(7, index=1), chunk(1), complete(1)], [1], 1),
        ([raw_response(b""), chunk(1), raw_response(b"\x28\x01"), complete(1)], [1], 1),
    ],
    ids=["cut shorter", "engine counts more", "no count", "other sequences", "unknown responses"],
)
async def test_forms_of_a_good_answer(served: Served, responses: list[Any], ids: list[int], counted: int) -> None:
    fake, engine = served
    fake.behaviour = playing(*responses)
    got, finished = await collect(engine, request("a"))
    assert (got, finished.completion_tokens, finished.reason) == (ids, counted, FinishReason.STOP)


@pytest.mark.parametrize(
    ("responses", "include", "ids"),
    [
        ([chunk(1), chunk(2, 50), complete(1, 2, 50)], False, [1, 2]),
        ([chunk(1), chunk(2, 50), complete(1, 2, 50)], True, [1, 2, 50]),
        ([complete(1, 2, 50, 3)], False, [1, 2]),
        ([chunk(1, 50, 3, 4), chunk(5), chunk(6), complete(1, 50, 3, 4, 5, 6, reason="length")], False, [1]),
        ([chunk(1, 50, 3, 4), complete(1, 50, 3, 4, reason="length")], True, [1, 50]),
    ],
    ids=["kept", "wanted", "complete only", "ignored", "ignored and wanted"],
)
async def test_a_stop_ends_the_output_also_where_the_engine_keeps_or_ignores_it(
    served: Served, responses: list[Any], include: bool, ids: list[int]
) -> None:
    fake, engine = served
    fake.behaviour = playing(*responses)
    got, finished = await collect(engine, request("a", stop_token_ids=(50, 60), include_stop_token=include))
    assert got == ids
    assert (finished.reason, finished.stop_token_id) == (FinishReason.STOP, 50)
    assert finished.completion_tokens == len(ids)


async def test_an_engine_that_goes_on_behind_a_stop_is_aborted(served: Served) -> None:
    fake, engine = served
    fake.behaviour = decoding
    ids, finished = await collect(engine, request("a", stop_token_ids=(3,)))
    assert (ids, finished.reason) == ([0, 1, 2], FinishReason.STOP)
    await fake.wait_for(lambda: bool(fake.aborts))
    assert not fake.live


async def test_the_matched_stop_is_told(served: Served) -> None:
    fake, engine = served
    fake.behaviour = playing(chunk(1), complete(1, matched_token_id=77))
    assert (await collect(engine, request("a")))[1].stop_token_id == 77
    fake.behaviour = playing(chunk(1), complete(1, matched_stop_str="word"))
    assert (await collect(engine, request("a")))[1].stop_token_id is None


async def test_the_first_forms_word_for_a_stop_is_understood(served: Served) -> None:
    fake, engine = served
    fake.behaviour = playing(complete(1, reason="stop_word"))
    assert (await collect(engine, request("a")))[1].reason is FinishReason.STOP


@pytest.mark.parametrize(
    ("code", "expected"),
    [(400, InvalidRequest), (429, ResourceExhausted), (503, Unavailable), (500, Internal), (0, Internal)],
)
@pytest.mark.parametrize("first", [(), (chunk(1),)], ids=["at once", "mid-stream"])
async def test_errors_inside_the_stream_are_typed(
    served: Served, code: int, expected: type[PodiumError], first: tuple[Any, ...]
) -> None:
    fake, engine = served
    fake.behaviour = playing(*first, in_band_error(code))
    with pytest.raises(PodiumError) as failed:
        await collect(engine, request("a"))
    assert type(failed.value) is expected
    assert "secret" not in failed.value.message + str(failed.value.metadata)
    assert not fake.aborts, "the engine ended it itself"


async def test_a_damaged_error_inside_the_stream_is_an_error_all_the_same(served: Served) -> None:
    fake, engine = served
    fake.behaviour = playing(raw_response(b"\x22\x02\x18\x80"))
    with pytest.raises(Internal):
        await collect(engine, request("a"))


async def test_a_complete_that_is_missing_is_internal(served: Served) -> None:
    fake, engine = served
    fake.behaviour = playing(chunk(1), complete(1, index=1))
    with pytest.raises(Internal):
        await collect(engine, request("a"))


def rich(text: str, domain: str) -> Any:
    info = error_details_pb2.ErrorInfo(reason="INVALID_REQUEST", domain=domain)
    violation = error_details_pb2.BadRequest(
        field_violations=[error_details_pb2.BadRequest.FieldViolation(field="max_tokens", description=text)]
    )
    details = []
    for part in (info, violation):
        packed = any_pb2.Any()
        packed.Pack(part)
        details.append(packed)
    return rpc_status.to_status(
        status_pb2.Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message=text, details=details)
    )


@pytest.mark.parametrize("ours", [True, False])
async def test_only_our_own_host_speaks_to_callers(served: Served, ours: bool) -> None:
    fake, engine = served

    async def refusing(engine: FakeEngine, job: Job) -> AsyncIterator[Any]:
        await job.context.abort_with_status(rich("at most 9", "podium.v1" if ours else "example.com"))
        yield

    fake.behaviour = refusing
    with pytest.raises(InvalidRequest) as refused:
        await collect(engine, request("a"))
    assert ("at most 9" in refused.value.message) is ours
    assert [v.field for v in refused.value.violations] == (["max_tokens"] if ours else [])


@pytest.mark.parametrize("details", [b"\xff\xff", status_pb2.Status(code=13, message="x").SerializeToString()])
async def test_damaged_details_leave_the_status(served: Served, details: bytes) -> None:
    fake, engine = served

    async def refusing(engine: FakeEngine, job: Job) -> AsyncIterator[Any]:
        job.context.set_trailing_metadata((("grpc-status-details-bin", details),))
        await job.context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
        yield

    fake.behaviour = refusing
    with pytest.raises(Unavailable) as refused:
        await collect(engine, request("a"))
    assert refused.value.retry_after


# Time, and ends.


async def test_the_first_token_and_the_gaps_have_limits_of_their_own(short_directory: Path) -> None:
    fake = FakeEngine(prefilling)
    async with serving(fake, f"unix:{short_directory}/e.sock") as address:
        async with TrtllmEngine(address, first_token_timeout=0.05, stall_timeout=30) as engine:
            with pytest.raises(Unavailable, match="stopped answering"):
                await collect(engine, request("first"))
        fake.behaviour = idle_after(2)
        async with TrtllmEngine(address, first_token_timeout=30, stall_timeout=0.05) as engine:
            items = engine.generate(request("gap"))
            assert [await anext(items), await anext(items)] == [TokenDelta((0,)), TokenDelta((1,))]
            with pytest.raises(Unavailable, match="stopped answering"):
                await anext(items)
        assert len(fake.aborts) == 2, "an engine that is given up is told"
        assert not fake.live


async def test_a_reader_that_takes_its_time_is_no_stall_of_the_engine(short_directory: Path) -> None:
    fake = FakeEngine(playing(chunk(1), chunk(2), chunk(3), complete(1, 2, 3)))
    async with (
        serving(fake, f"unix:{short_directory}/e.sock") as address,
        TrtllmEngine(address, first_token_timeout=5, stall_timeout=0.2) as engine,
    ):
        ids: list[int] = []
        async with contextlib.aclosing(engine.generate(request("a"))) as items:
            async for item in items:
                if isinstance(item, TokenDelta):
                    ids += item.token_ids
                await asyncio.sleep(0.3)  # longer than the engine may take
        assert ids == [1, 2, 3]


async def test_the_deadline_ends_a_stream_that_never_rests(short_directory: Path) -> None:
    fake = FakeEngine(decoding)
    async with (
        serving(fake, f"unix:{short_directory}/e.sock") as address,
        TrtllmEngine(address, request_timeout=0.2) as engine,
    ):
        with pytest.raises(DeadlineExceeded):
            await collect(engine, request("a"))
        await fake.wait_for(lambda: not fake.live)


async def test_a_server_that_does_not_notice_cancels_is_told_by_abort(short_directory: Path) -> None:
    fake = FakeEngine(decoding, deaf=True)
    async with serving(fake, f"unix:{short_directory}/e.sock") as address:
        engine = TrtllmEngine(address)
        async with contextlib.aclosing(engine.generate(request("left"))) as items:
            await anext(items)
        await fake.wait_for(lambda: not fake.live)
        suspended = engine.generate(request("suspended"))
        await anext(suspended)
        assert len(fake.live) == 1
        await engine.aclose()
        assert not fake.live, "closing waits until the engine knows"
        await suspended.aclose()
        await engine.aclose()


async def test_no_abort_follows_a_generation_that_ended(served: Served) -> None:
    fake, engine = served
    await collect(engine, request("a"))
    fake.behaviour = failing(grpc.StatusCode.INTERNAL, chunk(1))
    with pytest.raises(Internal):
        await collect(engine, request("b"))
    await engine.abort("a")
    await engine.abort("never")
    await engine.aclose()
    assert not fake.aborts


async def test_a_server_without_abort_is_cancelled_all_the_same(served: Served) -> None:
    fake, engine = served
    fake.unimplemented.add("Abort")
    fake.behaviour = decoding
    async with contextlib.aclosing(engine.generate(request("a"))) as items:
        await anext(items)
    async with asyncio.timeout(10):
        await next(iter(fake.jobs.values())).cancelled.wait()
    await engine.abort("a")
    assert not fake.aborts


async def test_closing_the_client_fails_its_readers_without_cancelling_them(served: Served) -> None:
    fake, engine = served
    fake.behaviour = prefilling
    reading = asyncio.create_task(collect(engine, request("a")))
    await fake.wait_for(lambda: bool(fake.live))
    await engine.aclose()
    with pytest.raises(Unavailable, match="closed"):
        await reading
    for after in (collect(engine, request("b")), engine.probe()):
        with pytest.raises(Unavailable, match="closed"):
            await after


async def test_a_restarted_server_is_found_again(short_directory: Path) -> None:
    address = f"unix:{short_directory}/e.sock"
    async with TrtllmEngine(address) as engine:
        fake = FakeEngine(decoding)
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(serving(fake, address))
            items = engine.generate(request("a"))
            await anext(items)
        with pytest.raises(Unavailable) as gone:
            await _drain(items)
        assert gone.value.retry_after
        async with serving(FakeEngine(), address), asyncio.timeout(10):
            while True:
                with contextlib.suppress(Unavailable):
                    ids, _ = await collect(engine, request("a", tokens=(5,), max_tokens=2))
                    break
        assert ids == [6, 7]


async def test_an_engine_that_does_not_tell_its_length_says_zero(served: Served) -> None:
    fake, engine = served
    fake.max_seq_len = 0
    assert (await engine.probe()).max_seq_len == 0


async def _drain(items: AsyncIterator[object]) -> None:
    async for _ in items:
        continue
