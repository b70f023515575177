"""Dates and times of day as people write them: where they stand in a text, and what they mean.

The patterns find the wording; `resolve_date` and `resolve_time` turn it into ISO form against a
given day, for tools whose schema asks for ISO and that do not normalise for themselves.
"""

from __future__ import annotations

import re
from datetime import date, timedelta

from podium.inference.guided.lexicon import MONTHS, NUMBER_WORDS, WEEKDAYS

__all__ = ["DATE_PATTERN", "TIME_PATTERN", "resolve_date", "resolve_time"]

_MONTH = "(?:" + "|".join(sorted(MONTHS, key=len, reverse=True)) + r")\.?(?![a-z])"
_DAY_NAME = "(?:" + "|".join(sorted(WEEKDAYS, key=len, reverse=True)) + r")(?![a-z])"
_LONG_DAY_NAME = "(?:" + "|".join(name for name in WEEKDAYS if len(name) > 4) + ")s?(?![a-z])"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_YEAR = r"(?:\d{4}|'\d{2})(?!\d)"
_COUNT = r"(?:\d{1,4}|an?|one|two|three|four|five|six|seven|eight|nine|ten|twelve|fourteen)"
_UNIT = "(?:day|week|fortnight|month|year)s?"

_WRITTEN = (
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?!\d)",
    rf"(?:the )?{_DAY}(?: of)?[ -]{_MONTH}(?:,?[ -](?:of )?{_YEAR})?",
    rf"{_MONTH}[ -](?:the )?{_DAY}(?![\d:])(?:,? {_YEAR})?",
    r"\d{1,2}/\d{1,2}/(?:\d{4}|\d{2})(?!\d)|\d{1,2}[.-]\d{1,2}[.-]\d{4}(?!\d)|\d{1,2}\.\d{1,2}\.\d{2}(?!\d)",
    r"\d{1,2}/\d{1,2}(?![\d/])(?= *(?:\Z|[?!,;]|and |to |until |till |through |- ))",
)
_NAMED = (
    r"(?:the )?day (?:after tomorrow|before yesterday)|(?<!\w)today(?:'s date)?|tomorrow|tmrw|yesterday",
    rf"(?:(?:next|this|last|coming|this coming) )?{_LONG_DAY_NAME}(?: (?:next )?week)?|(?:next|this|last) {_DAY_NAME}",
    rf"(?:next|last) (?:week|month|year)|in {_COUNT} {_UNIT}(?: time|'s time)?",
    rf"{_COUNT} {_UNIT} (?:ago|from (?:now|today))",
    rf"(?:christmas|xmas)(?: day| eve)?(?: {_YEAR})?|new year'?s?(?: day| eve)(?: {_YEAR})?|halloween(?: {_YEAR})?",
    rf"valentine'?s day(?: {_YEAR})?",
)
DATE_PATTERN = re.compile(
    r"(?<![\w/.-])(?:" + "|".join(f"(?:{part})" for part in (*_WRITTEN, *_NAMED)) + r")(?![\w])", re.IGNORECASE
)

_HOUR_WORD = "(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)"
_MERIDIEM = r"(?:[ap]\.?m\.?(?![a-z]))"
_PART_OF_DAY = r"(?: in the (?:morning|afternoon|evening)| at night)"
TIME_PATTERN = re.compile(
    r"(?<![\w:.,/-])(?:"
    rf"(?:\d{{1,2}}|{_HOUR_WORD}){_PART_OF_DAY}|(?:"
    rf"\d{{1,2}}[:.h]\d{{2}}(?::\d{{2}})? ?{_MERIDIEM}|\d{{1,2}}[:h]\d{{2}}(?::\d{{2}})?(?![\d:])|"
    rf"\d{{1,2}} ?{_MERIDIEM}|"
    rf"(?:\d{{1,2}}|{_HOUR_WORD}) ?o'?clock(?: {_MERIDIEM})?|{_HOUR_WORD} ?{_MERIDIEM}|"
    rf"(?:half past|quarter past|quarter to|(?:five|ten|twenty) past|(?:five|ten|twenty) to) "
    rf"(?:{_HOUR_WORD}|\d{{1,2}})(?![\w.])|"
    rf"{_HOUR_WORD} (?:thirty|fifteen|forty[- ]five)(?: ?{_MERIDIEM})?(?!\w)|noon|midday|midnight"
    rf"){_PART_OF_DAY}?)(?![\w])",
    re.IGNORECASE,
)
_LATE = re.compile(r"in the (?:afternoon|evening)|at night")
_NIGHT_ENDS = 6  # "4 at night" is early

_FIXED_DAYS = (
    (re.compile(r"(christmas|xmas) eve"), (12, 24)),
    (re.compile(r"christmas|xmas"), (12, 25)),
    (re.compile(r"new year'?s? eve"), (12, 31)),
    (re.compile(r"new year"), (1, 1)),
    (re.compile(r"halloween"), (10, 31)),
    (re.compile(r"valentine"), (2, 14)),
)
_RELATIVE = {"today": 0, "tomorrow": 1, "tmrw": 1, "yesterday": -1, "after tomorrow": 2, "before yesterday": -2}
_UNIT_DAYS = {"day": 1, "week": 7, "fortnight": 14}


def _make(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _year_of(text: str, default: int) -> int:
    match = re.search(r"(?<!\d)(\d{4})(?!\d)|'(\d{2})(?!\d)", text)
    if match is None:
        return default
    return int(match[1]) if match[1] else 2000 + int(match[2])


def _numeric(text: str, year: int) -> date | None:
    parts = [int(part) for part in re.findall(r"\d+", text)]
    if len(parts) == 2:
        parts.append(year)
    if len(parts) != 3:
        return None
    first, second, third = parts
    if first > 999:
        return _make(first, second, third)
    third = third + 2000 if third < 100 else third
    # Slashes are read month first unless that cannot be; dots and hyphens day first (ISO 8601's
    # neighbours in Europe write them so).
    month_first = "/" in text and first <= 12
    return _make(third, first, second) if month_first else _make(third, second, first)


def _shift_months(day: date, months: int) -> date:
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    for last in (day.day, 30, 29, 28):
        made = _make(year, month + 1, min(day.day, last))
        if made is not None:
            return made
    return day


def _offset(text: str, today: date) -> date | None:
    match = re.search(rf"({_COUNT}|next|last) ({_UNIT})", text)
    if match is None:
        return None
    word, unit = match[1], match[2].rstrip("s")
    count = int(word) if word.isdigit() else NUMBER_WORDS.get(word, 1)
    if word == "last" or "ago" in text:
        count = -count
    if unit in _UNIT_DAYS:
        return today + timedelta(days=count * _UNIT_DAYS[unit])
    return _shift_months(today, count * (12 if unit == "year" else 1))


def _weekday(text: str, today: date) -> date | None:
    match = re.search(rf"(next|last|this)?(?: coming)? ?({_DAY_NAME[:-9]})s?(?![a-z])( next week| week)?", text)
    if match is None:
        return None
    ahead = (WEEKDAYS[match[2]] - today.weekday()) % 7 or 7
    if match[1] == "last":
        return today + timedelta(days=ahead - 7 if ahead != 7 else -7)
    return today + timedelta(days=ahead + (7 if match[3] else 0))


def resolve_date(text: str, today: date, year: int | None = None) -> date | None:
    """Return the day that `text` (as found by `DATE_PATTERN`) means, or None.

    A date without a year is taken in `year` when given (another date of the request has it), else
    in the year of `today`. "next Friday" and "Friday" are the first Friday after today.
    """
    text = text.lower().strip()
    default_year = today.year if year is None else year
    if re.fullmatch(r"[\d/.\-]+", text):
        return _numeric(text, default_year)
    month = re.search(rf"({'|'.join(sorted(MONTHS, key=len, reverse=True))})(?![a-z])", text)
    number = re.search(r"(?<!\d)(\d{1,2})(?!\d)", text.split("'", 1)[0])
    if month is not None and number is not None:
        return _make(_year_of(text, default_year), MONTHS[month[1]], int(number[1]))
    for words, days in sorted(_RELATIVE.items(), key=lambda item: -len(item[0])):
        if words in text:
            return today + timedelta(days=days)
    for pattern, (fixed_month, fixed_day) in _FIXED_DAYS:
        if pattern.search(text):
            return _make(_year_of(text, default_year), fixed_month, fixed_day)
    return _weekday(text, today) or _offset(text, today)


def resolve_time(text: str) -> str | None:
    """Return the time of day that `text` means as `HH:MM` (24 hours), or None."""
    text = text.lower().replace(".m", "m").strip().rstrip(".")
    if text in {"noon", "midday"}:
        return "12:00"
    if text == "midnight":
        return "00:00"
    words = {word: value for word, value in NUMBER_WORDS.items() if value <= 12}
    hour_match = re.search(r"(?:past|to) (\w+)", text) or re.match(r"(\d{1,2}|[a-z]+)", text)
    if hour_match is None:
        return None
    hour = int(hour_match[1]) if hour_match[1].isdigit() else words.get(hour_match[1], -1)
    minute_match = re.match(r"\d{1,2}[:.h](\d{2})", text)
    minute = int(minute_match[1]) if minute_match else 0
    if "past" in text or re.search(r"\bto \w+", text):
        name = text.split()[0]
        minute = {"half": 30, "quarter": 15}.get(name, NUMBER_WORDS.get(name, 0))
        if " to " in text:
            hour, minute = hour - 1, 60 - minute
    for name, value in (("thirty", 30), ("fifteen", 15), ("forty", 45)):
        if name in text and not text.startswith(name):
            minute = value
    if hour < 12 and ("pm" in text or _is_late(text, hour)):
        hour += 12
    if "am" in text and hour == 12:
        hour = 0
    if not (0 <= hour < 24 and 0 <= minute < 60):
        return None
    return f"{hour:02d}:{minute:02d}"


def _is_late(text: str, hour: int) -> bool:
    """Tell whether "8 in the evening" is 20:00; "08:30" says for itself when it is."""
    late = _LATE.search(text)
    return late is not None and hour > 0 and text[0] != "0" and (hour >= _NIGHT_ENDS or late[0] != "at night")
