"""What runs would take.

All spans are timedeltas; those called `..._offset` are counted from the run's start. Costs are in
millionths of the server's currency.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Self

from podium.v1 import explanation_pb2
from podium_client._wire import enum_of, span_in
from podium_client.runs import Usage

__all__ = ["PathSegment", "PathSegmentKind", "SimulatedCall", "SimulatedTurn", "Simulation", "Verdict"]


class PathSegmentKind(StrEnum):
    """What a stretch of time went into. `UNSPECIFIED` also stands for a kind that this client does not know."""

    UNSPECIFIED = "UNSPECIFIED"
    MODEL = "MODEL"
    TURN = "TURN"
    PARENTS = "PARENTS"
    QUESTION = "QUESTION"
    BUDGET = "BUDGET"
    CACHE = "CACHE"
    QUEUE = "QUEUE"
    RETRY = "RETRY"
    WORK = "WORK"
    OTHER = "OTHER"

    @classmethod
    def of(cls, number: int) -> Self:
        """Return the kind with this number on the wire."""
        return enum_of(cls, explanation_pb2.PathSegmentKind, "PATH_SEGMENT_KIND_", number)


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSegment:
    """One stretch of a critical path; `node_id` is a call, a turn (such as `t0`) or "", `because` says what it was."""

    kind: PathSegmentKind
    node_id: str
    start_offset: timedelta
    duration: timedelta
    because: str

    @classmethod
    def of(cls, raw: explanation_pb2.PathSegment) -> Self:
        """Return the view of the message."""
        return cls(
            kind=PathSegmentKind.of(raw.kind),
            node_id=raw.node_id,
            start_offset=raw.start_offset.ToTimedelta(),
            duration=raw.duration.ToTimedelta(),
            because=raw.because,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedTurn:
    """One turn of a run that did not happen."""

    turn: int
    start_offset: timedelta
    end_offset: timedelta
    usage: Usage

    @classmethod
    def of(cls, raw: explanation_pb2.SimulatedTurn) -> Self:
        """Return the view of the message."""
        return cls(
            turn=raw.turn,
            start_offset=raw.start_offset.ToTimedelta(),
            end_offset=raw.end_offset.ToTimedelta(),
            usage=Usage.of(raw.usage),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedCall:
    """One call of a run that did not happen.

    From `ready_offset` on only a slot is missing, for which it waits `queue`; `estimated` says that its
    duration is what the tool usually takes, because none is recorded.
    """

    call_id: str
    tool: str
    turn: int
    seal_offset: timedelta
    ready_offset: timedelta
    start_offset: timedelta
    end_offset: timedelta
    queue: timedelta
    estimated: bool
    cost_micros: int
    critical: bool

    @classmethod
    def of(cls, raw: explanation_pb2.SimulatedCall) -> Self:
        """Return the view of the message."""
        return cls(
            call_id=raw.call_id,
            tool=raw.tool,
            turn=raw.turn,
            seal_offset=raw.seal_offset.ToTimedelta(),
            ready_offset=raw.ready_offset.ToTimedelta(),
            start_offset=raw.start_offset.ToTimedelta(),
            end_offset=raw.end_offset.ToTimedelta(),
            queue=raw.queue.ToTimedelta(),
            estimated=raw.estimated,
            cost_micros=raw.cost_micros,
            critical=raw.critical,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a limit would hold.

    Attributes:
        dimension: `deadline`, `seconds`, `calls`, `turns`, `tokens` (written ones) or `cost_micros`.
        predicted: what the run would come to; `slow` with every estimated call as slow as its tool's
            slowest tenth.
        kept, kept_when_slow: whether the limit holds.
        exceeded_offset: when it would first be exceeded; None when it holds.
    """

    dimension: str
    limit: float
    predicted: float
    slow: float
    kept: bool
    kept_when_slow: bool
    exceeded_offset: timedelta | None

    @classmethod
    def of(cls, raw: explanation_pb2.Verdict) -> Self:
        """Return the view of the message."""
        return cls(
            dimension=raw.dimension,
            limit=raw.limit,
            predicted=raw.predicted,
            slow=raw.slow,
            kept=raw.kept,
            kept_when_slow=raw.kept_when_slow,
            exceeded_offset=span_in(raw, "exceeded_offset"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """A run that did not happen.

    Attributes:
        makespan: from its start to its end; `slow_makespan` with every estimated call as slow as its
            tool's slowest tenth.
        critical_path: what decides the makespan; without holes, it adds up to it.
        binds_first: `dimension` of the limit that would be exceeded first; empty when all hold.
        unknown_tools: nobody knows how long they take, so their calls count as taking no time.
    """

    makespan: timedelta
    slow_makespan: timedelta
    turns: tuple[SimulatedTurn, ...]
    calls: tuple[SimulatedCall, ...]
    critical_path: tuple[PathSegment, ...]
    usage: Usage
    tool_cost_micros: int
    verdicts: tuple[Verdict, ...]
    binds_first: str
    unknown_tools: tuple[str, ...]
    raw: explanation_pb2.Simulation = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: explanation_pb2.Simulation) -> Self:
        """Return the view of the message."""
        return cls(
            makespan=raw.makespan.ToTimedelta(),
            slow_makespan=raw.slow_makespan.ToTimedelta(),
            turns=tuple(SimulatedTurn.of(turn) for turn in raw.turns),
            calls=tuple(SimulatedCall.of(call) for call in raw.calls),
            critical_path=tuple(PathSegment.of(segment) for segment in raw.critical_path),
            usage=Usage.of(raw.usage),
            tool_cost_micros=raw.tool_cost_micros,
            verdicts=tuple(Verdict.of(verdict) for verdict in raw.verdicts),
            binds_first=raw.binds_first,
            unknown_tools=tuple(raw.unknown_tools),
            raw=raw,
        )
