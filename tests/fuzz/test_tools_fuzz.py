"""Tools under arbitrary input: a value, or a typed failure, and never anything else."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from podium.orchestration.tool import ToolFailure, ToolInvocation
from podium.packs.core import CorePackConfig, core_pack, create_workspace
from podium.packs.core._addresses import HostRules
from podium.packs.core._arithmetic import evaluate
from podium.packs.core._expressions import canonical_expression
from podium.packs.core._patterns import canonical_pattern, matcher
from podium.tools import LocalToolExecutor, Tool, ToolRegistry, tool
from podium.tools._results import encode_result

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

numbers = st.one_of(
    st.integers(0, 10**12).map(str),
    st.decimals(0, 10**6, places=3, allow_nan=False, allow_infinity=False).map(lambda number: f"{number:f}"),
)
operators = st.sampled_from(["+", "-", "*", "/", "//", "%"])


def compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, operators, inner).map(lambda parts: f"{parts[0]} {parts[1]} {parts[2]}"),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"-({text})"),
        st.tuples(inner, st.integers(0, 4)).map(lambda parts: f"({parts[0]}) ** {parts[1]}"),
    )


expressions = st.recursive(numbers, compound, max_leaves=12)


class Exact:
    """Numbers of the reference: Python's own grammar and operators over fractions."""

    def __init__(self, text: str) -> None:
        import ast

        self._tree = ast.parse(text, mode="eval").body
        self._text = text

    def value(self) -> Fraction:
        return self._value(self._tree)

    def _value(self, node: Any) -> Fraction:
        import ast
        import operator

        if isinstance(node, ast.Constant):
            segment = ast.get_source_segment(self._text, node)
            assert segment is not None
            return Fraction(segment)
        if isinstance(node, ast.UnaryOp):
            return -self._value(node.operand)
        assert isinstance(node, ast.BinOp)
        left, right = self._value(node.left), self._value(node.right)
        if (
            isinstance(node.op, ast.Pow)
            and max(left.numerator.bit_length(), left.denominator.bit_length()) * right > 10**5
        ):
            raise OverflowError  # not to compute for hours what must be refused anyway
        table = {
            ast.Add: operator.add,
            ast.Sub: operator.sub,
            ast.Mult: operator.mul,
            ast.Div: operator.truediv,
            ast.FloorDiv: operator.floordiv,
            ast.Mod: operator.mod,
            ast.Pow: operator.pow,
        }
        return Fraction(table[type(node.op)](left, right))


@FUZZ
@given(expressions)
@example("-(2) ** 2")
@example("2 - 3 - 4")
def test_calculate_agrees_with_exact_arithmetic(text: str) -> None:
    assume(len(text) < 300 and "% -" not in text)  # a percent sign before a minus means percent
    text = " ".join(part.lstrip("0") or "0" if part.isdigit() else part for part in text.split(" "))
    try:
        expected: Fraction | None = Exact(text).value()
    except (ZeroDivisionError, SyntaxError):
        expected = None
    except OverflowError:
        with pytest.raises(ValueError, match="digits"):
            evaluate(canonical_expression(text))
        return
    try:
        got = evaluate(canonical_expression(text))
    except ValueError:
        large = expected is not None and max(abs(expected.numerator), expected.denominator) > 10**300
        assert expected is None or large or _somewhere_large(text)
        return
    assert expected is not None
    if expected.denominator == 1:
        assert int(got) == expected
    else:
        assert isinstance(got, float | int)
        assert math.isclose(got, float(expected), rel_tol=1e-11)


def _somewhere_large(text: str) -> bool:
    """Whether a part of it may exceed the digits that are allowed."""
    return "**" in text


@FUZZ
@given(st.text(max_size=80) | st.text("0123456789+-*/%().,^ xeof!√²", max_size=40))
@example("9**9**9**9")
@example("((((")
@example("5!!!!!!")
@example("%of%of")
@example("1e9999999")
@example(". . .")
def test_calculate_takes_anything(text: str) -> None:
    try:
        canonical = canonical_expression(text)
    except ValueError:
        return
    assert canonical_expression(canonical) == canonical
    try:
        value = evaluate(canonical)
    except ValueError:
        return
    assert isinstance(value, int | str) or math.isfinite(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@tool(side_effects="none")
def mirror(value: Any = None, count: int = 1, words: list[str] | None = None) -> Any:
    """Give back what came in."""
    return [value] * max(0, min(count, 3)) + (words or [])


@FUZZ
@given(st.one_of(json_values.map(json.dumps).map(str.encode), st.binary(max_size=60)))
@example(b'{"value": NaN}')
@example(b'{"value": 1e400}')
@example(b'{"count": 1e400}')
@example(b'{"value": "\\ud800"}')
@example(b"[" * 5000)
def test_the_executor_takes_any_bytes(text: bytes) -> None:
    async def main() -> bytes | None:
        async with LocalToolExecutor(ToolRegistry([mirror]), threads=1) as executor:
            try:
                invocation = ToolInvocation(run_id="r", call_id="c", tool="mirror", arguments_json=text)
                return (await executor.invoke(invocation)).result_json
            except ToolFailure as failure:
                assert failure.message
                return None

    result = asyncio.run(main())
    if result is not None:
        json.loads(result, parse_constant=pytest.fail)


@FUZZ
@given(json_values)
def test_any_result_is_strict_json(value: Any) -> None:
    try:
        encoded = encode_result("t", value, 1 << 20)
    except ToolFailure:
        return
    decoded = json.loads(encoded, parse_constant=pytest.fail)
    if isinstance(value, float):
        assert decoded == value or not math.isfinite(value)
    elif isinstance(value, str | int | bool | None):
        assert decoded == value


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tool]:
    root = tmp_path_factory.mktemp("fuzz") / "workspace"
    create_workspace(root)
    pack = core_pack(CorePackConfig(folders=(Path(root),), clock=lambda: dt.datetime(2026, 1, 1, tzinfo=dt.UTC)))
    return {made.name: made for made in pack}


WORDS = (
    "km",
    "miles",
    "per",
    "square",
    "2026-01-01",
    "next",
    "friday",
    "Berlin",
    "utc+3",
    "../",
    "notes/",
    "*.md",
    "**",
    "{",
)
ARGUMENTS = {
    "calculate": ("expression",),
    "convert_units": ("value", "from_unit", "to_unit"),
    "current_time": ("timezone",),
    "days_between": ("start_date", "end_date"),
    "text_statistics": ("text",),
    "find_files": ("pattern",),
    "read_file": ("path",),
    "search_documents": ("query", "limit"),
}


@settings(FUZZ, max_examples=60)
@given(data=st.data())
@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_core_tool_gives_a_result_or_a_typed_failure(
    core: dict[str, Tool], name: str, data: st.DataObject
) -> None:
    words = st.sampled_from(WORDS)
    sensible = st.lists(words, max_size=5).map(" ".join)
    values = st.one_of(json_values, st.text(max_size=60), sensible, st.integers(-5, 50))
    arguments = {argument: data.draw(values) for argument in ARGUMENTS[name]}
    made = core[name]
    try:
        canonical = made.arguments.normalise(arguments)
        assert made.arguments.normalise(canonical) == canonical
        assert json.loads(encode_result(name, made.bind(canonical)(), 1 << 20)) is not None
    except ToolFailure as failure:
        assert len(failure.message) < 3_000


@FUZZ
@given(st.text("ab*?[]!{},/.-", max_size=25), st.text("ab/", max_size=25))
def test_patterns_take_anything(pattern: str, path: str) -> None:
    try:
        canonical = canonical_pattern(pattern)
    except ValueError:
        return
    assert canonical_pattern(canonical) == canonical
    assert matcher(canonical)(path) in (True, False)


@FUZZ
@given(st.text(max_size=60) | st.text("https:/@.\\[]%0127fx#?", max_size=40).map("https://".__add__))
def test_no_url_gets_past_the_rules(url: str) -> None:
    async def loopback(_: str, __: int) -> list[str]:
        return ["127.0.0.1"]

    with pytest.raises(ToolFailure):
        asyncio.run(HostRules(["example.com"], resolver=loopback).vet(url))
