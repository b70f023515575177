"""Everything that stands before a model keeps what the model promises: the shared suite, around each wrapper."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from podium.errors import InvalidRequest, ResourceExhausted, Unavailable
from podium.inference.catalog import DynamicModels
from podium.inference.context_window import FittedModel
from podium.inference.routing.policy import Route
from podium.inference.routing.provider_limits import LimitedModel, ProviderLimits, ProviderQuota
from podium.inference.routing.router import RoutedModel
from podium.inference.structured import StructuredModel
from podium.orchestration.chat import (
    ChatEvent,
    ChatModel,
    ChatRequest,
    ModelInfo,
    TextDelta,
    TokenCount,
    ToolCallSealed,
    TurnFinished,
    TurnFinishReason,
    Usage,
)
from podium.resilience.breakers import Breakers
from podium.resilience.guarded import GuardedModel
from support import chat_model_suite
from support.chat_model_suite import Scenario, Subject


def _call(a: int, b: int) -> ToolCallSealed:
    return ToolCallSealed("add", b'{"a": %d, "b": %d}' % (a, b))


_EVENTS: dict[Scenario, list[ChatEvent | Exception]] = {
    Scenario.TALK: [TextDelta("Hello "), TextDelta("there.")],
    Scenario.CALL: [_call(19, 21)],
    Scenario.TWO_CALLS: [_call(1, 2), _call(3, 4)],
    Scenario.ANSWER: [TextDelta("It is 40.")],
    Scenario.CUT: [TextDelta("Hello")],
    Scenario.CUT_CALL: [],
    Scenario.ENDLESS: [TextDelta("Hello")],
    Scenario.REFUSED: [InvalidRequest("there is no stop text; leave it out")],
    Scenario.BUSY: [ResourceExhausted("too many turns; try again", retry_after=1.0)],
    Scenario.DOWN: [Unavailable("the server is away; try again")],
    Scenario.BROKEN: [TextDelta("Hello"), Unavailable("the server went away; try again")],
}
_CUT = {Scenario.CUT, Scenario.CUT_CALL}


class _Backend:
    """Plays one scenario."""

    def __init__(self, scenario: Scenario, stopped: asyncio.Event) -> None:
        self.name = "m"
        self._scenario = scenario
        self._stopped = stopped

    async def info(self) -> ModelInfo:
        return ModelInfo(name="m", kind="openai", ready=True, context_length=8192)

    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        return TokenCount(sum(1 + len(getattr(m, "text", "").split()) for m in request.messages), exact=True)

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        try:
            for event in _EVENTS[self._scenario]:
                await asyncio.sleep(0)
                if isinstance(event, Exception):
                    raise event
                yield event
            if self._scenario is Scenario.ENDLESS:
                await asyncio.Event().wait()
        except (asyncio.CancelledError, GeneratorExit):
            self._stopped.set()
            raise
        calls = any(isinstance(event, ToolCallSealed) for event in _EVENTS[self._scenario])
        reason = TurnFinishReason.TOOL_CALLS if calls else TurnFinishReason.STOP
        yield TurnFinished(TurnFinishReason.LENGTH if self._scenario in _CUT else reason, Usage(3, 2))


def routed(model: ChatModel) -> ChatModel:
    breakers = Breakers()
    return RoutedModel(Route(name="best", models=("m",), retries=0), [GuardedModel(model, breakers)], breakers=breakers)


def limited(model: ChatModel) -> ChatModel:
    quota = ProviderQuota(calls_per_minute=1e6, tokens_per_minute=1e9, concurrent=4)
    return LimitedModel(model, ProviderLimits("acme", quota))


def structured(model: ChatModel) -> ChatModel:
    return StructuredModel(model)


def fitted(model: ChatModel) -> ChatModel:
    return FittedModel(model)


def catalogued(model: ChatModel) -> ChatModel:
    models = DynamicModels(Breakers())
    models.replace({"m": model}, default="m")
    return models.get("")


def together(model: ChatModel) -> ChatModel:
    return routed(catalogued(fitted(structured(limited(model)))))


@pytest.mark.parametrize("check", chat_model_suite.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("wrap", [routed, limited, structured, fitted, catalogued, together])
async def test_contract(wrap: Callable[[ChatModel], ChatModel], check: chat_model_suite.Check) -> None:
    @asynccontextmanager
    async def factory(scenario: Scenario) -> AsyncIterator[Subject]:
        stopped = asyncio.Event()
        yield Subject(model=wrap(_Backend(scenario, stopped)), stopped=stopped)

    await check(factory)
