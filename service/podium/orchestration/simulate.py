"""What a run would take: its schedule worked out on paper, without calling a model or a tool.

A plan is played as the scheduler would: calls start when they are sealed and what they use is there,
effects wait for the end of their turn, slots are given in order of readiness.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

from podium.errors import InvalidRequest
from podium.orchestration.chat import Usage
from podium.orchestration.events import RunLimits
from podium.orchestration.plan import Plan, PlannedCall, PlannedTurn
from podium.orchestration.run_history import PathSegment, SegmentKind, turn_id

__all__ = ["SimulatedCall", "SimulatedTurn", "Simulation", "SlotLimits", "Verdict", "simulate"]

_SLOW = 0.9  # the share of a tool's calls that a slow one exceeds


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
