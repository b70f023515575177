"""Results as JSON of bounded size."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import pathlib
import uuid
from collections import OrderedDict, UserDict, deque
from types import MappingProxyType
from typing import Any

import pytest
from pydantic import BaseModel

from podium.orchestration.tool import ToolFailure, ToolFailureCode
from podium.tools._results import encode_result

LIMIT = 1 << 20


class Shade(enum.Enum):
    DARK = 1


class Model(BaseModel):
    when: dt.date
    price: float


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    x: float
    tags: frozenset[str] = frozenset()


def encode(value: Any) -> Any:
    return json.loads(encode_result("t", value, LIMIT))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ({"a": [1, 2.5, "x", True, None]}, {"a": [1, 2.5, "x", True, None]}),
        (Point(1.5, frozenset({"b", "a"})), {"x": 1.5, "tags": ["a", "b"]}),
        (Model(when=dt.date(2026, 1, 2), price=3.5), {"when": "2026-01-02", "price": 3.5}),
        (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), "2026-01-02T03:04:05+00:00"),
        (dt.time(3, 4), "03:04:00"),
        (dt.timedelta(days=1, seconds=90), "P1DT90S"),
        (dt.timedelta(seconds=-1.5), "-PT1.5S"),
        (decimal.Decimal("1.50"), 1.5),
        (decimal.Decimal(12), 12),
        (decimal.Decimal("0.1000000000000000000001"), "0.1000000000000000000001"),
        (decimal.Decimal("Infinity"), "Infinity"),
        (decimal.Decimal("sNaN"), "NaN"),
        (Shade.DARK, 1),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        (b"\x00\xff", "AP8="),
        ({1: "a", Shade.DARK: "b"}, {"1": "b"}),
        ({3, 1, 2}, [1, 2, 3]),
        (deque([1, 2]), [1, 2]),
        (range(3), [0, 1, 2]),
        (OrderedDict(a=1), {"a": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (UserDict(a=1), {"a": 1}),
        (math.nan, "NaN"),
        ([math.inf, -math.inf, 1.0, None], ["Infinity", "-Infinity", 1.0, None]),
        (Point(math.nan), {"x": "NaN", "tags": []}),
        ({"big": 2**70, "when": dt.date(2026, 1, 1)}, {"big": 2**70, "when": "2026-01-01"}),
        ("ключ 🎹", "ключ 🎹"),
    ],
)
def test_values_become_json(value: Any, expected: Any) -> None:
    assert encode(value) == expected


def test_numpy_arrays_become_lists() -> None:
    numpy = pytest.importorskip("numpy")
    assert encode({"a": numpy.array([[1, 2], [3, 4]])}) == {"a": [[1, 2], [3, 4]]}


@pytest.mark.parametrize(
    "value", [object(), lambda: 1, (x for x in range(3)), {"a": object()}, "\ud800", {(1, 2): 3}, type]
)
def test_what_has_no_json_form_is_a_typed_failure(value: Any) -> None:
    with pytest.raises(ToolFailure, match="no JSON form") as caught:
        encode_result("t", value, LIMIT)
    assert caught.value.code is ToolFailureCode.RAISED


def test_what_contains_itself_is_a_typed_failure() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ToolFailure, match="contains itself"):
        encode_result("t", loop, LIMIT)


@pytest.mark.parametrize(
    "value",
    [
        "x" * 101,
        b"x" * 101,
        list(range(100)),
        {str(number): number for number in range(50)},
        {"text": "x" * 200},
        {"nested": {"deep": ["x" * 200]}},
        Point(1.0, frozenset({"x" * 200})),
    ],
)
def test_too_large_is_refused(value: Any) -> None:
    with pytest.raises(ToolFailure, match="more than 100 bytes") as caught:
        encode_result("t", value, 100)
    assert caught.value.code is ToolFailureCode.TOO_LARGE


def test_the_limit_is_exact() -> None:
    assert encode_result("t", "x" * 98, 100) == b'"' + b"x" * 98 + b'"'
    assert encode_result("t", [1] * 49, 100)
    with pytest.raises(ToolFailure):
        encode_result("t", "x" * 99, 100)


def test_floods_are_refused_before_they_are_serialised() -> None:
    class Flood(str):
        __slots__ = ()

        def __len__(self) -> int:
            return 1 << 60

    with pytest.raises(ToolFailure, match="ask it for less"):
        encode_result("t", Flood(), LIMIT)
