"""Fake tools, models and an orchestrator around them."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from podium.errors import NotFound
from podium.inference.scripted import ScriptedModel, ScriptFile
from podium.orchestration.budget import Budgets
from podium.orchestration.call_cache import CallCache
from podium.orchestration.chat import ChatEvent, ChatModel, ChatRequest, ModelInfo, TokenCount
from podium.orchestration.core import RunPolicy, Services
from podium.orchestration.governor import Governor, GovernorLimits
from podium.orchestration.journal import RunStore
from podium.orchestration.long_results import LongResults
from podium.orchestration.orchestrator import Orchestrator, OrchestratorLimits
from podium.orchestration.prediction import Predictor
from podium.orchestration.prediction_ledger import PredictionLedger
from podium.orchestration.prices import PriceTable
from podium.orchestration.run_log import RunObserver
from podium.orchestration.time_plan import TurnTimes
from podium.orchestration.tool import SideEffects, ToolInvocation, ToolResult, ToolSpec
from podium.orchestration.tool_times import ToolTimes
from podium.store.memory import MemoryRunStore
from support.virtual_time import virtual_clock_ns

ToolBody = Callable[[dict[str, Any]], Awaitable[Any]]


class FakeTools:
    """A catalogue and executor over coroutine functions of the arguments; without side effects unless `specs` says.

    `specs` replaces fields of the description of single tools.
    """

    def __init__(
        self, types: dict[str, str] | None = None, specs: dict[str, dict[str, Any]] | None = None, **bodies: ToolBody
    ) -> None:
        self._bodies = bodies
        self._types = types or {}
        self._specs = {name: self._spec(name, (specs or {}).get(name, {})) for name in sorted(bodies)}
        self.running = 0
        self.most_running = 0
        self.invocations: list[ToolInvocation] = []

    def _spec(self, name: str, fields: dict[str, Any]) -> ToolSpec:
        described: dict[str, Any] = {
            "name": name,
            "description": name,
            "input_schema": {"type": "object"},
            "type": self._types.get(name, "general"),
            "side_effects": SideEffects.NONE,
            **fields,
        }
        return ToolSpec(**described)

    def list(self) -> Sequence[ToolSpec]:
        return list(self._specs.values())

    def get(self, name: str) -> ToolSpec | None:
        return self._specs.get(name)

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


def loop_time() -> float:
    """The running loop's time in seconds."""
    return asyncio.get_running_loop().time()


def make_services(
    tools: FakeTools,
    concurrency: GovernorLimits | None = None,
    *,
    long_results: LongResults | None = None,
    policy: RunPolicy | None = None,
    **parts: Any,
) -> Services:
    """Return what runs share, in virtual time; `parts` replaces single ones."""
    shared: dict[str, Any] = {
        "executor": tools,
        "governor": Governor(concurrency or GovernorLimits(), clock=loop_time),
        "cache": CallCache(clock=loop_time),
        "budgets": Budgets(clock=loop_time),
        "prices": PriceTable({}),
        "predictor": Predictor(),
        "ledger": PredictionLedger(clock=loop_time),
        "tool_times": ToolTimes(),
        "turn_times": TurnTimes(),
        "policy": policy or RunPolicy(),
        "long_results": long_results,
        **parts,
    }
    return Services(**shared)


def make_orchestrator(
    model: ChatModel,
    tools: FakeTools,
    concurrency: GovernorLimits | None = None,
    *,
    long_results: LongResults | None = None,
    policy: RunPolicy | None = None,
    services: Services | None = None,
    store: RunStore | None = None,
    observers: Sequence[RunObserver] = (),
    **limits: Any,
) -> Orchestrator:
    """Return an orchestrator in virtual time with predictable run ids."""
    counter = itertools.count(1)
    return Orchestrator(
        models=FakeModels(model),
        tools=tools,
        services=services or make_services(tools, concurrency, long_results=long_results, policy=policy),
        store=store or MemoryRunStore(),
        new_run_id=lambda: f"run_{next(counter):026d}",
        limits=OrchestratorLimits(**limits),
        observers=observers,
        clock=loop_time,
        clock_ns=virtual_clock_ns,
    )
