"""Evaluates canonical arithmetic: the computing half of `calculate`. No `eval`, no names, bounded numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from podium.packs.core._expressions import FUNCTIONS, pieces_of

__all__ = ["evaluate", "without_noise"]

Value = Fraction | float

_MOST_DIGITS = 1_000
_MOST_BITS = math.ceil(_MOST_DIGITS * math.log2(10))
_MOST_DEPTH = 60
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "//": 2, "%": 2, "**": 4}
_UNARY = 3


def evaluate(expression: str) -> int | float | str:
    """Return the value: an integer when it is one, a float otherwise.

    Sums, products, quotients and whole powers are computed exactly (`0.1 + 0.2` is 0.3). Integers
    beyond 64 bits come as text, because JSON readers would round them.

    Raises:
        ValueError: a mistake in the expression, an undefined value, or too large a number.
    """
    try:
        value = _Parser(pieces_of(expression)).parse()
        return _result(value)
    except ZeroDivisionError:
        raise ValueError("division by zero has no value") from None
    except OverflowError:
        raise ValueError("the result is too large") from None


def without_noise(value: float) -> float:
    """Return the short number that `value` misses by rounding (0.30000000000000004), else itself."""
    short = f"{value:.15g}"
    return float(short) if len(short.partition("e")[0].strip("-0.").replace(".", "")) <= 12 else value


def _result(value: Value) -> int | float | str:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("the result is too large or undefined")
        value = without_noise(value)
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if value.denominator != 1:
        return float(value)
    whole = value.numerator
    return whole if -(2**63) <= whole < 2**63 else str(whole)


class _Parser:
    """Precedence climbing over pieces; computes as it reads."""

    def __init__(self, pieces: list[str]) -> None:
        self._pieces = pieces
        self._at = 0
        self._depth = 0

    def parse(self) -> Value:
        value = self._expression(0)
        if self._at < len(self._pieces):
            raise ValueError(f"{self._pieces[self._at]!r} does not fit there")
        return value

    def _peek(self) -> str:
        return self._pieces[self._at] if self._at < len(self._pieces) else ""

    def _take(self, wanted: str) -> None:
        if self._peek() != wanted:
            found = f"before {self._peek()!r}" if self._peek() else "at the end"
            raise ValueError(f"{wanted!r} is missing {found}")
        self._at += 1

    def _expression(self, least: int) -> Value:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise ValueError("the expression is nested too deeply")
        left = self._prefix()
        while (precedence := _PRECEDENCE.get(self._peek(), 0)) and precedence > least:
            operator = self._peek()
            self._at += 1
            right_first = precedence - 1 if operator == "**" else precedence
            left = _bounded(_BINARY[operator](left, self._expression(right_first)))
        self._depth -= 1
        return left

    def _prefix(self) -> Value:
        piece = self._peek()
        if piece in ("+", "-"):
            self._at += 1
            value = self._expression(_UNARY)
            return -value if piece == "-" else value
        if piece == "(":
            self._at += 1
            value = self._expression(0)
            self._take(")")
            return value
        if piece in _CONSTANTS:
            self._at += 1
            return _CONSTANTS[piece]
        if piece in FUNCTIONS:
            return self._call(piece)
        if piece and (piece[0].isdigit() or piece[0] == "."):
            self._at += 1
            return _number(piece)
        raise ValueError(f"a number is missing {f'before {piece!r}' if piece else 'at the end'}")

    def _call(self, name: str) -> Value:
        self._at += 1
        self._take("(")
        arguments = [self._expression(0)]
        while self._peek() == ",":
            self._at += 1
            arguments.append(self._expression(0))
        self._take(")")
        fewest, most = FUNCTIONS[name]
        if not fewest <= len(arguments) <= most:
            wanted = str(fewest) if fewest == most else f"{fewest} to {most}"
            raise ValueError(f"{name} takes {wanted} numbers, not {len(arguments)}")
        try:
            value = _FUNCTIONS[name](*arguments)
        except ValueError as error:
            raise ValueError(f"{name} has no value there: {error}") from None
        return _bounded(value if isinstance(value, float) else Fraction(value))


def _number(piece: str) -> Fraction:
    exponent = piece.partition("e")[2]
    if exponent and abs(int(exponent)) > _MOST_DIGITS // 2:
        raise ValueError(f"{piece} is out of range")
    return Fraction(Decimal(piece))


def _bounded(value: Value) -> Value:
    if isinstance(value, float):
        return value
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MOST_BITS:
        raise ValueError(f"numbers may have at most {_MOST_DIGITS:,} digits")
    return value


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if bits > 1 and bits * abs(exponent.numerator) > 2 * _MOST_BITS:
            raise ValueError(f"numbers may have at most {_MOST_DIGITS:,} digits")
        if abs(base) == 1:
            return base if exponent.numerator % 2 else Fraction(1)
        if base == 0 and exponent > 0:
            return Fraction(0)
        return Fraction(base**exponent.numerator)
    if base < 0 and not float(exponent).is_integer():
        raise ValueError("a negative number has no real root of that kind")
    return math.pow(base, exponent)


def _quotient(left: Value, right: Value) -> Value:
    return left / right


_BINARY: dict[str, Callable[[Any, Any], Value]] = {
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": _quotient,
    "//": lambda left, right: Fraction(left // right) if isinstance(left // right, int) else left // right,
    "%": lambda left, right: left % right,
    "**": _power,
}
_CONSTANTS = {"pi": math.pi, "e": math.e, "tau": math.tau}


def _root(value: Value, degree: int) -> Value:
    """Exact for squares and cubes of fractions, else a float."""
    if isinstance(value, Fraction) and value >= 0:
        top, bottom = (round(_float_root(part, degree)) for part in (value.numerator, value.denominator))
        if top**degree == value.numerator and bottom**degree == value.denominator:
            return Fraction(top, bottom)
    return math.sqrt(value) if degree == 2 else math.cbrt(value)


def _float_root(value: int, degree: int) -> float:
    return math.isqrt(value) if degree == 2 else math.cbrt(value)


def _whole(value: Value, least: int = -(2**64)) -> int:
    if value != int(value) or value < least:
        raise ValueError(f"it takes whole numbers{' from zero up' if least == 0 else ''}")
    return int(value)


def _factorial(value: Value) -> Fraction:
    if value > 450:
        raise ValueError("the number is too large")
    return Fraction(math.factorial(_whole(value, 0)))


def _log(value: Value, base: Value = Fraction(10)) -> float:
    return math.log10(value) if base == 10 else math.log2(value) if base == 2 else math.log(value, base)


def _round(value: Value, digits: Value = Fraction(0)) -> Fraction:
    """Round half away from zero, as people do."""
    places = _whole(digits)
    if not -300 <= places <= 300:
        raise ValueError("it rounds to between -300 and 300 places")
    scale = Fraction(10) ** places
    scaled = Fraction(value) * scale
    rounded = math.floor(abs(scaled) + Fraction(1, 2))
    return (rounded if scaled >= 0 else -rounded) / scale


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "acos": math.acos,
    "asin": math.asin,
    "atan": math.atan,
    "cbrt": lambda value: -_root(-value, 3) if value < 0 else _root(value, 3),
    "ceil": math.ceil,
    "cos": math.cos,
    "degrees": math.degrees,
    "exp": math.exp,
    "factorial": _factorial,
    "floor": math.floor,
    "gcd": lambda *values: math.gcd(*map(_whole, values)),
    "hypot": math.hypot,
    "lcm": lambda *values: math.lcm(*map(_whole, values)),
    "ln": math.log,
    "log": _log,
    "log10": math.log10,
    "log2": math.log2,
    "max": lambda *values: max(values),
    "mean": lambda *values: sum(values) / len(values),
    "min": lambda *values: min(values),
    "radians": math.radians,
    "round": _round,
    "sin": math.sin,
    "sqrt": lambda value: _root(value, 2),
    "sum": lambda *values: sum(values),
    "tan": math.tan,
}
