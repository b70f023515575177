"""From the model's words to arguments: each value read as its type asks, and put back to what the request says.

The model copies values from the request ("next Friday", "half past six", "two"). What they mean is
worked out here, by the same readers that guided planning uses. A copy with a slip in it is replaced
by the stretch of the request that it must have been.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from podium.inference.guided.slots import Slot, SlotKind
from podium.inference.guided.utterance import Utterance
from podium.inference.planner.call_lines import FROM_RESULT, UNSAID, WrittenCall
from podium.inference.planner.parameters import Parameter
from podium.inference.planner.readers import MOMENTS, meant, read_moment, read_number, read_numeral

__all__ = ["ReadCall", "Unreadable", "put", "read_call", "read_items", "read_value"]

_YES = frozenset({"yes", "true", "on", "1"})
_NO = frozenset({"no", "false", "off", "0"})
_NUMBERS = frozenset({SlotKind.INTEGER, SlotKind.NUMBER})
_ITEMS = re.compile(r"\s*(?:,\s*(?:and\s+)?|;)\s*")
# "1,200" is one number, and "May 3, 2027" one day.
_NUMBER_ITEMS = re.compile(r"\s*(?:,(?!\d{3}(?!\d))\s*(?:and\s+)?|;)\s*")
_DAY_ITEMS = re.compile(r"\s*(?:,(?!\s*\d{4}(?![\d-]))\s*(?:and\s+)?|;)\s*")
# In "two hundred and five" and "one and a half" it joins no items.
_JOINED = re.compile(r"(?<!hundred)(?<!thousand)(?<!million)\s+(?:and|&)\s+(?!a half)", re.IGNORECASE)
_PAIRS = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»"}  # noqa: RUF001
_EDGES = ".,;:!?\"'`“”‘’«»"  # noqa: RUF001
_LIKENESS = 0.72
# A pattern is tried on no more than this, which bounds what a bad one of a tool's author can cost.
_LONGEST_MATCHED = 200


class Unreadable(ValueError):
    """The model's words are no value of that type."""


@dataclass(frozen=True, slots=True)
class ReadCall:
    """A written call with its arguments as the tool takes them.

    Attributes:
        arguments: nested where the schema nests.
        unsaid: required parameters without a value.
        unreadable: parameters whose words could not be read; they are not in `arguments`.
        linked: parameters whose value another call's result gives; neither in `arguments` nor in `unsaid`.
    """

    arguments: dict[str, Any]
    unsaid: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    linked: tuple[str, ...] = ()


def read_call(call: WrittenCall, parameters: Mapping[str, Parameter], request: Utterance) -> ReadCall:
    """Read every value of a call.

    Args:
        call: as the model wrote it.
        parameters: the tool's, by name.
        request: taken apart; values are put back to what it says.
    """
    arguments: dict[str, Any] = {}
    unreadable: list[str] = []
    linked: list[str] = []
    for name, said in call.values.items():
        parameter = parameters.get(name)
        if parameter is None or said == UNSAID:
            continue
        if said == FROM_RESULT:
            linked.append(name)
            continue
        try:
            put(arguments, parameter.path, read_value(parameter.slot, said, request))
        except Unreadable:
            unreadable.append(name)
    held = set(call.values) - set(call.unsaid) - set(unreadable)
    unsaid = tuple(name for name, parameter in parameters.items() if parameter.required and name not in held)
    return ReadCall(arguments, unsaid, tuple(unreadable), tuple(linked))


def put(arguments: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Put a value where a dotted name belongs, making the objects on the way."""
    for name in path[:-1]:
        arguments = arguments.setdefault(name, {})
    arguments[path[-1]] = value


def read_value(slot: Slot, said: str, request: Utterance) -> Any:
    """Return the value that the model's words mean for a slot.

    A number out of the schema's bounds is returned as it was said: the tool's own complaint tells more
    than a question would.

    Raises:
        Unreadable: they mean none.
    """
    if not slot.many:
        return _single(slot, said, request)
    if slot.kind is SlotKind.OBJECT:
        return _objects(said)
    items = [_single(slot, item, request) for item in read_items(slot, said)]
    if not items:
        raise Unreadable(said)
    return items


def read_items(slot: Slot, said: str) -> Iterator[str]:
    """Yield the words of each item of a list; all of them where the slot takes one value."""
    if not slot.many:
        yield said
        return
    parting = _NUMBER_ITEMS if slot.kind in _NUMBERS else _DAY_ITEMS if slot.kind in MOMENTS else _ITEMS
    options = {_squeezed(str(option)) for option in slot.options}
    for item in parting.split(said.strip()):
        # In free text, and in an option, "and" may belong to the item.
        whole = _squeezed(item) in options if options else slot.kind not in _NUMBERS | MOMENTS
        yield from (part for part in ([item] if whole else _JOINED.split(item)) if part)


def _single(slot: Slot, said: str, request: Utterance) -> Any:
    if slot.options:
        return _option(slot, said)
    value: Any
    match slot.kind:
        case SlotKind.BOOLEAN:
            return _truth(said)
        case SlotKind.OBJECT:
            return _object(said)
        case SlotKind.INTEGER | SlotKind.NUMBER:
            value = read_number(slot, said, request)
        case kind if kind in MOMENTS and slot.iso:
            value = read_moment(slot, said, request)
        case SlotKind.EXPRESSION if slot.iso:
            found = meant(slot, said, request)
            value = None if found is None else found.value
        case SlotKind.GLOB if not re.search(r"[*?]", said):
            # "markdown files", as examples show it, means `*.md`.
            found = meant(slot, said, request)
            value = found.value if found is not None and "*" in found.value else _text(slot, said, request)
        case _:
            # A tool that declares the kind of its days and sums reads people's own words, and better.
            value = _text(slot, said, request)
    if value is None:
        raise Unreadable(said)
    return value


def _truth(said: str) -> bool:
    word = said.lower().strip(_EDGES)
    if word not in _YES | _NO:
        raise Unreadable(said)
    return word in _YES


def _option(slot: Slot, said: str) -> Any:
    """Return the option meant: in another spelling, among other words, or with a slip."""
    if said in slot.options:
        return said
    plain, words = _squeezed(said), _words(said)
    for option in slot.options:
        same = option == read_numeral(said) if isinstance(option, int | float) else False
        if isinstance(option, bool):
            same = plain in (_YES if option else _NO)
        if same or (plain and _squeezed(str(option)) == plain):
            return option
    # "new york" of "America/New_York", "window" in "by the window": when only one option can be meant.
    holding = [option for option in slot.options if words and words <= _words(str(option))]
    held = [option for option in slot.options if _words(str(option)) and _words(str(option)) <= words]
    for only in (holding, held):
        if len(only) == 1:
            return only[0]
    if len(holding) > 1:
        raise Unreadable(said)
    near = [(SequenceMatcher(None, plain, _squeezed(str(option))).ratio(), option) for option in slot.options]
    best = max(near, key=lambda pair: pair[0], default=(0.0, None))
    if not plain or best[0] < _LIKENESS:
        raise Unreadable(said)
    return best[1]


def _squeezed(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.lower())


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W_]+", text.lower()))


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _object(said: str) -> Any:
    try:
        value = json.loads(said, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Unreadable(said) from None
    if not isinstance(value, dict):
        raise Unreadable(said)
    return value


def _objects(said: str) -> list[Any]:
    """Read `{...}, {...}`, in brackets or without."""
    inside = said.strip().removeprefix("[").removesuffix("]")
    items: list[Any] = _object(f'{{"items": [{inside}]}}')["items"]
    if not items or not all(isinstance(item, dict) for item in items):
        raise Unreadable(said)
    return items


def _text(slot: Slot, said: str, request: Utterance) -> str:
    value = _put_back(said.strip(), request.text)
    quote = _PAIRS.get(value[:1])
    if quote is not None and len(value) > 1 and value.endswith(quote):
        inside = value[1:-1].strip()
        # In `"a" and "b"` the first and the last are no pair.
        value = inside if inside and not {value[0], quote} & set(inside) else value
    return value.upper() if _wants_capitals(slot.schema.get("pattern"), value) else value


def _wants_capitals(pattern: Any, value: str) -> bool:
    """Tell whether only the capitals are missing: codes are often typed in small letters."""
    if not isinstance(pattern, str) or len(value) > _LONGEST_MATCHED:
        return False
    try:
        return not re.search(pattern, value) and re.search(pattern, value.upper()) is not None
    except re.error:
        return False


def _put_back(said: str, text: str) -> str:
    """Return the stretch of `text` that `said` is a copy of, or `said` where there is none."""
    if said in text or not said:
        return said
    same = re.search(r"\s+".join(map(re.escape, said.split())), text, re.IGNORECASE)
    if same is not None:
        return same[0]
    words = [(match.start(), match.end()) for match in re.finditer(r"\S+", text)]
    size = len(said.split())
    best, likeness = said, _LIKENESS
    # The matcher keeps what it learns of its second text, so that is the one that stays.
    matcher = SequenceMatcher(None, "", said.lower())
    for count in {max(1, size - 1), size, size + 1}:
        for first in range(len(words) - count + 1):
            stretch = text[words[first][0] : words[first + count - 1][1]].strip(_EDGES)
            matcher.set_seq1(stretch.lower())
            if matcher.real_quick_ratio() <= likeness or matcher.quick_ratio() <= likeness:
                continue
            if (ratio := matcher.ratio()) > likeness:
                best, likeness = stretch, ratio
    return best
