"""Draws a run: one row a call on the run's time line, the answer under it, a summary at the end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from podium.cli.terminal import clean
from podium.cli.timeline import Row, RowState, Timeline
from podium_client import QuestionAsked, ResultSource, RunState, Usage

__all__ = ["Bar", "cost", "draw", "duration", "how_to_answer", "short_arguments", "short_result", "summary"]

_STYLES = {
    RowState.WAITING: "dim",
    RowState.RUNNING: "cyan",
    RowState.OK: "green",
    RowState.FAILED: "red",
    RowState.SKIPPED: "yellow",
}
_MARKS = {
    RowState.WAITING: ("·", "."),
    RowState.RUNNING: ("▸", ">"),
    RowState.OK: ("✓", "ok"),
    RowState.FAILED: ("✗", "x"),
    RowState.SKIPPED: ("»", "-"),
}
_SOURCES = {
    ResultSource.CACHE: "from the cache",
    ResultSource.JOINED: "shared",
    ResultSource.PREDICTED: "predicted",
    ResultSource.FALLBACK: "stand-in",
}
_END_STYLES = {RunState.SUCCEEDED: "bold green", RunState.CANCELLED: "bold yellow"}
_WAITING = Style(dim=True)
# Below these widths the time line, then the arguments, make room for the rest.
_ROOM_FOR_BARS = 44
_ROOM_FOR_ARGUMENTS = 72


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar from `start` to `end` on a line `whole` long, half a cell exact, at least half a cell long.

    From `lead` on, when it is given, dots show that something waited for `start`.
    """

    start: float
    end: float
    whole: float
    style: str
    lead: float | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it over the width that there is."""
        halves = options.max_width * 2
        scale = halves / self.whole if self.whole > 0 else 0.0
        begin = min(int(self.start * scale), halves - 1)
        end = min(max(round(self.end * scale), begin + 1), halves)
        style = console.get_style(self.style)
        waited = begin // 2 if self.lead is None else min(int(self.lead * scale), begin) // 2
        yield Segment(" " * waited)
        yield Segment(("." if options.ascii_only else "┄") * (begin // 2 - waited), _WAITING)
        if options.ascii_only:
            cells = max((end + 1) // 2 - begin // 2, 1)
            yield Segment("=" * cells, style)
            yield Segment(" " * (options.max_width - begin // 2 - cells))
            return
        yield Segment(_line(begin, end, options.max_width), style)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Any:
        """Take all the width that is left."""
        from rich.measure import Measurement  # noqa: PLC0415  rich asks for it here

        return Measurement(4, options.max_width)


def _line(begin: int, end: int, width: int) -> str:
    """Return the cells from that of `begin` on; both are counted in halves of cells."""
    drawn = [" "] * (width - begin // 2)
    for at, cell in enumerate(range(begin // 2, min((end + 1) // 2, width))):
        left, right = begin <= cell * 2 < end, begin <= cell * 2 + 1 < end
        drawn[at] = "━" if left and right else "╸" if left else "╺"
    return "".join(drawn)


def draw(timeline: Timeline, now: float, *, width: int, height: int = 0, ascii_only: bool = False) -> RenderableType:
    """Return the picture of the run at `now` seconds.

    With a `height` (of the terminal, while the run goes on) a long answer shows its last lines only.
    """
    parts: list[RenderableType] = []
    if timeline.rows:
        parts.append(_rows(timeline, now, width, ascii_only))
    elif height:
        parts.append(Text("The run is starting ...", "dim"))
    for row in timeline.calls:
        if row.note:
            style = "red" if row.state is RowState.FAILED else "yellow"
            parts.append(Text.assemble(f"  {clean(row.name)}: ", (clean(row.note), style)))
    parts += [Text(f"  {clean(note)}", "yellow") for note in timeline.notes]
    for question in timeline.questions.values():
        parts.append(Text.assemble("\n", (clean(question.prompt), "bold"), f"\n  {how_to_answer(question)}"))
    text = clean(timeline.text)
    if text:
        shown = Text(text)
        if height:
            shown = _tail(shown, width, max(height - len(timeline.rows) - 5, 3))
        parts += [Text(), shown]
    if timeline.finished is not None:
        parts += [Text(), summary(timeline)]
    return Group(*parts)


def _rows(timeline: Timeline, now: float, width: int, ascii_only: bool) -> Table:
    whole = max(now, timeline.latest, 1e-9)
    with_bars, with_arguments = width >= _ROOM_FOR_BARS, width >= _ROOM_FOR_ARGUMENTS
    table = Table.grid(padding=(0, 1), expand=with_bars)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(width * 2 // 5, 14))
    if with_bars:
        table.add_column(ratio=1, min_width=8)
    table.add_column(justify="right", no_wrap=True)
    for row in timeline.rows:
        style = _STYLES[row.state] if row.is_call else "dim"
        cells: list[RenderableType] = [Text(_mark(row, ascii_only), style), _title(row, with_arguments)]
        if with_bars:
            cells.append(Bar(row.start, row.until(now), whole, style) if _has_bar(row) else Text())
        spent = duration(row.until(now) - row.start) if _has_bar(row) else row.state.value
        cells.append(Text(spent, "" if row.is_call else "dim"))
        table.add_row(*cells)
    return table


def how_to_answer(question: QuestionAsked) -> str:
    """Return the command that answers a question."""
    return clean(f"podium answer {question.run_id} {question.question_id} VALUE")


def _has_bar(row: Row) -> bool:
    return row.predicted or row.state not in (RowState.WAITING, RowState.SKIPPED)


def _mark(row: Row, ascii_only: bool) -> str:
    if not row.is_call:
        return " "
    return _MARKS[row.state][1 if ascii_only else 0]


def _title(row: Row, with_arguments: bool) -> Text:
    if not row.is_call and not row.predicted:
        return Text(f"model {clean(row.name)}", "dim")
    title = Text(clean(row.name), "dim" if row.predicted else "bold")
    if row.predicted:
        title.append(" (predicted)" if row.end is None else " (not asked for)", "dim")
    elif row.source in _SOURCES:
        title.append(f" ({_SOURCES[row.source]})", "not bold magenta")
    if with_arguments and row.arguments:
        title.append(" " + short_arguments(row.arguments), "not bold dim")
    return title


def _tail(text: Text, width: int, lines: int) -> Text:
    """Return the end of a text that, wrapped, takes at most so many lines."""
    plain = text.plain[-width * lines :]
    wrapped: list[str] = []
    for paragraph in plain.split("\n"):
        wrapped += _wrap(paragraph, width)
    return text if len(plain) == len(text.plain) and len(wrapped) <= lines else Text("\n".join(wrapped[-lines:]))


def _wrap(paragraph: str, width: int) -> list[str]:
    lines, line = [], ""
    for word in paragraph.split(" "):
        longer = f"{line} {word}" if line else word
        if line and cell_len(longer) > width:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line]


def summary(timeline: Timeline) -> Text:
    """Return the last line: how it ended, time, calls, tokens, run id."""
    end = timeline.finished
    if end is None:
        return Text("the run has not ended")
    text = Text()
    how = end.state.lower() + (", partly" if end.partial else "") + (", degraded" if end.degraded else "")
    text.append(how, _END_STYLES.get(end.state, "bold red"))
    calls = len(timeline.calls)
    text.append(f" in {duration(timeline.latest)}")
    facts = [f"{calls} {'call' if calls == 1 else 'calls'}"]
    if end.usage.total_tokens:
        facts.append(f"{end.usage.prompt_tokens} + {end.usage.completion_tokens} tokens")
    if end.usage.cost_micros:
        facts.append(cost(end.usage))
    facts.append(clean(timeline.run_id))
    text.append(": " + ", ".join(facts), "dim")
    if end.error is not None and (end.error.message or end.error.reason):
        text.append("\n" + clean(f"{end.error.message} ({end.error.reason})"), "red")
    return text


def cost(usage: Usage) -> str:
    """Return what something cost, exactly."""
    amount = f"{usage.cost_micros / 1e6:.6f}".rstrip("0").rstrip(".")
    return clean(f"{amount} {usage.currency}".rstrip())


def duration(seconds: float) -> str:
    """Return a duration as people say it."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.0095 else f"{seconds * 1000:.1f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def short_arguments(arguments: dict[str, Any], limit: int = 120) -> str:
    """Return arguments on one short line: the value alone if there is one, else name=value."""
    values = [(name, _short(value)) for name, value in arguments.items()]
    shown = values[0][1] if len(values) == 1 else " ".join(f"{name}={value}" for name, value in values)
    return clean(shown if len(shown) <= limit else shown[: limit - 1] + "…")


def short_result(result: Any, limit: int = 100) -> str:
    """Return a result on one short line."""
    shown = json.dumps(result, ensure_ascii=False)
    return clean(shown if len(shown) <= limit else shown[: limit - 1] + "…")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.replace("\n", " ")
