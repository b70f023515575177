"""What a tool returned, as JSON text of bounded size."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any

import orjson
from pydantic import BaseModel

from podium.orchestration.tool import ToolFailure, ToolFailureCode

__all__ = ["encode_result"]

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
_DEEPEST = 200


def encode_result(tool: str, value: Any, limit: int) -> bytes:
    """Return `value` as JSON of at most `limit` bytes.

    Beyond plain JSON it takes pydantic models, dataclasses, dates, times and durations (ISO 8601),
    decimals (a number when it is exactly one, else text), enums, sets, bytes (base64), paths and
    NumPy arrays. Numbers that are not finite become the texts "NaN", "Infinity" and "-Infinity".

    Raises:
        ToolFailure: TOO_LARGE, or RAISED when the value has no JSON form.
    """
    if _surely_larger(value, limit):
        raise _too_large(tool, limit)
    try:
        encoded = orjson.dumps(value, default=_default, option=_OPTIONS)
        if b"null" in encoded:  # orjson writes numbers that are not finite as null: look closer
            encoded = orjson.dumps(_plain(value), option=_OPTIONS)
    except (TypeError, ValueError, RecursionError):  # integers beyond 64 bits, odd keys, too deep, unknown types
        encoded = _encode_slowly(tool, value)
    if len(encoded) > limit:
        raise _too_large(tool, limit)
    return bytes(memoryview(encoded))  # see `packed`: a result may be kept for long


def _encode_slowly(tool: str, value: Any) -> bytes:
    try:
        return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError:
        reason = "text with half of a surrogate pair"
    except (TypeError, ValueError, RecursionError) as error:
        reason = str(error) or type(error).__name__
    raise ToolFailure(ToolFailureCode.RAISED, f"{tool} returned something that has no JSON form: {reason}") from None


def _too_large(tool: str, limit: int) -> ToolFailure:
    message = f"{tool} returned more than {limit:,} bytes; ask it for less"
    return ToolFailure(ToolFailureCode.TOO_LARGE, message)


def _surely_larger(value: Any, limit: int) -> bool:
    """Spot floods without serialising them: an element takes at least two bytes, a character one."""
    if isinstance(value, str | bytes | bytearray):
        return len(value) > limit
    if isinstance(value, Mapping):
        return len(value) * 4 > limit + 4 or (
            len(value) <= 64 and any(_surely_larger(item, limit) for item in value.values() if not _nested(item))
        )
    if isinstance(value, Sequence | Set):
        return len(value) * 2 > limit + 2
    return False


def _nested(value: Any) -> bool:
    return isinstance(value, Mapping)


def _default(value: Any) -> Any:
    """Return the nearest JSON value of one that orjson does not know."""
    for kind, convert in _CONVERTERS:
        if isinstance(value, kind):
            return convert(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _decimal(value: Decimal) -> int | float | str:
    if not value.is_finite():
        return _special(float(value)) if not value.is_snan() else "NaN"
    if value == value.to_integral_value() and abs(value) < 2**53:
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)


def _duration(value: timedelta) -> str:
    sign, value = ("-", -value) if value < timedelta(0) else ("", value)
    seconds = (
        f"{value.seconds}.{value.microseconds:06d}".rstrip("0").rstrip(".") if value.microseconds else value.seconds
    )
    return f"{sign}P{value.days}DT{seconds}S" if value.days else f"{sign}PT{seconds}S"


def _sorted(values: Set[Any]) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:
        return sorted(values, key=repr)


def _special(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


_CONVERTERS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (BaseModel, lambda model: model.model_dump(mode="json")),
    (Decimal, _decimal),
    (timedelta, _duration),
    ((bytes, bytearray, memoryview), lambda data: base64.b64encode(data).decode()),
    (PurePath, PurePath.as_posix),
    (Mapping, dict),
    (Set, _sorted),
    (Sequence, list),
)


def _plain(value: Any, depth: int = 0) -> Any:
    """Rebuild `value` from dict, list, str, int, finite float, bool and None."""
    if depth > _DEEPEST:
        raise ValueError(f"it is nested deeper than {_DEEPEST}, or contains itself")
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, float) and not math.isfinite(value):
        return _special(value)
    if value is None or isinstance(value, bool | int | str | float):
        return value
    if isinstance(value, Mapping):
        return {_key(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    return _plain(_converted(value), depth + 1)


def _converted(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: getattr(value, field.name) for field in fields if not field.name.startswith("_")}
    try:
        return _default(value)
    except TypeError:
        return orjson.loads(orjson.dumps(value, option=_OPTIONS))  # dates, times, UUIDs, NumPy


def _key(key: Any) -> str:
    if isinstance(key, str) and not isinstance(key, Enum):
        return str(key)
    text: str = next(iter(orjson.loads(orjson.dumps({key: None}, option=_OPTIONS))))
    return text
