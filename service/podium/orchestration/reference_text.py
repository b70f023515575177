"""How values and places are named in problems with references, which the model reads. Long ones are cut short."""

from __future__ import annotations

from typing import Any

__all__ = ["count", "describe", "keys", "place", "quoted", "short"]

_SHOWN_KEYS = 8
_SHOWN_TEXT = 60


def place(at: str) -> str:
    """Return how the place of the arguments that a JSON Pointer names is called."""
    return f"argument {short(at)}" if at else "the arguments"


def describe(value: Any) -> str:
    """Return what a JSON value is, in a few words, whatever its size."""
    if isinstance(value, dict):
        return f"an object with {keys(value)}" if value else "an empty object"
    if isinstance(value, list):
        return f"a list of {count(len(value), 'item')}" if value else "an empty list"
    if isinstance(value, str):
        return f"the string {quoted(value)}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"the number {short(str(value))}"


def keys(value: dict[str, Any]) -> str:
    """Return the first keys of an object that has some, and how many more there are."""
    shown = [f"'{short(key)}'" for key, _ in zip(value, range(_SHOWN_KEYS), strict=False)]
    more = len(value) - len(shown)
    word = "the key" if len(value) == 1 else "the keys"
    return f"{word} {', '.join(shown)}" + (f" and {more} more" if more else "")


def count(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def quoted(text: str) -> str:
    """Return a text in quotation marks."""
    return f'"{short(text)}"'


def short(text: str, most: int = _SHOWN_TEXT) -> str:
    """Return a text, cut to `most` characters."""
    return text if len(text) <= most else text[: most - 3] + "..."
