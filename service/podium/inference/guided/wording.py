"""A model's own wording of a fact, and whether it still says the same.

A small model turns one short fact at a time into a natural sentence well; asked for several at
once it mixes them up. Every wording is held against its fact, and dropped when it differs.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

__all__ = ["same_fact", "wordable", "wording_messages"]

# Other facts than any tool's: the model is to see the manner, not the matter.
_SHOTS = (
    ("From 2024-02-01 to 2024-02-15 it is 14 days.", "There are 14 days between 1 February 2024 and 15 February 2024."),
    ("In Europe/Paris it is Monday, 4 May 2026, 09:15 (UTC+02:00).", "It is 09:15 on Monday, 4 May 2026, in Paris."),
    ("2 pound = 0.907184 kilogram.", "2 pounds are 0.907184 kilograms."),
    ("7 * 8 = 56.", "7 * 8 is 56."),
)
_LONGEST = 160
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_ASIDE = re.compile(r"\([^()]*\)")
_NAME = re.compile(r"[A-Z][^\W\d_]{2,}")


def wordable(fact: str) -> bool:
    """Tell whether a fact is of the kind that a small model words well: one short sentence with figures."""
    return len(fact) <= _LONGEST and "\n" not in fact and ";" not in fact and bool(_NUMBER.search(fact))


def wording_messages(fact: str) -> list[dict[str, Any]]:
    """Return the conversation in which the model words `fact`."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Say the fact in one natural sentence."}]
    for shown, said in _SHOTS:
        messages += [{"role": "user", "content": shown}, {"role": "assistant", "content": said}]
    return [*messages, {"role": "user", "content": fact}]


def same_fact(sentence: str, fact: str) -> bool:
    """Tell whether a wording keeps every figure of its fact, each as often, and brings in no figure or name.

    Figures in brackets are asides and may be left out. Words are not understood: this guards
    against slips and inventions, and is no proof.
    """
    sentence = sentence.strip()
    if not sentence or "\n" in sentence or len(sentence) > len(fact) + _LONGEST // 2:
        return False
    said, whole, needed = _numbers(sentence), _numbers(fact), _numbers(_ASIDE.sub(" ", fact))
    if not needed <= said <= whole:
        return False
    known = fact.casefold()
    names = list(_NAME.finditer(sentence))
    # The first word is capital for its place, not for what it names.
    return all(name.start() == 0 or name[0].casefold() in known for name in names)


def _numbers(text: str) -> Counter[str]:
    return Counter(match.replace(",", "").rstrip(".:") for match in _NUMBER.findall(text))
