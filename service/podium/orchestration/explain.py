"""Why a run took as long, and cost as much, as it did: worked out from its log alone.

The critical path is found by walking back from the run's end: a turn began when the last call before
it ended; a call went on when the last thing it waited for was there; it existed since the model
sealed it. Every moment of the run belongs to exactly one segment of that path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from podium.orchestration.chat import ModelAttempt, Usage
from podium.orchestration.events import (
    CallRetried,
    CallStarted,
    LoggedEvent,
    QuestionKind,
    ResultSource,
    RunState,
    Waits,
    WindDownStarted,
)
from podium.orchestration.simulate import (
    PathSegment,
    RunHistory,
    SegmentKind,
    Simulation,
    TurnHistory,
    plan_from_log,
    read_log,
    simulate,
    turn_id,
)
from podium.orchestration.tool import ToolSpec
from podium.orchestration.view import CallState, CallView, PredictionView

__all__ = [
    "CallRow",
    "KindTotal",
    "PredictionRow",
    "PredictionTotals",
    "RunExplanation",
    "TimeTotals",
    "ToolTotal",
    "TurnRow",
    "explain",
]

_NS = 1_000_000_000
_SLACK_NS = 1_000_000  # stamps of events and clocks of calls may differ by this much

_PAUSES = {QuestionKind.BUDGET: SegmentKind.BUDGET}

_Tools = Callable[[str], ToolSpec | None]
_Span = tuple[SegmentKind, int, int]


@dataclass(frozen=True, slots=True)
class TurnRow:
    """One model turn; times are seconds from the run's start.

    Attributes:
        depends_on: the calls it waited for; the turn before when that had none.
        end_seconds: the last event while it is being written.
        first_call_seconds: from its start to its first sealed call; None without calls.
        critical: whether it is on the critical path.
    """

    node_id: str
    turn: int
    model: str
    depends_on: tuple[str, ...]
    start_seconds: float
    end_seconds: float
    ended: bool
    first_call_seconds: float | None
    usage: Usage
    attempts: tuple[ModelAttempt, ...]
    critical: bool


@dataclass(frozen=True, slots=True)
class CallRow:
    """One call; times are seconds from the run's start.

    Attributes:
        gathers: it is made for each of a list: its items (their `item_of` names it) do the work.
        depends_on: the turn that wrote it, then the calls whose results it uses.
        start_seconds: when the tool was first started; None when it was not.
        end_seconds: the last event while it goes on.
        source: None while there is no result.
        waits: as the scheduler booked them; derived from the events where it did not.
        cost_micros: of all attempts, by the tools' present prices.
        critical: whether it is on the critical path.
    """

    call_id: str
    tool: str
    turn: int
    item_of: str
    gathers: bool
    depends_on: tuple[str, ...]
    seal_seconds: float
    start_seconds: float | None
    end_seconds: float
    state: CallState
    source: ResultSource | None
    attempts: int
    waits: Waits
    cost_micros: int
    critical: bool


@dataclass(frozen=True, slots=True)
class KindTotal:
    """Time on the critical path of one kind, in seconds."""

    kind: SegmentKind
    seconds: float


@dataclass(frozen=True, slots=True)
class TimeTotals:
    """Where the time went, in seconds.

    Attributes:
        tool_seconds: all tools' work, for predicted calls too, whether they were wanted or not.
        model_seconds: all turns.
        parallelism: `tool_seconds` for each second of the run.
        overlapped_seconds: work of tools while the turn that asked for it was still being written.
        cache_saved_seconds: what calls answered from the cache would usually have taken longer.
        prediction_saved_seconds: how much earlier results were there.
    """

    wall_seconds: float
    tool_seconds: float
    model_seconds: float
    parallelism: float
    overlapped_seconds: float
    cache_saved_seconds: float
    prediction_saved_seconds: float


@dataclass(frozen=True, slots=True)
class ToolTotal:
    """All calls of one tool, items one by one; predicted calls that nobody wanted count in its cost only."""

    tool: str
    calls: int
    failed: int
    skipped: int
    attempts: int
    work_seconds: float
    cost_micros: int


@dataclass(frozen=True, slots=True)
class PredictionRow:
    """One predicted call. `call_id` is the call it served, "" for none; `settled` is false while that is open."""

    prediction_id: str
    tool: str
    confidence: float
    basis: str
    start_seconds: float
    settled: bool
    call_id: str
    because: str
    spent_seconds: float
    saved_seconds: float
    cost_micros: int


@dataclass(frozen=True, slots=True)
class PredictionTotals:
    """The ledger's sums. What was wasted is the work and the cost of the misses."""

    hits: int = 0
    misses: int = 0
    saved_seconds: float = 0.0
    wasted_seconds: float = 0.0
    wasted_micros: int = 0


@dataclass(frozen=True, slots=True)
class RunExplanation:
    """A run, explained; flat rows, in the order in which things began.

    Attributes:
        path: the critical path: contiguous segments from the run's start to its end (or its last event
            so far); they add up to `time.wall_seconds`.
        by_kind: `path` summed by kind, the greatest first.
        model_cost_micros: of all turns.
        tool_cost_micros: of all calls, predicted ones that nobody wanted included.
        estimate: of a run that only planned: what running it would take.
    """

    run_id: str
    state: RunState
    turns: tuple[TurnRow, ...]
    calls: tuple[CallRow, ...]
    path: tuple[PathSegment, ...]
    time: TimeTotals
    by_kind: tuple[KindTotal, ...]
    tools: tuple[ToolTotal, ...]
    predictions: tuple[PredictionRow, ...]
    prediction_totals: PredictionTotals
    usage: Usage
    model_cost_micros: int
    tool_cost_micros: int
    wind_down: WindDownStarted | None = None
    estimate: Simulation | None = None


def explain(
    events: Sequence[LoggedEvent],
    *,
    tools: _Tools | None = None,
    durations: Callable[[str], float | None] | None = None,
) -> RunExplanation:
    """Explain a run by its log; a run that goes on is measured up to its last event.

    Args:
        events: the log, from its first event.
        tools: the tools' descriptions, for prices and effects.
        durations: what a tool usually takes, in seconds; None when unknown.
    """
    history = read_log(events)
    spans = {call_id: _spans(history, call, tools) for call_id, call in history.view.calls.items()}
    path = _Walk(history, spans).path()
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
            wall_seconds=_seconds(history.end_ns - history.start_ns),
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
        estimate=_estimate(events, tools, durations) if history.view.spec.plan_only else None,
    )


def _seconds(span_ns: int) -> float:
    return span_ns / _NS


def _estimate(
    events: Sequence[LoggedEvent], tools: _Tools | None, durations: Callable[[str], float | None] | None
) -> Simulation:
    usual = durations or (lambda _: None)
    return simulate(plan_from_log(events, tools=tools), usual=lambda tool, _: usual(tool))


# Where each call's time went.


def _spans(history: RunHistory, call: CallView, tools: _Tools | None) -> list[_Span]:
    """Return what a call did from its sealing to its end, without holes.

    What comes before the tool's start follows the scheduler's books, since it leaves no events; what comes
    after follows the events.
    """
    end = call.end_ns or history.end_ns
    begin = min(max(call.start_ns, call.seal_ns), end) if call.start_ns else end
    queued: int | None = None
    if call.waits.total > 0:
        before = _booked(call, begin)
        booked = round(call.waits.queue * _NS)
        queued = max(booked - sum(last - first for kind, first, last in before if kind is SegmentKind.QUEUE), 0)
    else:
        before = _carve(_guessed(history, call, begin, tools), _asked(history, call.sealed.call_id))
    marks = history.marks.get(call.sealed.call_id, [])
    after = _carve(_worked(marks, begin, end, queued), _asked(history, call.sealed.call_id))
    return [span for span in (*before, *after) if span[2] > span[1]]


def _booked(call: CallView, begin: int) -> list[_Span]:
    waits = call.waits
    parts = [
        (SegmentKind.PARENTS, waits.parents),
        (SegmentKind.TURN, waits.turn),
        (SegmentKind.QUESTION, waits.question),
        (SegmentKind.BUDGET, waits.budget),
        (SegmentKind.CACHE, waits.cache),
        (SegmentKind.QUEUE, waits.queue),
    ]
    if not call.start_ns:
        parts += [(SegmentKind.RETRY, waits.retry), (SegmentKind.WORK, waits.work)]
    spans: list[_Span] = []
    at = call.seal_ns
    for kind, seconds in parts:
        until = min(at + round(seconds * _NS), begin)
        if until > at:
            spans.append((kind, at, until))
        at = max(at, until)
    if spans and begin - at < _SLACK_NS:
        kind, start, _ = spans.pop()
        return [*spans, (kind, start, begin)]
    return [*spans, (SegmentKind.OTHER, at, begin)]


def _guessed(history: RunHistory, call: CallView, begin: int, tools: _Tools | None) -> list[_Span]:
    """Return the time before a call's start, by the events alone."""
    parents = [history.view.calls[parent] for parent in call.sealed.depends_on if parent in history.view.calls]
    at = min(max([call.seal_ns, *(parent.end_ns or history.end_ns for parent in parents)]), begin)
    spans: list[_Span] = [(SegmentKind.PARENTS, call.seal_ns, at)]
    turn = history.turn_of[call.sealed.call_id]
    spec = tools(call.sealed.tool) if tools else None
    if history.view.spec.plan_only or (spec is not None and not spec.repeatable):
        written = max(min(turn.end_ns or history.end_ns, begin), at)
        spans.append((SegmentKind.TURN, at, written))
        at = written
    rest = SegmentKind.QUEUE
    if not call.start_ns and call.succeeded:
        stored = call.succeeded.source in (ResultSource.CACHE, ResultSource.JOINED)
        rest = SegmentKind.CACHE if stored else SegmentKind.WORK
    return [*spans, (rest, at, begin)]


def _worked(
    marks: Sequence[tuple[int, CallStarted | CallRetried]], begin: int, end: int, queued: int | None
) -> list[_Span]:
    """Return the time from a call's start on: attempts and what lies between them.

    Of the latter as much was for a slot as is booked (`queued`); without books, what exceeds the announced pause.
    """
    spans: list[_Span] = []
    at, retry_at = begin, 0
    for stamp, mark in marks:
        now = min(max(stamp, at), end)
        if isinstance(mark, CallRetried):
            spans.append((SegmentKind.WORK, at, now))
            at, retry_at = now, now + round(mark.seconds * _NS)
        elif retry_at:
            until = min(retry_at, now) if queued is None else max(now - queued, at)
            queued = None if queued is None else queued - (now - until)
            spans += [(SegmentKind.RETRY, at, until), (SegmentKind.QUEUE, until, now)]
            at, retry_at = now, 0
    return [*spans, (SegmentKind.RETRY if retry_at else SegmentKind.WORK, at, end)]


def _asked(history: RunHistory, call_id: str) -> list[_Span]:
    """Return when a call (or the run, "") waited for people."""
    return [
        (
            SegmentKind.BUDGET if asked.kind is QuestionKind.BUDGET else SegmentKind.QUESTION,
            start,
            end or history.end_ns,
        )
        for asked, start, end in history.questions.values()
        if asked.call_id == call_id
    ]


def _carve(spans: Iterable[_Span], known: Sequence[_Span]) -> list[_Span]:
    """Return `spans` with the parts that `known` covers under that kind."""
    carved: list[_Span] = []
    for kind, start, end in spans:
        at = start
        for other, known_start, known_end in sorted(known, key=lambda span: span[1]):
            first, last = max(known_start, at), min(known_end, end)
            if last > first:
                carved += [(kind, at, first), (other, first, last)]
                at = last
        carved.append((kind, at, end))
    return [span for span in carved if span[2] > span[1]]


def _derived_waits(spans: Iterable[_Span]) -> Waits:
    seconds = dict.fromkeys(SegmentKind, 0.0)
    for kind, start, end in spans:
        seconds[kind] += _seconds(end - start)
    return Waits(
        turn=seconds[SegmentKind.TURN],
        parents=seconds[SegmentKind.PARENTS],
        question=seconds[SegmentKind.QUESTION],
        budget=seconds[SegmentKind.BUDGET],
        cache=seconds[SegmentKind.CACHE],
        queue=seconds[SegmentKind.QUEUE],
        retry=seconds[SegmentKind.RETRY],
        work=seconds[SegmentKind.WORK],
    )


# The critical path.

_FOR_WHAT = {
    SegmentKind.TURN: "for the end of its turn",
    SegmentKind.PARENTS: "for the calls it uses",
    SegmentKind.QUESTION: "for an answer",
    SegmentKind.BUDGET: "for more budget",
    SegmentKind.CACHE: "for an equal call",
    SegmentKind.QUEUE: "for a slot",
    SegmentKind.RETRY: "to try again",
}


@dataclass(slots=True)
class _Walk:
    """The way back from the run's end; each step explains the time up to `until` and goes on before it."""

    history: RunHistory
    spans: dict[str, list[_Span]]
    until: int = 0
    back: list[PathSegment] = field(default_factory=list)
    seen: set[tuple[str, bool]] = field(default_factory=set)

    def path(self) -> tuple[PathSegment, ...]:
        """Return the whole path, first things first."""
        self.until = self.history.end_ns
        at = self._last()
        while at is not None:
            at = self._through_turn(at) if isinstance(at, TurnHistory) else self._through_call(*at)
        self._other(self.history.start_ns, "", "before the first turn")
        return tuple(reversed(self.back))

    def _last(self) -> TurnHistory | tuple[CallView, bool] | None:
        """Return what the run ended with, or what it is still doing."""
        turns, calls = self.history.turns, list(self.history.view.calls.values())
        if turns and not turns[-1].end_ns:
            return turns[-1]
        if going := [call for call in calls if not call.end_ns and not self._held(call)]:
            return min(going, key=lambda call: (call.start_ns or self.until, call.seal_ns)), False
        return self._latest(turns, calls, "to end the run")

    def _held(self, call: CallView) -> bool:
        """Whether a call waits for others that go on."""
        others = (*call.sealed.depends_on, *self.history.items.get(call.sealed.call_id, ()))
        known = self.history.view.calls
        return any(other in known and not known[other].end_ns for other in others)

    def _latest(
        self, turns: Sequence[TurnHistory], calls: Iterable[CallView], why: str
    ) -> TurnHistory | tuple[CallView, bool] | None:
        """Step over the gap to what ended last, by now or when the run was wound down."""
        ends: list[tuple[int, TurnHistory | tuple[CallView, bool]]] = []
        for call in calls:
            end = call.end_ns or self.history.end_ns
            if end > self.until and call.seal_ns <= self.history.wind_down_ns <= self.until:
                end = self.history.wind_down_ns
            ends.append((end, (call, False)))
        ends += [(turn.end_ns, turn) for turn in turns if turn.end_ns]
        ends = [found for found in ends if found[0] <= self.until]
        if not ends:
            return None
        end, latest = max(ends, key=lambda found: found[0])
        self._other(end, "", why)
        return latest

    def _through_turn(self, turn: TurnHistory) -> TurnHistory | tuple[CallView, bool] | None:
        name = turn_id(turn.index)
        if turn.end_ns and self.until > turn.end_ns:
            self._other(turn.end_ns, name, f"after turn {turn.index}")
        partly = self.until < (turn.end_ns or self.history.end_ns)
        because = f"{turn.model or 'the model'} wrote {'a part of ' if partly else ''}turn {turn.index}"
        self._add(SegmentKind.MODEL, name, turn.start_ns, because)
        position = next(at for at, other in enumerate(self.history.turns) if other is turn)
        if position == 0:
            return None
        before = self.history.turns[position - 1]
        calls = [self.history.view.calls[call_id] for call_id in before.calls]
        return self._latest([before], calls, f"to begin turn {turn.index}")

    def _through_call(self, call: CallView, from_item: bool) -> TurnHistory | tuple[CallView, bool] | None:
        name = call.sealed.call_id
        if (name, from_item) in self.seen:  # a log that contradicts itself
            return None
        self.seen.add((name, from_item))
        known, turn = self.history.view.calls, self.history.turn_of[name]
        items = [] if from_item else [known[item] for item in self.history.items.get(name, ())]
        if items:
            return self._latest([], items, f"to gather the items of {name}") or (call, True)
        released, by = call.seal_ns, None
        parents = [known[parent] for parent in call.sealed.depends_on if parent in known]
        for parent in parents:
            if released < (end := parent.end_ns or self.history.end_ns) <= self.until:
                released, by = end, parent
        waited = any(span[0] is SegmentKind.TURN for span in self.spans[name])
        held = waited and released < turn.end_ns <= self.until
        released = turn.end_ns if held else released
        self._spell_out(call, released)
        if held:
            return turn
        if by is not None:
            return by, False
        whole = known.get(call.sealed.item_of)
        return turn if whole is None else (whole, True)

    def _spell_out(self, call: CallView, released: int) -> None:
        """Add what a call did since it was released."""
        name, tool = call.sealed.call_id, call.sealed.tool
        for kind, start, _ in reversed(self.spans[name]):
            if (start := max(start, released)) >= self.until:
                continue
            took = f"{_seconds(self.until - start):.3g} s"
            gathers = name in self.history.items
            if kind is SegmentKind.WORK and not gathers:
                self._add(kind, name, start, f"{name} ({tool}) worked {took}")
            elif kind in (SegmentKind.OTHER, SegmentKind.WORK) or (
                kind in (SegmentKind.PARENTS, SegmentKind.TURN) and released > call.seal_ns
            ):
                # What it waited for was there: the rest is how long it took to notice.
                self._add(SegmentKind.OTHER, name, start, f"to go on with {name}")
            else:
                self._add(kind, name, start, f"{name} waited {took} {_FOR_WHAT[kind]}")
        self._other(released, name, f"to go on with {name}")

    def _other(self, start: int, node: str, why: str) -> None:
        """Add time in which nothing of the run went on, unless the run itself waited for people."""
        gap: list[_Span] = [(SegmentKind.OTHER, start, self.until)]
        for kind, first, last in reversed(_carve(gap, _asked(self.history, ""))):
            took = f"{_seconds(last - first):.3g} s"
            waited = kind is not SegmentKind.OTHER
            self._add(kind, node, first, f"the run waited {took} {_FOR_WHAT[kind]}" if waited else why)

    def _add(self, kind: SegmentKind, node: str, start: int, because: str) -> None:
        if start < self.until:
            offset = _seconds(start - self.history.start_ns)
            self.back.append(PathSegment(kind, node, offset, _seconds(self.until - start), because))
            self.until = start


# Rows and sums.


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
        start_seconds=_seconds(turn.start_ns - history.start_ns),
        end_seconds=_seconds((turn.end_ns or history.end_ns) - history.start_ns),
        ended=ended is not None,
        first_call_seconds=_seconds(min(seals) - turn.start_ns) if seals else None,
        usage=ended.usage if ended else Usage(),
        attempts=ended.attempts if ended else (),
        critical=turn_id(turn.index) in critical,
    )


def _call_row(
    history: RunHistory, call: CallView, spans: Sequence[_Span], tools: _Tools | None, critical: set[str]
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
        seal_seconds=_seconds(call.seal_ns - history.start_ns),
        start_seconds=_seconds(call.start_ns - history.start_ns) if call.start_ns else None,
        end_seconds=_seconds((call.end_ns or history.end_ns) - history.start_ns),
        state=call.state,
        source=call.succeeded.source if call.succeeded else None,
        attempts=call.attempts,
        waits=call.waits if call.waits.total > 0 else _derived_waits(spans),
        cost_micros=_cost(history, call, tools),
        critical=sealed.call_id in critical,
    )


def _cost(history: RunHistory, call: CallView, tools: _Tools | None) -> int:
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
        start_seconds=_seconds(found.start_ns - history.start_ns),
        settled=settled is not None,
        call_id=settled.call_id if settled else "",
        because=settled.because if settled else "",
        spent_seconds=settled.spent_seconds if settled else _seconds(history.end_ns - found.start_ns),
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


def _overlapped(history: RunHistory, spans: dict[str, list[_Span]]) -> float:
    total = 0
    for turn in history.turns:
        written = turn.end_ns or history.end_ns
        for call_id in turn.calls:
            if call_id in history.items:
                continue
            total += sum(
                max(min(end, written) - start, 0) for kind, start, end in spans[call_id] if kind is SegmentKind.WORK
            )
    return _seconds(total)


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
