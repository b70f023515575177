"""The chat models that `bench_inference` measures, made as the application makes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from bench.fake_openai_process import MODEL
from podium.inference.dialects import detect
from podium.inference.engine_chat import EngineChatModel
from podium.inference.engine_pool import EnginePool
from podium.inference.http.client import HttpEndpoint
from podium.inference.http.egress import EgressPolicy
from podium.inference.http.openai_chat import OpenAIChatModel
from podium.orchestration.chat import ChatModel


@asynccontextmanager
async def engine_model(name: str, address: str) -> AsyncIterator[ChatModel]:
    """A model whose engine listens at an address."""
    async with EnginePool([address]) as engine:
        seen = await engine.probe()
        tokenizer = await engine.tokenizer()
        template = tokenizer.chat_template
        dialect = detect(template.source if template else "", seen.model_id, tokenizer.special_ids)
        yield EngineChatModel(
            engine, tokenizer, dialect, name=name, context_length=seen.max_seq_len, features=seen.features
        )


@asynccontextmanager
async def upstream_model(name: str, url: str) -> AsyncIterator[ChatModel]:
    """A model behind an OpenAI-compatible server on this machine."""
    endpoint = HttpEndpoint(name, url, policy=EgressPolicy())
    async with aclosing(endpoint):
        yield OpenAIChatModel(name, MODEL, endpoint)
