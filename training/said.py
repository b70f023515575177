"""How people write values: numbers, dates, times, codes, addresses. The service reads all of these forms back."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence

from training.cards import Argument
from training.pools import FIRST_NAMES, LAST_NAMES, POOLS

__all__ = ["say"]

_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# After these words a day stands bare: "from 3 May", never "from on 3 May".
_BEFORE_DAYS = frozenset((
    "for", "by", "from", "until", "till", "since", "before", "after", "to", "between", "and", "through", "is", "of",
    "or", "than", "starting", "beginning", "ending", "due", "dated", "around", "at", "in", "during", "the",
))  # fmt: skip
_HOURS = _WORDS[1:13]


def _integer(argument: Argument, rng: random.Random) -> str:
    low, high = int(argument.low), int(argument.high)
    # Small numbers are the commonest, whatever the range.
    number = (
        rng.randint(low, high)
        if rng.random() < 0.5 or low < 0
        else min(high, low + int((high - low) * rng.random() ** 3))
    )
    if high >= 100 and rng.random() < 0.4 and number > 20:
        number -= number % rng.choice((5, 10))
        number = max(low, number)
    if 0 < number <= 20 and rng.random() < (0.35 if number <= 12 else 0.1):
        return _WORDS[number]
    if number >= 1000 and not 1800 <= number <= 2100 and rng.random() < 0.3:
        return f"{number:,}"
    return str(number)


def _number(argument: Argument, rng: random.Random) -> str:
    if rng.random() < 0.35:
        return _integer(argument, rng)
    number = rng.uniform(argument.low, argument.high)
    return f"{number:.{rng.choice((1, 1, 2))}f}"


def _calendar_day(rng: random.Random) -> str:
    day, month, year = rng.randint(1, 28), rng.choice(_MONTHS), rng.choice((2025, 2026, 2026, 2027))
    end = "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    number = _MONTHS.index(month) + 1
    forms = (
        f"{day} {month}", f"{month} {day}", f"{month} {day}{end}", f"the {day}{end} of {month}", f"{day}{end} {month}",
        f"{day} {month} {year}", f"{month} {day}, {year}",
        f"{year}-{number:02d}-{day:02d}", f"{year}-{number:02d}-{day:02d}",
        f"{day} {month[:3]}", f"{month[:3]} {day}", f"{day}/{number}/{year}",
    )  # fmt: skip
    return rng.choice(forms)


def _near_day(rng: random.Random) -> str:
    day = rng.choice(_DAYS)
    count = rng.choice(("two", "three", "3", "5", "ten", "10"))
    return rng.choice(
        (
            "today",
            "tomorrow",
            "tomorrow",
            "the day after tomorrow",
            f"next {day}",
            f"this {day}",
            day,
            f"in {count} days",
            f"in {rng.choice(('two', 'a', '3'))} weeks".replace("a weeks", "a week"),
            "next week",
        )
    )


def _date(before: str, rng: random.Random) -> tuple[str, str]:
    """Return what to put in front of a day, and the day."""
    last = re.search(r"([a-z]+)\s*\Z", before.lower())
    word = last[1] if last else ""
    if word == "on":
        return "", rng.choice((_calendar_day(rng), _calendar_day(rng), rng.choice(_DAYS)))
    if word in _BEFORE_DAYS:
        near = re.sub(r"\Ain .*", "tomorrow", _near_day(rng))
        return "", rng.choice((_calendar_day(rng), near))
    if rng.random() < 0.5:
        return "", _near_day(rng)
    day = _calendar_day(rng)
    return ("on " if rng.random() < 0.75 and not day.startswith("20") else ""), day


def _time(rng: random.Random) -> str:
    hour, minute = rng.randint(1, 12), rng.choice((0, 15, 30, 45, 5, 10, 20, 40, 50))
    half = rng.choice(("am", "pm", " am", " pm", " a.m.", " p.m."))
    day_hour = rng.randint(6, 22)
    return rng.choice(
        (
            f"{hour}{half}",
            f"{hour}{half}",
            f"{hour}:{minute:02d}{half}",
            f"{day_hour}:{minute:02d}",
            f"{day_hour:02d}:{minute:02d}",
            f"half past {_HOURS[hour - 1]}",
            f"quarter to {_HOURS[hour - 1]}",
            f"quarter past {_HOURS[hour - 1]}",
            f"{_HOURS[hour - 1]} o'clock",
            "noon",
            "midnight",
            f"{hour} in the {rng.choice(('morning', 'afternoon', 'evening'))}",
            f"half past {_HOURS[hour - 1]} in the {rng.choice(('morning', 'evening'))}",
            f"{_HOURS[hour - 1]} o'clock in the {rng.choice(('morning', 'afternoon'))}",
            f"{_HOURS[hour - 1]} {half.strip()}",
        )
    )


def _datetime(before: str, rng: random.Random) -> tuple[str, str]:
    front, day = _date(before, rng)
    return front, f"{day} {rng.choice(('at ', 'at ', ''))}{_time(rng)}"


def _code(argument: Argument, rng: random.Random) -> str:
    if argument.values and rng.random() < 0.7:
        return rng.choice(argument.values)
    letters = "".join(rng.choice("ABCDEFGHJKLMNPRSTUVWXYZ") for _ in range(rng.randint(2, 3)))
    digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(3, 5)))
    return rng.choice(
        (f"{letters}-{digits}", f"{letters}{digits}", f"#{digits}", digits, f"{letters.lower()}-{digits}")
    )


def _email(rng: random.Random) -> str:
    first, last = rng.choice(FIRST_NAMES).lower(), rng.choice(LAST_NAMES).lower()
    host = rng.choice(("example.com", "orca.io", "northwind.example", "mail.example.org", "halden.co.uk", "tindle.net"))
    return rng.choice(
        (f"{first}@{host}", f"{first}.{last}@{host}", f"{first[0]}{last}@{host}", f"{last}{rng.randint(1, 99)}@{host}")
    )


def _url(argument: Argument, rng: random.Random) -> str:
    if argument.values and rng.random() < 0.7:
        return rng.choice(argument.values)
    host = rng.choice(("example.com", "blog.orca.io", "docs.tindle.net", "shop.northwind.example", "example.org"))
    path = rng.choice(
        ("", "/", "/prices", "/blog/2026/launch", "/index.html", "/api/v1/items", "/about-us", "/search?q=lamp")
    )
    return rng.choice(("https://", "https://", "http://", "www.", "")) + host + path


_LISTED: Mapping[str, str] = {
    "list text": "text", "list integer": "integer", "list number": "number", "list email": "email", "list code": "code",
    "list date": "date",
}  # fmt: skip


def _one(argument: Argument, kind: str, before: str, rng: random.Random) -> tuple[str, str]:
    """Return what stands in front of a value, and the value."""
    makers: Mapping[str, Callable[[], str]] = {
        "integer": lambda: _integer(argument, rng),
        "number": lambda: _number(argument, rng),
        "time": lambda: _time(rng),
        "email": lambda: rng.choice(argument.values) if argument.values and rng.random() < 0.3 else _email(rng),
        "url": lambda: _url(argument, rng),
        "code": lambda: _code(argument, rng),
    }
    if kind == "date":
        return _date(before, rng)
    if kind == "datetime":
        return _datetime(before, rng)
    if kind in makers:
        return "", makers[kind]()
    return "", rng.choice(argument.values or POOLS["title"])


def _list(argument: Argument, rng: random.Random) -> list[str]:
    items: list[str] = []
    for _ in range(rng.choice((1, 1, 2, 2, 3, 3, 4))):
        _, item = _one(argument, _LISTED[argument.kind], "and", rng)
        item = item.replace(",", "") if argument.kind in {"list integer", "list number"} else item
        if item not in items and "," not in item:
            items.append(item)
    return items


def say(
    argument: Argument, before: str, rng: random.Random
) -> tuple[str, Sequence[tuple[str, bool]], str | list[str] | None]:
    """Write one value of an argument.

    Args:
        argument: whose.
        before: the request as far as it is written: some forms do not fit everywhere.
        rng: chooses.

    Returns:
        What stands in front of the value, its pieces (text, and whether it is the value itself), and what
        the call says: None for the value copied as it stands, or the option, or the list's items.
    """
    if argument.kind in {"enum", "boolean"}:
        option = rng.choice(tuple(argument.options))
        return "", [(rng.choice(argument.options[option]), True)], option
    if argument.kind.startswith("list "):
        options = rng.sample(tuple(argument.options), min(len(argument.options), rng.choice((1, 1, 1, 2, 2, 3))))
        items = [rng.choice(argument.options[option]) for option in options] or _list(argument, rng)
        last = rng.choice((" and ", " and ", ", ", " & ")) if len(items) == 2 else rng.choice((" and ", ", and ", ", "))
        pieces: list[tuple[str, bool]] = []
        for index, item in enumerate(items):
            joint = "" if index == 0 else last if index == len(items) - 1 else ", "
            if joint:
                pieces.append((joint, False))
            pieces.append((item, True))
        return "", pieces, options or items
    front, value = _one(argument, argument.kind, before, rng)
    return front, [(value, True)], None
