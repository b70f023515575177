"""One run from its first model turn to its answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from podium.errors import DeadlineExceeded, FailedPrecondition, PodiumError
from podium.orchestration.ask_user import ASK_USER, AskUser
from podium.orchestration.call_run import RunStopped
from podium.orchestration.chat import (
    AssistantMessage,
    CallRequest,
    ChatModel,
    ChatRequest,
    Message,
    SystemMessage,
    ToolCallSealed,
    ToolMessage,
    TurnFinished,
    TurnFinishReason,
    Usage,
    UserMessage,
)
from podium.orchestration.core import RunScope
from podium.orchestration.events import (
    CallFailed,
    CallSkipped,
    CallSucceeded,
    Exhaustion,
    ResultSource,
    Speculation,
    TurnEnded,
    TurnStarted,
    WindDownCause,
    WindDownStarted,
)
from podium.orchestration.model_turn import ModelTurn, stream_turn
from podium.orchestration.nodes import Node, TurnCalls
from podium.orchestration.plain_answer import plain_answer
from podium.orchestration.scheduler import CallScheduler
from podium.orchestration.spending import Spending
from podium.orchestration.tool import ToolFailureCode, ToolSpec

__all__ = ["Answer", "Runner"]

_MOST_CALLS = 10_000  # of any run
_PLANNING = (
    "Calls of one turn run in parallel, each as soon as it is written. Write calls that need each other's results in "
    'the same turn too: wherever a value is a result that is not there yet, write {"$from": "c0", "path": "/key/0"}, '
    "c0 being the first call of this turn, c1 the second, and path a JSON Pointer into its result (leave it out for "
    'the whole). {"$each": {"from": "c0", "path": "/items"}} in place of a value makes the call for each item.'
)


@dataclass(frozen=True, slots=True)
class Answer:
    """How a run ended well. `partial` says that something asked for is missing."""

    text: str
    partial: bool
    usage: Usage


class Runner:
    """Drives one run. Use once.

    Args:
        run: what its parts share.
        model: the model.
        tools: what the model may use, by name.
        references: whether the model can write calls that use each other's results in one turn.
    """

    def __init__(
        self, run: RunScope, model: ChatModel, tools: Mapping[str, ToolSpec], *, references: bool = False
    ) -> None:
        self._run = run
        self._model = model
        self._tools = tools
        self._references = references
        policy, limits = run.services.policy, run.spec.limits
        # A run that asks at its limit has its calls counted by its budget, which can be raised.
        asks = (limits.on_exhausted or policy.on_exhausted) is Exhaustion.ASK
        self._max_calls = _MOST_CALLS if asks else _tighter(limits.max_calls, policy.max_calls)
        self._max_turns = _tighter(limits.max_turns, policy.max_turns)
        self._max_tokens = _tighter(limits.max_tokens, policy.max_tokens)
        self._long = run.services.long_results
        self._reader: ToolSpec | None = None  # reads on in results that were cut; offered once there are any
        self._ask = AskUser(run) if run.spec.may_ask else None
        self._spending = Spending(run, model)
        self._repeats: Counter[tuple[str, bytes, bytes]] = Counter()
        self._scheduler: CallScheduler | None = None
        self._partial = False
        self._usage = Usage()

    @property
    def usage(self) -> Usage:
        """What the run has used so far, its tools included."""
        turns = self._usage
        return Usage(
            turns.prompt_tokens, turns.completion_tokens, turns.cached_tokens, self._run.budget.spent.cost_micros
        )

    async def run(self) -> Answer:
        """Take turns until the model answers.

        Raises:
            PodiumError: the run cannot be finished; the log holds everything up to there.
        """
        try:
            async with asyncio.TaskGroup() as group:
                built_in = {} if self._ask is None else {ASK_USER.name: self._ask.answer}
                scheduler = CallScheduler(
                    self._run,
                    group,
                    self._tools,
                    find=self._find,
                    allow=self._spending.allow,
                    built_in=built_in,
                    max_calls=self._max_calls,
                )
                self._scheduler = scheduler
                try:
                    answer = await self._take_turns(scheduler)
                except BaseException:
                    await scheduler.close("the run was cancelled")
                    raise
                await scheduler.close("the run ended")
                if answer.text and not answer.partial:
                    self._learn(scheduler)
        except BaseExceptionGroup as group_error:
            raise _first_error(group_error) from None
        return answer

    def close(self) -> None:
        """Let go of what was kept for the run."""
        self._run.share.close()
        self._run.budget.close()
        if self._scheduler is not None:
            self._scheduler.forget()
            self._scheduler = None
        if self._long is not None:
            self._long.forget(self._run.tenant, self._run.run_id)

    async def _take_turns(self, scheduler: CallScheduler) -> Answer:
        messages: list[Message] = [UserMessage(self._run.spec.input)]
        if self._references and self._tools:
            messages.insert(0, SystemMessage(_PLANNING))
        scheduler.begin()
        for index in range(self._max_turns):
            # The last turn is offered no tools, so that it has to answer from what there is.
            last = index == self._max_turns - 1 and index > 0
            if last and not self._run.winding_down:
                await self._wind_down(WindDownCause.TURNS, f"the run's limit of {self._max_turns} turns is near")
            began = self._run.clock()
            turn = await self._take_turn(index, messages, () if self._run.winding_down else self._offered(), scheduler)
            if turn is None:
                return await self._answer_in_time(scheduler, [])
            if self._run.spec.plan_only:
                return Answer("".join(turn.text), False, self.usage)
            if turn.finished is None:  # the time was up while it wrote
                return await self._answer_in_time(scheduler, turn.text)
            if not turn.requests:
                if self._run.winding_down and not turn.text:  # told to answer, it said nothing
                    return await self._answer_in_time(scheduler, [])
                self._run.services.turn_times.note(self._model.name, self._run.clock() - began)
                cut = turn.finished.reason is TurnFinishReason.LENGTH
                return Answer("".join(turn.text), self._partial or cut or self._run.winding_down, self.usage)
            await self._wait_for_calls(turn, scheduler)
            messages.append(AssistantMessage("".join(turn.text), tuple(turn.requests)))
            messages.extend(self._told(node) for node in turn.calls.nodes)
            await self._look_for_circles(turn)
        message = f"the run gave no answer within {self._max_turns} turns; allow more turns, or ask for less"
        await self._spending.stop(FailedPrecondition(message, reason="LIMIT_REACHED"))
        return await self._answer_in_time(scheduler, [])

    async def _take_turn(
        self, index: int, messages: list[Message], tools: tuple[ToolSpec, ...], scheduler: CallScheduler
    ) -> ModelTurn | None:
        """Take one turn; None when there was no time, or no allowance, for it."""
        run = self._run
        remaining = self._max_tokens - self._usage.completion_tokens
        if remaining <= 0:
            message = f"the run has used its {self._max_tokens} tokens; allow more tokens, or ask for less"
            await self._spending.stop(FailedPrecondition(message, reason="LIMIT_REACHED"))
            return None
        request = ChatRequest(
            messages=tuple(messages),
            tools=tools,
            max_tokens=remaining,
            turn=index,
            correlation_id=run.correlation_id,
            tenant=run.tenant,
            priority=0.0 if run.spec.background else None,
            seconds_left=run.time.deadline - run.clock(),
            # The next turn begins with this one's prompt, once the tools have answered.
            retain_seconds=run.services.tool_times.p90(tool.name for tool in tools),
        )
        allowance = await self._spending.allow_turn(request)
        if allowance is None:
            return None
        turn = ModelTurn(TurnCalls(index))
        await run.log.append(TurnStarted(index, self._model.name))
        try:
            async with asyncio.timeout_at(run.time.deadline) as limit:
                await stream_turn(run, self._model, allowance.request, turn, partial(self._seal, scheduler))
        except TimeoutError:
            if not limit.expired():
                raise
            allowance.broken_off(turn.heard)
            return turn
        except BaseException:
            allowance.broken_off(turn.heard)
            raise
        finished = turn.finished = turn.finished or TurnFinished(TurnFinishReason.STOP)
        usage = allowance.settle(finished)
        self._usage += usage
        if len(finished.attempts) > 1:
            run.degraded = True
        await run.log.append(
            TurnEnded(
                index, "".join(turn.text), usage, finished.reason, finished.model or self._model.name, finished.attempts
            )
        )
        await scheduler.end_turn(turn.calls)
        return turn

    async def _seal(self, scheduler: CallScheduler, sealed: ToolCallSealed, turn: ModelTurn) -> CallRequest:
        """Give a call that the model has written to the scheduler, unless it cannot run at all."""
        spec = self._find(sealed.tool)
        if self._run.spec.plan_only:
            return await scheduler.seal_refused(sealed, turn.calls, spec, CallSkipped("only a plan was asked for"))
        if spec is None:
            known = ", ".join(sorted(self._tools)) or "none"
            message = f"there is no tool {sealed.tool!r} in this run; use one of: {known}"
            return await scheduler.seal_refused(
                sealed, turn.calls, None, CallFailed(ToolFailureCode.UNKNOWN_TOOL, message)
            )
        if self._run.winding_down:
            because = "the run starts nothing more"
        elif scheduler.made >= self._max_calls:
            because = f"the run's limit of {self._max_calls} calls was reached"
        else:
            return await scheduler.seal(sealed, turn.calls, spec)
        return await scheduler.seal_refused(sealed, turn.calls, spec, CallSkipped(because))

    async def _wait_for_calls(self, turn: ModelTurn, scheduler: CallScheduler) -> None:
        """Wait until the calls have ended, or there is just time enough left for an answer."""
        if turn.calls.done.is_set():
            return
        try:
            async with asyncio.timeout_at(self._run.time.cutoff):
                await turn.calls.done.wait()
        except TimeoutError:
            late = tuple(node.request.call_id for node in turn.calls.nodes if node.outcome is None)
            await self._wind_down(WindDownCause.DEADLINE, "the run's time is nearly up", late)
            await scheduler.cut(CallFailed(ToolFailureCode.TIMEOUT, "it did not end before the run's time was up"))

    async def _wind_down(self, cause: WindDownCause, because: str, missing: tuple[str, ...] = ()) -> None:
        self._run.winding_down = True
        await self._run.log.append(WindDownStarted(cause, because, missing))

    async def _look_for_circles(self, turn: ModelTurn) -> None:
        """Notice a model that asks for the same again and again, and let it answer instead."""
        most = self._run.services.policy.max_repeats
        # Equal calls of one turn count once: the model had not seen the result when it wrote them.
        seen: dict[tuple[str, bytes, bytes], None] = {}
        for node in turn.calls.nodes:
            if isinstance(node.outcome, CallSucceeded):
                result = node.outcome.result_json
            elif isinstance(node.outcome, CallFailed):
                result = node.outcome.message.encode()
            else:
                continue
            seen[node.request.tool, node.request.arguments_json, result] = None
        for key in seen:
            self._repeats[key] += 1
            if self._repeats[key] >= most and not self._run.winding_down:
                because = f"{key[0]} was called {most} times with the same arguments and the same result"
                await self._wind_down(WindDownCause.LOOP, because)

    async def _answer_in_time(self, scheduler: CallScheduler, text: list[str]) -> Answer:
        """Answer without the model, whose time or allowance is up, from what there is."""
        outcomes = [(node.request, node.outcome) for node in scheduler.nodes()]
        if not text and not any(isinstance(outcome, CallSucceeded) for _, outcome in outcomes):
            if self._spending.refused is not None:
                raise self._spending.refused
            whole = self._run.time.deadline - self._run.time.start
            raise DeadlineExceeded(f"the run did not end within {whole:.3g} s; allow more time, or ask for less")
        if not self._run.winding_down:
            late = tuple(request.call_id for request, outcome in outcomes if outcome is None)
            await self._wind_down(WindDownCause.DEADLINE, "the run's time is up", late)
        await scheduler.cut(CallFailed(ToolFailureCode.TIMEOUT, "it did not end before the run's time was up"))
        return Answer(
            plain_answer("".join(text), [(n.request, n.outcome) for n in scheduler.nodes()]), True, self.usage
        )

    def _find(self, name: str) -> ToolSpec | None:
        spec = self._tools.get(name)
        if spec is None and self._reader is not None and self._reader.name == name:
            return self._reader
        if spec is None and self._ask is not None and name == ASK_USER.name:
            return ASK_USER
        return spec

    def _offered(self) -> tuple[ToolSpec, ...]:
        built_in = (*(() if self._reader is None else (self._reader,)), *(() if self._ask is None else (ASK_USER,)))
        return (*self._tools.values(), *built_in)

    def _told(self, node: Node) -> ToolMessage:
        """Return what the model is told of a call."""
        match node.outcome:
            case CallSucceeded(result_json=result, source=source):
                content, ok = self._shown(result), True
                self._run.degraded = self._run.degraded or source is ResultSource.FALLBACK
                self._partial = self._partial or any(not isinstance(i.outcome, CallSucceeded) for i in node.items)
            case CallFailed(code=code, message=text):
                content, ok = f"{code}: {text}", False
            case CallSkipped(because=because):
                content, ok = f"not run: {because}", False
            case None:
                raise AssertionError("a turn's calls have all ended before the model is told of them")
        self._partial = self._partial or not ok
        request = node.request
        return ToolMessage(request.call_id, request.tool, content, ok, request.provider_id)

    def _shown(self, result: bytes) -> str:
        """Return a result as the model gets it: cut when it is too long, with the means to read on."""
        text = result.decode("utf-8", "replace")
        if self._long is None:
            return text
        cut = self._long.cut(text, tenant=self._run.tenant, run_id=self._run.run_id)
        if cut is None:
            return text
        if self._long.tool.name not in self._tools:
            self._reader = self._long.tool
        return cut

    def _learn(self, scheduler: CallScheduler) -> None:
        """Remember what the model asked for, unless this server predicts nothing."""
        if self._run.services.policy.speculation is Speculation.SAFE:
            self._run.services.predictor.learn(self._run.tenant, self._run.spec.input, scheduler.past())


def _tighter(asked: int | None, allowed: int) -> int:
    return allowed if not asked else min(asked, allowed)


def _first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that ended a run: the model's, that of a call that ends the run, or a cancellation."""
    for error in group.exceptions:
        if isinstance(error, PodiumError):
            return error
        if isinstance(error, RunStopped):
            return error.error
    first = group.exceptions[0]
    return _first_error(first) if isinstance(first, BaseExceptionGroup) else first
