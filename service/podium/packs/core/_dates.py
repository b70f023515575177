"""Dates as people write them, into dates.

The rule for `a/b/year` where both could be the month: month first (3/4/2026 is the fourth of
March), as most English writers on computers do, unless the pack is set to day first. With dots or
dashes (3.4.2026, 3-4-2026) it is day first, as those who write so do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta

__all__ = ["DateReader"]

_MONTHS = "january february march april may june july august september october november december"
_DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
_MOST_CHARACTERS = 100
_NUMBER_WORDS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "ten": 10}
_HOLIDAYS = {
    "christmas": (12, 25), "christmas day": (12, 25), "christmas eve": (12, 24), "boxing day": (12, 26),
    "new year's eve": (12, 31), "new years eve": (12, 31), "new year's day": (1, 1), "new years day": (1, 1),
    "new year's": (1, 1), "new year": (1, 1), "valentine's day": (2, 14), "valentines day": (2, 14),
    "halloween": (10, 31), "independence day": (7, 4), "st patrick's day": (3, 17),
}  # fmt: skip
_ISO = re.compile(r"(\d{4})[-/. ](\d{1,2})[-/. ](\d{1,2})(?:[t ]\d{1,2}:\d{2}.*)?")
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})")
_NUMERIC = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4}|\d{2})")
_DAY_FIRST = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?(?: of)? ([a-z]{3,9})(?: (\d{4}))?")
_MONTH_FIRST = re.compile(r"([a-z]{3,9}) (?:the )?(\d{1,2})(?:st|nd|rd|th)?(?: (\d{4}))?")
_YEAR_FIRST = re.compile(r"(\d{4}) ([a-z]{3,9}) (\d{1,2})(?:st|nd|rd|th)?")
_RELATIVE = re.compile(r"(?:in )?(\d{1,5}|[a-z]+) (day|week)s?( ago| from (?:now|today)| hence)?")
_WEEKDAY = re.compile(rf"(?:(?P<which>next|last|this|coming|past) )?(?P<day>{'|'.join(_DAYS)})")


class DateReader:
    """Reads dates.

    Args:
        today: gives the current date, for `today`, `next Friday` and dates without a year.
        day_first: whether 3/4/2026 is the third of April.
    """

    def __init__(self, today: Callable[[], date], *, day_first: bool = False) -> None:
        self._today = today
        self._day_first = day_first

    def read(self, value: object) -> object:
        """Return the date that a text means. What is no text is left to pydantic.

        Raises:
            ValueError: it is no date that is understood.
        """
        if isinstance(value, datetime):
            return value.date()
        if not isinstance(value, str):
            return value
        if len(value) > _MOST_CHARACTERS:
            raise ValueError("that is too long for a date; write it as 2026-03-31")
        text = _cleaned(value)
        readers = (self._iso, self._numeric, self._named, self._holiday, self._relative, self._weekday)
        try:
            for reader in readers:
                if (found := reader(text)) is not None:
                    return found
        except (ValueError, OverflowError):
            raise ValueError(f"{value[:40]!r} is not a day of the calendar; write it as 2026-03-31") from None
        raise ValueError(f"{value[:40]!r} is no date that is understood; write it as 2026-03-31")

    def _iso(self, text: str) -> date | None:
        match = _ISO.fullmatch(text) or _COMPACT.fullmatch(text)
        return date(int(match[1]), int(match[2]), int(match[3])) if match else None

    def _numeric(self, text: str) -> date | None:
        match = _NUMERIC.fullmatch(text)
        if not match:
            return None
        first, second, year = int(match[1]), int(match[3]), int(match[4])
        year += 2000 if len(match[4]) == 2 else 0
        day_first = self._day_first or match[2] != "/"
        if first > 12 or (day_first and second <= 12):
            return date(year, second, first)
        return date(year, first, second)

    def _named(self, text: str) -> date | None:
        for pattern, order in ((_DAY_FIRST, (2, 1, 3)), (_MONTH_FIRST, (1, 2, 3)), (_YEAR_FIRST, (2, 3, 1))):
            match = pattern.fullmatch(text)
            month = _month(match[order[0]]) if match else None
            if match and month:
                year = match[order[2]]
                return date(int(year) if year else self._today().year, month, int(match[order[1]]))
        return None

    def _holiday(self, text: str) -> date | None:
        match = re.fullmatch(r"(.+?)(?: (?:in )?(\d{4}))?", text)
        day = _HOLIDAYS.get(match[1]) if match else None
        if not match or not day:
            return None
        if match[2]:
            return date(int(match[2]), *day)
        today = self._today()
        this_year = date(today.year, *day)
        return this_year if this_year >= today else date(today.year + 1, *day)

    def _relative(self, text: str) -> date | None:
        near = {
            "today": 0,
            "now": 0,
            "tomorrow": 1,
            "yesterday": -1,
            "day after tomorrow": 2,
            "day before yesterday": -2,
        }
        if text in near:
            return self._today() + timedelta(days=near[text])
        match = _RELATIVE.fullmatch(text)
        if not match or not (match[3] or text.startswith("in ")):
            return None
        count = int(match[1]) if match[1].isdigit() else _NUMBER_WORDS.get(match[1])
        if count is None:
            return None
        days = count * (7 if match[2] == "week" else 1)
        return self._today() + timedelta(days=-days if match[3] == " ago" else days)

    def _weekday(self, text: str) -> date | None:
        match = _WEEKDAY.fullmatch(text)
        if not match:
            return None
        today = self._today()
        ahead = (_DAYS.index(match["day"]) - today.weekday()) % 7
        if match["which"] in ("last", "past"):
            return today + timedelta(days=ahead - 7)
        return today + timedelta(days=ahead or 7)


def _cleaned(text: str) -> str:
    text = " ".join(text.lower().replace(",", " ").replace("’", "'").strip(" .?!\"'").split())  # noqa: RUF001
    text = re.sub(
        rf"^(?:on |the )*(?:(?:{'|'.join(_DAYS)}|mon|tue|wed|thu|fri|sat|sun)\.? (?=.*\d))?(?:the )?", "", text
    )
    return re.sub(r"(?<=[a-z])\.(?= )", "", text)


def _month(name: str) -> int | None:
    """Return the number of a month by its English name, whole or shortened."""
    name = name.rstrip(".")
    for number, month in enumerate(_MONTHS.split(), 1):
        if name in (month, month[:3]) or (name == "sept" and number == 9):
            return number
    return None
