"""Reads what a run's events say; and the workloads of calls that overlap and that use each other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeVar

from podium.orchestration.events import CallFinished, CallOutcome, CallSealed, CallStarted, LoggedEvent
from support.fakes import FakeTools, call, sleeping, text

__all__ = [
    "DAG_MS",
    "OVERLAP_MS",
    "collect",
    "dag_tools",
    "dag_turns",
    "kinds",
    "outcome_of",
    "overlap_tools",
    "overlap_turns",
    "ref",
    "seconds_of",
]

Kind = TypeVar("Kind")

OVERLAP_MS = 950.0
"""What the overlap workload takes when each call starts the moment it is sealed."""
DAG_MS = 760.0
"""What the plan with references takes along its critical path."""

_DAG = (
    ("a", "", 100),
    ("b1", "a", 50),
    ("b2", "a", 80),
    ("b3", "a", 120),
    ("b4", "a", 200),
    ("c", "b1 b2 b3 b4", 40),
    ("d", "c", 60),
    ("e", "", 300),
)


async def collect(stream: AsyncIterator[LoggedEvent]) -> list[LoggedEvent]:
    """Return all events of a stream."""
    return [event async for event in stream]


def kinds(events: Iterable[LoggedEvent], kind: type[Kind]) -> list[Kind]:
    """Return the events of one kind."""
    return [event.kind for event in events if isinstance(event.kind, kind)]


def seconds_of(events: Iterable[LoggedEvent], kind: type[CallSealed | CallStarted | CallFinished]) -> dict[str, float]:
    """Return when each call had its (first) event of a kind."""
    found: dict[str, float] = {}
    for event in events:
        if isinstance(event.kind, kind):
            found.setdefault(event.kind.call_id, event.time_ns / 1e9)
    return found


def outcome_of(events: Iterable[LoggedEvent], call_id: str) -> CallOutcome:
    """Return how a call ended."""
    return next(finished.outcome for finished in kinds(events, CallFinished) if finished.call_id == call_id)


def ref(source: str, path: str = "") -> dict[str, str]:
    """Return what a model writes for a result that is not there yet."""
    return {"$from": source, "path": path} if path else {"$from": source}


def overlap_tools() -> FakeTools:
    """One slow tool and a quick one."""
    return FakeTools(slow=sleeping(0.6, {"n": 0}), quick=sleeping(0.02, {"n": 1}))


def overlap_turns() -> tuple[dict[str, Any], ...]:
    """Eight calls, each complete 50 ms after the one before; the first is slow."""
    calls = [call("slow" if k == 0 else "quick", 150 + 50 * k, k=k) for k in range(8)]
    return {"events": calls, "end_ms": 500}, {"events": [text("done", 200)], "end_ms": 200}


def dag_tools() -> FakeTools:
    """One tool for each call of the plan with references."""
    bodies: dict[str, Any] = {name: sleeping(takes / 1e3, {"id": name}) for name, _, takes in _DAG}
    return FakeTools(**bodies)


def dag_turns() -> tuple[dict[str, Any], ...]:
    """Eight calls in one turn that use each other's results; one line each 20 ms."""
    places = {name: f"c{index}" for index, (name, _, _) in enumerate(_DAG)}
    calls = [
        call(name, 120 + 20 * index, **{f"from_{parent}": ref(places[parent], "/id") for parent in uses.split()})
        for index, (name, uses, _) in enumerate(_DAG)
    ]
    return {"events": calls, "end_ms": 280}, {"events": [text("done", 200)], "end_ms": 200}
