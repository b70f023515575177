"""The writer thread: order, bounds, broken streams, the end."""

from __future__ import annotations

import io
import threading

import pytest

from podium.observability.line_writer import LineWriter


class BlockedStream(io.BytesIO):
    """A pipe that nobody reads until `release` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.release = threading.Event()

    def write(self, data: object) -> int:
        self.entered.set()
        self.release.wait(10)
        return super().write(data)  # type: ignore[arg-type]  # bytes, as the writer has it


class BrokenStream(io.BytesIO):
    def write(self, _data: object) -> int:
        raise BrokenPipeError


def test_lines_arrive_in_order_and_are_flushed_by_close() -> None:
    stream = io.BytesIO()
    writer = LineWriter(stream)
    for number in range(5000):
        writer.write(str(number).encode())
    writer.close()
    assert stream.getvalue().split() == [str(number).encode() for number in range(5000)]
    assert (writer.written, writer.dropped) == (5000, 0)


def test_a_blocked_stream_never_blocks_the_caller_and_losses_are_counted() -> None:
    stream = BlockedStream()
    writer = LineWriter(stream, capacity=10)
    writer.write(b"first")
    assert stream.entered.wait(10)
    for _ in range(25):
        writer.write(b"x")
    assert writer.dropped == 15
    stream.release.set()
    writer.close()
    assert stream.getvalue().count(b"\n") == 11


def test_close_gives_up_on_a_stream_that_stays_blocked() -> None:
    stream = BlockedStream()
    writer = LineWriter(stream)
    writer.write(b"first")
    assert stream.entered.wait(10)
    writer.write(b"second")
    writer.close(timeout=0)
    assert writer.dropped == 1
    stream.release.set()


@pytest.mark.parametrize("closed", [True, False])
def test_a_stream_that_refuses_is_survived(closed: bool) -> None:
    stream = io.BytesIO() if closed else BrokenStream()
    if closed:
        stream.close()
    with LineWriter(stream) as writer:
        writer.write(b"x")
    assert (writer.written, writer.dropped) == (0, 1)


def test_lines_after_the_end_are_counted_and_closing_twice_is_fine() -> None:
    writer = LineWriter(io.BytesIO())
    writer.close()
    writer.close()
    writer.write(b"late")
    assert writer.dropped == 1


def test_many_threads_may_write() -> None:
    stream = io.BytesIO()
    with LineWriter(stream, capacity=100_000) as writer:

        def write_many() -> None:
            for _ in range(1000):
                writer.write(b"x")

        threads = [threading.Thread(target=write_many) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert stream.getvalue().count(b"x\n") == 8000
