"""What a run is to do, call by call: taken from the log of one that ran, or that only planned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from podium.orchestration.chat import Usage
from podium.orchestration.events import LoggedEvent, ResultSource
from podium.orchestration.run_history import RunHistory, ToolLookup, TurnHistory, as_seconds, read_log
from podium.orchestration.tool import ToolFailureCode
from podium.orchestration.view import CallView

__all__ = ["Plan", "PlannedCall", "PlannedTurn", "plan_from_log"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCall:
    """One call as the plan has it.

    Attributes:
        seal_seconds: when the model completes it, from the start of its turn.
        seconds: what the tool takes, with the time between its attempts; None for what it usually takes,
            but not below `least_seconds`.
        head_start_seconds: how long it has worked when it is sealed, because it was predicted.
        pause_seconds: waits for people, between its being ready and its asking for a slot.
        ready_made: needs no tool and so no slot: cached, failed before its start, or not run.
        gathers: only waits for its items, which are calls of their own.
    """

    call_id: str
    tool: str
    seal_seconds: float
    depends_on: tuple[str, ...] = ()
    seconds: float | None = None
    least_seconds: float = 0.0
    head_start_seconds: float = 0.0
    pause_seconds: float = 0.0
    ready_made: bool = False
    gathers: bool = False
    type: str = "general"
    effectful: bool = False
    cost_micros: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTurn:
    """One model turn. `pause_seconds` pass between the end of what came before and its start."""

    seconds: float
    calls: tuple[PlannedCall, ...] = ()
    usage: Usage = field(default_factory=Usage)
    pause_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The turns of a run, in order; each waits for all calls of the one before."""

    turns: tuple[PlannedTurn, ...]


def plan_from_log(
    events: Sequence[LoggedEvent],
    *,
    tools: ToolLookup | None = None,
    answer_seconds: float | None = None,
) -> Plan:
    """Make a plan of a recorded run, or of one that only planned.

    Calls that ran keep their durations; calls that were cut off or never ran take what is usual.

    Args:
        events: the log.
        tools: the tools' descriptions, for types, effects and prices; of a tool without one, calls that waited for
            their turn's end are taken to have effects.
        answer_seconds: what the answering turn takes where the log has none; None for as long as the
            log's last turn, at the same price.
    """
    history = read_log(events)
    turns: list[PlannedTurn] = []
    before = history.start_ns
    for turn in history.turns:
        end = turn.end_ns or history.end_ns
        turns.append(
            PlannedTurn(
                seconds=as_seconds(end - turn.start_ns),
                calls=tuple(_planned(history, turn, history.view.calls[call_id], tools) for call_id in turn.calls),
                usage=turn.ended.usage if turn.ended else Usage(),
                pause_seconds=as_seconds(max(turn.start_ns - before, 0)),
            )
        )
        before = max([end, *(history.view.calls[call_id].end_ns for call_id in turn.calls)])
    if turns and turns[-1].calls:
        seconds = turns[-1].seconds if answer_seconds is None else answer_seconds
        turns.append(PlannedTurn(seconds=seconds, usage=turns[-1].usage))
    return Plan(tuple(turns))


def _planned(history: RunHistory, turn: TurnHistory, call: CallView, tools: ToolLookup | None) -> PlannedCall:
    sealed, view = call.sealed, history.view
    spec = tools(sealed.tool) if tools else None
    parent = view.calls.get(sealed.item_of)
    items = history.items.get(sealed.call_id, [])
    planned = PlannedCall(
        call_id=sealed.call_id,
        tool=sealed.tool,
        # An item could be known as soon as its call and the list are.
        seal_seconds=as_seconds((parent.seal_ns if parent else call.seal_ns) - turn.start_ns),
        depends_on=(*sealed.depends_on, *items, *(parent.sealed.depends_on if parent else ())),
        pause_seconds=call.waits.question + call.waits.budget,
        type=spec.type if spec else "general",
        effectful=call.waits.turn > 0 if spec is None else not spec.repeatable,
        cost_micros=spec.cost_micros if spec else 0,
    )
    if items:
        return replace(planned, seconds=0.0, ready_made=True, gathers=True, effectful=False, cost_micros=0)
    if view.spec.plan_only:
        return planned
    return _with_outcome(planned, history, call, tools)


def _with_outcome(planned: PlannedCall, history: RunHistory, call: CallView, tools: ToolLookup | None) -> PlannedCall:
    """Return a call with what is recorded of its run."""
    ran = _ran_seconds(history, call)
    cost = history.price(call.sealed.call_id, tools) or planned.cost_micros
    source = call.succeeded.source if call.succeeded else None
    if source in (ResultSource.CACHE, ResultSource.JOINED):
        return replace(planned, seconds=call.waits.cache, ready_made=True, effectful=False, cost_micros=0)
    if source is ResultSource.PREDICTED:
        spent = _spent_before(history, call.sealed.call_id)
        return replace(planned, seconds=spent + ran, head_start_seconds=spent)
    cut_off = call.end_ns == 0 or (call.failed is not None and call.failed.code is ToolFailureCode.CANCELLED)
    parents = (history.view.calls.get(parent) for parent in planned.depends_on)
    lost = any(parent is not None and not parent.succeeded and parent.end_ns for parent in parents)
    if (call.skipped and not lost) or cut_off:
        return replace(planned, least_seconds=ran)
    if not call.start_ns and not call.succeeded:
        return replace(planned, seconds=0.0, ready_made=True, cost_micros=0)
    return replace(planned, seconds=ran, cost_micros=cost)


def _ran_seconds(history: RunHistory, call: CallView) -> float:
    if call.waits.total > 0:
        return call.waits.work + call.waits.retry
    start = call.start_ns or call.seal_ns
    return as_seconds((call.end_ns or history.end_ns) - start) if call.start_ns or call.succeeded else 0.0


def _spent_before(history: RunHistory, call_id: str) -> float:
    settled = (prediction.settled for prediction in history.view.predictions.values())
    return next((found.spent_seconds for found in settled if found and found.call_id == call_id), 0.0)
