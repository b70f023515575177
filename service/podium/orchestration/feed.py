"""The live side of a run: readers follow its log and the text that is being written.

There are no queues: a reader keeps a cursor and looks up what lies beyond it, so a slow reader
costs nothing but gets its text in larger pieces, and memory is bounded by the log itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from podium.orchestration.events import LoggedEvent, TextWritten, TurnEnded, TurnStarted

__all__ = ["RunFeed"]

_MOST_TOGETHER = 256


class RunFeed:
    """What one run has said so far, and a signal when it says more."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self._events: list[LoggedEvent] = []
        self._chunks: list[str] = []
        self._turn = 0
        self._ended = False
        self._changed: asyncio.Event | None = None  # while somebody waits

    @property
    def turn_text(self) -> str:
        """The text of the turn in progress."""
        return "".join(self._chunks)

    def logged(self, event: LoggedEvent) -> None:
        """Show an event that was appended to the log."""
        self._events.append(event)
        if isinstance(event.kind, TurnStarted):
            self._turn, self._chunks = event.kind.turn, []
        self._signal()

    def text(self, chunk: str) -> None:
        """Show more text of the turn in progress."""
        self._chunks.append(chunk)
        self._signal()

    def end(self) -> None:
        """Say that nothing follows; readers end when they have read everything."""
        self._ended = True
        self._signal()

    async def follow(self, after_seq: int = 0) -> AsyncGenerator[list[LoggedEvent], None]:
        """Yield every event beyond `after_seq`, and text as it comes, until the run ends.

        What is there at once comes together, up to 256 events. All text of a turn comes before its
        `TurnEnded`, in at least one piece when there is any.
        """
        cursor, shown = self._skip(after_seq)
        while True:
            batch: list[LoggedEvent] = []
            while cursor < len(self._events) and len(batch) < _MOST_TOGETHER:
                event = self._events[cursor]
                if isinstance(event.kind, TurnStarted):
                    shown = _Shown(event.kind.turn)
                elif isinstance(event.kind, TurnEnded):
                    if rest := event.kind.text[shown.offset :]:
                        batch.append(self._text_event(cursor, shown.turn, shown.offset, rest))
                    shown = _Shown()
                batch.append(event)
                cursor += 1
            if cursor == len(self._events) and shown.turn == self._turn and shown.chunks < len(self._chunks):
                piece = "".join(self._chunks[shown.chunks :])
                shown.chunks = len(self._chunks)
                batch.append(self._text_event(cursor, shown.turn, shown.offset, piece))
                shown.offset += len(piece)
            if batch:
                yield batch
            elif self._ended:
                return
            else:
                # Nothing was awaited since the last look, so nothing can have been missed.
                self._changed = self._changed or asyncio.Event()
                await self._changed.wait()

    def _skip(self, after_seq: int) -> tuple[int, _Shown]:
        """Return where a reader stands that has all events up to `after_seq`."""
        cursor, shown = min(after_seq, len(self._events)), _Shown()
        for event in self._events[:cursor]:
            if isinstance(event.kind, TurnStarted):
                shown = _Shown(event.kind.turn)
            elif isinstance(event.kind, TurnEnded):
                shown = _Shown()
        return cursor, shown

    def _text_event(self, cursor: int, turn: int, offset: int, text: str) -> LoggedEvent:
        last = self._events[cursor - 1]
        return LoggedEvent(self.run_id, last.seq, last.time_ns, TextWritten(turn, offset, text))

    def _signal(self) -> None:
        # Who comes later waits for an event of their own: nobody has to clear what others wait for.
        if self._changed is not None:
            self._changed.set()
            self._changed = None


class _Shown:
    """How far one reader is in the text of a turn."""

    __slots__ = ("chunks", "offset", "turn")

    def __init__(self, turn: int = -1) -> None:
        self.turn = turn
        self.chunks = 0
        self.offset = 0
