"""Responses in any order and shape: what the client makes of them."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from smg_grpc_proto.generated import trtllm_service_pb2 as pb

from podium.errors import PodiumError
from podium.inference.engine import EngineRequest, FinishReason, TokenDelta, TokensFinished
from podium.inference.engine_messages import OutputAssembler
from support.fake_engine_server import chunk, complete, in_band_error

IDS = st.lists(st.integers(0, 9), max_size=30)
STOPS = st.frozensets(st.integers(0, 9), max_size=2)


def wanted(stops: frozenset[int] = frozenset(), *, include: bool = False) -> EngineRequest:
    return EngineRequest(
        request_id="a", token_ids=(1,), max_tokens=99, stop_token_ids=tuple(stops), include_stop_token=include
    )


def play(assembler: OutputAssembler, responses: list[Any]) -> list[TokenDelta | TokensFinished]:
    """Feed responses as the client does: until the first end."""
    items: list[TokenDelta | TokensFinished] = []
    for response in responses:
        items += assembler.feed(response)
        if items and isinstance(items[-1], TokensFinished):
            return items
    return items


@given(ids=IDS, cuts=st.sets(st.integers(0, 30)), shown=st.integers(0, 30), stops=STOPS, include=st.booleans())
def test_however_the_output_is_cut_into_messages_it_reads_the_same(
    ids: list[int], cuts: set[int], shown: int, stops: frozenset[int], include: bool
) -> None:
    """`shown` ids come in chunks, the rest with the complete; stops end it wherever they fall."""
    shown = min(shown, len(ids))
    edges = [0, *sorted(cut for cut in cuts if cut < shown), shown]
    responses = [chunk(*ids[start:end]) for start, end in itertools.pairwise(edges)]
    items = play(OutputAssembler(wanted(stops, include=include)), [*responses, complete(*ids, reason="length")])

    at = next((index for index, token in enumerate(ids) if token in stops), None)
    expected = ids if at is None else ids[: at + include]
    *deltas, last = items
    assert isinstance(last, TokensFinished)
    assert all(isinstance(delta, TokenDelta) and delta.token_ids for delta in deltas)
    assert [token for delta in deltas for token in delta.token_ids] == expected  # type: ignore[union-attr]
    assert last.completion_tokens == len(expected)
    assert last.reason is (FinishReason.LENGTH if at is None else FinishReason.STOP)
    assert last.stop_token_id == (None if at is None else ids[at])


@given(ids=IDS, kept=st.integers(0, 30))
def test_a_complete_cut_short_takes_nothing_back(ids: list[int], kept: int) -> None:
    items = play(OutputAssembler(wanted()), [chunk(*ids), complete(*ids[:kept])])
    given_out = [token for item in items if isinstance(item, TokenDelta) for token in item.token_ids]
    assert given_out == ids
    assert isinstance(items[-1], TokensFinished)
    assert items[-1].completion_tokens == len(ids)


RESPONSES = st.one_of(
    st.builds(lambda ids, index: chunk(*ids, index=index), IDS, st.integers(0, 2)),
    st.builds(
        lambda ids, reason, index: complete(*ids, reason=reason, index=index),
        IDS,
        st.sampled_from(["stop", "length", "cancelled", "", "stop_word", "not_finished", "x" * 500]),
        st.integers(0, 2),
    ),
    st.builds(in_band_error, st.integers(0, 2**31 - 1)),
    st.binary(max_size=60),
)


@given(st.lists(RESPONSES, max_size=12), STOPS)
def test_whatever_comes_is_items_or_a_typed_error(responses: list[Any], stops: frozenset[int]) -> None:
    messages = []
    for response in responses:
        if isinstance(response, bytes):
            with contextlib.suppress(DecodeError):
                messages.append(pb.GenerateResponse.FromString(response))
        else:
            messages.append(response)
    items: list[TokenDelta | TokensFinished] = []
    with contextlib.suppress(PodiumError):
        items = play(OutputAssembler(wanted(stops)), messages)
    assert all(item.token_ids for item in items if isinstance(item, TokenDelta))
    assert sum(isinstance(item, TokensFinished) for item in items) <= 1
