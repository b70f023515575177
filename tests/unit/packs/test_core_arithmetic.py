"""`calculate`: what people write, its canonical form, its value, and what is refused."""

from __future__ import annotations

import math

import pytest

from podium.orchestration.tool import ToolFailure, ToolFailureCode
from podium.packs.core._arithmetic import evaluate
from podium.packs.core._expressions import canonical_expression
from podium.packs.core._numbers import written_number
from podium.packs.core.arithmetic import arithmetic_tools

TOOL = arithmetic_tools()[0]


@pytest.mark.parametrize(
    ("written", "canonical", "value"),
    [
        ("19*21", "19 * 21", 399),
        ("What is 19 × 21?", "19 * 21", 399),  # noqa: RUF001
        ("15% of 240", "15 / 100 * 240", 36),
        ("15 percent of 240", "15 / 100 * 240", 36),
        ("15 per cent of (200 + 40)", "15 / 100 * (200 + 40)", 36),
        ("15 % 4", "15 % 4", 3),
        ("10 mod 3", "10 % 3", 1),
        ("240 plus 15%", "240 + 15 / 100 * 240", 276),
        ("200 - 10%", "200 - 10 / 100 * 200", 180),
        ("20% off 50", "50 - 20 / 100 * 50", 40),
        ("15%", "15 / 100", 0.15),
        ("3 plus 4 times 5", "3 + 4 * 5", 23),
        ("12 divided by 4 =", "12 / 4", 3),
        ("calculate 7 multiplied by 8.", "7 * 8", 56),
        ("how much is 9 minus 3?", "9 - 3", 6),
        ("2^10", "2 ** 10", 1024),
        ("2 to the power of 10", "2 ** 10", 1024),
        ("5 squared plus 2 cubed", "5 ** 2 + 2 ** 3", 33),
        ("3²+4²", "3 ** 2 + 4 ** 2", 25),
        ("square root of 144", "sqrt(144)", 12),
        ("√16 + 2", "sqrt(16) + 2", 6),
        ("cube root of 27", "cbrt(27)", 3),
        ("1,000 + 2,500,000", "1000 + 2500000", 2501000),
        ("1 000 + 1", "1000 + 1", 1001),
        ("max(1,200)", "max(1, 200)", 200),
        ("half of 30", "1 / 2 * 30", 15),
        ("a quarter of 30", "1 / 4 * 30", 7.5),
        ("twice 30", "2 * 30", 60),
        ("½ + ¼", "(1 / 2) + (1 / 4)", 0.75),
        ("3x4", "3 * 4", 12),
        ("3 x 4 X 5", "3 * 4 * 5", 60),
        ("2(3+4)", "2 * (3 + 4)", 14),
        ("(1+2)(3+4)", "(1 + 2) * (3 + 4)", 21),
        ("2pi", "2 * pi", 2 * math.pi),
        ("5!", "factorial(5)", 120),
        ("sum of 3, 4 and 5", "3 + 4 + 5", 12),
        ("the product of 3 and 4", "3 * 4", 12),
        ("difference between 10 and 4", "10 - 4", 6),
        ("add 3 and 4", "3 + 4", 7),
        ("multiply 3 by 4", "3 * 4", 12),
        ("subtract 389 from 1,024", "1024 - 389", 635),
        ("average of 3, 4 and 5", "mean(3, 4, 5)", 4),
        ("three plus twenty-five", "3 + 25", 28),
        ("two hundred and five times two", "205 * 2", 410),
        ("five million divided by a dozen", None, 5_000_000 / 12),
        ("$45 * 3", "45 * 3", 135),
        ("5 − −3", "5 - -3", 8),  # noqa: RUF001
        ("−3 + 4", "-3 + 4", 1),  # noqa: RUF001
        ("-2 ** 2", "-2 ** 2", -4),
        ("(-2) ** 2", "(-2) ** 2", 4),
        ("2 ** -2", "2 ** -2", 0.25),
        ("2 ** 3 ** 2", "2 ** 3 ** 2", 512),
        ("-7 // 2", "-7 // 2", -4),
        ("7.5 // 2", "7.5 // 2", 3),
        ("-7 % 3", "-7 % 3", 2),
        ("0.1 + 0.2", "0.1 + 0.2", 0.3),
        ("10 / 4", "10 / 4", 2.5),
        ("6 / 3", "6 / 3", 2),
        ("sqrt(2) * sqrt(2)", "sqrt(2) * sqrt(2)", 2),
        ("sqrt(2)", "sqrt(2)", math.sqrt(2)),
        ("round(2.5)", "round(2.5)", 3),
        ("round(2.345, 2)", "round(2.345, 2)", 2.35),
        ("log(1000)", "log(1000)", 3),
        ("log(8, 2)", "log(8, 2)", 3),
        ("ln(e)", "ln(e)", 1),
        ("sin(pi / 2)", "sin(pi / 2)", 1),
        ("gcd(12, 18) + lcm(4, 6)", "gcd(12, 18) + lcm(4, 6)", 18),
        ("2 ** 62", "2 ** 62", 2**62),
        ("2 ** 100", "2 ** 100", str(2**100)),
        ("1 ** 999999999999", "1 ** 999999999999", 1),
        ("(-1) ** 999999999999", "(-1) ** 999999999999", -1),
        ("0 ** 0", "0 ** 0", 1),
        ("1e3 * 2", "1e3 * 2", 2000),
        ("[2 + {3}] * 4", "(2 + (3)) * 4", 20),
        ("٣ + ٤", "3 + 4", 7),
    ],
)
def test_is_understood(written: str, canonical: str | None, value: object) -> None:
    made = canonical_expression(written)
    if canonical is not None:
        assert made == canonical
    assert canonical_expression(made) == made
    result = evaluate(made)
    assert result == (pytest.approx(value) if isinstance(value, float) else value)
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", "at least 1 character"),
        ("   ", "nothing to calculate"),
        ("hello there", "'hello' is not understood"),
        ("__import__('os')", "is not arithmetic"),
        ("(lambda: 1)()", "is not arithmetic"),
        ("x = 3", "is not"),
        ("1 +", "a number is missing at the end"),
        ("* 3", r"a number is missing before '\*'"),
        ("(1 + 2", r"'\)' is missing at the end"),
        ("1 + 2)", r"'\)' does not fit there"),
        ("3,5 + 2", "',' does not fit there"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("9 ** 9 ** 9", "at most 1,000 digits"),
        ("9 ** 9999999999999999", "at most 1,000 digits"),
        ("10 ** -2000", "at most 1,000 digits"),
        ("1e999", "out of range"),
        ("factorial(451)", "too large"),
        ("factorial(-1)", "from zero up"),
        ("factorial(2.5)", "whole numbers"),
        ("sqrt(-1)", "sqrt has no value there"),
        ("(-8) ** 0.5", "no real root"),
        ("exp(1000)", "too large"),
        ("2.5 ** 1e6", "1,000 digits"),
        ("max()", "a number is missing"),
        ("max(1)+round(1,2,3)", "round takes 1 to 2 numbers, not 3"),
        ("gcd(1.5, 2)", "whole numbers"),
        ("(" * 100 + "1" + ")" * 100, "nested too deeply"),
        ("-" * 100 + "1", "nested too deeply"),
        ("1 + 2 + 15%", "say what the percentage is of"),
        ("!", "needs a number before it"),
        ("1" * 501, "at most 500 characters"),
        ("1" * 400 + " * " + "9" * 90 + " ** 9", "1,000 digits"),
        ("round(1, 10000)", "between -300 and 300"),
    ],
)
def test_is_refused_with_what_is_wrong(expression: str, said: str) -> None:
    with pytest.raises(ToolFailure, match=said) as caught:
        TOOL.bind({"expression": expression})()
    assert caught.value.code is ToolFailureCode.INVALID_ARGUMENTS
    assert caught.value.message.startswith("calculate: ")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("12.5", 12.5),
        ("1,500", 1500.0),
        ("−3", -3.0),  # noqa: RUF001
        ("½", 0.5),
        ("3/4", 0.75),
        ("2.5 million", 2_500_000.0),
        ("twenty-five", 25),
        ("two hundred and five", 205),
        ("a dozen", 12),
        (7, 7),
    ],
)
def test_numbers_are_read(written: object, value: float) -> None:
    assert written_number(written) == value


@pytest.mark.parametrize("written", ["ten miles", "abc", "", "1.2.3", "1/0", "1 " * 100])
def test_other_text_is_no_number(written: str) -> None:
    with pytest.raises(ValueError, match="a number"):
        written_number(written)
