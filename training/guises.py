"""Cards as tools: every time a card is used it takes another name, wording and shape."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from podium.orchestration.tool import ToolSpec
from training.cards import Argument, Card

__all__ = ["Guise", "guise_of"]

_SYLLABLES = (
    "ba", "do", "ki", "lu", "me", "no", "pra", "re", "si", "tu",
    "va", "xe", "zo", "fi", "gru", "hal", "jen", "kor", "lim", "mop",
)  # fmt: skip
_FORMATS = {"date": "date", "time": "time", "datetime": "date-time", "email": "email", "url": "uri"}


@dataclass(frozen=True, slots=True)
class Guise:
    """A card as one tool. `names` maps the card's argument names to the tool's; dropped arguments are not in it."""

    card: Card
    spec: ToolSpec
    names: Mapping[str, str]


def _part(argument: Argument, told: bool) -> dict[str, Any]:
    kind = argument.kind.removeprefix("list ")
    match kind:
        case "integer" | "number" | "boolean":
            part: dict[str, Any] = {"type": kind}
        case "enum":
            part = {"type": "string", "enum": list(argument.options)}
        case _:
            part = {"type": "string"}
            if kind in _FORMATS:
                part["format"] = _FORMATS[kind]
    if argument.kind.startswith("list "):
        part = {"type": "array", "items": part}
    if told:
        part["description"] = argument.about[:1].upper() + argument.about[1:] + "."
    return part


def _place(schema: dict[str, Any], path: list[str], part: dict[str, Any], required: bool) -> None:
    for name in path[:-1]:
        outer = schema
        schema = outer["properties"].setdefault(name, {"type": "object", "properties": {}, "required": []})
        if required and name not in outer["required"]:
            outer["required"].append(name)
    schema["properties"][path[-1]] = part
    if required:
        schema["required"].append(path[-1])


def _nonsense(rng: random.Random) -> str:
    return "_".join("".join(rng.choice(_SYLLABLES) for _ in range(2)) for _ in range(rng.choice((1, 2))))


def _several(argument: Argument, rng: random.Random) -> Argument:
    """Let some options be chosen together, as tools have it."""
    choosable = argument.kind == "enum" and len(argument.options) > 2
    return replace(argument, kind="list enum") if choosable and rng.random() < 0.08 else argument


def guise_of(card: Card, rng: random.Random) -> Guise:
    """Dress a card up: a name, a description, names of arguments, which optional ones there are, and their order."""
    told = rng.random() < 0.6
    keep_all = rng.random() < 0.6
    kept = [a for a in card.arguments if a.required or keep_all or rng.random() < 0.5]
    if rng.random() < 0.2:
        rng.shuffle(kept)
        kept.sort(key=lambda argument: not argument.required)
    kept = [_several(argument, rng) for argument in kept]
    worn = {argument.name: argument for argument in kept}
    schema: dict[str, Any] = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    names: dict[str, str] = {}
    for argument in kept:
        name = rng.choice(argument.names) if rng.random() < 0.6 else argument.name
        if name in names.values():
            name = argument.name
        # A nonsense name can only be understood by its description.
        if told and rng.random() < 0.02:
            name = _nonsense(rng)
        names[argument.name] = name
        _place(schema, name.split("."), _part(argument, told), argument.required)
    returns = {"type": "object", "properties": {field.name: {"type": "string"} for field in card.returns}}
    spec = ToolSpec(
        name=_nonsense(rng) if rng.random() < 0.06 else rng.choice(card.names),
        description=rng.choice(card.says),
        input_schema=schema,
        output_schema=returns if card.returns and rng.random() < 0.85 else None,
    )
    return Guise(replace(card, arguments=tuple(worn.get(a.name, a) for a in card.arguments)), spec, names)
