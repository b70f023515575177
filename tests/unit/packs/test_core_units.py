"""`convert_units`: spellings, one canonical name for each unit, and conversions."""

from __future__ import annotations

import pytest

from podium.orchestration.tool import ToolFailure, ToolFailureCode
from podium.packs.core import known_units
from podium.packs.core._unit_names import ALIASES
from podium.packs.core._units import UnitNames
from podium.packs.core.units import unit_tools

NAMES = UnitNames()
TOOL = unit_tools(NAMES)[0]


@pytest.mark.parametrize(
    ("spellings", "canonical"),
    [
        ("km, kms, KM, kilometre, kilometres, kilometers, Kilometer, a kilometer, the kilometers", "kilometer"),
        ("mi, mile, Miles", "mile"),
        ("ft, foot, Feet", "foot"),
        ("in, inch, inches", "inch"),
        ("lb, lbs, pound, Pounds", "pound"),
        ("kg, kgs, kilo, kilos, kilograms, kilogrammes", "kilogram"),
        ("t, tonne, tonnes, metric tons", "metric ton"),
        ("C, °C, º C, celsius, Celsius, degrees Celsius, deg C, degC, centigrade, degree_Celsius", "celsius"),
        ("F, °F, fahrenheit, degrees Fahrenheit, degF", "fahrenheit"),
        ("K, kelvin, Kelvins", "kelvin"),
        ("mph, miles per hour, mile per hour, miles/hour, mi/h, miles an hour", "mile per hour"),
        ("km/h, kph, kmh, kilometers per hour, kilometres per hour, km per h", "kilometer per hour"),
        ("m/s, meters per second, metres/second", "meter per second"),
        ("m², m2, m^2, sqm, sq m, square metres, square meters, meters squared, m ** 2", "square meter"),
        ("sq ft, sqft, ft², square feet, square foot", "square foot"),
        ("cubic metres, m³, m^3, cubic meter", "cubic meter"),
        ("cc, cm³, cubic centimetres", "cubic centimeter"),
        ("l, L, litre, liters", "liter"),
        ("ml, mL, millilitres", "milliliter"),
        ("fl oz, fl. oz, fluid ounces", "fluid ounce"),
        ("oz, ounces", "ounce"),
        ("MB, megabytes", "megabyte"),
        ("Mb, megabits", "megabit"),
        ("GiB, gibibytes", "gibibyte"),
        ("MB/s, megabytes per second", "megabyte per second"),
        ("kWh, kilowatt hours, kilowatt-hours", "kilowatt hour"),
        ("h, hr, hrs, hours", "hour"),
        ("kPa, kilopascals", "kilopascal"),
        ("kn, kt, knots", "knot"),
        ("kN, kilonewtons", "kilonewton"),
        ("mW, milliwatts", "milliwatt"),
        ("nanometers, nm", "nanometer"),
        ("light-years, light years, ly", "light year"),
        ("kg/m³, kilograms per cubic meter", "kilogram per cubic meter"),
        ("meters per second squared, m/s², m/s^2", "meter per square second"),
        ("°, degrees, deg", "degree"),
    ],
)
def test_spellings_have_one_canonical_name(spellings: str, canonical: str) -> None:
    for spelling in spellings.split(", "):
        assert NAMES.resolve(spelling) == canonical, spelling
    assert NAMES.resolve(canonical) == canonical


def test_every_known_name_resolves_and_can_be_computed_with() -> None:
    for spelling, canonical in ALIASES.items():
        assert NAMES.resolve(spelling) == canonical, spelling
        assert NAMES.convert(1.0, canonical, canonical) == pytest.approx(1.0), canonical
    assert list(known_units()) == sorted(known_units(), key=lambda name: (name.casefold(), name))
    assert {"kilometer", "miles", "mph", "°c"} <= set(known_units())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cats", "'cats' is no unit"),
        ("Berlin", "is no unit"),
        ("people", "is no unit"),
        ("killometers", "nearest: .*kilometers"),
        ("dollars", "is a currency"),
        ("€", "is a currency"),
        ("per hour", "is no unit"),
        ("square", "is no unit"),
        ("x" * 61, "at most 60 characters"),
        ("__class__", "is no unit"),
        ("meter + foot", "is no unit"),
        ("9 ** 9 ** 9", "is no unit"),
    ],
)
def test_what_is_no_unit_is_refused_with_the_nearest(text: str, said: str) -> None:
    with pytest.raises(ToolFailure, match=said) as caught:
        TOOL.arguments.normalise({"value": 1, "from_unit": text, "to_unit": "m"})
    assert caught.value.code is ToolFailureCode.INVALID_ARGUMENTS


@pytest.mark.parametrize(
    ("value", "source", "target", "result"),
    [
        (10, "km", "miles", 6.21371192237),
        (98.6, "F", "C", 37),
        (-40, "°C", "°F", -40),
        (0, "celsius", "kelvin", 273.15),
        (60, "mph", "km/h", 96.56064),
        (5, "acres", "square meters", 20234.282112),
        (1, "gallon", "litres", 3.785411784),
        (3, "cups", "fl oz", 24),
        (2, "GB", "MB", 2000),
        (1, "GiB", "MiB", 1024),
        (1, "byte", "bits", 8),
        (1.5, "hours", "minutes", 90),
        (100, "kWh", "MJ", 360),
        (180, "degrees", "radians", 3.14159265359),
        (1, "stone", "pounds", 14),
        (30, "mpg", "miles per litre", 7.92516157074),
        ("1,500", "m", "km", 1.5),
        ("a dozen", "inches", "feet", 1),
    ],
)
def test_conversions(value: object, source: str, target: str, result: float) -> None:
    made = TOOL.bind({"value": value, "from_unit": source, "to_unit": target})()
    assert made.result == pytest.approx(result, rel=1e-11)
    assert isinstance(made.result, int) is isinstance(result, int)


def test_units_of_different_kinds_are_refused_by_what_they_measure() -> None:
    with pytest.raises(ToolFailure, match=r"kilogram .mass. cannot be converted to square meter .area."):
        TOOL.bind({"value": 1, "from_unit": "kg", "to_unit": "m2"})()


def test_arguments_are_canonical() -> None:
    given = {"value": "5.0", "from_unit": "Miles", "to_unit": "km"}
    assert TOOL.arguments.normalise(given) == {"value": 5, "from_unit": "mile", "to_unit": "kilometer"}
    assert TOOL.spec.input_schema["properties"]["from_unit"]["x-podium-kind"] == "unit"


@pytest.mark.parametrize("value", ["many", float("nan"), float("inf"), "1e999"])
def test_the_value_is_a_finite_number(value: object) -> None:
    with pytest.raises(ToolFailure, match="value"):
        TOOL.arguments.normalise({"value": value, "from_unit": "m", "to_unit": "km"})
