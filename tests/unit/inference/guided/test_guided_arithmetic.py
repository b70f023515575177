from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.inference.guided.arithmetic import find_expressions, to_symbols, words_to_number


@pytest.mark.parametrize(
    ("text", "expressions"),
    [
        ("What is 19 * 21 and what time", ["19 * 21"]),
        ("3 plus 4", ["3 + 4"]),
        ("12 times (3 plus 4)", ["12 * (3 + 4)"]),
        ("fifteen percent of 80", ["15 / 100 * 80"]),
        ("square root of 144", ["sqrt(144)"]),
        ("2 to the power of 10", ["2 ** 10"]),
        ("1,200 / 4", ["1200 / 4"]),
        ("subtract 3 from 9", ["9 - 3"]),
        ("the sum of 12, 15 and 20", ["12 + 15 + 20"]),
        ("3.5*2, 7-1 and 9/3", ["3.5*2", "7-1", "9/3"]),
        ("5 miles and 10 miles", []),
        ("at 60 percent", []),
    ],
)
def test_arithmetic_is_found_and_put_in_symbols(text: str, expressions: list[str]) -> None:
    """Words become symbols; what is already in symbols stays as it is."""
    assert [value for _, _, value in find_expressions(text)] == expressions


@given(st.text(alphabet="0123456789 +-*/().,abcdefghij", max_size=80))
def test_findings_stand_in_order_within_the_text(text: str) -> None:
    """Whatever the text, findings are within it, ordered, apart, and symbolic."""
    end = 0
    for start, stop, value in find_expressions(text):
        assert end <= start < stop <= len(text)
        end = stop
        assert value


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_sums_in_symbols_are_kept(first: int, second: int) -> None:
    """`to_symbols` of a plain sum is that sum."""
    assert to_symbols(f"{first} + {second}") == f"{first} + {second}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("two hundred and five", 205),
        ("twenty-five", 25),
        ("three million", 3_000_000),
        ("a dozen", 12),
        ("1,200", 1200),
    ],
)
def test_numbers_in_words(text: str, value: float) -> None:
    """Numbers may be spelled out."""
    assert words_to_number(text) == value
    assert words_to_number("banana") is None
