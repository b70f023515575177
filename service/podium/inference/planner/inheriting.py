"""Gives a call what the request says for it in another clause.

"The trousers of order 5987 are torn, and the shirt is missing": the second clause does not repeat the order. What a
call lacks is taken from calls of the same tool, or else from an argument of the same name and kind of another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from podium.inference.planner.parameters import Parameter
from podium.inference.planner.shown import ShownTool
from podium.inference.planner.values import ReadCall, put

__all__ = ["Donor", "inherited"]

# A tool, and a call of it that may tell what another one lacks.
Donor = tuple[ShownTool, ReadCall]


def inherited(call: ReadCall, shown: ShownTool, donors: Sequence[Donor], *, except_for: Sequence[str] = ()) -> ReadCall:
    """Return a call with what it lacks, as far as others have it.

    Args:
        call: lacks something, or does not.
        shown: its tool.
        donors: other calls, those that are heard first in front; calls of the same tool go before all others.
        except_for: parameters that stay as they are.
    """
    unsaid: list[str] = []
    arguments = _copied(call.arguments)
    ordered = sorted(donors, key=lambda donor: donor[0].name != shown.name)
    for name in call.unsaid:
        parameter = shown.parameters[name]
        found = (
            ()
            if name in except_for
            else [v for d in ordered for v in _given(parameter, *d, same=d[0].name == shown.name)]
        )
        if found:
            put(arguments, parameter.path, found[0])
        else:
            unsaid.append(name)
    return replace(call, arguments=arguments, unsaid=tuple(unsaid))


def _given(wanted: Parameter, shown: ShownTool, call: ReadCall, *, same: bool) -> list[Any]:
    """Return what a call has for a parameter, of its own tool or of another one."""
    alike = [
        parameter
        for name, parameter in shown.parameters.items()
        if (name == wanted.name if same else _alike(parameter, wanted)) and name not in call.unsaid
    ]
    return [value for parameter in alike if (value := _leaf(call.arguments, parameter.path)) is not None]


def _alike(one: Parameter, other: Parameter) -> bool:
    return (
        one.name.rpartition(".")[2] == other.name.rpartition(".")[2]
        and (one.slot.kind, one.slot.many) == (other.slot.kind, other.slot.many)
        and tuple(one.options) == tuple(other.options)
    )


def _leaf(arguments: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = arguments
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _copied(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _copied(value) if isinstance(value, dict) else value for name, value in arguments.items()}
