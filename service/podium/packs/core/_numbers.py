"""Numbers as people write them: `1,500`, `12.5`, `½`, `twenty-five`, `2.5 million`."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import BeforeValidator, Field

__all__ = ["MULTIPLIERS", "SMALL_NUMBERS", "Number", "plain_digits", "spelled_number", "written_number"]

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
SMALL_NUMBERS = {
    **{word: value for value, word in enumerate(_UNITS.split())},
    **{word: value * 10 for value, word in enumerate(_TENS.split(), start=2)},
}
MULTIPLIERS = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_MOST_CHARACTERS = 100
_DASHES = dict.fromkeys(map(ord, "−–—‒﹣－"), "-")  # noqa: RUF001  that is what people paste
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:[,_' \u00a0\u202f]\d{3})+(?![\d])")
_NUMERAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def plain_digits(text: str) -> str:
    """Return `text` with ASCII minus signs and digits, and without thousands separators."""
    text = text.translate(_DASHES)
    text = "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in text)
    return _GROUPED.sub(lambda match: re.sub(r"\D", "", match[0]), text)


def spelled_number(words: list[str]) -> int | None:
    """Return the value of a number in words (`two hundred and five`), or None when it is none."""
    total = group = 0
    seen = False
    for word in words:
        if word in SMALL_NUMBERS:
            group, seen = group + SMALL_NUMBERS[word], True
        elif word == "dozen":
            group, seen = max(group, 1) * 12, True
        elif word == "hundred":
            group, seen = max(group, 1) * 100, True
        elif word in MULTIPLIERS:
            total, group, seen = total + max(group, 1) * MULTIPLIERS[word], 0, True
        elif word not in ("and", "a", "an") or (word == "and" and not seen):
            return None
    return total + group if seen else None


def written_number(value: object) -> object:
    """Turn a number as people write it into one that pydantic reads; leave the rest to pydantic."""
    if not isinstance(value, str):
        return value
    if len(value) > _MOST_CHARACTERS:
        raise ValueError(f"a number is written with at most {_MOST_CHARACTERS} characters")
    text = plain_digits(value.strip())
    if _NUMERAL.fullmatch(text):
        return float(text)
    if len(text) == 1 and unicodedata.numeric(text, None) is not None:
        return unicodedata.numeric(text)
    fraction = re.fullmatch(r"(\d+)\s*/\s*(\d+)", text)
    if fraction and int(fraction[2]):
        return int(fraction[1]) / int(fraction[2])
    scaled = re.fullmatch(r"([\d.]+)\s+(hundred|thousand|million|billion|trillion)", text.lower())
    if scaled and _NUMERAL.fullmatch(scaled[1]):
        return float(scaled[1]) * MULTIPLIERS[scaled[2]]
    spelled = spelled_number(re.findall(r"[a-z]+", text.lower())) if re.fullmatch(r"[A-Za-z\s-]+", text) else None
    if spelled is None:
        raise ValueError(f"{value!r} is not a number; write digits, such as 12.5")
    return spelled


Number = Annotated[float, BeforeValidator(written_number), Field(allow_inf_nan=False)]
