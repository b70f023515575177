"""What a provider lets us ask of it: calls and tokens a minute, and turns at once (seeds S1-26)."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from podium.errors import PodiumError, ResourceExhausted
from podium.orchestration.chat import (
    ChatEvent,
    ChatModel,
    ChatRequest,
    ModelInfo,
    ReasoningDelta,
    TextDelta,
    TokenCount,
    ToolCallSealed,
    TurnFinished,
)
from podium.resilience.token_bucket import TokenBucket

__all__ = ["LimitedModel", "ProviderLimits", "ProviderQuota", "Reservation"]

_BYTES_A_TOKEN: Final = 4
_COUNT_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderQuota:
    """The limits of one provider, or of one model of it. None is no limit.

    Attributes:
        calls_per_minute, tokens_per_minute: steady rates, and as much at once after a quiet minute.
        concurrent: turns at once; more wait, tenants by turns.
        max_waiting: turns that may wait.
        wait_seconds: longest wait; keep it well under a route's `first_output_seconds`.
        default_output_tokens: assumed length of an answer when the request names no limit.
    """

    calls_per_minute: float | None = None
    tokens_per_minute: float | None = None
    concurrent: int | None = None
    max_waiting: int = 64
    wait_seconds: float = 5.0
    default_output_tokens: int = 512

    def __post_init__(self) -> None:
        rates = (self.calls_per_minute, self.tokens_per_minute, self.concurrent)
        if any(rate is not None and not (rate > 0 and math.isfinite(rate)) for rate in rates):
            raise ValueError("the limits of a provider must be above zero, or absent")
        if self.calls_per_minute is not None and self.calls_per_minute < 1:
            raise ValueError("calls_per_minute must be at least 1")
        if self.max_waiting < 0 or self.wait_seconds <= 0 or self.default_output_tokens < 1:
            raise ValueError("max_waiting, wait_seconds and default_output_tokens must not be below what makes sense")


class _FairSlots:
    """A number of slots. Who waits is served in order, tenants by turns."""

    def __init__(self, slots: int, max_waiting: int) -> None:
        self._free = slots
        self._max_waiting = max_waiting
        self._waiting = 0
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def full(self) -> bool:
        """Whether nobody more may even wait."""
        return not self._free and self._waiting >= self._max_waiting

    async def take(self, tenant: str) -> None:
        """Take a slot, waiting for one. The caller has looked at `full` and gives a time limit."""
        if self._free:  # there is nobody waiting then: slots go from hand to hand
            self._free -= 1
            return
        slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._queues.setdefault(tenant, deque())
        queue.append(slot)
        self._waiting += 1
        try:
            await slot
        except asyncio.CancelledError:
            if slot.done() and not slot.cancelled():
                self.give()  # it was handed over in the same moment
            else:
                self._waiting -= 1
                queue.remove(slot)
                if not queue:
                    self._queues.pop(tenant, None)
            raise

    def give(self) -> None:
        """Give a slot back, to the next who waits."""
        for tenant, queue in list(self._queues.items()):
            # Who was cancelled leaves the queue as soon as it wakes up.
            slot = next((waiting for waiting in queue if not waiting.done()), None)
            if slot is None:
                continue
            queue.remove(slot)
            del self._queues[tenant]
            if queue:
                self._queues[tenant] = queue  # behind the other tenants
            self._waiting -= 1
            slot.set_result(None)
            return
        self._free += 1


class Reservation:
    """Tokens set aside for one turn, until its usage is known."""

    __slots__ = ("_limits", "_settled", "tokens")

    def __init__(self, limits: ProviderLimits, tokens: float) -> None:
        self._limits = limits
        self._settled = False
        self.tokens = tokens

    def settle(self, used: float) -> None:
        """Replace the estimate by what was used; what is short is owed. Only the first settlement counts."""
        if not self._settled:
            self._settled = True
            self._limits.refund(self.tokens - used)


class ProviderLimits:
    """Keeps one provider's quota, over every model that shares it.

    Args:
        name: of the provider or model, for messages.
        quota: its limits.
        clock: monotonic seconds.
    """

    def __init__(self, name: str, quota: ProviderQuota, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.quota = quota
        self._clock = clock
        now = clock()
        calls, tokens = quota.calls_per_minute, quota.tokens_per_minute
        self._calls = TokenBucket(calls, calls / 60, now) if calls else None
        self._tokens = TokenBucket(tokens, tokens / 60, now) if tokens else None
        self._slots = _FairSlots(quota.concurrent, quota.max_waiting) if quota.concurrent else None

    @property
    def counts_tokens(self) -> bool:
        """Whether tokens are limited, so that prompts have to be counted."""
        return self._tokens is not None

    @asynccontextmanager
    async def turn(self, tenant: str, prompt_tokens: int, answer_tokens: int) -> AsyncIterator[Reservation]:
        """Hold the right to one turn. Settle the reservation inside; unsettled, the estimate is what it cost.

        Raises:
            ResourceExhausted: a limit is reached; `retry_after` says when to come back, and is None
                when the prompt is longer than a whole minute's tokens.
        """
        tokens = float(prompt_tokens + answer_tokens)
        if self._tokens is not None:
            if prompt_tokens > self._tokens.capacity:
                raise self._never(prompt_tokens)
            tokens = min(tokens, self._tokens.capacity)
        self._check(tokens)  # before waiting for a slot that would be of no use
        await self._slot(tenant)
        try:
            self._check(tokens)
            self._take(tokens)
            yield Reservation(self, tokens)
        finally:
            if self._slots is not None:
                self._slots.give()

    def refund(self, tokens: float) -> None:
        """Put tokens back into the bucket; below zero, take what was used beyond the estimate."""
        if self._tokens is not None:
            self._tokens.fill(self._clock())
            self._tokens.tokens = min(self._tokens.capacity, self._tokens.tokens + tokens)

    async def _slot(self, tenant: str) -> None:
        if self._slots is None:
            return
        wait = self.quota.wait_seconds
        if self._slots.full:
            raise self._refusal("turns at once, and the queue for them is full", "concurrent", wait)
        try:
            async with asyncio.timeout(wait) as limit:
                await self._slots.take(tenant)
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._refusal(f"turns at once; none was free within {wait:g} s", "concurrent", wait) from None

    def _check(self, tokens: float) -> None:
        now = self._clock()
        if self._calls is not None and (wait := self._calls.wait(now)) > 0:
            raise self._refusal("calls a minute", "calls_per_minute", wait)
        if self._tokens is not None and (wait := self._tokens.wait(now, tokens)) > 0:
            raise self._refusal("tokens a minute", "tokens_per_minute", wait)

    def _take(self, tokens: float) -> None:
        now = self._clock()
        if self._calls is not None:
            self._calls.take(now)
        if self._tokens is not None:
            self._tokens.take(now, tokens)

    def _refusal(self, what: str, limit: str, wait: float) -> ResourceExhausted:
        most = getattr(self.quota, limit)
        message = f"{self.name} is at its limit of {most:g} {what}; try again in {max(1, math.ceil(wait))} s"
        quota = f"{self.name}/{limit}"
        if limit == "concurrent":
            return ResourceExhausted(message, quota=quota, reason="OVERLOADED", retry_after=wait)
        return ResourceExhausted(message, quota=quota, reason="RATE_LIMITED", retry_after=wait)

    def _never(self, tokens: int) -> ResourceExhausted:
        most = f"{self.quota.tokens_per_minute:g}"
        message = f"the prompt has {tokens} tokens, more than {self.name}'s limit of {most} a minute; shorten it"
        return ResourceExhausted(message, quota=f"{self.name}/tokens_per_minute", reason="RATE_LIMITED")


class LimitedModel:
    """A `ChatModel` that keeps its provider's limits. Put it around the guarded model.

    Our own refusals then say nothing about the provider's health.
    """

    def __init__(self, model: ChatModel, limits: ProviderLimits) -> None:
        self.name = model.name
        self._model = model
        self._limits = limits

    async def info(self) -> ModelInfo:
        """Describe the model."""
        return await self._model.info()

    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        """Count a prompt's tokens."""
        return await self._model.count_tokens(request)

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        """Stream one turn; see `ChatModel.stream`.

        Raises:
            ResourceExhausted: the provider's quota is used up, or too many wait.
        """
        answer = self._limits.quota.default_output_tokens if request.max_tokens is None else request.max_tokens
        prompt = await self._prompt_tokens(request)
        async with self._limits.turn(request.tenant, prompt, answer) as reservation:
            written = 0
            answered = False
            try:
                async with aclosing(self._model.stream(request)) as events:  # type: ignore[type-var]
                    async for event in events:
                        answered = True
                        written += _bytes(event)
                        if isinstance(event, TurnFinished):
                            usage = event.usage
                            used = usage.prompt_tokens + usage.completion_tokens
                            # A provider that tells no usage is taken at our own count.
                            reservation.settle(used or prompt + _tokens(written))
                        yield event
            finally:
                # Cut short: the prompt and what came of the answer. Refused before any output: nothing.
                reservation.settle(prompt + _tokens(written) if answered else 0)

    async def _prompt_tokens(self, request: ChatRequest) -> int:
        if not self._limits.counts_tokens:
            return 0
        try:
            async with asyncio.timeout(_COUNT_SECONDS):
                return (await self._model.count_tokens(request)).tokens
        except (PodiumError, TimeoutError, OSError):
            return _tokens(sum(len(getattr(m, "text", "") or getattr(m, "content", "")) for m in request.messages))


def _bytes(event: ChatEvent) -> int:
    if isinstance(event, TextDelta | ReasoningDelta):
        return len(event.text)
    return len(event.arguments_json) if isinstance(event, ToolCallSealed) else 0


def _tokens(size: int) -> int:
    return -(-size // _BYTES_A_TOKEN)
