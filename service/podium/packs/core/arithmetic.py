"""`calculate`: arithmetic in the words and signs that people use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from podium.orchestration.tool import ToolFailure, ToolFailureCode
from podium.packs.core._arithmetic import evaluate
from podium.packs.core._expressions import MOST_CHARACTERS, canonical_expression
from podium.tools import Tool, tool, tool_of

__all__ = ["Calculation", "arithmetic_tools"]

Expression = Annotated[
    str,
    Field(min_length=1, max_length=MOST_CHARACTERS, json_schema_extra={"x-podium-kind": "expression"}),
    AfterValidator(canonical_expression),
]


@dataclass(frozen=True, slots=True)
class Calculation:
    """An expression and its value. Whole numbers beyond 64 bits are written as text."""

    expression: str
    result: int | float | str


@tool(
    answer="{expression} = {result}.",
    side_effects="none",
    type="compute",
    cache_ttl=3600,
    examples=[
        ("What is 19 * 21?", {"expression": "19 * 21"}),
        ("multiply 48 by 365", {"expression": "48 * 365"}),
        ("How much is 15% of 240?", {"expression": "15% of 240"}),
        ("work out (12.5 + 7.5) / 4", {"expression": "(12.5 + 7.5) / 4"}),
        ("what's 7 plus 8 times 3", {"expression": "7 plus 8 times 3"}),
        ("2 to the power of 16", {"expression": "2 ** 16"}),
        ("square root of 1764", {"expression": "sqrt(1764)"}),
        ("If I buy 6 tickets at 42 each, what do I pay?", {"expression": "6 * 42"}),
        ("What is left over when 100 is divided by 7?", {"expression": "100 % 7"}),
        ("subtract 389 from 1,024", {"expression": "1024 - 389"}),
        ("compute 3 × (4 + 5) − 6", {"expression": "3 × (4 + 5) − 6"}),  # noqa: RUF001
        ("average of 12, 15 and 21", {"expression": "mean(12, 15, 21)"}),
    ],
)
def calculate(expression: Expression) -> Calculation:
    """Calculate arithmetic: add, subtract, multiply, divide, powers, roots, percentages.

    Args:
        expression: Arithmetic with numbers, + - * / // % ** and brackets, functions such as sqrt, round, min,
            max, log and sin (in radians), percentages such as 15% of 240.
    """
    try:
        return Calculation(expression, evaluate(expression))
    except ValueError as error:
        message = f"calculate: {error} (in {expression!r})"
        raise ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, message) from None


def arithmetic_tools() -> list[Tool]:
    """Return the tools of this module."""
    return [made for made in (tool_of(calculate),) if made is not None]
