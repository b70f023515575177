"""References in a call's arguments to what other calls gave.

    {"$from": "c0_1", "path": "/items/0/url"}              the value there in that call's result
    {"$each": {"from": "c0_1", "path": "/items"}}          the call is made once for each item of that list

Either stands for a whole value, at any depth; `path` is a JSON Pointer (RFC 6901) and may be left out
for the whole result. Every `ReferenceProblem` is written for the model, which reads it and mends its call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from podium.orchestration.reference_text import count, describe, keys, place, quoted, short

__all__ = [
    "MISSING",
    "Reference",
    "ReferenceProblem",
    "References",
    "fill",
    "find_references",
    "items",
    "join_pointer",
    "look_up",
    "may_have_references",
    "origin_of",
    "split_pointer",
]

MISSING: Final[Any] = object()

_FROM_FORM = '{"$from": "<call id>", "path": "/<key>/<index>"}'
_EACH_FORM = '{"$each": {"from": "<call id>", "path": "/<key>"}}'
_BAD_ESCAPE = re.compile(r"~(?![01])")
_INDEX = re.compile(r"0|[1-9][0-9]*")


class ReferenceProblem(Exception):
    """A reference cannot be followed. `message` says what is wrong, where, and what to write instead."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference.

    Attributes:
        source: the call, as the model named it.
        path: JSON Pointer into that call's result.
        at: JSON Pointer of the reference's own place in the arguments.
    """

    source: str
    path: str
    at: str


@dataclass(frozen=True, slots=True)
class References:
    """All references of a call's arguments, `plain` in the order of the text."""

    plain: tuple[Reference, ...] = ()
    each: Reference | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """The calls referred to, each once; that of `$each` comes last."""
        names = dict.fromkeys(reference.source for reference in self.plain)
        if self.each is not None:
            names[self.each.source] = None
        return tuple(names)


def may_have_references(arguments_json: bytes) -> bool:
    """Say whether it is worth while to parse the arguments and look; a key spelt with escapes is not seen."""
    return b'"$from"' in arguments_json or b'"$each"' in arguments_json


def find_references(arguments: Any) -> References:
    """Return the references in parsed arguments.

    Raises:
        ReferenceProblem: something was meant as a reference and is not one, or `$each` occurs twice.
    """
    plain: list[Reference] = []
    each: Reference | None = None
    # A stack rather than recursion: how deep arguments go is the model's choice.
    stack: list[tuple[Any, _Trail]] = [(arguments, None)]
    while stack:
        value, trail = stack.pop()
        if isinstance(value, dict):
            if "$each" in value:
                found = _read_each(value, _pointer(trail))
                if each is not None:
                    raise ReferenceProblem(
                        f'{place(found.at)}: a call may have one "$each", and {place(each.at)} has one already; '
                        "make several calls instead"
                    )
                each = found
            elif "$from" in value:
                plain.append(_read_from(value, _pointer(trail)))
            else:
                stack.extend((inner, (trail, key)) for key, inner in reversed(value.items()))
        elif isinstance(value, list):
            stack.extend((value[index], (trail, str(index))) for index in reversed(range(len(value))))
    return References(tuple(plain), each)


def fill(arguments: Any, found: References, result_of: Callable[[str], Any], *, item: Any = MISSING) -> Any:
    """Return the arguments with every reference replaced by its value.

    Args:
        arguments: as `find_references` got them; not changed.
        found: what it returned.
        result_of: gives the parsed result of a call, by the name that the model used.
        item: what takes the place of `$each`.

    The values are the results' own, not copies: neither may be changed afterwards.

    Raises:
        ReferenceProblem: a path leads nowhere, or the arguments as a whole would not be an object.
        ValueError: there is a `$each` and no item.
    """
    filled: list[tuple[Reference, Any]] = [(one, _value_of(one, result_of)) for one in found.plain]
    if found.each is not None:
        if item is MISSING:
            raise ValueError("arguments with $each need an item")
        filled.append((found.each, item))
    root = arguments
    ours: set[int] = set()  # the containers that were copied already, by identity
    for reference, value in filled:
        if not reference.at:
            if not isinstance(value, dict):
                raise ReferenceProblem(
                    f"{place('')}: must be an object; {origin_of(reference, found)} is {describe(value)}"
                )
            return value
        *steps, last = split_pointer(reference.at)
        root = node = _own(root, ours)
        for step in steps:
            key = int(step) if isinstance(node, list) else step
            node[key] = node = _own(node[key], ours)
        node[int(last) if isinstance(node, list) else last] = value
    return root


def items(found: References, result_of: Callable[[str], Any], *, most: int) -> list[Any]:
    """Return the list that `$each` names: the result's own, not a copy.

    Raises:
        ReferenceProblem: it is no list, has more than `most` items, or is not there.
        ValueError: there is no `$each`.
    """
    each = found.each
    if each is None:
        raise ValueError("these arguments have no $each")
    value = _value_of(each, result_of)
    whole = _whole(each)
    if not isinstance(value, list):
        raise ReferenceProblem(f'{place(each.at)}: "$each" needs a list; {whole} is {describe(value)}')
    if len(value) > most:
        raise ReferenceProblem(
            f'{place(each.at)}: "$each" may have {most} items at most; {whole} has {len(value)}; '
            'ask for fewer, or refer to some of them with "$from"'
        )
    return value


def look_up(value: Any, pointer: str) -> Any:
    """Return what a JSON Pointer (RFC 6901) leads to.

    Raises:
        ReferenceProblem: it leads nowhere, or is no pointer; names the first step that is not there and
            what there is instead.
    """
    if wrong := _not_a_pointer(pointer):
        raise ReferenceProblem(wrong)
    node = value
    steps = split_pointer(pointer)
    for depth, step in enumerate(steps):
        if isinstance(node, dict):
            if step in node:
                node = node[step]
                continue
        elif isinstance(node, list) and (index := _index(step)) is not None and index < len(node):
            node = node[index]
            continue
        raise ReferenceProblem(f"no '{short(pointer)}': {_instead(node, steps, depth)}")
    return node


def join_pointer(steps: Iterable[str]) -> str:
    """Return the JSON Pointer of some steps."""
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


def split_pointer(pointer: str) -> list[str]:
    """Return the steps of a JSON Pointer."""
    if "~" in pointer:
        return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    return pointer.split("/")[1:]


def origin_of(reference: Reference, found: References, rest: str = "") -> str:
    """Return how to name what a reference brings in, or what is at the JSON Pointer `rest` within that."""
    if reference is not found.each:
        return _whole(Reference(reference.source, reference.path + rest, reference.at))
    item = f"an item of {_whole(reference)}"
    return f"'{short(rest)}' in {item}" if rest else item


# Where a value is, from the inside out, so that a place costs nothing until it is named.
_Trail = tuple["_Trail", str] | None


def _pointer(trail: _Trail) -> str:
    steps: list[str] = []
    while trail is not None:
        trail, step = trail
        steps.append(step)
    return join_pointer(reversed(steps))


def _read_from(value: dict[str, Any], at: str) -> Reference:
    for key in value:
        if key not in ("$from", "path"):
            raise ReferenceProblem(
                f'{place(at)}: a reference has the keys "$from" and "path" only, not {quoted(key)}; write {_FROM_FORM}'
            )
    return _read(value, at, "$from", _FROM_FORM)


def _read_each(value: dict[str, Any], at: str) -> Reference:
    for key in value:
        if key != "$each":
            raise ReferenceProblem(
                f'{place(at)}: "$each" stands alone in its object, without {quoted(key)}; write {_EACH_FORM}'
            )
    inner = value["$each"]
    if not isinstance(inner, dict):
        raise ReferenceProblem(f'{place(at)}: "$each" needs an object, not {describe(inner)}; write {_EACH_FORM}')
    for key in inner:
        if key not in ("from", "path"):
            raise ReferenceProblem(
                f'{place(at)}: "$each" has the keys "from" and "path" only, not {quoted(key)}; write {_EACH_FORM}'
            )
    return _read(inner, at, "from", _EACH_FORM)


def _read(value: dict[str, Any], at: str, key: str, form: str) -> Reference:
    source = value.get(key, MISSING)
    if source is MISSING:
        raise ReferenceProblem(f'{place(at)}: "{key}" is missing; write {form}')
    if not isinstance(source, str) or not source:
        raise ReferenceProblem(f'{place(at)}: "{key}" must be the id of a call, not {describe(source)}; write {form}')
    path = value.get("path")
    if path is None:
        path = ""
    if not isinstance(path, str):
        raise ReferenceProblem(f'{place(at)}: "path" must be a string, not {describe(path)}; write {form}')
    if wrong := _not_a_pointer(path):
        raise ReferenceProblem(f"{place(at)}: {wrong}")
    return Reference(source, path, at)


def _not_a_pointer(path: str) -> str:
    if path and not path.startswith("/"):
        # Other notations (items[0].url, $.items, #/items) say the same in ways that are easily rewritten.
        likely = re.sub(r"[.\[\]/]+", "/", "/" + path.lstrip("$#")).rstrip("/")
        if not likely:
            return f'"path" {quoted(path)} is no JSON Pointer: leave it out for the whole result'
        return f'"path" is a JSON Pointer and starts with "/": write {quoted(likely)}, not {quoted(path)}'
    if _BAD_ESCAPE.search(path):
        return f'"path" {quoted(path)} has a lone "~": in a JSON Pointer "~" in a key is "~0", and "/" is "~1"'
    return ""


def _value_of(reference: Reference, result_of: Callable[[str], Any]) -> Any:
    result = result_of(reference.source)
    try:
        return look_up(result, reference.path)
    except ReferenceProblem as problem:
        raise ReferenceProblem(f"{place(reference.at)}: {short(reference.source)} has {problem.message}") from None


def _own(node: Any, ours: set[int]) -> Any:
    if id(node) in ours:
        return node
    copy = node.copy()
    ours.add(id(copy))
    return copy


def _index(step: str) -> int | None:
    if not _INDEX.fullmatch(step):
        return None
    # No list is as long as 19 digits, and int() refuses thousands of them.
    return int(step[:19])


def _instead(node: Any, steps: list[str], depth: int) -> str:
    here = short(join_pointer(steps[:depth])) or "the result"
    if isinstance(node, list):
        if _index(steps[depth]) is None:
            write = short(join_pointer([*steps[:depth], "0"]))
            return f"{here} is {describe(node)}, and {quoted(steps[depth])} is no index (the first is '{write}')"
        return f"{here} has {count(len(node), 'item')}" if node else f"{here} is an empty list"
    if isinstance(node, dict) and node:
        return f"{here} has {keys(node)}"
    return f"{here} is {describe(node)}"


def _whole(reference: Reference) -> str:
    if reference.path:
        return f"'{short(reference.path)}' of {short(reference.source)}"
    return f"the result of {short(reference.source)}"
