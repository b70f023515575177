"""One name for several models: the best that can serve a request is asked, the next when it fails.

Another model is asked only as long as the one before has said nothing. Every wait ends: an attempt
has a limit for its first output, and the whole turn one for everything.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final, cast

from podium.errors import CircuitOpen, DeadlineExceeded, InvalidRequest, PodiumError, Unavailable
from podium.inference.routing.alarm import Alarm, TimeIsUp
from podium.inference.routing.candidates import Candidate, Survey
from podium.inference.routing.failures import Failure, refusal
from podium.inference.routing.latency import LatencyBook
from podium.inference.routing.policy import RemoteAllowed, Route
from podium.inference.routing.progress import hearing
from podium.orchestration.chat import (
    ChatEvent,
    ChatModel,
    ChatRequest,
    ModelAttempt,
    ModelInfo,
    TokenCount,
    TurnFinished,
)
from podium.resilience.breakers import Breakers

__all__ = ["RoutedModel"]

_log = logging.getLogger(__name__)

_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 8.0

_Events = AsyncGenerator[ChatEvent, None]


@dataclass(slots=True)
class _Turn:
    """One request on its way. `ends` is when its time is up, by the loop's clock."""

    request: ChatRequest
    began: float
    ends: float
    failures: list[Failure] = field(default_factory=list)

    def left(self) -> float:
        return self.ends - asyncio.get_running_loop().time()


@dataclass(frozen=True, slots=True)
class _Answer:
    """A model that has begun to answer."""

    model: str
    first: ChatEvent
    events: _Events
    seconds: float


class RoutedModel:
    """A `ChatModel` over the models of a route.

    The models are to be guarded by `breakers` (`GuardedModel`): a model that gives no output in time
    is counted there as failed, which its own guard cannot see.

    Args:
        route: what to do.
        models: the route's models, in its order.
        breakers: where the models' breakers are kept, as `model:NAME`.
        latencies: how fast models have been; shared by all routes.
        remote_allowed: whether a tenant's requests may leave this machine.
        deadline: the loop time at which the present caller gives up, or None.
        jitter: gives numbers from 0 to 1.
    """

    def __init__(
        self,
        route: Route,
        models: Sequence[ChatModel],
        *,
        breakers: Breakers,
        latencies: LatencyBook | None = None,
        remote_allowed: RemoteAllowed = lambda _tenant: True,
        deadline: Callable[[], float | None] = lambda: None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if tuple(model.name for model in models) != route.models:
            raise ValueError(f"route {route.name!r} needs exactly the models that it names, in its order")
        self.name = route.name
        self.route = route
        self._breakers = breakers
        self._latencies = latencies or LatencyBook()
        self._deadline = deadline
        self._jitter = jitter
        self._survey = Survey(
            route, models, breakers=breakers, latencies=self._latencies, remote_allowed=remote_allowed
        )

    async def info(self) -> ModelInfo:
        """Describe the route: what the best of its models can do; ready when one of them is."""
        infos = [info for info in await self._survey.infos() if info is not None]
        ready = any(info.ready for info in infos)
        why = "; ".join(f"{info.name}: {info.detail}" for info in infos if info.detail)
        return ModelInfo(
            name=self.name,
            kind="route",
            ready=ready,
            detail="" if ready else why or "none of its models can answer now",
            context_length=max((info.context_length for info in infos), default=0),
            max_output_tokens=max((info.max_output_tokens for info in infos), default=0),
            tools=any(info.tools for info in infos),
            json_schema=any(info.json_schema for info in infos),
            reasoning=any(info.reasoning for info in infos),
            parallel_calls=any(info.parallel_calls for info in infos),
            remote=any(info.remote for info in infos),
        )

    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        """Count with the first model that would be asked and can tell; see `ChatModel.count_tokens`."""
        turn = self._begin(request)
        for candidate in await self._candidates(turn):
            began = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(min(self.route.first_output_seconds, max(0.0, turn.left()))):
                    return await candidate.model.count_tokens(request)
            except (Unavailable, OSError) as error:
                seconds = asyncio.get_running_loop().time() - began
                turn.failures.append(Failure(candidate.model.name, error, seconds))
        raise refusal(self.name, turn.failures, out_of_time=None)

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        """Stream one turn from the first model that answers; see `ChatModel.stream`.

        `TurnFinished` names the model that answered and every one that was asked.

        Raises:
            InvalidRequest: no model can serve the request, or the one that was asked finds it wrong.
            FailedPrecondition: the models that could are switched off or set up wrongly.
            ResourceExhausted: every model is at a limit.
            DeadlineExceeded: the route's time is up.
            Unavailable: no model could answer; the message names each and why.
        """
        turn = self._begin(request)
        answer = await self._first_answer(turn)
        async with aclosing(answer.events) as events:
            alarm = Alarm(turn.ends)
            try:
                event = answer.first
                while not isinstance(event, TurnFinished):
                    yield event
                    event = await alarm.next(events)
                yield self._finished(event, answer, turn)
            except StopAsyncIteration:
                raise Unavailable(f"the answer of model {answer.model!r} broke off; try again") from None
            except TimeIsUp:
                raise DeadlineExceeded(
                    f"model {answer.model!r} did not finish within {turn.ends - turn.began:g} s; allow more time, or "
                    "ask for a shorter answer"
                ) from None
            finally:
                alarm.close()

    def _begin(self, request: ChatRequest) -> _Turn:
        now = asyncio.get_running_loop().time()
        ends = now + self.route.total_seconds
        callers = self._deadline()
        return _Turn(request, now, ends if callers is None else min(ends, callers))

    async def _candidates(self, turn: _Turn) -> list[Candidate]:
        try:
            async with asyncio.timeout_at(turn.ends) as limit:
                return await self._survey.candidates(turn.request)
        except TimeoutError:
            if not limit.expired():
                raise
            raise refusal(self.name, (), out_of_time=turn.ends - turn.began) from None

    async def _first_answer(self, turn: _Turn) -> _Answer:
        """Ask models until one gives its first output; in rounds, with pauses, while there is time."""
        candidates = await self._candidates(turn)
        for number in range(self.route.retries + 1):
            failures: dict[str, Failure] = {}
            for index, candidate in enumerate(candidates):
                if turn.left() <= 0:
                    break
                outcome = await self._ask(candidate, turn)
                if isinstance(outcome, _Answer):
                    return outcome
                turn.failures.append(outcome)
                failures[outcome.model] = outcome
                self._raise_if_callers(outcome, candidate, candidates[index + 1 :])
            if turn.left() <= 0:
                raise refusal(self.name, turn.failures, out_of_time=turn.ends - turn.began)
            candidates = [candidate for candidate in candidates if failures[candidate.model.name].retryable]
            pause = self._pause(number, [failures[candidate.model.name] for candidate in candidates])
            if number == self.route.retries or not candidates or pause >= turn.left():
                break
            await asyncio.sleep(pause)
        raise refusal(self.name, turn.failures, out_of_time=None) from turn.failures[-1].error

    async def _ask(self, candidate: Candidate, turn: _Turn) -> _Answer | Failure:
        """Ask one model and wait for its first output."""
        loop = asyncio.get_running_loop()
        name, began = candidate.model.name, loop.time()
        # Models return async generators, as their protocol says of closing.
        events = cast("_Events", candidate.model.stream(turn.request))

        def patience() -> float:
            return min(loop.time() + self.route.first_output_seconds, turn.ends)

        limit = asyncio.timeout_at(patience())

        def wait_on() -> None:
            if not limit.expired():
                limit.reschedule(patience())

        error: Exception
        try:
            async with limit:
                with hearing(wait_on):
                    first = await anext(events)
            seconds = loop.time() - began
            self._latencies.succeeded(name, seconds, loop.time())
            return _Answer(name, first, events, seconds)
        except StopAsyncIteration:
            error = Unavailable("it ended without an answer")
        except TimeoutError as timeout:
            error = timeout
            if limit.expired():
                error = Unavailable(f"it gave no output within {loop.time() - began:.3g} s")
                if (limit.when() or turn.ends) < turn.ends:
                    self._report_hang(name, error)
        except PodiumError as known:
            error = known
        except Exception as unknown:  # noqa: BLE001 - a model must not fail like this; the next can still answer
            _log.error("model %s failed unexpectedly", name, exc_info=unknown)
            error = unknown
        if not isinstance(error, InvalidRequest | CircuitOpen):
            self._latencies.failed(name, loop.time())
        return Failure(name, error, loop.time() - began)

    def _report_hang(self, model: str, error: Exception) -> None:
        """Count a missing first output against the model: its guard was cancelled, and takes that as neutral."""
        try:
            permit = self._breakers.get(f"model:{model}").acquire()
        except CircuitOpen:
            return  # it is known to be ill
        permit.settle(error)

    def _raise_if_callers(self, failure: Failure, candidate: Candidate, others: Sequence[Candidate]) -> None:
        """Raise the caller's own mistake: no other model would take it, but for one that holds more."""
        error = failure.error
        if not isinstance(error, InvalidRequest):
            return
        told = error.metadata.get("limit") == "context_length" or "context_length" in error.metadata
        too_long = candidate.may_be_too_long or told
        holds_more = any(other.context_length > candidate.context_length for other in others)
        if not (too_long and holds_more):
            raise error

    def _pause(self, number: int, failures: Sequence[Failure]) -> float:
        """Return the seconds until the first of the models is worth another try."""
        own = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**number) * (0.5 + self._jitter() / 2)
        asked = [own if failure.retry_after is None else failure.retry_after for failure in failures]
        # Some jitter on top, so that not everybody comes back in the same moment.
        return max(own, min(asked, default=own) * (1 + 0.1 * self._jitter()))

    def _finished(self, event: TurnFinished, answer: _Answer, turn: _Turn) -> TurnFinished:
        attempts = (
            *(failure.attempt for failure in turn.failures),
            *(event.attempts or (ModelAttempt(answer.model, "", answer.seconds),)),
        )
        return replace(event, model=event.model or answer.model, attempts=attempts)
