"""How single values are read from messages. Pure; shared by all views."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

_E = TypeVar("_E", bound=StrEnum)


def enum_of(cls: type[_E], wire: Any, prefix: str, number: int) -> _E:
    """Return the member for a number on the wire; `UNSPECIFIED` for one that came after this client."""
    name = wire.Name(number).removeprefix(prefix) if number in wire.values() else "UNSPECIFIED"
    return cls(name)


def when(stamp: Timestamp) -> datetime:
    """Return a time in UTC."""
    return stamp.ToDatetime(tzinfo=UTC)


def time_in(message: Message, name: str) -> datetime | None:
    """Return the time in a field; None when it is absent."""
    return when(getattr(message, name)) if message.HasField(name) else None


def span_in(message: Message, name: str) -> timedelta | None:
    """Return the span in a field; None when it is absent."""
    return getattr(message, name).ToTimedelta() if message.HasField(name) else None


def between(start: datetime | None, end: datetime | None) -> timedelta | None:
    """Return the time from `start` to `end` once both are known."""
    return None if start is None or end is None else end - start


def parse_arguments(payload: bytes) -> dict[str, Any]:
    """Return a call's arguments; no bytes mean none."""
    parsed: dict[str, Any] = json.loads(payload) if payload else {}
    return parsed


def parse_result(payload: bytes) -> Any:
    """Return a call's result; no bytes mean none."""
    return json.loads(payload) if payload else None
