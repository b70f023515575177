"""Models whose behaviour is set by the test, for the routing tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from podium.errors import Unavailable
from podium.inference.routing.latency import LatencyBook
from podium.inference.routing.policy import Route
from podium.inference.routing.router import RoutedModel
from podium.orchestration.chat import (
    ChatEvent,
    ChatRequest,
    ModelInfo,
    TextDelta,
    TokenCount,
    TurnFinished,
    TurnFinishReason,
    Usage,
    UserMessage,
)
from podium.resilience.breaker import BreakerPolicy
from podium.resilience.breakers import Breakers
from podium.resilience.guarded import GuardedModel

REQUEST = ChatRequest(messages=[UserMessage("hi")], max_tokens=10)


class Hang(Exception):
    """In a plan: give no output."""


class PlannedModel:
    """Gives, turn by turn, what its plan says: an error to raise, or pieces of text; the last is repeated."""

    def __init__(self, name: str, *plan: Any, seconds: float = 0.0, tokens: int | Exception = 5, **info: Any) -> None:
        self.name = name
        self.plan = list(plan) or [["from ", name]]
        self.seconds = seconds
        self.tokens = tokens
        self.exact = True
        self.described: dict[str, Any] = {"kind": "openai", "ready": True, **info}
        self.requests: list[ChatRequest] = []
        self.open = 0
        self.counted = 0

    async def info(self) -> ModelInfo:
        return ModelInfo(name=self.name, **self.described)

    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        self.counted += 1
        if isinstance(self.tokens, Exception):
            raise self.tokens
        return TokenCount(self.tokens, exact=self.exact)

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        self.requests.append(request)
        step = self.plan[min(len(self.requests), len(self.plan)) - 1]
        self.open += 1
        try:
            if self.seconds:
                await asyncio.sleep(self.seconds)
            if step is Hang:
                await asyncio.Event().wait()
            pieces: Sequence[Any] = step if isinstance(step, list) else [step]
            for piece in pieces:
                if isinstance(piece, BaseException):
                    raise piece
                if isinstance(piece, float):
                    await asyncio.sleep(piece)
                    continue
                yield TextDelta(piece) if isinstance(piece, str) else piece
            yield TurnFinished(TurnFinishReason.STOP, Usage(self.tokens if isinstance(self.tokens, int) else 0, 2))
        finally:
            self.open -= 1


def loop_time() -> float:
    return asyncio.get_running_loop().time()


def make_breakers(failures: int = 3, recovery: float = 60.0) -> Breakers:
    policy = BreakerPolicy(failures=failures, recovery_seconds=recovery, successes=1)
    return Breakers(policy, clock=loop_time)


def routed(
    *models: PlannedModel,
    breakers: Breakers | None = None,
    latencies: LatencyBook | None = None,
    remote_allowed: Callable[[str], bool] = lambda _tenant: True,
    deadline: Callable[[], float | None] = lambda: None,
    **route: Any,
) -> RoutedModel:
    """Return a route over guarded models, named `best`."""
    kept = breakers or make_breakers()
    return RoutedModel(
        Route(name="best", models=tuple(model.name for model in models), **route),
        [GuardedModel(model, kept) for model in models],
        breakers=kept,
        latencies=latencies,
        remote_allowed=remote_allowed,
        deadline=deadline,
        jitter=lambda: 0.0,
    )


async def take(model: Any, request: ChatRequest = REQUEST) -> tuple[str, TurnFinished]:
    """Return a turn's text and its end."""
    events = [event async for event in model.stream(request)]
    assert isinstance(events[-1], TurnFinished)
    assert sum(isinstance(event, TurnFinished) for event in events) == 1
    return "".join(event.text for event in events if isinstance(event, TextDelta)), events[-1]


def away(seconds: float | None = None) -> Unavailable:
    return Unavailable("it is away", retry_after=seconds)
