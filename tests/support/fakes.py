"""Fake tools, models and an orchestrator around them."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from podium.errors import NotFound
from podium.inference.scripted import ScriptedModel, ScriptFile
from podium.orchestration.chat import ChatEvent, ChatModel, ChatRequest, ModelInfo, TokenCount
from podium.orchestration.limits import CallGate, ConcurrencyLimits
from podium.orchestration.long_results import LongResults
from podium.orchestration.orchestrator import Orchestrator, OrchestratorLimits
from podium.orchestration.tool import ToolInvocation, ToolResult, ToolSpec
from podium.store.memory import MemoryRunStore
from support.virtual_time import virtual_clock_ns

ToolBody = Callable[[dict[str, Any]], Awaitable[Any]]


class FakeTools:
    """A catalogue and executor over coroutine functions of the arguments."""

    def __init__(self, types: dict[str, str] | None = None, **bodies: ToolBody) -> None:
        self._bodies = bodies
        self._types = types or {}
        self.running = 0
        self.most_running = 0
        self.invocations: list[ToolInvocation] = []

    def list(self) -> Sequence[ToolSpec]:
        return [
            ToolSpec(name=n, description=n, input_schema={"type": "object"}, type=self._types.get(n, "general"))
            for n in sorted(self._bodies)
        ]

    def get(self, name: str) -> ToolSpec | None:
        return next((spec for spec in self.list() if spec.name == name), None)

    async def invoke(self, invocation: ToolInvocation) -> ToolResult:
        self.invocations.append(invocation)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            result = await self._bodies[invocation.tool](json.loads(invocation.arguments_json))
        finally:
            self.running -= 1
        return ToolResult(result_json=json.dumps(result).encode())


class FakeModels:
    """A catalogue of models."""

    def __init__(self, *models: ChatModel) -> None:
        self._models = {model.name: model for model in models}
        self.default = models[0].name

    def get(self, name: str) -> ChatModel:
        try:
            return self._models[name or self.default]
        except KeyError:
            raise NotFound("no such model", resource_type="podium.v1.Model", resource_name=name) from None

    def list(self) -> Sequence[ChatModel]:
        return list(self._models.values())

    def for_tenant(self, tenant: str) -> FakeModels:
        return self


class FunctionModel:
    """A model that is an async generator function."""

    def __init__(self, stream: Callable[[ChatRequest], AsyncIterator[ChatEvent]], name: str = "function") -> None:
        self.name = name
        self._stream = stream
        self.requests: list[ChatRequest] = []

    async def info(self) -> ModelInfo:
        return ModelInfo(name=self.name, kind="scripted", ready=True)

    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        return TokenCount(len(request.messages), exact=False)

    def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        self.requests.append(request)
        return self._stream(request)


def scripted(*turns: dict[str, Any]) -> ScriptedModel:
    """Return a model that plays these turns for any request."""
    return ScriptedModel("scripted", ScriptFile.model_validate({"scripts": [{"turns": list(turns)}]}))


def call(tool: str, at_ms: float = 0, **arguments: Any) -> dict[str, Any]:
    """Return a scripted call."""
    return {"at_ms": at_ms, "call": tool, "arguments": arguments}


def text(words: str, at_ms: float = 0) -> dict[str, Any]:
    """Return scripted text."""
    return {"at_ms": at_ms, "text": words}


def sleeping(seconds: float, result: Any = "done") -> ToolBody:
    """Return a tool body that takes some (virtual) time."""

    async def body(_arguments: dict[str, Any]) -> Any:
        await asyncio.sleep(seconds)
        return result

    return body


def make_orchestrator(
    model: ChatModel,
    tools: FakeTools,
    concurrency: ConcurrencyLimits | None = None,
    *,
    long_results: LongResults | None = None,
    **limits: Any,
) -> Orchestrator:
    """Return an orchestrator in virtual time with predictable run ids."""
    counter = itertools.count(1)
    return Orchestrator(
        models=FakeModels(model),
        tools=tools,
        executor=tools,
        store=MemoryRunStore(),
        gate=CallGate(concurrency or ConcurrencyLimits()),
        new_run_id=lambda: f"run_{next(counter):026d}",
        limits=OrchestratorLimits(**limits),
        long_results=long_results,
        clock_ns=virtual_clock_ns,
    )
