"""The path that decided when a run ended, found by walking back from its end.

A turn began when the last call before it ended; a call went on when the last thing it waited for was
there; it existed since the model sealed it. Every moment of the run belongs to exactly one segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from podium.orchestration.call_spans import Span, asked_spans, carve
from podium.orchestration.run_history import PathSegment, RunHistory, SegmentKind, TurnHistory, as_seconds, turn_id
from podium.orchestration.view import CallView

__all__ = ["critical_path"]

_FOR_WHAT = {
    SegmentKind.TURN: "for the end of its turn",
    SegmentKind.PARENTS: "for the calls it uses",
    SegmentKind.QUESTION: "for an answer",
    SegmentKind.BUDGET: "for more budget",
    SegmentKind.CACHE: "for an equal call",
    SegmentKind.QUEUE: "for a slot",
    SegmentKind.RETRY: "to try again",
}


def critical_path(history: RunHistory, spans: dict[str, list[Span]]) -> tuple[PathSegment, ...]:
    """Return the path of a run, first things first, from its start to its end (or its last event so far).

    Args:
        history: the run.
        spans: what each call did, by `call_spans`.
    """
    return _Walk(history, spans).path()


@dataclass(slots=True)
class _Walk:
    """The way back from the run's end; each step explains the time up to `until` and goes on before it."""

    history: RunHistory
    spans: dict[str, list[Span]]
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
            took = f"{as_seconds(self.until - start):.3g} s"
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
        gap: list[Span] = [(SegmentKind.OTHER, start, self.until)]
        for kind, first, last in reversed(carve(gap, asked_spans(self.history, ""))):
            took = f"{as_seconds(last - first):.3g} s"
            waited = kind is not SegmentKind.OTHER
            self._add(kind, node, first, f"the run waited {took} {_FOR_WHAT[kind]}" if waited else why)

    def _add(self, kind: SegmentKind, node: str, start: int, because: str) -> None:
        if start < self.until:
            offset = as_seconds(start - self.history.start_ns)
            self.back.append(PathSegment(kind, node, offset, as_seconds(self.until - start), because))
            self.until = start
