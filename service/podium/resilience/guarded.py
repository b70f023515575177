"""Models and tools behind circuit breakers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from podium.errors import Cancelled, CircuitOpen, Unavailable
from podium.orchestration.chat import ChatEvent, ChatModel, ChatRequest, ModelInfo, TokenCount
from podium.orchestration.tool import ToolExecutor, ToolFailure, ToolFailureCode, ToolInvocation, ToolResult
from podium.resilience.breaker import Breaker
from podium.resilience.breakers import Breakers

__all__ = ["GuardedExecutor", "GuardedModel"]

# A tool that raises may only have been asked something that it cannot do; one that hangs or is
# away says something about itself.
_ILL = frozenset({ToolFailureCode.TIMEOUT, ToolFailureCode.UNAVAILABLE})
_NEUTRAL = asyncio.CancelledError()


class GuardedModel:
    """A `ChatModel` that is not asked while it fails repeatedly. Its breaker is `model:NAME`.

    A model that is still loading says so itself; that is no failure, and opens nothing.

    Args:
        model: the model.
        breakers: where its breaker is kept.
        first_output: told the model's name and the seconds to a turn's first event.
    """

    def __init__(
        self,
        model: ChatModel,
        breakers: Breakers,
        *,
        first_output: Callable[[str, float], None] = lambda _name, _seconds: None,
    ) -> None:
        self.name = model.name
        self._model = model
        self._first_output = first_output
        self._breaker: Breaker = breakers.get(f"model:{model.name}")

    async def info(self) -> ModelInfo:
        """Describe the model."""
        return await self._model.info()

    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        """Count a prompt's tokens. Asks the model even while its breaker is open: it costs no generation."""
        return await self._model.count_tokens(request)

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        """Stream one turn; see `ChatModel.stream`.

        Raises:
            CircuitOpen: the model has failed repeatedly and is not asked for now.
        """
        began = time.monotonic()
        silent = True
        try:
            async with self._breaker.guard() as guard:
                try:
                    async with aclosing(self._model.stream(request)) as events:  # type: ignore[type-var]
                        async for event in events:
                            guard.started()
                            if silent:
                                silent = False
                                self._first_output(self.name, time.monotonic() - began)
                            yield event
                except Unavailable as error:
                    if error.reason == "MODEL_NOT_READY":
                        raise _StillLoadingError(error) from error
                    raise
        except _StillLoadingError as loading:
            raise loading.error from None


class GuardedExecutor:
    """A `ToolExecutor` that does not start a tool that fails repeatedly. Breakers are `tool:NAME`.

    The breaker's time limit of a call holds for tools too, also for those that allow themselves more.

    Args:
        executor: runs the calls.
        breakers: where the breakers are kept.
        seconds_of: the limit to which `executor` itself holds calls of a tool, or None; a timer of ours is
            needed only where that is longer than the breaker's.
    """

    def __init__(
        self,
        executor: ToolExecutor,
        breakers: Breakers,
        *,
        seconds_of: Callable[[str], float | None] = lambda _tool: None,
    ) -> None:
        self._executor = executor
        self._breakers = breakers
        self._seconds_of = seconds_of

    async def invoke(self, invocation: ToolInvocation) -> ToolResult:
        """Run one call; see `ToolExecutor.invoke`. Fails as UNAVAILABLE while the tool's breaker is open."""
        breaker = self._breakers.get(f"tool:{invocation.tool}")
        try:
            permit = breaker.acquire()
        except CircuitOpen as error:
            raise ToolFailure(
                ToolFailureCode.UNAVAILABLE, error.message, retryable=True, retry_after=error.retry_after
            ) from error
        own, most = self._seconds_of(invocation.tool), breaker.policy.call_seconds
        try:
            if most is None or (own is not None and own <= most):
                result = await self._executor.invoke(invocation)
            else:
                result = await self._limited(invocation, most)
        except ToolFailure as failure:
            permit.settle(failure if failure.code in _ILL else _NEUTRAL)
            raise
        except BaseException as error:
            permit.settle(error)
            raise
        permit.settle(None)
        return result

    async def _limited(self, invocation: ToolInvocation, seconds: float) -> ToolResult:
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await self._executor.invoke(invocation)
        except TimeoutError as error:
            if not limit.expired():
                raise
            message = f"{invocation.tool} did not end within {seconds:g} s, the limit of any call"
            raise ToolFailure(ToolFailureCode.TIMEOUT, message) from error


class _StillLoadingError(Cancelled):
    """Carries a model's own word that it is loading past the breaker, which takes it as neutral."""

    def __init__(self, error: Unavailable) -> None:
        super().__init__(error.message)
        self.error = error
