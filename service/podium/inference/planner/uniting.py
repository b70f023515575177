"""Unites calls of one tool that are one wish, said or written twice.

A request is put to a tool whole and clause by clause, and the model may begin a call anew: then one
call holds what another one lacks. Calls that differ in a value are two wishes, and stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from podium.inference.planner.values import ReadCall, put

__all__ = ["united"]

_Path = tuple[str, ...]


def united(one: ReadCall, other: ReadCall) -> ReadCall | None:
    """Return one call for two of the same tool; None where they are two wishes.

    They are one when no argument differs, and they share one, or one of them says nothing of its own or lacks
    something that the other says.
    """
    mine, theirs = dict(_leaves(one.arguments)), dict(_leaves(other.arguments))
    shared = mine.keys() & theirs.keys()
    if any(not _same(mine[path], theirs[path]) for path in shared):
        return None
    said = {**theirs, **mine}
    unsaid = tuple(name for name in one.unsaid if name in other.unsaid)
    linked = tuple(name for name in dict.fromkeys((*one.linked, *other.linked)) if tuple(name.split(".")) not in said)
    if not (shared or not mine or not theirs or len(unsaid) < max(len(one.unsaid), len(other.unsaid))):
        return None
    arguments: dict[str, Any] = {}
    for path, value in said.items():
        put(arguments, path, value)
    return ReadCall(arguments, unsaid, one.unreadable, linked)


def _leaves(arguments: Mapping[str, Any], above: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    for name, value in arguments.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name), value


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.casefold() == other.casefold()
    return bool(one == other)
