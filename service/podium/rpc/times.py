"""Times and durations as messages."""

from __future__ import annotations

from google.protobuf import duration_pb2, timestamp_pb2

__all__ = ["duration_message", "set_duration", "time_message"]


def duration_message(seconds: float) -> duration_pb2.Duration:
    """Return a span of seconds as a message."""
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def set_duration(message: duration_pb2.Duration, seconds: float) -> None:
    """Fill in a span of seconds, at least 0: what `duration_message` does at a fraction of the cost."""
    message.seconds, message.nanos = divmod(round(seconds * 1e9), 1_000_000_000)


def time_message(nanoseconds: int) -> timestamp_pb2.Timestamp | None:
    """Return nanoseconds since the epoch as a message; None for 0, which means not yet."""
    if not nanoseconds:
        return None
    seconds, nanos = divmod(nanoseconds, 1_000_000_000)
    return timestamp_pb2.Timestamp(seconds=seconds, nanos=nanos)
