"""One call from the moment it may start to its outcome: cache, budget, slot, attempts, fallback."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import stamina

from podium.errors import Cancelled, PodiumError, ResourceExhausted
from podium.orchestration.budget import Amount, Reservation
from podium.orchestration.call_cache import OwnFailure, Served, cache_key
from podium.orchestration.core import RunScope
from podium.orchestration.events import CallRetried, CallStarted, ResultSource
from podium.orchestration.governor import Permit, Priority
from podium.orchestration.life import Life, Phase
from podium.orchestration.tool import Fallback, ToolFailure, ToolFailureCode, ToolInvocation, ToolResult, ToolSpec

__all__ = ["CallRun", "NotStarted", "ReadyCall", "RunStopped"]

_LONGEST_PAUSE = 5.0
_FINAL = frozenset({ToolFailureCode.CANCELLED, ToolFailureCode.BUDGET, ToolFailureCode.INVALID_ARGUMENTS})
_ILL = frozenset({ToolFailureCode.TIMEOUT, ToolFailureCode.UNAVAILABLE})

Allow = Callable[["ReadyCall", Amount], Awaitable[Reservation]]


class NotStarted(Exception):
    """The call was not started, and why."""

    def __init__(self, because: str) -> None:
        super().__init__(because)
        self.because = because


class RunStopped(Exception):
    """The run is to end because of this call, and with what error."""

    def __init__(self, error: PodiumError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(slots=True)
class ReadyCall:
    """A call that may start.

    Attributes:
        tool: name of the tool that was asked for.
        spec: the tool that is to run.
        arguments_json: as the tool gets them.
        filled: whether they are not what the model wrote.
        predicted: the model has not asked for it.
        on_start: told when the tool is started for a predicted call, which is not in the log as a call.
        attempt: the number of the latest attempt that was started, from 1; 0 before.
        announced: its start is in the log already.
        hurried: its run had too little time or room for it, which may be why it failed.
    """

    call_id: str
    tool: str
    spec: ToolSpec
    arguments_json: bytes
    life: Life
    priority: Priority
    filled: bool = False
    predicted: bool = False
    on_start: Callable[[], Awaitable[None]] | None = None
    attempt: int = 0
    announced: bool = False
    hurried: bool = False

    @property
    def started(self) -> bool:
        """Whether a tool was started for it."""
        return self.attempt > 0


class _RetryableError(Exception):
    def __init__(self, failure: ToolFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class CallRun:
    """Carries out the calls of one run.

    Args:
        run: the run.
        tool: finds a tool by name, for fallbacks.
        allow: reserves what a call needs, waiting for more to be allowed where the run does that;
            raises `ToolFailure` when it is not.
    """

    def __init__(self, run: RunScope, tool: Callable[[str], ToolSpec | None], allow: Allow) -> None:
        self._run, self._tool, self._allow = run, tool, allow
        self._services = run.services

    async def perform(self, call: ReadyCall) -> Served:
        """Return the call's result.

        Raises:
            ToolFailure: it has none.
            NotStarted: the tool was never started.
            RunStopped: the run is to end.
        """
        spec = call.spec
        try:
            ttl = spec.cache_ttl_seconds
            if ttl is None or not spec.repeatable or self._run.spec.bypass_cache:
                return Served(await self._attempts(call), ResultSource.TOOL, 0.0)
            try:
                key = cache_key(self._run.tenant, spec, call.arguments_json)
            except ValueError:  # the tool itself says what is wrong with them
                return Served(await self._attempts(call), ResultSource.TOOL, 0.0)
            call.life.enter(Phase.CACHE)
            longest = self._services.policy.cache_ttl_seconds
            return await self._services.cache.run(key, min(ttl, longest), lambda: self._shared(call))
        except ToolFailure as failure:
            if spec.fallback is None or call.predicted or failure.code in _FINAL:
                raise
            return await self._fall_back(call, spec.fallback, failure)

    async def _shared(self, call: ReadyCall) -> ToolResult:
        """Make a call that others may be waiting for: they need not fail for what is the matter with this run."""
        try:
            return await self._attempts(call)
        except (NotStarted, RunStopped) as ended:
            raise OwnFailure(ended) from ended
        except ToolFailure as failure:
            own = failure.code is ToolFailureCode.BUDGET or (call.hurried and failure.code in _ILL)
            if own or call.predicted:
                raise OwnFailure(failure) from failure
            raise

    async def _attempts(self, call: ReadyCall) -> ToolResult:
        try:
            return await self._attempt(call, 1)
        except ToolFailure as failure:
            if call.predicted or not self._worth_another(call.spec, failure):
                raise
            return await self._again(call, failure)

    def _worth_another(self, spec: ToolSpec, failure: ToolFailure) -> bool:
        """A call that timed out would most likely do so again; one that was refused never began."""
        again = failure.retryable and failure.code is not ToolFailureCode.TIMEOUT
        unharmed = spec.repeatable or failure.code is ToolFailureCode.UNAVAILABLE
        soon = failure.retry_after is None or failure.retry_after <= _LONGEST_PAUSE
        return again and unharmed and soon and self._services.policy.tool_retries > 0

    async def _again(self, call: ReadyCall, first: ToolFailure) -> ToolResult:
        failure = first
        retries = stamina.retry_context(
            on=_RetryableError,
            attempts=self._services.policy.tool_retries + 1,
            timeout=None,  # the run's own time ends it
            wait_initial=max(first.retry_after or 0.0, 0.1),
            wait_max=_LONGEST_PAUSE,
            wait_jitter=0.1,
        )
        try:
            async for attempt in retries:
                with attempt:
                    if attempt.num > 1:
                        try:
                            return await self._attempt(call, attempt.num)
                        except NotStarted:  # the first attempt was, and that is how the call ended
                            raise failure from None
                        except ToolFailure as error:
                            failure = error
                            if not self._worth_another(call.spec, error):
                                raise
                    if attempt.num <= self._services.policy.tool_retries:
                        await self._pause(call, attempt.num, failure, attempt.next_wait)
                    raise _RetryableError(failure)
        except _RetryableError as given_up:
            raise given_up.failure from None
        raise failure

    async def _pause(self, call: ReadyCall, number: int, failure: ToolFailure, seconds: float) -> None:
        if self._run.clock() + seconds >= self._run.time.cutoff:
            raise failure
        call.life.enter(Phase.RETRY)
        await self._run.log.append(CallRetried(call.call_id, number, failure.code, failure.message, seconds))

    async def _attempt(self, call: ReadyCall, number: int) -> ToolResult:
        spec, run = call.spec, self._run
        cost = Amount(cost_micros=spec.cost_micros, calls=1 if number == 1 else 0)
        reservation = await self._allow(call, cost)
        started = failed = False
        try:
            permit = await self._permit(call)
            try:
                invocation = self._invocation(call)
                if call.on_start is not None:
                    await call.on_start()
                if call.announced:
                    call.announced = False
                elif not call.predicted:
                    arguments = call.arguments_json if call.filled and number == 1 else b""
                    tool = "" if spec.name == call.tool else spec.name
                    await run.log.append(CallStarted(call.call_id, number, arguments, tool))
                started, call.attempt = True, number
                call.life.enter(Phase.WORK)
                began = run.clock()
                try:
                    result = await self._work(spec, invocation)
                except ToolFailure as failure:
                    failed = failure.code in _ILL
                    raise
                finally:
                    seconds = run.clock() - began
                    self._services.tool_times.note(spec.name, seconds)
                    if not call.predicted:
                        self._services.ledger.useful(run.tenant, seconds)
            finally:
                if started:
                    permit.release(failed=failed)
                else:  # its time says nothing about the tool
                    permit.give_back_unused()
            return result
        finally:
            # What was started is paid for, whether or not it came to anything.
            if started:
                reservation.settle(cost)
            else:
                reservation.release()

    async def _permit(self, call: ReadyCall) -> Permit:
        call.life.enter(Phase.QUEUE)
        share, spec = self._run.share, call.spec
        permit = share.try_acquire(spec.name, spec.type, call.priority)
        if permit is not None:
            return permit
        try:
            return await share.request(spec.name, spec.type, call.priority).wait()
        except (ResourceExhausted, Cancelled) as full:
            call.hurried = True
            raise ToolFailure(
                ToolFailureCode.UNAVAILABLE, full.message, retryable=True, retry_after=full.retry_after
            ) from None

    def _invocation(self, call: ReadyCall) -> ToolInvocation:
        run, spec = self._run, call.spec
        left = run.time.cutoff - run.clock()
        # A tool cannot take longer than its own limit, so only a near end is worth a look.
        if left < spec.timeout_seconds:
            call.hurried = True
            usual = self._services.tool_times.usual(spec.name)
            if left <= 0 or (usual is not None and usual > left):
                takes = "" if usual is None else f"{spec.name} usually takes {usual:.2g} s, and "
                raise NotStarted(f"{takes}the run has {max(left, 0):.2g} s left for work")
        return ToolInvocation(
            run_id=run.run_id,
            call_id=call.call_id,
            tool=spec.name,
            arguments_json=call.arguments_json,
            correlation_id=run.correlation_id,
            tenant=run.tenant,
            seconds_left=min(left, spec.timeout_seconds),
        )

    def _work(self, spec: ToolSpec, invocation: ToolInvocation) -> Awaitable[ToolResult]:
        long = self._services.long_results
        if long is not None and spec is long.tool:
            return long.fetch(invocation)
        slow = self._services.tool_times.usual(spec.name, 0.95, least=20) if spec.hedge and spec.repeatable else None
        if slow is None:
            return self._services.executor.invoke(invocation)
        return self._hedged(spec, invocation, slow)

    async def _hedged(self, spec: ToolSpec, invocation: ToolInvocation, after: float) -> ToolResult:
        """Start a second attempt once the first takes unusually long; the first result counts."""
        first = asyncio.ensure_future(self._services.executor.invoke(invocation))
        racing = {first}
        permit: Permit | None = None
        try:
            done, _ = await asyncio.wait(racing, timeout=after)
            if not done:
                permit = self._run.share.try_acquire(spec.name, spec.type, Priority.BACKGROUND)
                if permit is not None:
                    left = min(self._run.time.cutoff - self._run.clock(), spec.timeout_seconds)
                    second = replace(invocation, seconds_left=left)
                    racing.add(asyncio.ensure_future(self._services.executor.invoke(second)))
            while True:
                done, pending = await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)
                good = next((task for task in done if task.exception() is None), None)
                if good is not None or not pending:
                    return (good or first).result()
                racing = pending
        finally:
            if permit is not None:
                permit.release()
            for task in racing:
                task.cancel()
            await asyncio.gather(*racing, return_exceptions=True)

    async def _fall_back(self, call: ReadyCall, fallback: Fallback, failure: ToolFailure) -> Served:
        self._run.degraded = True
        stand_in = self._tool(fallback.tool) if fallback.tool else None
        if stand_in is not None:
            call.spec = stand_in
            try:
                result = await self._attempt(call, call.attempt + 1)
            except NotStarted:
                raise failure from None
        elif fallback.result_json:
            result = ToolResult(result_json=fallback.result_json)
        else:
            raise failure
        return Served(result, ResultSource.FALLBACK, 0.0)
