"""One run from its first model turn to its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from podium.errors import CircuitOpen, FailedPrecondition, PodiumError, Unavailable
from podium.orchestration.chat import (
    AssistantMessage,
    CallRequest,
    ChatModel,
    ChatRequest,
    Message,
    TextDelta,
    ToolCallSealed,
    ToolMessage,
    TurnFinished,
    TurnFinishReason,
    Usage,
    UserMessage,
)
from podium.orchestration.events import (
    CallFailed,
    CallFinished,
    CallOutcome,
    CallSealed,
    CallSkipped,
    CallStarted,
    CallSucceeded,
    RunSpec,
    TurnEnded,
    TurnStarted,
)
from podium.orchestration.limits import RunGate
from podium.orchestration.long_results import LongResults
from podium.orchestration.run_log import RunLog
from podium.orchestration.tool import (
    ToolExecutor,
    ToolFailure,
    ToolFailureCode,
    ToolInvocation,
    ToolResult,
    ToolSpec,
)
from podium.orchestration.tool_times import ToolTimes

__all__ = ["Answer", "Runner", "RunnerLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerLimits:
    """The server's bounds of one run. `model_retries` are additional attempts of a turn that said nothing yet."""

    max_calls: int = 200
    max_turns: int = 16
    max_tokens: int = 32768
    model_retries: int = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """How a run ended well. `partial` says that something asked for is missing."""

    text: str
    partial: bool
    usage: Usage


@dataclass(slots=True)
class _Turn:
    """What a turn has given so far."""

    index: int
    text: list[str]
    calls: list[CallRequest]
    results: dict[str, ToolMessage]
    finished: TurnFinished | None = None

    @property
    def silent(self) -> bool:
        """Whether nothing was shown to anybody, so that the turn may be tried again."""
        return not self.text and not self.calls


class Runner:
    """Drives one run. Use once."""

    def __init__(
        self,
        *,
        run_id: str,
        spec: RunSpec,
        tenant: str,
        correlation_id: str,
        model: ChatModel,
        tools: Mapping[str, ToolSpec],
        executor: ToolExecutor,
        gate: RunGate,
        log: RunLog,
        limits: RunnerLimits,
        times: ToolTimes,
        long_results: LongResults | None = None,
    ) -> None:
        self._run_id = run_id
        self._spec = spec
        self._tenant = tenant
        self._correlation_id = correlation_id
        self._model = model
        self._tools = tools
        self._executor = executor
        self._gate = gate
        self._log = log
        self._times = times
        self._long_results = long_results
        self._reader: ToolSpec | None = None  # reads on in results that were cut; offered once there are any
        self._max_calls = _tighter(spec.limits.max_calls, limits.max_calls)
        self._max_turns = _tighter(spec.limits.max_turns, limits.max_turns)
        self._max_tokens = _tighter(spec.limits.max_tokens, limits.max_tokens)
        self._model_retries = limits.model_retries
        self._calls_made = 0
        self._partial = False
        self.usage = Usage()

    async def run(self) -> Answer:
        """Take turns until the model answers.

        Raises:
            PodiumError: the run cannot be finished; the log holds everything up to there.
        """
        messages: list[Message] = [UserMessage(self._spec.input)]
        for index in range(self._max_turns):
            # The last turn is offered no tools, so that it has to answer from what there is.
            last = index == self._max_turns - 1 and index > 0
            turn = await self._take_turn(index, messages, () if last else self._offered())
            if not turn.calls:
                cut = turn.finished is not None and turn.finished.reason is TurnFinishReason.LENGTH
                return Answer("".join(turn.text), self._partial or cut or last, self.usage)
            messages.append(AssistantMessage("".join(turn.text), tuple(turn.calls)))
            messages.extend(turn.results[call.call_id] for call in turn.calls)
        raise FailedPrecondition(
            f"the run gave no answer within {self._max_turns} turns; allow more turns, or ask for less",
            reason="LIMIT_REACHED",
        )

    def close(self) -> None:
        """Let go of what was kept for the run."""
        if self._long_results is not None:
            self._long_results.forget(self._tenant, self._run_id)

    def _offered(self) -> tuple[ToolSpec, ...]:
        return (*self._tools.values(), *(() if self._reader is None else (self._reader,)))

    async def _take_turn(self, index: int, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> _Turn:
        remaining = self._max_tokens - self.usage.completion_tokens
        if remaining <= 0:
            raise FailedPrecondition(
                f"the run has used its {self._max_tokens} tokens; allow more tokens, or ask for less",
                reason="LIMIT_REACHED",
            )
        request = ChatRequest(
            messages=tuple(messages),
            tools=tools,
            max_tokens=remaining,
            turn=index,
            correlation_id=self._correlation_id,
            tenant=self._tenant,
            # The next turn begins with this one's prompt, once the tools have answered.
            retain_seconds=self._times.p90(tool.name for tool in tools),
        )
        await self._log.append(TurnStarted(index, self._model.name))
        turn = _Turn(index, [], [], {})
        try:
            async with asyncio.TaskGroup() as group:
                await self._stream_turn(request, turn, group)
                finished = turn.finished or TurnFinished(TurnFinishReason.STOP)
                self.usage += finished.usage
                await self._log.append(
                    TurnEnded(
                        index,
                        "".join(turn.text),
                        finished.usage,
                        finished.reason,
                        finished.model or self._model.name,
                        finished.attempts,
                    )
                )
        except BaseExceptionGroup as group_error:
            raise _first_error(group_error) from None
        return turn

    async def _stream_turn(self, request: ChatRequest, turn: _Turn, group: asyncio.TaskGroup) -> None:
        for attempt in range(self._model_retries + 1):
            try:
                async with aclosing(self._model.stream(request)) as events:  # type: ignore[type-var]
                    async for event in events:
                        match event:
                            case TextDelta(text=text):
                                turn.text.append(text)
                                self._log.text(text)
                            case ToolCallSealed() as sealed:
                                await self._seal(sealed, turn, group)
                            case TurnFinished() as finished:
                                turn.finished = finished
                return
            except Unavailable as error:
                # An open breaker says when to come back, which is longer than a caller should wait; a
                # route has tried again already, with every model that it has.
                no_use = isinstance(error, CircuitOpen) or "models" in error.metadata
                if attempt == self._model_retries or not turn.silent or no_use:
                    raise
                await asyncio.sleep(error.retry_after if error.retry_after is not None else 0.25 * 2**attempt)

    async def _seal(self, sealed: ToolCallSealed, turn: _Turn, group: asyncio.TaskGroup) -> None:
        """Log a call and start it at once, while the model may still be writing the next."""
        call = CallRequest(f"c{turn.index}_{len(turn.calls)}", sealed.tool, sealed.arguments_json, sealed.provider_id)
        turn.calls.append(call)
        reader = self._reader if self._reader is not None and self._reader.name == call.tool else None
        spec = self._tools.get(call.tool, reader)
        await self._log.append(CallSealed(call.call_id, call.tool, call.arguments_json, spec.version if spec else ""))
        if self._calls_made >= self._max_calls:
            because = f"the run's limit of {self._max_calls} calls was reached"
            await self._finish(turn, call, CallSkipped(because))
            return
        self._calls_made += 1
        if spec is None:
            message = (
                f"there is no tool {call.tool!r} in this run; use one of: {', '.join(sorted(self._tools)) or 'none'}"
            )
            await self._finish(turn, call, CallFailed(ToolFailureCode.UNKNOWN_TOOL, message))
            return
        group.create_task(self._run_call(turn, call, spec), name=f"{self._run_id}:{call.call_id}")

    async def _run_call(self, turn: _Turn, call: CallRequest, spec: ToolSpec) -> None:
        invocation = ToolInvocation(
            run_id=self._run_id,
            call_id=call.call_id,
            tool=call.tool,
            arguments_json=call.arguments_json,
            correlation_id=self._correlation_id,
            tenant=self._tenant,
        )
        started = False
        loop = asyncio.get_running_loop()
        try:
            async with self._gate.slot(spec.type):
                await self._log.append(CallStarted(call.call_id, 1))
                started, began = True, loop.time()
                try:
                    result = await self._invoke(invocation)
                    outcome: CallOutcome = CallSucceeded(result.result_json, result.content_type)
                except ToolFailure as failure:
                    outcome = CallFailed(failure.code, failure.message)
                self._times.note(call.tool, loop.time() - began)
        except asyncio.CancelledError:
            cancelled = CallFailed(ToolFailureCode.CANCELLED, "the run was cancelled")
            await self._finish(turn, call, cancelled if started else CallSkipped("the run was cancelled"))
            raise
        await self._finish(turn, call, outcome)

    async def _invoke(self, invocation: ToolInvocation) -> ToolResult:
        if invocation.tool not in self._tools and self._long_results is not None:
            return await self._long_results.fetch(invocation)
        return await self._executor.invoke(invocation)

    def _shown(self, result: bytes) -> str:
        """Return a result as the model gets it: cut when it is too long, with the means to read on."""
        text = result.decode("utf-8", "replace")
        if self._long_results is None:
            return text
        cut = self._long_results.cut(text, tenant=self._tenant, run_id=self._run_id)
        if cut is None:
            return text
        if self._long_results.tool.name not in self._tools:
            self._reader = self._long_results.tool
        return cut

    async def _finish(self, turn: _Turn, call: CallRequest, outcome: CallOutcome) -> None:
        match outcome:
            case CallSucceeded(result_json=result):
                content, ok = self._shown(result), True
            case CallFailed(code=code, message=text):
                self._partial = True
                content, ok = f"{code}: {text}", False
            case CallSkipped(because=because):
                self._partial = True
                content, ok = f"not run: {because}", False
        turn.results[call.call_id] = ToolMessage(call.call_id, call.tool, content, ok, call.provider_id)
        await self._log.append(CallFinished(call.call_id, outcome))


def _tighter(asked: int | None, allowed: int) -> int:
    return allowed if not asked else min(asked, allowed)


def _first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that ended a turn: calls never raise, so there is one, or a cancellation."""
    for error in group.exceptions:
        if isinstance(error, PodiumError):
            return error
    first = group.exceptions[0]
    return _first_error(first) if isinstance(first, BaseExceptionGroup) else first
