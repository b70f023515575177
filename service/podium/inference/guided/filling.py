"""Arguments by constrained decoding: the prompt, the guide, and what the model's output means.

Most arguments are settled by `assignment` alone, and then the model is not asked. Where several
candidates are about equally good, or a required argument has none, the model decides: it sees the
tool's own examples and may write nothing but the candidates, in compact JSON in schema order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podium.inference.engine import Guide, GuideKind
from podium.inference.guided.assignment import Assignment
from podium.inference.guided.planner import PlannedCall
from podium.inference.guided.slots import Slot, SlotKind
from podium.inference.guided.toolset import PreparedTool
from podium.orchestration.tool import ToolFailure

__all__ = ["Question", "accepted_arguments", "literal", "parse_answer", "question_for", "settled"]

_SHOTS = 5
_MAX_OPTIONS = 6
_CLOSE = 0.12
_MAX_FREE = 60
_RETRIES = 8
# Only these: engines refuse or warn of an escape that is none, such as that of a degree sign.
_SPECIAL = re.compile(r"([\\^$.|?*+()\[\]{}])")


@dataclass(frozen=True, slots=True)
class Question:
    """What the model is asked about one call: a prompt to go on from, and the only forms of an answer."""

    prompt: str
    guide: Guide
    max_tokens: int


def accepted_arguments(tool: PreparedTool, ways: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the first of `ways` that the tool accepts, in its canonical form, or None."""
    normalise = tool.spec.normalise
    for values in ways[:_RETRIES]:
        if any(slot.name not in values for slot in tool.required):
            continue
        if normalise is None:
            return dict(values)
        try:
            return normalise(values)
        except ToolFailure:
            continue
    return None


def _rivals(call: PlannedCall) -> list[Assignment]:
    """Return the assignments about as good as the best that differ from it in a required argument."""
    best, *others = call.reading.assignments
    required = {slot.name for slot in call.reading.tool.required}
    return [
        other
        for other in others
        if best.score - other.score < _CLOSE
        and not other.missing
        and any(
            other.values.get(name) != best.values.get(name) and other.places.get(name) != best.places.get(name)
            for name in required
        )
    ]


def settled(call: PlannedCall) -> bool:
    """Tell whether the arguments leave nothing that the model could decide.

    It may choose between candidates and among the values of an enum or boolean. It may not make up
    what the request does not say: such a call is made without, and the tool's complaint told.
    """
    lacking = {name for name in call.reading.assignments[0].missing if name not in call.borrowed}
    closed = {slot.name for slot in call.reading.tool.slots if slot.options or slot.kind is SlotKind.BOOLEAN}
    return not (lacking and lacking <= closed) and not _rivals(call)


def _options(call: PlannedCall, slot: Slot) -> list[Any]:
    values = [call.borrowed[slot.name]] if slot.name in call.borrowed else []
    for assignment in [call.reading.assignments[0], *_rivals(call)]:
        if slot.name in assignment.values and assignment.values[slot.name] not in values:
            values.append(assignment.values[slot.name])
    if not values and slot.options:
        values = list(slot.options)
    return values[:_MAX_OPTIONS] if not slot.options else values


def literal(text: str) -> str:
    """Return a pattern of a guide that only this text fits; empty for one of several lines, which no guide takes."""
    return _SPECIAL.sub(r"\\\1", text) if "\n" not in text else ""


def _free(slot: Slot) -> str:
    """Return a pattern for an argument that the request holds no candidate for."""
    match slot.kind:
        case SlotKind.BOOLEAN:
            return "(?:true|false)"
        case SlotKind.INTEGER:
            return "-?[0-9]{1,7}"
        case SlotKind.NUMBER:
            return "-?[0-9]{1,7}(?:\\.[0-9]{1,4})?"
        case SlotKind.DATE:
            pattern = "[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
        case SlotKind.TIME:
            pattern = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
        case SlotKind.OBJECT:
            return "\\{\\}"
        case _:
            pattern = f"[A-Za-z0-9 ,.:_/+*-]{{1,{_MAX_FREE}}}"
    return f'\\["{pattern}"\\]' if slot.many else f'"{pattern}"'


def _pattern(slots: Sequence[Slot], options: Mapping[str, Sequence[Any]]) -> str:
    parts = []
    for slot in slots:
        values = [literal(json.dumps(value, ensure_ascii=False)) for value in options[slot.name]]
        values = [value for value in values if value]
        value = f"(?:{'|'.join(values)})" if values else _free(slot)
        parts.append(f'"{literal(slot.name)}":{value}')
    return "\\{" + ",".join(parts) + "\\}"


def _compact(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def question_for(call: PlannedCall) -> Question:
    """Write the question about a call that is not settled."""
    tool = call.reading.tool
    wanted = [slot for slot in tool.slots if slot.required or slot.name in call.reading.assignments[0].values]
    options = {slot.name: _options(call, slot) for slot in wanted}
    lines = [f"{tool.spec.description.splitlines()[0]}", f"Arguments: {', '.join(slot.name for slot in wanted)}", ""]
    for example in tool.spec.examples[:_SHOTS]:
        lines += [f"Request: {example.request}", f"Arguments: {_compact(example.arguments)}", ""]
    request = call.reading.clause.text.strip()[:600].replace("\n", " ")
    lines += [f"Request: {request}", "Arguments: "]
    longest = sum(max([len(str(value)) for value in options[slot.name]] or [_MAX_FREE]) for slot in wanted)
    guide = Guide(GuideKind.REGEX, _pattern(wanted, options))
    return Question("\n".join(lines).rstrip(), guide, min(400, 24 + 8 * len(wanted) + longest))


def parse_answer(call: PlannedCall, text: str) -> dict[str, Any] | None:
    """Return the arguments that the model wrote, or None when its output is not whole.

    Two arguments taken from one and the same stretch of the request are a mistake, not an answer.
    """
    try:
        values = json.loads(text.strip())
    except ValueError:
        return None
    if not isinstance(values, dict):
        return None
    ways = [call.reading.assignments[0], *_rivals(call)]
    told = {name: value for name, value in values.items() if name not in call.borrowed}
    for way in ways:
        if all(name not in way.values or way.values[name] == value for name, value in told.items()):
            return {**call.borrowed, **way.values, **values}
    places = [
        next((way.places.get(name) for way in ways if way.values.get(name) == value), None)
        for name, value in told.items()
    ]
    known = [place for place in places if place]
    return None if len(known) != len(set(known)) else {**call.borrowed, **values}
