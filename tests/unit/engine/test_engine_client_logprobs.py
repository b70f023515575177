"""Log-probabilities on the wire: who is asked for them, and what is believed."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from smg_grpc_proto.generated import trtllm_service_pb2 as pb

import engine_fixtures
from engine_fixtures import FAKE_CONTEXT, FAKE_VOCABULARY, deltas, request
from podium.engine.host import CAPABILITIES
from podium.engine.requests import RequestReader
from podium.errors import InvalidRequest
from podium.inference.engine import TokenDelta
from podium.inference.engine_client import TrtllmEngine
from support.fake_engine_server import FakeEngine, chunk, complete, playing, serving

short_directory = engine_fixtures.short_directory
Served = tuple[FakeEngine, TrtllmEngine]


@pytest.fixture
async def served(short_directory: Path) -> AsyncIterator[Served]:
    fake = FakeEngine()
    fake.features = ("logprobs",)
    async with serving(fake, f"unix:{short_directory}/e.sock") as address, TrtllmEngine(address) as engine:
        yield fake, engine


def told(*pairs: tuple[int, float]) -> list[Any]:
    return [pb.TokenLogprob(token_id=token, logprob=value) for token, value in pairs]


async def test_only_servers_that_name_the_feature_are_asked_and_only_when_wanted(served: Served) -> None:
    fake, engine = served
    fake.behaviour = playing(complete(1))
    await deltas(engine, request("plain"))
    await deltas(engine, request("asked", logprobs=True))
    fake.features = ()
    await engine.probe()
    assert await deltas(engine, request("unable", logprobs=True)) == [TokenDelta((1,))]
    plain, asked, unable = (message.output_config for message in fake.messages)
    assert not plain.HasField("logprobs")
    assert asked.HasField("logprobs")
    assert asked.logprobs == 0, "no alternatives"
    assert not unable.HasField("logprobs")


@pytest.mark.parametrize(
    ("responses", "expected"),
    [
        (
            [
                chunk(1, 2, logprobs=told((1, -0.5), (2, -1.0))),
                chunk(3, logprobs=told((3, -2.0))),
                complete(1, 2, 3, logprobs=told((1, -0.5), (2, -1.0), (3, -2.0))),
            ],
            [TokenDelta((1, 2), (-0.5, -1.0)), TokenDelta((3,), (-2.0,))],
        ),
        ([complete(1, 2, logprobs=told((1, -0.5), (2, -1.0)))], [TokenDelta((1, 2), (-0.5, -1.0))]),
        (
            [chunk(1, logprobs=told((1, -0.5))), complete(1, 2, logprobs=told((1, -0.5), (2, -1.0)))],
            [TokenDelta((1,), (-0.5,)), TokenDelta((2,), (-1.0,))],
        ),
        ([chunk(1), complete(1)], [TokenDelta((1,))]),
        ([chunk(1), chunk(2, logprobs=told((2, -1.0))), complete(1, 2)], [TokenDelta((1,)), TokenDelta((2,), (-1.0,))]),
        ([chunk(1, 2, logprobs=told((1, -0.5))), complete(1, 2)], [TokenDelta((1, 2))]),
        ([chunk(1, logprobs=told((1, -0.5), (7, -0.5))), complete(1)], [TokenDelta((1,))]),
        ([chunk(1, logprobs=told((0, 0.0))), complete(1)], [TokenDelta((1,))]),
        ([chunk(1, logprobs=told((1, -math.inf))), complete(1)], [TokenDelta((1,))]),
        ([chunk(1, logprobs=told((1, math.nan))), complete(1)], [TokenDelta((1,))]),
        ([chunk(1, logprobs=told((1, 0.25))), complete(1)], [TokenDelta((1,), (0.0,))]),
    ],
    ids=[
        "chunks",
        "complete alone",
        "the rest in the complete",
        "none",
        "some",
        "too few",
        "too many",
        "zeros",
        "infinite",
        "no number",
        "above certainty",
    ],
)
async def test_only_values_that_fit_the_tokens_are_believed_and_others_harm_nothing(
    served: Served, responses: list[Any], expected: list[TokenDelta]
) -> None:
    fake, engine = served
    fake.behaviour = playing(*responses)
    assert await deltas(engine, request("a", logprobs=True)) == expected


async def test_what_a_server_tells_unasked_is_left_out(served: Served) -> None:
    fake, engine = served
    fake.behaviour = playing(chunk(1, logprobs=told((1, -0.5))), complete(1))
    assert await deltas(engine, request("a")) == [TokenDelta((1,))]


@pytest.mark.parametrize(
    ("kept", "expected"), [(False, TokenDelta((1,), (-0.5,))), (True, TokenDelta((1, 2), (-0.5, -1.0)))]
)
async def test_values_are_cut_where_the_ids_are(served: Served, kept: bool, expected: TokenDelta) -> None:
    fake, engine = served
    fake.behaviour = playing(chunk(1, 2, 3, logprobs=told((1, -0.5), (2, -1.0), (3, -2.0))), complete(1, 2, 3))
    asked = request("a", logprobs=True, stop_token_ids=(2,), include_stop_token=kept)
    assert await deltas(engine, asked) == [expected]


def test_the_embedded_host_tells_of_the_generated_token_and_no_alternatives() -> None:
    def read(config: Any) -> int | None:
        message = pb.GenerateRequest(
            request_id="a",
            tokenized=pb.TokenizedInput(input_token_ids=[1]),
            max_tokens=1,
            output_config=config,
        )
        return reader.read(message, 1.0).logprobs

    reader = RequestReader(CAPABILITIES, max_seq_len=FAKE_CONTEXT, vocab_size=FAKE_VOCABULARY)
    assert read(pb.OutputConfig()) is None
    assert read(pb.OutputConfig(logprobs=0)) == 0
    for wrong in (-1, 1):
        with pytest.raises(InvalidRequest, match=r"output_config\.logprobs must be 0"):
            read(pb.OutputConfig(logprobs=wrong))
