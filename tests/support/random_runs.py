"""Plays random plans through the whole orchestration core in virtual time, and notes what happens in its order."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from podium.orchestration.budget import Budgets, Scope, Standing
from podium.orchestration.chat import (
    ChatEvent,
    ChatRequest,
    TextDelta,
    ToolCallSealed,
    ToolMessage,
    TurnFinished,
    TurnFinishReason,
    UserMessage,
)
from podium.orchestration.core import Services
from podium.orchestration.events import (
    CallFinished,
    CallSucceeded,
    EventKind,
    LoggedEvent,
    RunEnded,
    RunSpec,
    RunStarted,
    Speculation,
    TextWritten,
)
from podium.orchestration.orchestrator import Orchestrator, Submitter
from podium.orchestration.prediction import PastCall, Prediction
from podium.orchestration.prediction_ledger import PredictionLedger
from podium.orchestration.tool import ToolFailure, ToolFailureCode, ToolInvocation, ToolResult, ToolSpec
from podium.orchestration.view import RunView
from podium.store.memory import MemoryRunStore
from support.fakes import FunctionModel, loop_time, make_orchestrator, make_services
from support.random_plans import REFERENCES, Arguments, PlannedRun, World, refers
from support.virtual_time import run_virtual

__all__ = ["CLEAN_UP", "Body", "Entry", "Played", "outcomes", "play", "result_of"]

CLEAN_UP: Final = 0.05  # seconds that a tool may take to stop
_FOREVER: Final = 1e6


@dataclass(slots=True)
class Body:
    """One time that a tool ran."""

    run_id: str
    call_id: str
    tool: str
    arguments: Arguments
    start: float
    end: float | None = None
    effect: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened; entries are in the true order of events."""

    at: float
    what: Literal["event", "start", "end", "cancel"]
    event: LoggedEvent | None = None
    body: Body | None = None
    run: int = -1


@dataclass(slots=True, repr=False)  # the loop asks for the repr of what a task returned
class Played:
    """What happened in a world."""

    entries: list[Entry] = field(default_factory=list)
    ids: dict[int, str] = field(default_factory=dict)
    followed: dict[int, list[LoggedEvent]] = field(default_factory=dict)
    watched: list[tuple[str, int, list[LoggedEvent]]] = field(default_factory=list)
    logs: dict[str, Sequence[LoggedEvent]] = field(default_factory=dict)
    views: dict[str, RunView] = field(default_factory=dict)
    services: Services | None = None
    accounts: list[tuple[str, Standing]] = field(default_factory=list)  # of each tenant and principal
    unusable: list[PastCall] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    active: int = 0

    def observe(self, view: RunView, event: LoggedEvent) -> None:
        """Note an event."""
        if isinstance(event.kind, RunStarted):
            self.ids[int(event.kind.spec.input)] = event.run_id
        self.entries.append(Entry(loop_time(), "event", event=event))


class _Tools:
    """Tools that behave as their arguments say, each held to its time limit."""

    def __init__(self, specs: Mapping[str, ToolSpec], played: Played) -> None:
        self._specs, self._played = specs, played
        self._tried: Counter[tuple[str, str]] = Counter()

    def list(self) -> Sequence[ToolSpec]:
        return list(self._specs.values())

    def get(self, name: str) -> ToolSpec | None:
        return self._specs.get(name)

    async def invoke(self, invocation: ToolInvocation) -> ToolResult:
        spec = self._specs[invocation.tool]
        broken = not invocation.arguments_json.endswith(b"}")
        arguments = {} if broken else json.loads(invocation.arguments_json)
        body = Body(invocation.run_id, invocation.call_id, invocation.tool, arguments, loop_time())
        self._played.entries.append(Entry(body.start, "start", body=body))
        left = _FOREVER if invocation.seconds_left is None else invocation.seconds_left
        try:
            async with asyncio.timeout(min(spec.timeout_seconds, left)):
                return ToolResult(result_json=json.dumps(await self._work(invocation, body)).encode())
        except TimeoutError:
            raise ToolFailure(ToolFailureCode.TIMEOUT, "took too long", retryable=True) from None
        finally:
            body.end = loop_time()
            self._played.entries.append(Entry(body.end, "end", body=body))

    async def _work(self, invocation: ToolInvocation, body: Body) -> Any:
        given = body.arguments
        if not given:
            raise ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, "no JSON")
        does = given["do"] if given["t"] == invocation.tool else "ok"
        key = (invocation.run_id, invocation.call_id)
        self._tried[key] += 1
        if does == "gone" or (does == "away" and self._tried[key] <= given["k"]):
            raise ToolFailure(ToolFailureCode.UNAVAILABLE, "not there", retryable=True, retry_after=given["after"])
        body.effect = True
        try:
            await asyncio.sleep(_FOREVER if does == "hang" else given["s"])
        except asyncio.CancelledError:
            if given["clean"]:
                await asyncio.sleep(CLEAN_UP)
            raise
        if does == "raise" or given.get("each") in given["bad"]:
            raise ToolFailure(ToolFailureCode.RAISED, "no luck")
        if does == "retry" or (does == "flaky" and self._tried[key] <= given["k"]):
            raise ToolFailure(ToolFailureCode.RAISED, "no luck", retryable=True)
        return result_of(given)


def result_of(given: Arguments) -> Arguments:
    """Return what a tool gives that works."""
    return {
        "v": given["n"],
        "items": list(range(given["items"])),
        "got": [given[key] for key in REFERENCES if key in given],
    }


class _Model:
    """Writes what the plan says, then answers with every result it was told."""

    def __init__(self, runs: Sequence[PlannedRun]) -> None:
        self._runs = {str(run.number): run for run in runs}

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        asked = next(message.text for message in request.messages if isinstance(message, UserMessage))
        run = self._runs[asked]
        if not request.tools or request.turn >= len(run.turns):
            await asyncio.sleep(run.answer_seconds)
            told = [message for message in request.messages if isinstance(message, ToolMessage)]
            yield TextDelta("answer ")
            yield TextDelta(" ".join(message.content.replace(" ", "") if message.ok else "-" for message in told))
            yield TurnFinished(TurnFinishReason.STOP)
            return
        turn, now = run.turns[request.turn], 0.0
        if turn.text:
            yield TextDelta(turn.text)
        for call in turn.calls:
            if call.at > now:
                await asyncio.sleep(call.at - now)
                now = call.at
            yield ToolCallSealed(call.tool, call.arguments_json, call.provider_id)
        if turn.seconds > now:
            await asyncio.sleep(turn.seconds - now)
        yield TurnFinished(TurnFinishReason.TOOL_CALLS)


class _Guesser:
    """Predicts calls of the next turn: right ones, and some that are a little wrong."""

    def __init__(self, world: World, played: Played) -> None:
        self._runs, self._played = {str(run.number): run for run in world.runs}, played
        self._random = random.Random(world.seed)

    def predict(
        self, tenant: str, request: str, calls: Sequence[PastCall], *, tools: Collection[str]
    ) -> list[Prediction]:
        self.learn(tenant, request, calls)
        turns = self._runs[request].turns
        turn = max((call.turn for call in calls), default=-1) + 1
        found = []
        for call in turns[turn].calls if turn < len(turns) else ():
            known = not (refers(call.arguments) or call.broken)
            if call.tool in tools and known and self._random.random() < 0.5:
                wrong = self._random.random() < 0.3
                arguments = {**call.arguments, "n": -call.arguments["n"]} if wrong else call.arguments
                found.append(Prediction(call.tool, arguments, 0.9, "habit"))
        return found

    def learn(self, tenant: str, request: str, calls: Sequence[PastCall]) -> None:
        """Learn nothing; look only whether there is anything to be learnt from the arguments."""
        self._played.unusable += [call for call in calls if refers(call.arguments) or call.result is None]


def play(world: World, *, predict: bool = False) -> Played:
    """Play a world to its end; with `predict`, calls are predicted as well."""
    random.seed(world.seed)  # the pauses between attempts are drawn from it
    return run_virtual(_play(world, predict=predict))


async def _play(world: World, *, predict: bool) -> Played:
    played, store = Played(), MemoryRunStore()
    tools: Any = _Tools(world.tools, played)
    ledger = PredictionLedger(max_waste_share=1, max_waste_seconds=1e9, free_seconds=world.waste, clock=loop_time)
    parts: dict[str, Any] = {"predictor": _Guesser(world, played)} if predict else {}
    services = make_services(
        tools, world.limits, policy=world.policy, ledger=ledger, budgets=Budgets(clock=loop_time), **parts
    )
    played.services = services
    model = FunctionModel(_Model(world.runs).stream)
    async with make_orchestrator(
        model, tools, services=services, store=store, observers=[played], run_seconds=1e6
    ) as orchestrator:
        async with asyncio.TaskGroup() as group:
            for run in world.runs:
                mode = Speculation.SAFE if predict else Speculation.OFF
                group.create_task(_drive(orchestrator, run, mode, played))
        await asyncio.sleep(2 * CLEAN_UP)
        played.active = orchestrator.active_runs
    await asyncio.sleep(0)
    played.left_over = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for tenant in sorted({run.tenant for run in world.runs}):
        for scope in (Scope.TENANT_DAY, Scope.PRINCIPAL_DAY):
            played.accounts.append((tenant, services.budgets.standing(scope, tenant)))
    for number, run_id in played.ids.items():
        played.logs[run_id] = await store.events(run_id)
        played.views[run_id] = await store.view(run_id, world.runs[number].tenant)
    return played


async def _drive(orchestrator: Orchestrator, run: PlannedRun, mode: Speculation, played: Played) -> None:
    await asyncio.sleep(run.start)
    by = Submitter(owner=run.tenant, tenant=run.tenant)
    spec = replace(run.spec, speculation=mode)
    follower = asyncio.create_task(_follow(orchestrator, spec, by, run, played))
    if run.cancel_after is not None:
        await asyncio.wait([follower], timeout=run.cancel_after)
        if not follower.done():
            played.entries.append(Entry(loop_time(), "cancel", run=run.number))
            if run.leaves:
                follower.cancel()
            else:
                await orchestrator.cancel(played.ids[run.number], by)
    elif run.number % 3 == 0:
        await asyncio.sleep(0.001 + run.number % 7)
        await _watch(orchestrator, run, by, played)
    await asyncio.wait([follower])
    if not follower.cancelled():
        follower.result()


async def _follow(orchestrator: Orchestrator, spec: RunSpec, by: Submitter, run: PlannedRun, played: Played) -> None:
    seen = played.followed[run.number] = []
    async with aclosing(orchestrator.stream(spec, by, seconds=run.seconds)) as events:
        async for event in events:
            seen += [event] * (not isinstance(event.kind, TextWritten))


async def _watch(orchestrator: Orchestrator, run: PlannedRun, by: Submitter, played: Played) -> None:
    run_id, after = played.ids[run.number], run.number % 5
    seen: list[LoggedEvent] = []
    played.watched.append((run_id, after, seen))
    async with aclosing(orchestrator.watch(run_id, by, after_seq=after)) as events:
        async for event in events:
            seen += [event] * (not isinstance(event.kind, TextWritten))


def outcomes(played: Played) -> Mapping[int, Mapping[str, Any]]:
    """Return, for each run by number, the results and the kinds of failure of its calls, and its answer."""
    found: dict[int, dict[str, Any]] = {}
    for number, run_id in played.ids.items():
        kinds: list[EventKind] = [event.kind for event in played.logs[run_id]]
        found[number] = {
            kind.call_id: kind.outcome.result_json if isinstance(kind.outcome, CallSucceeded) else "-"
            for kind in kinds
            if isinstance(kind, CallFinished)
        }
        last = kinds[-1]
        found[number][""] = (last.answer, last.state) if isinstance(last, RunEnded) else None
    return found
