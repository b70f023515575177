"""`convert_units`: between any two units of one kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from podium.orchestration.tool import ToolFailure, ToolFailureCode
from podium.packs.core._numbers import Number
from podium.packs.core._units import MOST_CHARACTERS, UnitNames, known_units
from podium.tools import Tool, tool, tool_of

__all__ = ["Conversion", "known_units", "unit_tools"]


@dataclass(frozen=True, slots=True)
class Conversion:
    """A quantity in two units, by their canonical names."""

    value: int | float
    from_unit: str
    to_unit: str
    result: int | float


def unit_tools(names: UnitNames) -> list[Tool]:
    """Return the tools of this module.

    Args:
        names: what knows units.
    """
    unit = Annotated[
        str,
        Field(min_length=1, max_length=MOST_CHARACTERS, json_schema_extra={"x-podium-kind": "unit"}),
        AfterValidator(names.resolve),
    ]

    @tool(
        answer="{value} {from_unit} = {result} {to_unit}.",
        side_effects="none",
        type="compute",
        cache_ttl=3600,
        examples=[
            ("convert 10 km to miles", {"value": 10, "from_unit": "km", "to_unit": "miles"}),
            ("How many pounds are 72 kilograms?", {"value": 72, "from_unit": "kilograms", "to_unit": "pounds"}),
            ("What is 98.6 Fahrenheit in Celsius?", {"value": 98.6, "from_unit": "Fahrenheit", "to_unit": "Celsius"}),
            ("how many ounces in 3 cups", {"value": 3, "from_unit": "cups", "to_unit": "fluid ounces"}),
            ("change 60 mph into km/h", {"value": 60, "from_unit": "mph", "to_unit": "km/h"}),
            ("I need 250 ml in cups", {"value": 250, "from_unit": "ml", "to_unit": "cups"}),
            ("how many centimeters is 6 feet", {"value": 6, "from_unit": "feet", "to_unit": "centimeters"}),
            ("5 acres in square meters please", {"value": 5, "from_unit": "acres", "to_unit": "square meters"}),
            ("Turn -40 °C into °F", {"value": -40, "from_unit": "°C", "to_unit": "°F"}),
            ("how many minutes are in 3.5 hours", {"value": 3.5, "from_unit": "hours", "to_unit": "minutes"}),
            ("express 2 gigabytes in megabytes", {"value": 2, "from_unit": "gigabytes", "to_unit": "megabytes"}),
            ("A car weighs 1.4 tonnes, what is that in kg?", {"value": 1.4, "from_unit": "tonnes", "to_unit": "kg"}),
        ],
    )
    def convert_units(value: Number, from_unit: unit, to_unit: unit) -> Conversion:
        """Convert a quantity from one unit of measure to another: length, mass, volume, temperature, speed, data.

        Args:
            value: How many of from_unit.
            from_unit: The unit that the value is in, such as km, pounds or °C.
            to_unit: The unit that is wanted.
        """
        try:
            result = names.convert(value, from_unit, to_unit)
        except ValueError as error:
            raise ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, f"convert_units: {error}") from None
        return Conversion(_short(value, 17), from_unit, to_unit, _short(result, 12))

    return [made for made in (tool_of(convert_units),) if made is not None]


def _short(value: float, digits: int) -> int | float:
    """Return `value` to so many significant digits, as an integer when it is one."""
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 2**53 else rounded
