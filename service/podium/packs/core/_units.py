"""Names of units as people write them, and one canonical readable name for each."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

from podium.packs.core._unit_names import ALIASES, COMMON
from podium.tools._complaints import nearest

__all__ = ["MOST_CHARACTERS", "UnitNames", "known_units"]

_SUPERSCRIPTS = str.maketrans(
    {"²": "^2", "³": "^3", "⁻": "-", "¹": "1", "µ": "u", "μ": "u", "·": "*", "⋅": "*", "º": "°"}
)
MOST_CHARACTERS = 60
_POWERS = {"2": "square", "3": "cubic"}
_WORDS = {"square": 2, "sq": 2, "sq.": 2, "cubic": 3, "cu": 3, "cu.": 3}
_LAST_WORDS = {"squared": 2, "cubed": 3}
_PER = re.compile(r"\s*(?:/|\bper\b|\ban?\b(?=\s+\w))\s*")
_PREFIXES = ("kibi", "mebi", "gibi", "tebi", "kilo", "mega", "giga", "tera", "peta", "hecto", "deca", "deci", "centi",
             "milli", "micro", "nano", "pico")  # fmt: skip


def known_units() -> tuple[str, ...]:
    """Return common names and spellings of units, to offer or to decode to. Others are understood too."""
    return COMMON


class UnitNames:
    """Resolves and converts units through pint, which is loaded at the first use."""

    def warm(self) -> None:
        """Load pint and its table, which takes about 0.3 s."""
        self.convert(1.0, "meter", "foot")
        self._single("warm")

    def resolve(self, text: str) -> str:
        """Return the canonical name of a unit: `kilometer`, `square foot`, `mile per hour`, `celsius`.

        Raises:
            ValueError: no such unit; the message names the nearest ones.
        """
        cleaned = _cleaned(text)
        found = self._resolved(cleaned) if 0 < len(cleaned) <= MOST_CHARACTERS else None
        if found is None or len(found) > MOST_CHARACTERS:
            raise ValueError(_unknown(text, cleaned))
        return found

    def convert(self, value: float, from_unit: str, to_unit: str) -> float:
        """Convert between canonical names.

        Raises:
            ValueError: they measure different things.
        """
        from pint.errors import DimensionalityError  # noqa: PLC0415  pint takes 0.3 s to load

        source, target = self._pint(from_unit), self._pint(to_unit)
        try:
            return float(self._registry.Quantity(value, source).to(target).magnitude)
        except DimensionalityError:
            measures = [self._dimension(unit) for unit in (source, target)]
            raise ValueError(
                f"{from_unit} ({measures[0]}) cannot be converted to {to_unit} ({measures[1]}); "
                "choose two units of one kind"
            ) from None

    @cached_property
    def _registry(self) -> Any:
        import pint  # noqa: PLC0415  likewise

        registry: Any = pint.UnitRegistry(autoconvert_offset_to_baseunit=True)
        registry.define("international_acre = 4046.8564224 * meter ** 2")  # pint's is the survey acre, retired in 2023
        return registry

    def _resolved(self, text: str) -> str | None:
        alias = ALIASES.get(text) or ALIASES.get(text.casefold())
        if alias is not None:
            return alias
        parts = [part.strip() for part in _PER.split(text)]
        if len(parts) > 1:
            if not all(parts):
                return None
            resolved = [self._resolved(part) for part in parts]
            return " per ".join(part for part in resolved if part) if all(resolved) else None
        return self._powered(text) or self._single(text)

    def _powered(self, text: str) -> str | None:
        words = text.split()
        base, power = text, 0
        if len(words) > 1 and words[0].casefold() in _WORDS:
            base, power = " ".join(words[1:]), _WORDS[words[0].casefold()]
        elif len(words) > 1 and words[-1].casefold() in _LAST_WORDS:
            base, power = " ".join(words[:-1]), _LAST_WORDS[words[-1].casefold()]
        elif match := re.fullmatch(r"([A-Za-z ]+?)\s*(?:\^|\*\*)?\s*([23])", text):
            base, power = match[1], int(match[2])
        if not power:
            return None
        single = ALIASES.get(base) or ALIASES.get(base.casefold()) or self._single(base)
        return f"{_POWERS[str(power)]} {single}" if single and " " not in single else None

    def _single(self, text: str) -> str | None:
        name = text.replace(" ", "_").replace("-", "_")
        for candidate in dict.fromkeys((name, name.casefold())):
            if found := self._pint_name(candidate):
                return found.replace("_", " ")
        return None

    def _pint_name(self, name: str) -> str | None:
        """Return pint's long name, for a name that people use (`centi-at-s` is not `cats`)."""
        if not re.fullmatch(r"[A-Za-z][A-Za-z_]*", name):
            return None
        if len(name) <= 3:
            return self._of_symbol(name)
        for stem in dict.fromkeys((name, name.removesuffix("s"), name.removesuffix("es"))):
            prefix = next((prefix for prefix in _PREFIXES if stem.startswith(prefix) and stem != prefix), "")
            unit = ALIASES.get(stem[len(prefix) :], stem[len(prefix) :]).replace(" ", "_")
            if len(unit) >= 3 and unit in self._long_names:
                return prefix + self._long_names[unit]
            if stem in self._long_names and len(stem) >= 3:
                return self._long_names[stem]
        return None

    def _of_symbol(self, name: str) -> str | None:
        candidates = [found for found in self._registry.parse_unit_name(name) if not found[2]]
        if not candidates:
            return None
        prefix, unit, _ = candidates[0]
        return f"{prefix}{unit}"

    @cached_property
    def _long_names(self) -> dict[str, str]:
        """Every name of a unit that is a word, with the unit's long name."""
        names: dict[str, str] = {}
        for key, definition in self._registry._units.items():  # noqa: SLF001  pint offers no list of aliases
            if definition.name == key or len(key) >= 4:
                names.setdefault(key, definition.name)
        return names

    def _pint(self, canonical: str) -> Any:
        numerator, *denominators = (self._pint_part(part) for part in canonical.split(" per "))
        for denominator in denominators:
            numerator = numerator / denominator
        return numerator

    def _pint_part(self, part: str) -> Any:
        word, _, rest = part.partition(" ")
        if word in ("square", "cubic") and rest:
            return self._pint_part(rest) ** (2 if word == "square" else 3)
        return self._registry.Unit(_PINT_NAMES.get(part, part.replace(" ", "_")))

    def _dimension(self, unit: Any) -> str:
        text = str(unit.dimensionality).replace("[", "").replace("]", "")
        return _DIMENSIONS.get(text, text if text != "dimensionless" else "a plain number")


_PINT_NAMES = {
    "acre": "international_acre",
    "celsius": "degree_Celsius",
    "fahrenheit": "degree_Fahrenheit",
    "rankine": "degree_Rankine",
}
_DIMENSIONS = {
    "length ** 2": "area",
    "length ** 3": "volume",
    "length / time": "speed",
    "length * mass / time ** 2": "force",
    "length ** 2 * mass / time ** 2": "energy",
    "length ** 2 * mass / time ** 3": "power",
    "mass / length / time ** 2": "pressure",
    "1 / time": "frequency",
}


def _cleaned(text: str) -> str:
    text = re.sub(r"°\s+", "°", text.translate(_SUPERSCRIPTS))
    text = " ".join(text.strip(" \t\n.,;:?!\"'").split())
    return re.sub(r"^(?:an?|the|one)\s+", "", text, flags=re.IGNORECASE)


def _unknown(text: str, cleaned: str) -> str:
    if cleaned.casefold() in _CURRENCIES.split():
        return f"{text!r} is a currency; this tool converts units of measure only"
    close = nearest(cleaned, COMMON)
    hint = f"; nearest: {', '.join(close)}" if close else "; write one such as kilometer, pound, celsius or square foot"
    return f"{text[:60]!r} is no unit that is known{hint}"


_CURRENCIES = "dollar dollars usd euro euros eur gbp yen jpy rupee rupees inr franc francs chf yuan cny $ € £ ¥"
