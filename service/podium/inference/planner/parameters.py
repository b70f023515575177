"""A tool's arguments in a row, as the trained model sees them: nested objects flattened to dotted names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from podium.inference.guided.slots import Slot, SlotKind, slots_of
from podium.orchestration.tool import ToolSpec

__all__ = ["Parameter", "parameters_of"]

# Enums with more values than this are written like text and matched afterwards.
MAX_SHOWN_OPTIONS = 12
_SHOWN_KINDS = {
    SlotKind.BOOLEAN: "bool",
    SlotKind.INTEGER: "int",
    SlotKind.NUMBER: "number",
    SlotKind.DATE: "date",
    SlotKind.TIME: "time",
    SlotKind.DATETIME: "datetime",
    SlotKind.TIMEZONE: "timezone",
    SlotKind.UNIT: "unit",
    SlotKind.EXPRESSION: "expression",
    SlotKind.URL: "url",
    SlotKind.EMAIL: "email",
    SlotKind.PATH: "file",
    SlotKind.GLOB: "pattern",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument that can be written on a line.

    Attributes:
        name: dotted where it belongs to an object (`address.city`).
        slot: what kind of value it takes.
        required: whether a call without it is incomplete.
        options: the values of an enum, as text; empty for others and for very long enums.
        path: the names from the arguments object down to it; a name may itself hold a dot.
    """

    name: str
    slot: Slot
    required: bool
    options: tuple[str, ...] = ()
    path: tuple[str, ...] = ()

    @property
    def shown_kind(self) -> str:
        """The type as the model sees it; empty for text."""
        kind = "/".join(self.options) or _SHOWN_KINDS.get(self.slot.kind, "")
        return f"[{kind or 'text'}]" if self.slot.many else kind


def _flat(slots: Sequence[Slot], outer: tuple[str, ...], required: bool) -> Iterator[Parameter]:
    for slot in slots:
        path, demanded = (*outer, slot.name), required and slot.required
        if slot.kind is SlotKind.OBJECT and slot.children and not slot.many:
            yield from _flat(slot.children, path, demanded)
        else:
            shown = 0 < len(slot.options) <= MAX_SHOWN_OPTIONS
            options = tuple(map(str, slot.options)) if shown else ()
            yield Parameter(".".join(path), slot, demanded, options, path)


def parameters_of(spec: ToolSpec) -> tuple[Parameter, ...]:
    """Return a tool's parameters in its schema's order."""
    return tuple(_flat(slots_of(spec.input_schema, [example.arguments for example in spec.examples]), (), True))
