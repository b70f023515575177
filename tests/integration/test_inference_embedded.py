"""`InferenceServicer` over the embedded model and its own engine host: token ids, counting."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from engine_fixtures import embedded_model  # noqa: F401  a fixture
from podium.errors import InvalidRequest
from podium.inference.embedded import EmbeddedModel
from podium.orchestration.orchestrator import Submitter
from podium.rpc.caller import Caller
from podium.rpc.inference_service import InferenceServicer
from podium.v1 import inference_pb2 as pb
from support.fakes import FakeModels

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(240), pytest.mark.xdist_group("embedded")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedded(embedded_model: Path) -> AsyncIterator[EmbeddedModel]:  # noqa: F811
    changed = asyncio.Event()
    async with EmbeddedModel("embedded", embedded_model, on_change=lambda _: changed.set()) as model:
        async with asyncio.timeout(200):
            while not model.ready:
                await changed.wait()
                changed.clear()
        yield model


def service(model: EmbeddedModel) -> InferenceServicer:
    models = FakeModels(model)
    caller = Caller(Submitter(owner="me"), 30.0)
    return InferenceServicer(models, lambda: caller, token_model={"embedded": model}.get)


async def answer(model: EmbeddedModel, **fields: Any) -> tuple[list[int], pb.GenerateFinished]:
    parts = [part async for part in service(model).Generate(pb.GenerateRequest(**fields), None)]
    assert {part.WhichOneof("part") for part in parts[:-1]} <= {"tokens"}
    return [token for part in parts for token in part.tokens.ids], parts[-1].finished


@pytest.mark.asyncio(loop_scope="module")
async def test_real_tokens_by_ids(embedded: EmbeddedModel) -> None:
    """The same prompt gives the same ids; limits, stops and schemas hold; the engine's refusals pass."""
    tokenizer = await embedded._engine.tokenizer()  # type: ignore[union-attr]
    prompt = tokenizer.encode_chat([{"role": "user", "content": "Name three colours."}])
    ids, finished = await answer(embedded, token_ids=prompt, max_tokens=12)
    again, _ = await answer(embedded, token_ids=prompt, max_tokens=12)
    assert (len(ids), ids) == (12, again)
    assert finished.usage.prompt_tokens == len(prompt)
    assert finished.usage.completion_tokens == 12
    assert finished.timings.HasField("first_output")
    stopped, _ = await answer(embedded, token_ids=prompt, max_tokens=12, stop_token_ids=[ids[5]])
    assert stopped == ids[: ids.index(ids[5])]
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    bound, _ = await answer(embedded, token_ids=prompt, max_tokens=32, json_schema=json.dumps(schema))
    decoder = tokenizer.detokenizer()
    # The engine writes as many blanks as it likes, and may be cut before the last bracket.
    assert re.fullmatch(r'\{"n":[12]\}?', "".join((decoder.push(bound) + decoder.finish()).split()))
    with pytest.raises(InvalidRequest):
        await answer(embedded, token_ids=[10_000_000], max_tokens=4)
    listed = await service(embedded).ListModels(pb.ListModelsRequest(), None)
    assert listed.models[0].token_input


@pytest.mark.asyncio(loop_scope="module")
async def test_a_prompt_is_counted_as_it_is_sent(embedded: EmbeddedModel) -> None:
    message = pb.ChatMessage(role=pb.CHAT_ROLE_USER, text="Name three colours.")
    counted = await service(embedded).CountTokens(pb.CountTokensRequest(messages=[message]), None)
    asked = pb.GenerateRequest(messages=[message], max_tokens=2)
    parts = [part async for part in service(embedded).Generate(asked, None)]
    assert (counted.exact, counted.tokens) == (True, parts[-1].finished.usage.prompt_tokens)
