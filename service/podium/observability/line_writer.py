"""Writes finished lines from a thread of its own, so that a blocked pipe never blocks the event loop."""

from __future__ import annotations

import threading
from collections import deque
from typing import BinaryIO, Self

__all__ = ["LineWriter"]

_COALESCE_SECONDS = 0.05


class LineWriter:
    """A bounded queue of lines in front of a binary stream.

    `write` never waits: when the queue is full the line is dropped and counted. A dropped line, or
    one that the stream refuses, is lost for good; the count is all that is kept of it.

    Args:
        stream: where the lines go; it is flushed, never closed.
        capacity: how many lines may wait.
    """

    def __init__(self, stream: BinaryIO, *, capacity: int = 10_000) -> None:
        self._stream = stream
        self._capacity = capacity
        self._lines: deque[bytes] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._ending = threading.Event()
        self._dropped = 0
        self._written = 0
        self._thread = threading.Thread(target=self._work, name="podium-log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines lost because the queue was full or the stream refused them."""
        return self._dropped

    @property
    def written(self) -> int:
        """Lines handed to the stream."""
        return self._written

    def write(self, line: bytes) -> None:
        """Queue one line, without its newline; returns at once, from any thread."""
        if self._closing or len(self._lines) >= self._capacity:
            self._dropped += 1
            return
        self._lines.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def close(self, timeout: float = 2.0) -> None:
        """Write what is queued and end the thread; gives up on a blocked stream after `timeout` seconds."""
        if self._closing:
            return
        self._closing = True
        self._ending.set()
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)
        if self._thread.is_alive():
            self._dropped += len(self._lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        while True:
            self._wake.wait()
            # Lines come in bursts. Waiting a moment for more costs a reader nothing, while waking
            # for each line makes the event loop hand over the interpreter at every call.
            self._ending.wait(_COALESCE_SECONDS)
            self._wake.clear()
            closing = self._closing
            self._drain()
            if closing:
                return

    def _drain(self) -> None:
        while self._lines:
            batch = [self._lines.popleft() for _ in range(min(len(self._lines), 256))]
            try:
                self._stream.write(b"\n".join(batch) + b"\n")
                self._stream.flush()
            except (OSError, ValueError):
                self._dropped += len(batch)  # a broken pipe, a full disk, a closed stream: nobody left to tell
            else:
                self._written += len(batch)
