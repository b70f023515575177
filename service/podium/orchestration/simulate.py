"""What a run would take: its schedule worked out on paper, without calling a model or a tool.

`read_log` sorts a run's log by turns and calls, `plan_from_log` makes a plan of it, and `simulate`
plays a plan as the scheduler would: calls start when they are sealed and what they use is there,
effects wait for the end of their turn, slots are given in order of readiness.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum

from podium.errors import InvalidRequest
from podium.orchestration.chat import Usage
from podium.orchestration.events import (
    CallRetried,
    CallSealed,
    CallStarted,
    LoggedEvent,
    QuestionAsked,
    QuestionSettled,
    ResultSource,
    RunLimits,
    RunSpec,
    RunStarted,
    TurnEnded,
    TurnStarted,
    WindDownStarted,
)
from podium.orchestration.tool import ToolFailureCode, ToolSpec
from podium.orchestration.view import CallView, RunView, fold

__all__ = [
    "PathSegment",
    "Plan",
    "PlannedCall",
    "PlannedTurn",
    "RunHistory",
    "SegmentKind",
    "SimulatedCall",
    "SimulatedTurn",
    "Simulation",
    "SlotLimits",
    "TurnHistory",
    "Verdict",
    "plan_from_log",
    "read_log",
    "simulate",
    "turn_id",
]

_NS = 1_000_000_000
_Tools = Callable[[str], ToolSpec | None]

_SLOW = 0.9  # the share of a tool's calls that a slow one exceeds


class SegmentKind(StrEnum):
    """What a stretch of time went into; all but MODEL and OTHER are the parts of a call's `Waits`."""

    MODEL = "MODEL"  # the model wrote
    TURN = "TURN"
    PARENTS = "PARENTS"
    QUESTION = "QUESTION"
    BUDGET = "BUDGET"
    CACHE = "CACHE"
    QUEUE = "QUEUE"
    RETRY = "RETRY"
    WORK = "WORK"
    OTHER = "OTHER"  # the orchestrator itself, between two of the others


@dataclass(frozen=True, slots=True)
class PathSegment:
    """One stretch of the path that decided when the run ended.

    Attributes:
        node_id: the call or turn (see `turn_id`) it belongs to; "" for none.
        start_seconds: from the run's start.
        because: what it was, in words.
    """

    kind: SegmentKind
    node_id: str
    start_seconds: float
    seconds: float
    because: str


@dataclass(slots=True)
class TurnHistory:
    """One turn of a log. `end_ns` is 0 while it is being written; `calls` include the items of its calls."""

    index: int
    model: str
    start_ns: int
    end_ns: int = 0
    ended: TurnEnded | None = None
    calls: list[str] = field(default_factory=list)


@dataclass(slots=True)
class RunHistory:
    """A log, sorted by turns and calls. Times are nanoseconds since the epoch.

    Attributes:
        end_ns: the last event.
        turn_of: each call's turn.
        marks: the starts and retries of each call, in order.
        items: of each call that is made for each of a list.
        questions: each with the times when it was asked and settled, 0 while it is open.
        wind_down_ns: 0 when there was none.
    """

    view: RunView
    start_ns: int
    end_ns: int
    turns: list[TurnHistory] = field(default_factory=list)
    turn_of: dict[str, TurnHistory] = field(default_factory=dict)
    marks: dict[str, list[tuple[int, CallStarted | CallRetried]]] = field(default_factory=dict)
    items: dict[str, list[str]] = field(default_factory=dict)
    questions: dict[str, tuple[QuestionAsked, int, int]] = field(default_factory=dict)
    wind_down_ns: int = 0

    def price(self, call_id: str, tools: _Tools | None) -> int:
        """Return what a call's attempts cost, in micros: each that was started is paid for."""
        tool = self.view.calls[call_id].sealed.tool
        started = [mark.tool or tool for _, mark in self.marks.get(call_id, ()) if isinstance(mark, CallStarted)]
        specs = [tools(name) for name in started] if tools else []
        return sum(spec.cost_micros for spec in specs if spec is not None)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotLimits:
    """Calls at once: of the run, of each tool type, of single tools by name. The process is taken to have enough."""

    per_run: int = 30
    per_type: int = 10
    tools: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SimulatedCall:
    """One call on the simulated clock, in seconds from the run's start.

    Attributes:
        ready_seconds: sealed, its parents ended, and its turn too where it waits for that.
        queue_seconds: waited for a slot.
        estimated: how long it takes is not recorded.
    """

    call_id: str
    tool: str
    turn: int
    seal_seconds: float
    ready_seconds: float
    start_seconds: float
    end_seconds: float
    queue_seconds: float
    estimated: bool
    cost_micros: int
    critical: bool


@dataclass(frozen=True, slots=True)
class SimulatedTurn:
    """One turn on the simulated clock, in seconds from the run's start."""

    turn: int
    start_seconds: float
    end_seconds: float
    usage: Usage


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a limit holds.

    Attributes:
        dimension: `deadline`, `seconds`, `calls`, `turns`, `tokens` (written ones) or `cost_micros`.
        slow: the prediction when every estimated call takes its tool's 90th percentile.
        exceeded_seconds: when it is first exceeded, from the run's start; None when it holds.
    """

    dimension: str
    limit: float
    predicted: float
    slow: float
    exceeded_seconds: float | None

    @property
    def kept(self) -> bool:
        """Whether the limit holds."""
        return self.predicted <= self.limit

    @property
    def kept_when_slow(self) -> bool:
        """Whether it holds even with slow tools."""
        return self.slow <= self.limit


@dataclass(frozen=True, slots=True)
class Simulation:
    """A run that did not happen.

    Attributes:
        slow_seconds: the makespan when every estimated call takes its tool's 90th percentile.
        path: what decides the makespan; its segments are contiguous and add up to it.
        usage: of the turns, and in `cost_micros` of the calls, too.
        binds_first: dimension of the limit that is exceeded first; "" when all hold.
        unknown_tools: nothing is known of how long they take, so they count as taking no time.
    """

    makespan_seconds: float
    slow_seconds: float
    turns: tuple[SimulatedTurn, ...]
    calls: tuple[SimulatedCall, ...]
    path: tuple[PathSegment, ...]
    usage: Usage
    tool_cost_micros: int
    verdicts: tuple[Verdict, ...]
    binds_first: str
    unknown_tools: tuple[str, ...]


def turn_id(turn: int) -> str:
    """Return the id of a turn among a run's nodes; calls have their own."""
    return f"t{turn}"


def read_log(events: Sequence[LoggedEvent]) -> RunHistory:
    """Sort a log, complete or not. A clock that was set back counts as one that stood still."""
    events = _monotonic(events)
    spec = next((event.kind.spec for event in events if isinstance(event.kind, RunStarted)), RunSpec(input=""))
    first, last = (events[0].time_ns, events[-1].time_ns) if events else (0, 0)
    history = RunHistory(fold(events[0].run_id if events else "", spec, first, events), first, last)
    for event in events:
        match event.kind:
            case TurnStarted(turn=turn, model=model):
                history.turns.append(TurnHistory(turn, model, event.time_ns))
            case TurnEnded() as ended:
                history.turns[-1].ended, history.turns[-1].end_ns = ended, event.time_ns
            case CallSealed(call_id=call_id, item_of=item_of):
                turn_of = history.turn_of.get(item_of, history.turns[-1])
                history.turn_of[call_id] = turn_of
                turn_of.calls.append(call_id)
                if item_of:
                    history.items.setdefault(item_of, []).append(call_id)
            case CallStarted() | CallRetried() as mark:
                history.marks.setdefault(mark.call_id, []).append((event.time_ns, mark))
            case QuestionAsked(question_id=question_id) as asked:
                history.questions[question_id] = (asked, event.time_ns, 0)
            case QuestionSettled(question_id=question_id):
                asked, ask_ns, _ = history.questions[question_id]
                history.questions[question_id] = (asked, ask_ns, event.time_ns)
            case WindDownStarted():
                history.wind_down_ns = event.time_ns
            case _:
                continue
    return history


def plan_from_log(
    events: Sequence[LoggedEvent],
    *,
    tools: _Tools | None = None,
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
                seconds=(end - turn.start_ns) / _NS,
                calls=tuple(_planned(history, turn, history.view.calls[call_id], tools) for call_id in turn.calls),
                usage=turn.ended.usage if turn.ended else Usage(),
                pause_seconds=max(turn.start_ns - before, 0) / _NS,
            )
        )
        before = max([end, *(history.view.calls[call_id].end_ns for call_id in turn.calls)])
    if turns and turns[-1].calls:
        seconds = turns[-1].seconds if answer_seconds is None else answer_seconds
        turns.append(PlannedTurn(seconds=seconds, usage=turns[-1].usage))
    return Plan(tuple(turns))


def simulate(
    plan: Plan,
    *,
    durations: Mapping[str, float] | None = None,
    usual: Callable[[str, float], float | None] | None = None,
    limits: SlotLimits | None = None,
    deadline_seconds: float | None = None,
    budget: RunLimits | None = None,
) -> Simulation:
    """Play a plan on a clock of its own.

    Args:
        plan: what to play.
        durations: what if: seconds by tool, instead of what is recorded and usual.
        usual: a quantile (a share from 0 to 1) of what a tool takes, in seconds; None when unknown.
        limits: calls at once.
        deadline_seconds: from the run's start.
        budget: the run's bounds; what is None is not judged.

    Raises:
        InvalidRequest: calls of the plan wait for each other.
    """
    limits, budget = limits or SlotLimits(), budget or RunLimits()
    typical = _Play(plan, _Durations(durations or {}, usual, 0.5), limits)
    slow = _Play(plan, _Durations(durations or {}, usual, _SLOW), limits)
    verdicts = _verdicts(typical, slow.end, deadline_seconds, budget)
    exceeded = [(verdict.exceeded_seconds, verdict.dimension) for verdict in verdicts if not verdict.kept]
    path = typical.path()
    critical = {segment.node_id for segment in path}
    tool_cost = sum(flight.call.cost_micros for flight in typical.flights)
    usage = sum((turn.usage for turn in typical.turns), Usage())
    return Simulation(
        makespan_seconds=typical.end,
        slow_seconds=slow.end,
        turns=tuple(typical.turns),
        calls=tuple(flight.row(flight.call.call_id in critical) for flight in typical.flights),
        path=tuple(path),
        usage=replace(usage, cost_micros=usage.cost_micros + tool_cost),
        tool_cost_micros=tool_cost,
        verdicts=tuple(verdicts),
        binds_first=min(exceeded, key=lambda found: found[0] or 0.0)[1] if exceeded else "",
        unknown_tools=tuple(sorted(typical.durations.unknown)),
    )


def _monotonic(events: Sequence[LoggedEvent]) -> Sequence[LoggedEvent]:
    # Views take 0 for not yet, so a clock that starts at 0 is moved on a little.
    moved = 1 if events and events[0].time_ns <= 0 else 0
    if not moved and all(earlier.time_ns <= later.time_ns for earlier, later in itertools.pairwise(events)):
        return events
    latest, mended = 1, []
    for event in events:
        latest = max(latest, event.time_ns + moved)
        mended.append(replace(event, time_ns=latest))
    return mended


def _planned(history: RunHistory, turn: TurnHistory, call: CallView, tools: _Tools | None) -> PlannedCall:
    sealed, view = call.sealed, history.view
    spec = tools(sealed.tool) if tools else None
    parent = view.calls.get(sealed.item_of)
    items = history.items.get(sealed.call_id, [])
    planned = PlannedCall(
        call_id=sealed.call_id,
        tool=sealed.tool,
        # An item could be known as soon as its call and the list are.
        seal_seconds=((parent.seal_ns if parent else call.seal_ns) - turn.start_ns) / _NS,
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


def _with_outcome(planned: PlannedCall, history: RunHistory, call: CallView, tools: _Tools | None) -> PlannedCall:
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
    return ((call.end_ns or history.end_ns) - start) / _NS if call.start_ns or call.succeeded else 0.0


def _spent_before(history: RunHistory, call_id: str) -> float:
    settled = (prediction.settled for prediction in history.view.predictions.values())
    return next((found.spent_seconds for found in settled if found and found.call_id == call_id), 0.0)


class _Durations:
    """What calls take: a what-if, else what is recorded, else what is usual."""

    def __init__(
        self, by_tool: Mapping[str, float], usual: Callable[[str, float], float | None] | None, share: float
    ) -> None:
        self._by_tool, self._usual, self._share = by_tool, usual, share
        self.unknown: set[str] = set()

    def of(self, call: PlannedCall) -> float:
        """Return the seconds from the call's start to its end."""
        if call.ready_made:
            return call.seconds or 0.0
        seconds = self._by_tool.get(call.tool, call.seconds)
        if seconds is None:
            usual = self._usual(call.tool, self._share) if self._usual else None
            if usual is None:
                self.unknown.add(call.tool)
            seconds = max(usual or 0.0, call.least_seconds)
        return max(seconds - call.head_start_seconds, 0.0)


class _Flight:
    """One call while it is played; times are seconds from the run's start."""

    __slots__ = ("call", "children", "end", "pending", "ready", "released_by", "seal", "seconds", "start", "turn")

    def __init__(self, call: PlannedCall, turn: int, seal: float, seconds: float) -> None:
        self.call, self.turn, self.seal, self.seconds = call, turn, seal, seconds
        self.children: list[_Flight] = []
        self.pending = 1
        self.released_by = ""
        self.ready = self.start = self.end = seal

    @property
    def queued(self) -> float:
        return max(self.start - self.ready - self.call.pause_seconds, 0.0)

    def row(self, critical: bool) -> SimulatedCall:
        call = self.call
        return SimulatedCall(
            call_id=call.call_id,
            tool=call.tool,
            turn=self.turn,
            seal_seconds=self.seal,
            ready_seconds=self.ready,
            start_seconds=self.start,
            end_seconds=self.end,
            queue_seconds=self.queued,
            estimated=call.seconds is None,
            cost_micros=call.cost_micros,
            critical=critical,
        )


class _Step(IntEnum):
    """What happens at an instant."""

    END = 0
    RELEASE = 1  # one thing less to wait for
    ASK = 2  # for a slot


class _Play:
    """A plan, played from its start to its end. Turns are barriers, so they are played one by one."""

    def __init__(self, plan: Plan, durations: _Durations, limits: SlotLimits) -> None:
        self.durations = durations
        self.turns: list[SimulatedTurn] = []
        self.flights: list[_Flight] = []
        self.end = 0.0
        self._limits = limits
        self._plan = plan
        for index, turn in enumerate(plan.turns):
            start = self.end + turn.pause_seconds
            self.turns.append(SimulatedTurn(index, start, start + turn.seconds, turn.usage))
            flights = self._play_turn(index, turn, start)
            self.flights.extend(flights)
            self.end = max([start + turn.seconds, *(flight.end for flight in flights)])

    def _play_turn(self, index: int, turn: PlannedTurn, start: float) -> list[_Flight]:
        flights = {
            call.call_id: _Flight(call, index, start + call.seal_seconds, self.durations.of(call))
            for call in turn.calls
        }
        steps: list[tuple[float, _Step, int, str, _Flight]] = []
        for flight in flights.values():
            for parent in dict.fromkeys(flight.call.depends_on):
                if parent in flights:
                    flights[parent].children.append(flight)
                    flight.pending += 1
            steps.append((flight.seal, _Step.RELEASE, len(steps), "", flight))
            if flight.call.effectful:
                flight.pending += 1
                steps.append((start + turn.seconds, _Step.RELEASE, len(steps), "", flight))
        ended = _Slots(self._limits, steps).play()
        if ended < len(flights):
            stuck = ", ".join(call_id for call_id, flight in flights.items() if flight.pending > 0)
            raise InvalidRequest(f"these calls wait for each other, so none can start: {stuck}; break the circle")
        return list(flights.values())

    def path(self) -> list[PathSegment]:
        """Walk back from the end to what each thing waited for."""
        back: list[PathSegment] = []

        def add(kind: SegmentKind, node: str, start: float, end: float, because: str) -> None:
            if end > start:
                back.append(PathSegment(kind, node, start, end - start, because))

        for turn in reversed(self.turns):
            mine = {flight.call.call_id: flight for flight in self.flights if flight.turn == turn.turn}
            last = max(mine.values(), key=lambda flight: flight.end, default=None)
            until, why = turn.end_seconds, f"the model wrote turn {turn.turn}"
            at = last if last is not None and last.end > turn.end_seconds else None
            while at is not None:
                name = at.call.call_id
                asked = at.start - at.queued
                add(SegmentKind.WORK, name, at.start, at.end, f"{name} ({at.call.tool}) works")
                add(SegmentKind.QUEUE, name, asked, at.start, f"{name} waits for a slot")
                add(SegmentKind.QUESTION, name, at.ready, asked, f"{name} waits for people")
                until, why = at.ready, f"the model wrote turn {turn.turn} until {name} could start"
                at = mine.get(at.released_by)
            add(SegmentKind.MODEL, turn_id(turn.turn), turn.start_seconds, until, why)
            pause = self._plan.turns[turn.turn].pause_seconds
            start = turn.start_seconds - pause
            add(SegmentKind.OTHER, turn_id(turn.turn), start, turn.start_seconds, f"before turn {turn.turn}")
        return back[::-1]


class _Slots:
    """Gives slots to calls in the order in which they ask, past those whose type or tool has none free."""

    def __init__(self, limits: SlotLimits, steps: list[tuple[float, _Step, int, str, _Flight]]) -> None:
        heapq.heapify(steps)
        self._steps = steps
        self._limits = limits
        self._count = len(steps)  # orders what happens at the same instant
        self._busy = 0
        self._busy_types: Counter[str] = Counter()
        self._busy_tools: Counter[str] = Counter()
        self._waiting: dict[tuple[str, str], deque[tuple[int, _Flight]]] = {}  # by type and tool

    def play(self) -> int:
        """Play until nothing is left to happen, and return how many calls ended."""
        ended = 0
        while self._steps:
            now, step, _, by, flight = heapq.heappop(self._steps)
            if step is _Step.RELEASE:
                flight.pending -= 1
                if flight.pending == 0:
                    flight.ready, flight.released_by = now, by
                    self._push(now + flight.call.pause_seconds, _Step.ASK, flight)
            elif step is _Step.ASK:
                self._ask(flight, now)
            else:
                ended += 1
                self._end(flight, now)
        return ended

    def _push(self, at: float, step: _Step, flight: _Flight, by: str = "") -> None:
        self._count += 1
        heapq.heappush(self._steps, (at, step, self._count, by, flight))

    def _ask(self, flight: _Flight, now: float) -> None:
        if _needs_slot(flight.call):
            self._count += 1
            self._waiting.setdefault((flight.call.type, flight.call.tool), deque()).append((self._count, flight))
            self._give(now)
        else:
            self._start(flight, now)

    def _end(self, flight: _Flight, now: float) -> None:
        for child in flight.children:
            self._push(now, _Step.RELEASE, child, flight.call.call_id)
        if _needs_slot(flight.call):
            self._busy -= 1
            self._busy_types[flight.call.type] -= 1
            self._busy_tools[flight.call.tool] -= 1
            self._give(now)

    def _give(self, now: float) -> None:
        while self._busy < self._limits.per_run:
            free = [(waiting[0][0], lane) for lane, waiting in self._waiting.items() if waiting and self._free(*lane)]
            if not free:
                return
            lane = min(free)[1]
            flight = self._waiting[lane].popleft()[1]
            self._busy += 1
            self._busy_types[flight.call.type] += 1
            self._busy_tools[flight.call.tool] += 1
            self._start(flight, now)

    def _free(self, kind: str, tool: str) -> bool:
        limits = self._limits
        tool_limit = limits.tools.get(tool)
        return self._busy_types[kind] < limits.per_type and (tool_limit is None or self._busy_tools[tool] < tool_limit)

    def _start(self, flight: _Flight, now: float) -> None:
        flight.start, flight.end = now, now + flight.seconds
        self._push(flight.end, _Step.END, flight)


def _needs_slot(call: PlannedCall) -> bool:
    # A predicted call has had its slot since before it was asked for.
    return not call.ready_made and call.head_start_seconds == 0


def _verdicts(play: _Play, slow_end: float, deadline: float | None, budget: RunLimits) -> list[Verdict]:
    calls = sorted(flight.seal for flight in play.flights if not flight.call.gathers)
    tokens = [(turn.end_seconds, turn.usage.completion_tokens) for turn in play.turns]
    spent = [(turn.end_seconds, turn.usage.cost_micros) for turn in play.turns]
    spent += [(flight.start, flight.call.cost_micros) for flight in play.flights]
    verdicts = [
        Verdict(dimension, limit, play.end, slow_end, limit if play.end > limit else None)
        for dimension, limit in (("deadline", deadline), ("seconds", budget.max_seconds))
        if limit is not None
    ]
    uses: tuple[tuple[str, int | None, list[tuple[float, int]]], ...] = (
        ("calls", budget.max_calls, [(at, 1) for at in calls]),
        ("turns", budget.max_turns, [(turn.start_seconds, 1) for turn in play.turns]),
        ("tokens", budget.max_tokens, tokens),
        ("cost_micros", budget.max_cost_micros, sorted(spent)),
    )
    for dimension, allowed, used in uses:
        if allowed is None:
            continue
        total, exceeded = 0, None
        for at, amount in used:
            total += amount
            if total > allowed and exceeded is None:
                exceeded = at
        verdicts.append(Verdict(dimension, allowed, total, total, exceeded))
    return verdicts
