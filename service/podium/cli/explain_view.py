"""Draws where the time of a run went: its turns and calls on a time line, the critical path, what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import timedelta

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from podium.cli.terminal import clean
from podium.cli.waterfall import Bar, cost, duration
from podium_client import (
    CallWaits,
    ExplainedCall,
    PathSegment,
    ResultSource,
    RunExplanation,
    Simulation,
    ToolCallState,
    Verdict,
)

__all__ = ["draw_explanation", "draw_simulation"]

_CRITICAL = "bold magenta"
_USUAL = "cyan"
_ROOM_FOR_BARS = 60
_LONGEST_PATH = 40
# Shorter waits and steps than this share of the run are not worth a reader's time.
_WORTH_SAYING = 0.01
_WAITED_FOR = {
    "turn": "the turn's end",
    "parents": "calls it uses",
    "question": "an answer",
    "budget": "more budget",
    "cache": "an equal call",
    "queue": "a slot",
    "retry": "another try",
}


@dataclass(frozen=True, slots=True)
class _Lane:
    """One row of the picture; times are seconds from the run's start."""

    title: Text
    critical: bool
    lead: float | None
    start: float
    end: float
    note: str


def draw_explanation(explained: RunExplanation, *, width: int, ascii_only: bool = False) -> RenderableType:
    """Return the picture of a run that ended, or of what there is of it."""
    lanes = _lanes(explained)
    wall = explained.time.wall.total_seconds()
    parts: list[RenderableType] = [_table(lanes, wall, width, ascii_only)]
    parts += [Text(), *_path(explained.critical_path, explained.time.wall, ascii_only)]
    parts += [Text(), *_totals(explained)]
    if explained.estimate is not None:
        parts += [Text(), Text("Running it would take:", "bold")]
        parts.append(draw_simulation(explained.estimate, width=width, ascii_only=ascii_only))
    return Group(*parts)


def draw_simulation(simulation: Simulation, *, width: int, ascii_only: bool = False) -> RenderableType:
    """Return the picture of a run that did not happen."""
    critical = {segment.node_id for segment in simulation.critical_path}
    lanes = [
        _Lane(
            Text(f"turn {turn.turn}", "dim"),
            f"t{turn.turn}" in critical,
            None,
            turn.start_offset.total_seconds(),
            turn.end_offset.total_seconds(),
            "",
        )
        for turn in simulation.turns
    ]
    lanes += [
        _Lane(
            _named(call.tool, call.call_id),
            call.critical,
            call.seal_offset.total_seconds(),
            call.start_offset.total_seconds(),
            call.end_offset.total_seconds(),
            "estimated" if call.estimated else "",
        )
        for call in simulation.calls
    ]
    lanes.sort(key=lambda lane: lane.start if lane.lead is None else lane.lead)
    makespan = simulation.makespan.total_seconds()
    parts: list[RenderableType] = [_table(lanes, makespan, width, ascii_only), Text()]
    slow = simulation.slow_makespan.total_seconds()
    facts = [duration(makespan), f"{duration(slow)} with slow tools" if slow > makespan else ""]
    facts.append(cost(simulation.usage) if simulation.usage.cost_micros else "")
    parts.append(Text("in all " + ", ".join(fact for fact in facts if fact)))
    parts += [_verdict(verdict) for verdict in simulation.verdicts]
    if simulation.unknown_tools:
        names = clean(", ".join(simulation.unknown_tools))
        parts.append(Text(f"nobody knows how long these take, so they count as nothing: {names}", "yellow"))
    return Group(*parts)


def _lanes(explained: RunExplanation) -> list[_Lane]:
    lanes = [
        _Lane(
            Text(f"model {clean(turn.model)}", "dim"),
            turn.critical,
            None,
            turn.start_offset.total_seconds(),
            turn.end_offset.total_seconds(),
            "" if turn.ended else "goes on",
        )
        for turn in explained.turns
    ]
    lanes += [
        _Lane(
            _named(call.tool, call.call_id),
            call.critical,
            call.seal_offset.total_seconds(),
            _start(call).total_seconds(),
            call.end_offset.total_seconds(),
            _note(call, explained.time.wall),
        )
        for call in explained.calls
    ]
    return sorted(lanes, key=lambda lane: lane.start if lane.lead is None else lane.lead)


def _start(call: ExplainedCall) -> timedelta:
    """Return where the bar begins: results that need no tool come at once, and what never ran has none."""
    if call.start_offset is not None:
        return call.start_offset
    return call.seal_offset if call.source is not ResultSource.UNSPECIFIED else call.end_offset


def _named(tool: str, call_id: str) -> Text:
    return Text.assemble((clean(tool), "bold"), (f" {clean(call_id)}", "dim"))


def _note(call: ExplainedCall, wall: timedelta) -> str:
    notes = []
    if call.state not in (ToolCallState.SUCCEEDED, ToolCallState.UNSPECIFIED):
        notes.append(call.state.lower())
    if call.source not in (ResultSource.TOOL, ResultSource.UNSPECIFIED):
        notes.append(call.source.lower())
    if call.attempts > 1:
        notes.append(f"{call.attempts} tries")
    name, longest = _longest_wait(call.waits)
    if longest > wall * _WORTH_SAYING:
        notes.append(f"{duration(longest.total_seconds())} for {_WAITED_FOR[name]}")
    return ", ".join(notes)


def _longest_wait(waits: CallWaits) -> tuple[str, timedelta]:
    parts = [(part.name, getattr(waits, part.name)) for part in fields(waits) if part.name in _WAITED_FOR]
    return max(parts, key=lambda part: part[1])


def _table(lanes: Sequence[_Lane], whole: float, width: int, ascii_only: bool) -> Table:
    with_bars = width >= _ROOM_FOR_BARS
    table = Table.grid(padding=(0, 1), expand=with_bars)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(width * 3 // 10, 14))
    if with_bars:
        table.add_column(ratio=1, min_width=8)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(width // 4, 12))
    for lane in lanes:
        style = _CRITICAL if lane.critical else _USUAL
        cells: list[RenderableType] = [_mark(lane.critical, ascii_only), lane.title]
        if with_bars:
            cells.append(Bar(lane.start, lane.end, whole, style, lane.lead))
        cells += [Text(duration(lane.end - lane.start)), Text(lane.note, "dim")]
        table.add_row(*cells)
    return table


def _mark(critical: bool, ascii_only: bool) -> Text:
    return Text(("*" if ascii_only else "●") if critical else " ", _CRITICAL)


def _path(path: Sequence[PathSegment], wall: timedelta, ascii_only: bool) -> list[RenderableType]:
    """Return what decided when the run ended, step by step, without the least of it."""
    shown = [segment for segment in path if segment.duration >= wall * _WORTH_SAYING]
    shown = sorted(shown, key=lambda segment: segment.duration, reverse=True)[:_LONGEST_PATH]
    table = Table.grid(padding=(0, 1))
    for _ in range(3):
        table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for segment in sorted(shown, key=lambda segment: segment.start_offset):
        share = segment.duration / wall if wall else 0.0
        table.add_row(
            Text(f"  {segment.start_offset.total_seconds():.3f} s", "dim"),
            Text(duration(segment.duration.total_seconds())),
            Text(f"{share:.0%}", "dim"),
            Text(clean(segment.because)),
        )
    head = Text.assemble(_mark(True, ascii_only), " Critical path: what decided when it ended")
    left_out = len(path) - len(shown)
    steps = "step" if left_out == 1 else "steps"
    rest: list[RenderableType] = [Text(f"  and {left_out} shorter {steps}", "dim")] if left_out else []
    return [head, table, *rest]


def _totals(explained: RunExplanation) -> list[RenderableType]:
    time, usage = explained.time, explained.usage
    facts = [
        f"{explained.state.lower()} in {duration(time.wall.total_seconds())}",
        f"models {duration(time.models.total_seconds())}",
        f"tools {duration(time.tools.total_seconds())} ({time.parallelism:.2g} at once on average)",
    ]
    for span, what in (
        (time.overlapped, "while the model wrote"),
        (time.saved_by_cache, "saved by the cache"),
        (time.saved_by_prediction, "saved by predicting calls"),
    ):
        if span:
            facts.append(f"{duration(span.total_seconds())} {what}")
    lines: list[RenderableType] = [Text("; ".join(facts))]
    if usage.total_tokens or usage.cost_micros:
        used = f"{usage.prompt_tokens} + {usage.completion_tokens} tokens"
        lines.append(Text(used + (f", {cost(usage)}" if usage.cost_micros else "")))
    misses = [each for each in explained.predictions if each.settled and not each.call_id]
    if explained.predictions:
        hits = sum(bool(each.call_id) for each in explained.predictions)
        lines.append(Text(f"predicted calls: {hits} asked for, {len(misses)} for nothing"))
    if explained.wind_down is not None:
        lines.append(Text(f"it stopped starting work: {clean(explained.wind_down.because)}", "yellow"))
    return lines


def _verdict(verdict: Verdict) -> Text:
    seconds = verdict.dimension in ("deadline", "seconds")
    limit, predicted = (duration(each) if seconds else f"{each:,.0f}" for each in (verdict.limit, verdict.predicted))
    if not verdict.kept:
        return Text(f"{clean(verdict.dimension)}: {predicted} is more than {limit}", "red")
    if not verdict.kept_when_slow:
        return Text(f"{clean(verdict.dimension)}: {predicted} of {limit}, but not with slow tools", "yellow")
    return Text(f"{clean(verdict.dimension)}: {predicted} of {limit}", "green")
