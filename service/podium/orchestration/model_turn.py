"""One turn of the model: asked again while it says nothing, paid for, and held to the run's time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from podium.errors import CircuitOpen, Unavailable
from podium.orchestration.chat import (
    CallRequest,
    ChatModel,
    ChatRequest,
    ReasoningDelta,
    TextDelta,
    ToolCallSealed,
    TurnFinished,
)
from podium.orchestration.core import RunScope
from podium.orchestration.nodes import TurnCalls

__all__ = ["ModelTurn", "stream_turn"]

Seal = Callable[[ToolCallSealed, "ModelTurn"], Awaitable[CallRequest]]


@dataclass(slots=True)
class ModelTurn:
    """What a turn has given so far. `heard` counts characters, of thoughts too."""

    calls: TurnCalls
    text: list[str] = field(default_factory=list)
    requests: list[CallRequest] = field(default_factory=list)
    finished: TurnFinished | None = None
    heard: int = 0

    @property
    def index(self) -> int:
        """Which turn it is, from 0."""
        return self.calls.index

    @property
    def silent(self) -> bool:
        """Whether nothing was shown to anybody, so that the turn may be tried again."""
        return not self.text and not self.requests


async def stream_turn(run: RunScope, model: ChatModel, request: ChatRequest, turn: ModelTurn, seal: Seal) -> None:
    """Ask the model, show its text as it comes, and hand each call to `seal` the moment it is complete.

    Raises:
        PodiumError: the model gave no turn, however often it was asked.
    """
    retries = run.services.policy.model_retries
    for attempt in range(retries + 1):
        try:
            async with aclosing(model.stream(request)) as events:  # type: ignore[type-var]
                async for event in events:
                    match event:
                        case TextDelta(text=text):
                            turn.heard += len(text)
                            turn.text.append(text)
                            run.log.text(text)
                        case ReasoningDelta(text=text):
                            turn.heard += len(text)
                        case ToolCallSealed() as sealed:
                            turn.heard += len(sealed.arguments_json)
                            turn.requests.append(await seal(sealed, turn))
                        case TurnFinished() as finished:
                            turn.finished = finished
            return
        except Unavailable as error:
            # An open breaker says when to come back, which is longer than a caller should wait; a
            # route has tried again already, with every model that it has.
            no_use = isinstance(error, CircuitOpen) or "models" in error.metadata
            if attempt == retries or not turn.silent or no_use:
                raise
            await asyncio.sleep(error.retry_after if error.retry_after is not None else 0.25 * 2**attempt)
