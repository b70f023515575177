"""Time zones by the names that people use: cities, countries, states, abbreviations, offsets."""

from __future__ import annotations

import importlib.resources
import re
import unicodedata
import zoneinfo
from collections import defaultdict
from datetime import UTC, datetime
from functools import cached_property
from zoneinfo import ZoneInfo

from podium.packs.core._zone_names import ABBREVIATIONS, CAPITALS, CITIES, COUNTRIES, MAIN_ZONES, REGIONS
from podium.tools._complaints import nearest

__all__ = ["ZoneNames"]

_OFFSET = re.compile(r"(?:utc|gmt)\s*([+-])\s*(\d{1,2})(?::?00)?")
_FILLER = re.compile(r"^(?:(?:the )?(?:current )?(?:local )?time (?:in|at|for) |in |the city of |city of |downtown )+")
_ENDING = re.compile(r"(?:'s)? (?:local )?(?:standard |daylight |summer )?(?:time(?: ?zone)?|timezone)$")
_MOST_CHARACTERS = 80


class ZoneNames:
    """Resolves what people call a place's time into an IANA name. Reads the tz database at the first use."""

    def resolve(self, text: str) -> str:
        """Return the IANA name: `Berlin`, `Germany`, `CET` and `europe/berlin` give one such name.

        Raises:
            ValueError: it is unknown, or means several zones; the message names those to choose from.
        """
        if len(text) > _MOST_CHARACTERS:
            raise ValueError(f"a time zone has at most {_MOST_CHARACTERS} characters; use one such as Europe/Berlin")
        folded = _folded(text)
        for candidate in dict.fromkeys((folded, _ENDING.sub("", _FILLER.sub("", folded)))):
            if found := self._whole(candidate) or self._in_parts(candidate):
                return found
        close = nearest(folded, [*self._names, *self._places])
        known = sorted({self._names.get(name) or self._places[name] for name in close})
        hint = f"nearest: {', '.join(known)}" if known else "use a city or an IANA name such as Europe/Berlin"
        raise ValueError(f"{text[:60]!r} is no time zone that is known; {hint}")

    @cached_property
    def known(self) -> tuple[str, ...]:
        """Every IANA name of the form Area/City, and UTC."""
        return tuple(
            sorted(
                {name for name in self._names.values() if name == "UTC" or ("/" in name and not name.startswith("US/"))}
            )
        )

    def _whole(self, text: str) -> str | None:
        return (
            ABBREVIATIONS.get(text)
            or self._offset(text)
            or self._iana(text)
            or self._places.get(text.replace("_", " "))
            or REGIONS.get(text)
            or self._country(text)
        )

    def _in_parts(self, text: str) -> str | None:
        """`Paris, France` and `Portland, Oregon`: the city, unless a state after it says more."""
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if len(parts) < 2:
            return None
        return REGIONS.get(parts[-1]) or self._places.get(parts[0]) or self._whole(parts[-1])

    def _offset(self, text: str) -> str | None:
        match = _OFFSET.fullmatch(text)
        if not match:
            return None
        hours = int(match[2])
        if hours == 0:
            return "UTC"
        if hours > (14 if match[1] == "+" else 12):
            return None
        return f"Etc/GMT{'-' if match[1] == '+' else '+'}{hours}"  # POSIX: the sign is the other way round

    def _iana(self, text: str) -> str | None:
        found = self._names.get(text.replace(" ", "_"))
        # Names without an area (`Japan`, `GB`, `EST5EDT`) are old links; the place tables know better.
        return found if found and ("/" in found or found == "UTC") else None

    def _country(self, text: str) -> str | None:
        code = COUNTRIES.get(text) or self._countries.get(text)
        if code is None:
            return None
        zones = self._zones_of[code]
        if code in CAPITALS or not zones:
            return CAPITALS.get(code)
        distinct = {self._offsets(zone): zone for zone in sorted(zones, key=MAIN_ZONES.__contains__)}
        if len(distinct) > 1:
            listed = ", ".join(sorted(distinct.values(), key=zones.index))
            raise ValueError(f"{text!r} has several time zones; name a city there, or one of {listed}")
        return zones[0]

    def _offsets(self, zone: str) -> tuple[object, ...]:
        info = ZoneInfo(zone)
        return tuple(datetime(2026, month, 1, tzinfo=UTC).astimezone(info).utcoffset() for month in (1, 7))

    @cached_property
    def _names(self) -> dict[str, str]:
        return {name.casefold(): name for name in zoneinfo.available_timezones() if not name.startswith("posix")}

    @cached_property
    def _places(self) -> dict[str, str]:
        """City names: those in the tz database, and ours for large cities that are not."""
        places: dict[str, str] = {}
        current = {zone for zones in self._zones_of.values() for zone in zones}
        for name in sorted(self._names.values(), key=lambda name: (name not in current, name)):
            area, _, city = name.rpartition("/")
            if area and not area.startswith(("Etc", "US", "Canada", "Brazil", "Mexico", "Chile", "SystemV")):
                places.setdefault(_folded(city.replace("_", " ")), name)
        places.update({name.replace("st ", "saint "): zone for name, zone in places.items() if name.startswith("st ")})
        return places | CITIES

    @cached_property
    def _zones_of(self) -> defaultdict[str, list[str]]:
        zones: defaultdict[str, list[str]] = defaultdict(list)
        for line in _table("zone.tab"):
            zones[line[0]].append(line[2])
        return zones

    @cached_property
    def _countries(self) -> dict[str, str]:
        return {_folded(line[1]): line[0] for line in _table("iso3166.tab")}


def _table(name: str) -> list[list[str]]:
    text = (importlib.resources.files("tzdata.zoneinfo") / name).read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]


def _folded(text: str) -> str:
    """Return `text` in lower case, without accents, dots and doubled spaces."""
    bare = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    bare = bare.replace("ł", "l").replace("ø", "o").replace("−", "-").replace("’", "'").replace("Ł", "l")  # noqa: RUF001
    return " ".join(bare.casefold().strip(" \t\n?!.\"'").replace(".", "").split())
