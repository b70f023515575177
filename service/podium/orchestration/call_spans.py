"""Where each call's time went: what it waited for, and when it worked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from podium.orchestration.events import CallRetried, CallStarted, QuestionKind, ResultSource, Waits
from podium.orchestration.run_history import RunHistory, SegmentKind, ToolLookup, as_seconds
from podium.orchestration.view import CallView

__all__ = ["Span", "asked_spans", "call_spans", "carve", "derived_waits"]

Span = tuple[SegmentKind, int, int]  # kind, start and end in nanoseconds since the epoch

_NS = 1_000_000_000
_SLACK_NS = 1_000_000  # stamps of events and clocks of calls may differ by this much


def call_spans(history: RunHistory, call: CallView, tools: ToolLookup | None) -> list[Span]:
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
        before = carve(_guessed(history, call, begin, tools), asked_spans(history, call.sealed.call_id))
    marks = history.marks.get(call.sealed.call_id, [])
    after = carve(_worked(marks, begin, end, queued), asked_spans(history, call.sealed.call_id))
    return [span for span in (*before, *after) if span[2] > span[1]]


def _booked(call: CallView, begin: int) -> list[Span]:
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
    spans: list[Span] = []
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


def _guessed(history: RunHistory, call: CallView, begin: int, tools: ToolLookup | None) -> list[Span]:
    """Return the time before a call's start, by the events alone."""
    parents = [history.view.calls[parent] for parent in call.sealed.depends_on if parent in history.view.calls]
    at = min(max([call.seal_ns, *(parent.end_ns or history.end_ns for parent in parents)]), begin)
    spans: list[Span] = [(SegmentKind.PARENTS, call.seal_ns, at)]
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
) -> list[Span]:
    """Return the time from a call's start on: attempts and what lies between them.

    Of the latter as much was for a slot as is booked (`queued`); without books, what exceeds the announced pause.
    """
    spans: list[Span] = []
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


def asked_spans(history: RunHistory, call_id: str) -> list[Span]:
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


def carve(spans: Iterable[Span], known: Sequence[Span]) -> list[Span]:
    """Return `spans` with the parts that `known` covers under that kind."""
    carved: list[Span] = []
    for kind, start, end in spans:
        at = start
        for other, known_start, known_end in sorted(known, key=lambda span: span[1]):
            first, last = max(known_start, at), min(known_end, end)
            if last > first:
                carved += [(kind, at, first), (other, first, last)]
                at = last
        carved.append((kind, at, end))
    return [span for span in carved if span[2] > span[1]]


def derived_waits(spans: Iterable[Span]) -> Waits:
    """Return the spans summed by kind, for a call whose waits the scheduler did not book."""
    seconds = dict.fromkeys(SegmentKind, 0.0)
    for kind, start, end in spans:
        seconds[kind] += as_seconds(end - start)
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
