"""Where a run's events go: a live picture on a terminal, plain lines elsewhere, or JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from podium.cli.event_json import event_line
from podium.cli.terminal import clean, output_console
from podium.cli.timeline import Row, RowState, Timeline
from podium.cli.waterfall import draw, duration, how_to_answer, short_arguments, short_result, summary

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from podium_client import RunEvent

__all__ = ["JsonLines", "LivePicture", "PlainLines", "RunOutput", "save_svg"]

_FRAMES_PER_SECOND = 12
# As rich's own, without the fonts that it would have readers' browsers fetch from the network.
_SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


class RunOutput(Protocol):
    """Shows a run. A context manager; `event` is told each event in order, from the event loop."""

    timeline: Timeline

    def __enter__(self) -> object:
        """Begin."""

    def __exit__(self, *args: object) -> None:
        """End; also when the run broke off."""

    def event(self, event: RunEvent) -> None:
        """Show one event."""


class JsonLines:
    """One line of JSON an event."""

    def __init__(self) -> None:
        self.timeline = Timeline()

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *args: object) -> None:
        sys.stdout.flush()

    def event(self, event: RunEvent) -> None:
        """Write the event and let a reading program have it at once."""
        self.timeline.apply(event)
        sys.stdout.buffer.write(event_line(event.raw))
        sys.stdout.buffer.flush()


class PlainLines:
    """A line for each call's start, retry and end, and for each question; then the answer and a summary.

    No control codes.
    """

    def __init__(self) -> None:
        self.timeline = Timeline()

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(self, *args: object) -> None:
        sys.stdout.flush()

    def event(self, event: RunEvent) -> None:
        """Write what the event changed, if a reader cares."""
        before = {row.call_id: (row.state, row.note) for row in self.timeline.calls}
        asked, noted = len(self.timeline.questions), len(self.timeline.notes)
        self.timeline.apply(event)
        if self.timeline.finished is not None:
            answer = clean(self.timeline.text)
            self._write(f"\n{answer}\n" if answer else "")
            self._write(summary(self.timeline).plain)
            return
        for row in self.timeline.calls:
            state, note = before.get(row.call_id, (RowState.WAITING, ""))
            if row.state is not state:
                self._write(self._line(row))
            elif row.note and row.note != note:
                self._write(f"{self._now}  retry   {self._called(row)}  ({clean(row.note)})")
        for question in list(self.timeline.questions.values())[asked:]:
            self._write(f"{self._now}  asks    {clean(question.prompt)}  ({how_to_answer(question)})")
        for note in self.timeline.notes[noted:]:
            self._write(f"{self._now}  note    {clean(note)}")

    def _line(self, row: Row) -> str:
        head = f"{self._now}  {row.state:8}{self._called(row)}"
        match row.state:
            case RowState.OK:
                return f"{head}  ({duration((row.end or 0) - row.start)})  {short_result(row.result)}"
            case RowState.FAILED | RowState.SKIPPED:
                return f"{head}  ({clean(row.note)})"
            case _:
                return head

    @property
    def _now(self) -> str:
        return f"{self.timeline.latest:8.3f} s"

    @staticmethod
    def _called(row: Row) -> str:
        return f"{clean(row.name)} {short_arguments(row.arguments)}"

    @staticmethod
    def _write(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


class LivePicture:
    """The picture, redrawn while the run goes on, and left standing at the end."""

    def __init__(self) -> None:
        self.timeline = Timeline()
        self._console = output_console()
        self._ascii = self._console.options.ascii_only
        self._seen = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> LivePicture:
        from rich.live import Live  # noqa: PLC0415  only on terminals

        self._live = Live(
            console=self._console,
            refresh_per_second=_FRAMES_PER_SECOND,
            get_renderable=self._frame,
            transient=True,
            vertical_overflow="crop",
        )
        self._live.__enter__()
        return self

    def __exit__(self, *args: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)
        if self.timeline.rows or self.timeline.finished:
            self._console.print(
                draw(self.timeline, self.timeline.latest, width=self._console.width, ascii_only=self._ascii)
            )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let others write to the terminal for the block; events are taken in meanwhile."""
        if self._live is None:
            yield
            return
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()

    def event(self, event: RunEvent) -> None:
        """Take the event in; the next frame shows it."""
        self.timeline.apply(event)
        self._seen = time.monotonic()

    def _frame(self) -> RenderableType:
        now = self.timeline.latest
        if self.timeline.finished is None and self.timeline.rows:
            now += time.monotonic() - self._seen
        size = self._console.size
        return draw(self.timeline, now, width=size.width, height=size.height, ascii_only=self._ascii)


def save_svg(timeline: Timeline, request: str, path: Path, *, width: int = 100) -> None:
    """Write the picture of an ended run, as a terminal would show it, to an SVG file."""
    import io  # noqa: PLC0415  only for --save-svg

    from rich.console import Console  # noqa: PLC0415  likewise
    from rich.text import Text  # noqa: PLC0415  likewise

    console = Console(
        record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor", highlight=False
    )
    console.print(Text.assemble(("$ ", "dim"), ("podium run ", "bold"), clean(f'"{request}"'), "\n"))
    console.print(draw(timeline, timeline.latest, width=width))
    console.print()  # room for the descenders of the last line
    path.write_text(console.export_svg(title="podium run", code_format=_SVG, unique_id="podium"), encoding="utf-8")
