"""Why a run took as long, and cost as much, as it did: worked out from its log alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from podium.orchestration.call_spans import Span, call_spans, derived_waits
from podium.orchestration.chat import Usage
from podium.orchestration.critical_path import critical_path
from podium.orchestration.events import LoggedEvent, ResultSource
from podium.orchestration.explanation import (
    CallRow,
    KindTotal,
    PredictionRow,
    PredictionTotals,
    RunExplanation,
    TimeTotals,
    ToolTotal,
    TurnRow,
)
from podium.orchestration.plan import plan_from_log
from podium.orchestration.run_history import (
    PathSegment,
    RunHistory,
    SegmentKind,
    ToolLookup,
    as_seconds,
    read_log,
    turn_id,
)
from podium.orchestration.simulate import Simulation, simulate
from podium.orchestration.view import CallState, CallView, PredictionView

__all__ = ["explain"]

_NS = 1_000_000_000


def explain(
    events: Sequence[LoggedEvent],
    *,
    tools: ToolLookup | None = None,
    durations: Callable[[str], float | None] | None = None,
    answer_seconds: float | None = None,
) -> RunExplanation:
    """Explain a run by its log; a run that goes on is measured up to its last event.

    Args:
        events: the log, from its first event.
        tools: the tools' descriptions, for prices and effects.
        durations: what a tool usually takes, in seconds; None when unknown.
        answer_seconds: what an answering turn usually takes; None when unknown.
    """
    history = read_log(events)
    spans = {call_id: call_spans(history, call, tools) for call_id, call in history.view.calls.items()}
    path = critical_path(history, spans)
    critical = {segment.node_id for segment in path}
    turns = tuple(_turn_row(history, position, critical) for position in range(len(history.turns)))
    calls = tuple(
        _call_row(history, call, spans[call_id], tools, critical) for call_id, call in history.view.calls.items()
    )
    predictions = tuple(_prediction_row(history, found) for found in history.view.predictions.values())
    ledger = _prediction_totals(predictions)
    tool_seconds = sum(row.waits.work for row in calls if not row.gathers)
    tool_seconds += sum(row.spent_seconds for row in predictions)
    return RunExplanation(
        run_id=history.view.run_id,
        state=history.view.state,
        turns=turns,
        calls=calls,
        path=path,
        time=TimeTotals(
            wall_seconds=as_seconds(history.end_ns - history.start_ns),
            tool_seconds=tool_seconds,
            model_seconds=sum(row.end_seconds - row.start_seconds for row in turns),
            parallelism=tool_seconds * _NS / max(history.end_ns - history.start_ns, 1),
            overlapped_seconds=_overlapped(history, spans),
            cache_saved_seconds=_saved_by_cache(calls, durations),
            prediction_saved_seconds=ledger.saved_seconds,
        ),
        by_kind=_by_kind(path),
        tools=_tool_totals(calls, predictions),
        predictions=predictions,
        prediction_totals=ledger,
        usage=history.view.usage,
        model_cost_micros=sum(row.usage.cost_micros for row in turns),
        tool_cost_micros=sum(row.cost_micros for row in calls) + ledger.wasted_micros,
        wind_down=history.view.wind_down,
        estimate=_estimate(events, tools, durations, answer_seconds) if history.view.spec.plan_only else None,
    )


def _estimate(
    events: Sequence[LoggedEvent],
    tools: ToolLookup | None,
    durations: Callable[[str], float | None] | None,
    answer_seconds: float | None,
) -> Simulation:
    usual = durations or (lambda _: None)
    plan = plan_from_log(events, tools=tools, answer_seconds=answer_seconds)
    return simulate(plan, usual=lambda tool, _: usual(tool))


def _turn_row(history: RunHistory, position: int, critical: set[str]) -> TurnRow:
    turn = history.turns[position]
    before = history.turns[position - 1] if position else None
    known = history.view.calls
    depends_on: tuple[str, ...] = ()
    if before is not None:
        asked = tuple(call_id for call_id in before.calls if not known[call_id].sealed.item_of)
        depends_on = asked or (turn_id(before.index),)
    ended = turn.ended
    seals = [known[call_id].seal_ns for call_id in turn.calls]
    return TurnRow(
        node_id=turn_id(turn.index),
        turn=turn.index,
        model=(ended.model if ended else "") or turn.model,
        depends_on=depends_on,
        start_seconds=as_seconds(turn.start_ns - history.start_ns),
        end_seconds=as_seconds((turn.end_ns or history.end_ns) - history.start_ns),
        ended=ended is not None,
        first_call_seconds=as_seconds(min(seals) - turn.start_ns) if seals else None,
        usage=ended.usage if ended else Usage(),
        attempts=ended.attempts if ended else (),
        critical=turn_id(turn.index) in critical,
    )


def _call_row(
    history: RunHistory, call: CallView, spans: Sequence[Span], tools: ToolLookup | None, critical: set[str]
) -> CallRow:
    sealed = call.sealed
    turn = history.turn_of[sealed.call_id]
    return CallRow(
        call_id=sealed.call_id,
        tool=sealed.tool,
        turn=turn.index,
        item_of=sealed.item_of,
        gathers=sealed.call_id in history.items,
        depends_on=(turn_id(turn.index), *sealed.depends_on),
        seal_seconds=as_seconds(call.seal_ns - history.start_ns),
        start_seconds=as_seconds(call.start_ns - history.start_ns) if call.start_ns else None,
        end_seconds=as_seconds((call.end_ns or history.end_ns) - history.start_ns),
        state=call.state,
        source=call.succeeded.source if call.succeeded else None,
        attempts=call.attempts,
        waits=call.waits if call.waits.total > 0 else derived_waits(spans),
        cost_micros=_cost(history, call, tools),
        critical=sealed.call_id in critical,
    )


def _cost(history: RunHistory, call: CallView, tools: ToolLookup | None) -> int:
    for prediction in history.view.predictions.values():
        if prediction.settled and prediction.settled.call_id == call.sealed.call_id:
            return prediction.settled.cost_micros
    return history.price(call.sealed.call_id, tools)


def _prediction_row(history: RunHistory, found: PredictionView) -> PredictionRow:
    predicted, settled = found.predicted, found.settled
    return PredictionRow(
        prediction_id=predicted.prediction_id,
        tool=predicted.tool,
        confidence=predicted.confidence,
        basis=predicted.basis,
        start_seconds=as_seconds(found.start_ns - history.start_ns),
        settled=settled is not None,
        call_id=settled.call_id if settled else "",
        because=settled.because if settled else "",
        spent_seconds=settled.spent_seconds if settled else as_seconds(history.end_ns - found.start_ns),
        saved_seconds=settled.saved_seconds if settled else 0.0,
        cost_micros=settled.cost_micros if settled else 0,
    )


def _prediction_totals(rows: Sequence[PredictionRow]) -> PredictionTotals:
    hits = [row for row in rows if row.call_id]
    misses = [row for row in rows if row.settled and not row.call_id]
    return PredictionTotals(
        hits=len(hits),
        misses=len(misses),
        saved_seconds=sum(row.saved_seconds for row in hits),
        wasted_seconds=sum(row.spent_seconds for row in misses),
        wasted_micros=sum(row.cost_micros for row in misses),
    )


def _overlapped(history: RunHistory, spans: dict[str, list[Span]]) -> float:
    total = 0
    for turn in history.turns:
        written = turn.end_ns or history.end_ns
        for call_id in turn.calls:
            if call_id in history.items:
                continue
            total += sum(
                max(min(end, written) - start, 0) for kind, start, end in spans[call_id] if kind is SegmentKind.WORK
            )
    return as_seconds(total)


def _saved_by_cache(calls: Sequence[CallRow], durations: Callable[[str], float | None] | None) -> float:
    """Return what cached results saved, by the tool's usual time, else its mean in this run."""
    saved = 0.0
    for row in calls:
        if row.source not in (ResultSource.CACHE, ResultSource.JOINED):
            continue
        usual = durations(row.tool) if durations else None
        if usual is None:
            alike = [
                other.waits.work for other in calls if other.tool == row.tool and other.source is ResultSource.TOOL
            ]
            usual = sum(alike) / len(alike) if alike else 0.0
        saved += max(usual - row.waits.cache - row.waits.work, 0.0)
    return saved


def _by_kind(path: Iterable[PathSegment]) -> tuple[KindTotal, ...]:
    seconds: dict[SegmentKind, float] = {}
    for segment in path:
        seconds[segment.kind] = seconds.get(segment.kind, 0.0) + segment.seconds
    return tuple(KindTotal(kind, total) for kind, total in sorted(seconds.items(), key=lambda found: -found[1]))


def _tool_totals(calls: Sequence[CallRow], predictions: Sequence[PredictionRow]) -> tuple[ToolTotal, ...]:
    totals = []
    for tool in dict.fromkeys([row.tool for row in calls] + [row.tool for row in predictions]):
        mine = [row for row in calls if row.tool == tool and not row.gathers]
        missed = sum(row.cost_micros for row in predictions if row.tool == tool and row.settled and not row.call_id)
        totals.append(
            ToolTotal(
                tool=tool,
                calls=len(mine),
                failed=sum(row.state is CallState.FAILED for row in mine),
                skipped=sum(row.state is CallState.SKIPPED for row in mine),
                attempts=sum(row.attempts for row in mine),
                work_seconds=sum(row.waits.work for row in mine),
                cost_micros=sum(row.cost_micros for row in mine) + missed,
            )
        )
    return tuple(totals)
