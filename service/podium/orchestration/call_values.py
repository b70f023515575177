"""The values in a call's arguments and results, and where they stand."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

__all__ = ["Steps", "Wanted", "copied", "leaves_of", "places_of", "subtree_key", "walk"]

# A way through nested JSON: keys and places in arrays.
Steps = tuple[str | int, ...]

_DEPTH: Final = 12
_LEAVES: Final = 32  # of one call's arguments
_PLACES: Final = 3  # of one value in one result
_LONGEST_VALUE: Final = 4_096  # characters: what a model would copy out
_LONGEST_KEY: Final = 128


@dataclass(slots=True)
class Wanted:
    """Values that calls were made with: scalars, and arrays and objects by `subtree_key`."""

    scalars: set[Any] = field(default_factory=set)
    subtrees: dict[bytes, Any] = field(default_factory=dict)

    def add(self, arguments: Mapping[str, Any], leaves: Collection[tuple[Steps, Any]]) -> None:
        """Add the arguments of a call that were taken apart."""
        self.scalars.update([value for _, value in leaves if copied(value)])
        if len(leaves) > 1 or any(len(steps) > 1 for steps, _ in leaves):
            for value in arguments.values():
                if isinstance(value, (dict, list)) and (key := subtree_key(value)) is not None:
                    self.subtrees[key] = value


def subtree_key(value: Any) -> bytes | None:
    """Return what tells an array or object from others; None for an empty one, or what is not JSON."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS) if value else None
    except TypeError:
        return None


def leaves_of(arguments: Mapping[str, Any]) -> list[tuple[Steps, Any]] | None:
    """Return every scalar and every empty container of a call's arguments; None if there are too many."""
    leaves: list[tuple[Steps, Any]] = []
    left: list[tuple[Steps, Any]] = [((), arguments if isinstance(arguments, dict) else dict(arguments))]
    while left:
        steps, node = left.pop()
        if isinstance(node, (dict, list)) and node:
            if len(node) + len(leaves) + len(left) > _LEAVES or len(steps) >= _DEPTH:
                return None
            children: list[tuple[Any, Any]] = list(node.items() if isinstance(node, dict) else enumerate(node))
            for key, child in reversed(children):
                if not _short(key):
                    return None
                left.append(((*steps, key), child))
        elif steps:
            leaves.append((steps, node))
    return leaves


def places_of(result: Any, wanted: Wanted, limit: int) -> dict[Any, list[Steps]]:
    """Return where in a result wanted values stand, the first three places of each.

    Breadth first, at most `limit` nodes and 12 levels deep.
    """
    found: dict[Any, list[Steps]] = {}
    scalars, subtrees = wanted.scalars, wanted.subtrees
    if not scalars and not subtrees:
        return found
    if not isinstance(result, (dict, list)):
        return {result: [()]} if copied(result) and result in scalars else found
    lengths = {len(value) for value in subtrees.values()}
    level: list[tuple[Steps, Any]] = [((), result)]
    seen, place = 0, 0
    while place < len(level) and seen < limit:
        steps, node = level[place]
        place += 1
        if len(node) in lengths:
            _add_subtree(found, steps, node, subtrees)
        children = node.items() if isinstance(node, dict) else enumerate(node)
        for key, child in children:
            seen += 1
            if seen > limit:
                break
            kind = type(child)
            if kind is str:
                if len(child) <= _LONGEST_VALUE and child in scalars:
                    _add_place(found, steps, key, child)
            elif kind is int or kind is float:
                if child in scalars:
                    _add_place(found, steps, key, child)
            elif (kind is dict or kind is list) and child and len(steps) < _DEPTH and _short(key):
                level.append(((*steps, key), child))
    return found


def walk(root: Any, steps: Steps) -> Any:
    """Return what stands at the end of the steps.

    Raises:
        LookupError: there is no such place.
    """
    node: Any = root
    for step in steps:
        kind: type[Any] = dict if isinstance(step, str) else list
        if type(node) is not kind:
            raise LookupError(step)
        node = node[step]
    return node


def copied(value: Any) -> bool:
    """Say whether a model may have copied a value from somewhere."""
    kind = type(value)
    return len(value) <= _LONGEST_VALUE if kind is str else kind is int or kind is float


def _short(key: str | int) -> bool:
    return type(key) is int or (isinstance(key, str) and len(key) <= _LONGEST_KEY)


def _add_place(found: dict[Any, list[Steps]], steps: Steps, key: Any, child: Any) -> None:
    places = found.setdefault(child, [])
    if len(places) < _PLACES and _short(key):
        places.append((*steps, key))


def _add_subtree(found: dict[Any, list[Steps]], steps: Steps, node: Any, subtrees: Mapping[bytes, Any]) -> None:
    for key, value in subtrees.items():
        # Equal for Python may still be different JSON: 1, 1.0 and true.
        if type(value) is type(node) and value == node and subtree_key(node) == key:
            places = found.setdefault(key, [])
            if len(places) < _PLACES:
                places.append(steps)
