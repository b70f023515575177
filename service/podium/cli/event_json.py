"""`podium run --json`: a run's event as one JSON object. Pure; nothing here writes anywhere.

Proto field names. Numbers, booleans and enums are always there, `answer` and `text` too; other
empty fields are left out. 64-bit integers are numbers, times are RFC 3339 in UTC with microseconds,
durations are seconds, and fields called `..._json` appear without that ending, as the JSON that they
hold.
"""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from podium.v1 import run_pb2

__all__ = ["event_line", "event_object", "message_object"]

_ALWAYS = frozenset({"answer", "text"})
_JSON = "_json"


def event_line(event: run_pb2.RunEvent) -> bytes:
    """Return the event as one line of UTF-8, with its newline."""
    shown = event_object(event)
    try:
        return json.dumps(shown, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can hold and UTF-8 cannot
        return json.dumps(shown).encode() + b"\n"


def event_object(event: run_pb2.RunEvent) -> dict[str, Any]:
    """Return the event as an object of JSON."""
    return message_object(event)


def message_object(message: Message) -> dict[str, Any]:
    """Return any message of the contract as an object of JSON."""
    shown: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if _is_left_out(message, field):
            continue
        name = field.name
        value = getattr(message, name)
        if field.type == FieldDescriptor.TYPE_BYTES and name.endswith(_JSON):
            shown[name.removesuffix(_JSON)] = _payload(value)
        elif _is_map(field):
            shown[name] = dict(value)
        elif field.is_repeated:
            shown[name] = [_value(field, item) for item in value]
        else:
            shown[name] = _value(field, value)
    return shown


def _is_left_out(message: Message, field: Any) -> bool:
    if field.is_repeated:
        return not getattr(message, field.name)
    if field.has_presence:
        return not message.HasField(field.name)
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        return not getattr(message, field.name) and field.name not in _ALWAYS
    return False


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _value(field: Any, value: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return _plain(value)
    if field.type == FieldDescriptor.TYPE_ENUM:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else value
    if field.type == FieldDescriptor.TYPE_BYTES:
        return value.decode(errors="replace")
    return value


def _plain(value: Message) -> Any:
    if isinstance(value, Timestamp):
        return _time(value)
    return value.ToNanoseconds() / 1e9 if isinstance(value, Duration) else message_object(value)


def _time(stamp: Timestamp) -> str:
    return stamp.ToDatetime().isoformat(timespec="microseconds") + "Z"


def _payload(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except ValueError:  # against the contract; show it rather than lose the line
        return payload.decode(errors="replace")
