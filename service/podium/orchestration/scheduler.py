"""The calls of one run as one graph: each starts the moment that nothing stands in its way any more."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import orjson

from podium.orchestration.call_graph import CallGraph, Step
from podium.orchestration.call_run import Allow, CallRun, NotStarted, ReadyCall, RunStopped
from podium.orchestration.chat import CallRequest, ToolCallSealed
from podium.orchestration.core import RunScope
from podium.orchestration.events import (
    CallFailed,
    CallFinished,
    CallOutcome,
    CallSealed,
    CallSkipped,
    CallStarted,
    CallSucceeded,
    ResultSource,
)
from podium.orchestration.events import Speculation as SpeculationMode
from podium.orchestration.life import Life, Phase
from podium.orchestration.nodes import NO_REFERENCES, Node, TurnCalls
from podium.orchestration.prediction import PastCall, may_start_when_sealed
from podium.orchestration.reference_types import check_types
from podium.orchestration.references import (
    MISSING,
    Reference,
    ReferenceProblem,
    fill,
    find_references,
    items,
    may_have_references,
)
from podium.orchestration.speculation import Speculation
from podium.orchestration.tool import ToolFailure, ToolFailureCode, ToolSpec
from podium.packed_json import packed

__all__ = ["BuiltIn", "CallScheduler"]

_log = logging.getLogger(__name__)
_SHORT = re.compile(r"c(0|[1-9][0-9]*)")

BuiltIn = Callable[["Node", bytes], Awaitable[CallOutcome]]


class CallScheduler:
    """Owns the calls of one run. All of its tasks belong to the run's task group.

    Args:
        run: the run.
        group: owns the tasks.
        tools: finds the tools that the run may use.
        allow: reserves what a call needs; see `CallRun`.
        built_in: runs the calls of the tools that the runner itself offers, by name.
        max_calls: of the run; items of a call beyond that are not made.
    """

    def __init__(
        self,
        run: RunScope,
        group: asyncio.TaskGroup,
        tools: Mapping[str, ToolSpec],
        *,
        find: Callable[[str], ToolSpec | None],
        allow: Allow,
        built_in: Mapping[str, BuiltIn],
        max_calls: int,
    ) -> None:
        self._run, self._group, self._find = run, group, find
        self._graph = CallGraph()
        self._nodes: dict[str, Node] = {}
        self._perform = CallRun(run, find, allow)
        self._built_in = built_in
        self._made, self._max_calls = 0, max_calls
        mode = run.spec.speculation or run.services.policy.speculation
        predicts = mode is SpeculationMode.SAFE and not run.spec.plan_only
        self._speculation = Speculation(run, self._perform, group, tools) if predicts else None

    @property
    def made(self) -> int:
        """How many calls were started or are to be; those that cannot run do not count."""
        return self._made

    def nodes(self) -> list[Node]:
        """Return the calls that the model wrote, in order; items of a call are not calls of its own."""
        return [node for node in self._nodes.values() if node.parent is None]

    def past(self) -> list[PastCall]:
        """Return the calls that ended well, as their tools got them, in the order in which the model wrote them."""
        return [
            PastCall(node.request.tool, self._arguments(node), self._value(node), node.turn.index)
            for node in self._nodes.values()
            if node.references.each is None and isinstance(node.outcome, CallSucceeded)
        ]

    def begin(self) -> None:
        """Predict what the model will ask for first."""
        if self._speculation is not None:
            self._speculation.consider((), turn=0)

    async def seal(self, sealed: ToolCallSealed, turn: TurnCalls, spec: ToolSpec) -> CallRequest:
        """Take a call that the model has written, and start it if nothing stands in its way."""
        request = CallRequest(
            f"c{turn.index}_{len(turn.nodes)}", sealed.tool, sealed.arguments_json, sealed.provider_id
        )
        hold = self._holds(spec)
        node = Node(request, spec, turn, Life(self._run.clock, Phase.TURN if hold else Phase.PARENTS))
        self._add(node)
        problem = ""
        if may_have_references(request.arguments_json):
            try:
                node.arguments = orjson.loads(request.arguments_json)
                node.references = find_references(node.arguments)
            except ReferenceProblem as error:
                problem = error.message
            except orjson.JSONDecodeError:
                node.references = NO_REFERENCES  # the tool itself says what is wrong with it
        sources = node.references.sources
        await self._run.log.append(
            CallSealed(request.call_id, request.tool, request.arguments_json, spec.version, self._named(sources, turn))
        )
        self._made += 1
        step = self._graph.seal(
            request.call_id,
            turn=turn.index,
            index=len(turn.nodes) - 1,
            alias=request.provider_id,
            sources=sources,
            hold=hold,
        )
        if problem:
            await self.refuse(node, CallFailed(ToolFailureCode.INVALID_ARGUMENTS, problem))
        else:
            await self._take(step)
        return request

    async def seal_refused(
        self, sealed: ToolCallSealed, turn: TurnCalls, spec: ToolSpec | None, outcome: CallFailed | CallSkipped
    ) -> CallRequest:
        """Take a call that cannot run."""
        request = CallRequest(
            f"c{turn.index}_{len(turn.nodes)}", sealed.tool, sealed.arguments_json, sealed.provider_id
        )
        known = spec or ToolSpec(name=sealed.tool, description="", input_schema={}, version="")
        node = Node(request, known, turn, Life(self._run.clock, Phase.PARENTS))
        self._add(node)
        sources: tuple[str, ...] = ()
        if may_have_references(request.arguments_json):
            with suppress(ReferenceProblem, orjson.JSONDecodeError):
                sources = find_references(orjson.loads(request.arguments_json)).sources
        await self._run.log.append(
            CallSealed(request.call_id, request.tool, request.arguments_json, known.version, self._named(sources, turn))
        )
        step = self._graph.seal(request.call_id, turn=turn.index, index=len(turn.nodes) - 1, alias=request.provider_id)
        await self._take(Step(doomed=step.doomed))
        await self.refuse(node, outcome)
        return request

    async def end_turn(self, turn: TurnCalls) -> None:
        """Say that the model's turn has ended: calls with side effects may start, unknown references are wrong."""
        await self._take(self._graph.end_turn(turn.index))
        if self._speculation is not None:
            await self._speculation.turn_ended(turn.index)
        turn.ended = True
        self._look_at(turn)

    async def refuse(self, node: Node, outcome: CallFailed | CallSkipped) -> None:
        """End a call that has no task of its own."""
        await self._finish(node, outcome)

    async def cut(self, outcome: CallFailed | CallSkipped) -> None:
        """End every call that has not ended; those that were never started as skipped."""
        skipped = outcome if isinstance(outcome, CallSkipped) else CallSkipped(outcome.message)
        unfinished = [node for node in reversed(self._nodes.values()) if node.outcome is None]
        waiting = [node for node in unfinished if node.task is None]
        working = [node for node in unfinished if node.task is not None]
        for node in unfinished:
            if node.task is not None:
                node.task.cancel()
        # Those that wait go first, so that nothing becomes ready here; items go before the call that they are of.
        for node in (*waiting, *working):
            await self._finish(node, outcome if node.began else skipped)

    async def close(self, because: str) -> None:
        """End what is open, for a run that ends."""
        if self._speculation is not None:
            await self._speculation.close()
        await self.cut(CallFailed(ToolFailureCode.CANCELLED, because))

    def forget(self) -> None:
        """Let go of the calls of a run that has ended, see `CallGraph.clear`."""
        for node in self._nodes.values():
            node.turn.nodes.clear()
            node.task = node.call = node.parent = None
            node.items.clear()
        self._nodes.clear()
        self._graph.clear()

    def _holds(self, spec: ToolSpec) -> bool:
        """Return whether a call of the tool, or of what may stand in for it, has to wait for the end of its turn."""
        stand_in = self._find(spec.fallback.tool) if spec.fallback is not None else None
        return not all(may_start_when_sealed(one.side_effects) for one in (spec, stand_in) if one is not None)

    def _named(self, sources: Sequence[str], turn: TurnCalls) -> tuple[str, ...]:
        """Return the calls that are meant; of one that is still to come, the name that it will have."""

        def named(source: str) -> str:
            known = self._graph.name(source, turn.index)
            return known or (f"c{turn.index}_{source[1:]}" if _SHORT.fullmatch(source) else source)

        return tuple(named(source) for source in sources)

    def _add(self, node: Node) -> None:
        self._nodes[node.request.call_id] = node
        if node.parent is None:
            node.turn.nodes.append(node)
            node.turn.open += 1

    async def _take(self, step: Step) -> None:
        for call_id in step.ready:
            node = self._nodes[call_id]
            if node.outcome is None:
                node.life.enter(Phase.QUEUE)
                node.task = self._group.create_task(self._carry_out(node), name=call_id)
        for doomed in step.doomed:
            node = self._nodes[doomed.call_id]
            code = ToolFailureCode.DEPENDENCY_FAILED if doomed.cause else ToolFailureCode.INVALID_ARGUMENTS
            if node.outcome is None:
                await self._record(node, CallFailed(code, doomed.message))

    async def _carry_out(self, node: Node) -> None:
        """Own one call from the moment it is ready. Never raises but for cancellation, or to end the run."""
        arguments_json, filled = node.request.arguments_json, False
        if node.references.plain or node.references.each:
            try:
                if node.references.each is not None:
                    await self._fan_out(node, node.references.each)
                    return
                arguments_json, filled = self._fill(node, MISSING), True
                node.filled_json, node.arguments = arguments_json, None
            except ReferenceProblem as problem:
                await self._finish(node, CallFailed(ToolFailureCode.INVALID_ARGUMENTS, problem.message))
                return
        try:
            outcome = await self._outcome(node, arguments_json, filled=filled)
        except RunStopped as stopped:
            await self._finish(node, CallFailed(ToolFailureCode.BUDGET, stopped.error.message))
            raise
        await self._finish(node, outcome)

    async def _outcome(self, node: Node, arguments_json: bytes, *, filled: bool) -> CallOutcome:
        try:
            return await self._result(node, arguments_json, filled=filled)
        except ToolFailure as failure:
            return CallFailed(failure.code, failure.message)
        except NotStarted as not_started:
            if node.began:  # by a prediction that came to nothing
                return CallFailed(ToolFailureCode.TIMEOUT, not_started.because)
            return CallSkipped(not_started.because)
        except RunStopped:
            raise
        except Exception:  # noqa: BLE001  the boundary of a call: whatever happens in it is its own end only
            _log.exception("tool call failed", extra={"run_id": self._run.run_id, "call_id": node.request.call_id})
            return CallFailed(ToolFailureCode.RAISED, f"{node.request.tool} failed in a way that was not foreseen")

    async def _result(self, node: Node, arguments_json: bytes, *, filled: bool) -> CallOutcome:
        built_in = self._built_in.get(node.request.tool)
        if built_in is not None:
            return await built_in(node, arguments_json)
        predicted = await self._predicted(node, arguments_json, filled=filled)
        if predicted is not None:
            return predicted
        node.call = ReadyCall(
            node.request.call_id,
            node.request.tool,
            node.spec,
            arguments_json,
            node.life,
            self._run.priority,
            filled,
            announced=node.working,
        )
        served = await self._perform.perform(node.call)
        result = served.result
        return CallSucceeded(result.result_json, result.content_type, served.source, served.age_seconds)

    async def _predicted(self, node: Node, arguments_json: bytes, *, filled: bool) -> CallSucceeded | None:
        """Return the result of a guess that is just this call; None where there is none."""
        if self._speculation is None:
            return None
        guess = self._speculation.adopt(node.request.tool, arguments_json)
        if guess is None:
            return None
        await self._run.log.append(CallStarted(node.request.call_id, 1, arguments_json if filled else b""))
        node.working = True
        node.life.enter(Phase.WORK)
        served = await self._speculation.result(guess, node.request.call_id)
        if served is None:
            return None
        return CallSucceeded(served.result.result_json, served.result.content_type, ResultSource.PREDICTED)

    def _fill(self, node: Node, item: Any) -> bytes:
        values = fill(node.arguments, node.references, self._source_value(node), item=item)
        check_types(values, node.spec.input_schema, node.references)
        return packed(values)

    def _source_value(self, node: Node) -> Callable[[str], Any]:
        def value(source: str) -> Any:
            return self._value(self._nodes[self._graph.name(source, node.turn.index) or source])

        return value

    async def _fan_out(self, node: Node, each: Reference) -> None:
        """Make one call for each item of a list; the results, in order, are the call's own."""
        listed = items(node.references, self._source_value(node), most=self._run.services.policy.max_each)
        filled = [self._fill(node, item) for item in listed]
        node.life.enter(Phase.WORK)
        node.working = True
        room = max(self._max_calls - self._made, 0) + 1  # it has been counted itself, but makes no call
        self._made += max(min(len(filled), room) - 1, 0)
        for index, arguments_json in enumerate(filled):
            request = CallRequest(f"{node.request.call_id}_{index}", node.request.tool, arguments_json)
            child = Node(request, node.spec, node.turn, Life(self._run.clock), parent=node)
            self._nodes[request.call_id] = child
            node.items.append(child)
            sealed = CallSealed(
                request.call_id,
                request.tool,
                arguments_json,
                node.spec.version,
                (self._graph.name(each.source, node.turn.index) or each.source,),
                node.request.call_id,
            )
            await self._run.log.append(sealed)
        node.open_items = len(node.items)
        for child in node.items[:room]:
            child.task = self._group.create_task(self._carry_out(child), name=child.request.call_id)
        for child in node.items[room:]:
            await self._finish(child, CallSkipped(f"the run's limit of {self._max_calls} calls was reached"))
        if not node.items:
            await self._finish(node, CallSucceeded(b"[]", "application/json"))

    async def _finish(self, node: Node, outcome: CallOutcome) -> None:
        """End a call, and let go on what waited for it."""
        if node.outcome is not None:
            return
        await self._record(node, outcome)
        if node.parent is not None:
            await self._item_ended(node.parent)
            return
        ok = isinstance(outcome, CallSucceeded)
        await self._take(self._graph.finish(node.request.call_id, ok=ok, cause=_cause(outcome)))

    async def _item_ended(self, parent: Node) -> None:
        parent.open_items -= 1
        if parent.open_items or parent.outcome is not None:
            return
        if not any(isinstance(item.outcome, CallSucceeded) for item in parent.items):
            why = _cause(parent.items[-1].outcome)
            await self._finish(parent, CallFailed(ToolFailureCode.RAISED, f"every item failed: {why}"))
            return
        results = [
            item.outcome.result_json
            if isinstance(item.outcome, CallSucceeded)
            else packed({"error": _cause(item.outcome)})
            for item in parent.items
        ]
        await self._finish(parent, CallSucceeded(b"[" + b",".join(results) + b"]", "application/json"))

    async def _record(self, node: Node, outcome: CallOutcome) -> None:
        node.outcome = outcome
        await self._run.log.append(CallFinished(node.request.call_id, outcome, node.life.waits()))
        if node.parent is None:
            node.turn.open -= 1
            self._look_at(node.turn)

    def _look_at(self, turn: TurnCalls) -> None:
        """Once all calls of a turn have ended, wake who waits for them, and think of what may come next."""
        if turn.ended and turn.open == 0 and not turn.done.is_set():
            turn.done.set()
            if self._speculation is not None and turn.nodes:
                self._speculation.consider(self.past(), turn=turn.index + 1)

    def _value(self, node: Node) -> Any:
        if node.value is None and isinstance(node.outcome, CallSucceeded):
            node.value = orjson.loads(node.outcome.result_json)
        return node.value

    def _arguments(self, node: Node) -> Any:
        if node.arguments is None:
            try:
                node.arguments = orjson.loads(node.filled_json or node.request.arguments_json)
            except orjson.JSONDecodeError:
                node.arguments = {}
        return node.arguments


def _cause(outcome: CallOutcome | None) -> str:
    match outcome:
        case CallFailed(message=message):
            return message
        case CallSkipped(because=because):
            return because
        case _:
            return ""
