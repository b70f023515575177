"""Server-sent events, read incrementally from chunks of any size."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EventTooLong", "ServerEvent", "ServerEventParser"]

_BOM = b"\xef\xbb\xbf"


class EventTooLong(Exception):
    """A line or an event is longer than the parser keeps."""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event. `name` is "" when the server named none."""

    name: str
    data: bytes


class ServerEventParser:
    """Turns bytes into events, whatever the chunk boundaries and line ends are.

    Args:
        most_bytes: the most that one event may hold.
    """

    def __init__(self, most_bytes: int = 1 << 20) -> None:
        self._most_bytes = most_bytes
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._name = ""
        self._skip_newline = False
        self._first_line = True
        self.lines = 0

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """Take more bytes and return the events that they complete.

        `lines` counts the lines seen, comments included: a server that sends comments is alive.

        Raises:
            EventTooLong: an event exceeds the limit.
        """
        events: list[ServerEvent] = []
        if self._skip_newline and chunk:
            self._skip_newline = False
            chunk = chunk.removeprefix(b"\n")  # the second half of a CRLF that was split
        for piece in chunk.splitlines(keepends=True):  # of bytes: only at CR, LF and CRLF
            if piece[-1:] not in (b"\n", b"\r"):
                self._line += piece
                self._check(len(self._line))
                break
            self._line += piece.rstrip(b"\r\n")
            self._take_line(events)
        self._skip_newline = chunk.endswith(b"\r")
        return events

    def close(self) -> list[ServerEvent]:
        """Return what a stream that ended without its last empty line still holds.

        An unfinished line is dropped, as it may be cut; only the end marker `[DONE]` is taken from one.
        """
        events: list[ServerEvent] = []
        if bytes(self._line).strip() in (b"data: [DONE]", b"data:[DONE]"):
            self._take_line(events)
        self._line.clear()
        self._dispatch(events)
        return events

    def _take_line(self, events: list[ServerEvent]) -> None:
        line = bytes(self._line)
        self._line.clear()
        self.lines += 1
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(_BOM)
        if not line:
            self._dispatch(events)
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._size += len(value)
            self._check(self._size)
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode(errors="replace")[:64]

    def _dispatch(self, events: list[ServerEvent]) -> None:
        if self._data:
            events.append(ServerEvent(self._name, b"\n".join(self._data)))
        self._data.clear()
        self._size = 0
        self._name = ""

    def _check(self, size: int) -> None:
        if size > self._most_bytes:
            raise EventTooLong
