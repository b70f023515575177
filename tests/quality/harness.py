"""Puts the cases to a chat model and notes what it does, and how long it takes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from podium.errors import PodiumError
from podium.orchestration.chat import ChatModel, ChatRequest, TextDelta, ToolCallSealed, UserMessage
from podium.orchestration.tool import ToolSpec
from quality.cases import Case
from quality.scoring import Outcome

__all__ = ["ask", "ask_all", "embedded_model"]


async def ask(model: ChatModel, case: Case, tools: Sequence[ToolSpec]) -> Outcome:
    """Put one request; the clock stops at the last sealed call, or at the first word of a direct answer."""
    request = ChatRequest(messages=[UserMessage(case.request)], tools=tools, max_tokens=8)
    calls: list[tuple[str, Mapping[str, Any]]] = []
    error, began = "", time.perf_counter()
    stopped = began
    try:
        async with aclosing(model.stream(request)) as events:  # type: ignore[type-var]
            async for event in events:
                if isinstance(event, ToolCallSealed):
                    calls.append((event.tool, json.loads(event.arguments_json)))
                    stopped = time.perf_counter()
                elif isinstance(event, TextDelta):
                    stopped = time.perf_counter()
                    break
    except PodiumError as problem:
        error = problem.message
        stopped = time.perf_counter()
    return Outcome(case, tuple(calls), stopped - began, error)


async def ask_all(model: ChatModel, cases: Sequence[Case], packs: Mapping[str, Sequence[ToolSpec]]) -> list[Outcome]:
    """Put all requests, one after another, so that each one's time is its own."""
    for tools in packs.values():
        # The index of a tool set is made once, at start in the product: it is no part of a request.
        await ask(model, Case("hello", "", ()), tools)
    return [await ask(model, case, packs[case.pack]) for case in cases]


@asynccontextmanager
async def embedded_model(tools: Sequence[ToolSpec] = ()) -> AsyncIterator[ChatModel]:
    """Start an engine host of our own over the pulled model, and yield the chat model on it, ready."""
    from podium.inference.embedded import EmbeddedModel
    from podium.inference.model_store import ModelStore

    stored = await asyncio.to_thread(ModelStore().pull)
    async with EmbeddedModel("embedded", stored.path, tools=tools) as model:
        async with asyncio.timeout(120):
            while not model.ready:  # noqa: ASYNC110  it offers callers no event to wait for
                await asyncio.sleep(0.1)
        yield model
