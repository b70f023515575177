"""Units that arguments count in ("minutes", `weight_kg`), and how much of one makes another.

Factors: the International System's prefixes; the international yard and pound of 1959.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise, takewhile
from types import MappingProxyType

__all__ = ["counted_in", "measure"]

# By family, in its first unit.
_FAMILIES: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "time": {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800, "fortnight": 1209600},
        "mass": {"gram": 1, "milligram": 0.001, "kilogram": 1000, "kilo": 1000, "tonne": 1e6}
        | {"ounce": 28.349523125, "pound": 453.59237},
        "length": {"metre": 1, "millimetre": 0.001, "centimetre": 0.01, "kilometre": 1000}
        | {"inch": 0.0254, "foot": 0.3048, "yard": 0.9144, "mile": 1609.344},
        "volume": {"litre": 1, "millilitre": 0.001, "centilitre": 0.01, "decilitre": 0.1},
    }
)
_KNOWN = {name: (family, size) for family, sizes in _FAMILIES.items() for name, size in sizes.items()}
_OTHERWISE = {
    "min": "minute", "hr": "hour", "sec": "second", "h": "hour", "wk": "week",
    "g": "gram", "mg": "milligram", "kg": "kilogram", "lb": "pound", "oz": "ounce",
    "km": "kilometre", "cm": "centimetre", "mm": "millimetre", "feet": "foot", "inche": "inch", "mi": "mile",
    "meter": "metre", "kilometer": "kilometre", "centimeter": "centimetre", "millimeter": "millimetre",
    "l": "litre", "liter": "litre", "ml": "millilitre", "milliliter": "millilitre", "cl": "centilitre",
}  # fmt: skip
_ENDS_UNIT = frozenset({"per", "a", "each", "every"})


def measure(word: str) -> tuple[str, float] | None:
    """Return a unit's family and its size in that family's first unit; None for a word that is none."""
    lowered = word.lower()
    single = lowered.removesuffix("s")
    return _KNOWN.get(_OTHERWISE.get(lowered, _OTHERWISE.get(single, single)))


def counted_in(name: Iterable[str], words: Iterable[str] = ()) -> tuple[str, float] | None:
    """Return the unit that an argument says it counts: `max_minutes`, "in grams"; not the `day` of `times_per_day`.

    Args:
        name: the words of its name.
        words: those of its name and description.
    """
    named = (measure(word) for word in takewhile(lambda word: word not in _ENDS_UNIT, name) if len(word) > 1)
    told = (measure(unit) for before, unit in pairwise(words) if before == "in")
    return next((found for found in (*named, *told) if found is not None), None)
