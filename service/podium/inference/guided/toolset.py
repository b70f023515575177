"""A set of tools made ready for planning, once, and kept as long as the set stays the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

from podium.inference.guided.assignment import Assignment, assign
from podium.inference.guided.choices import Evidence, learn_options
from podium.inference.guided.contexts import Carrier, Profile, learn
from podium.inference.guided.lexicon import LIGHT_WORDS
from podium.inference.guided.retrieval import Document, RetrievalIndex
from podium.inference.guided.slots import Slot, SlotKind, name_words, slots_of
from podium.inference.guided.utterance import Utterance, analyse
from podium.inference.guided.vectors import WordVectors
from podium.orchestration.tool import ToolFailure, ToolSpec

__all__ = ["PreparedTool", "ToolMatcher", "ToolSet"]

_MAX_EXAMPLES = 24
_NEAR = 0.36  # likeness at which a word beside a number names what is counted


@dataclass(frozen=True, slots=True)
class PreparedTool:
    """A tool with what its schema and examples teach."""

    spec: ToolSpec
    slots: tuple[Slot, ...]
    profiles: Mapping[str, Profile]
    evidence: Mapping[str, Evidence]
    examples: tuple[tuple[Utterance, Mapping[str, Any]], ...]

    @property
    def required(self) -> tuple[Slot, ...]:
        """The slots that must be filled."""
        return tuple(slot for slot in self.slots if slot.required)

    def fill(self, clause: Utterance) -> list[Assignment]:
        """Return the best ways to fill the arguments from a clause, best first."""
        return assign(self.slots, self.profiles, clause, self.evidence)


def _prepare(spec: ToolSpec, today: date, vectors: WordVectors | None) -> PreparedTool:
    examples = tuple((analyse(e.request[:2000], today), e.arguments) for e in spec.examples[:_MAX_EXAMPLES])
    slots = slots_of(spec.input_schema, [arguments for _, arguments in examples])
    carrier = Carrier(_carrier_words(spec, examples), vectors)

    def same(name: str, value: Any, wanted: Any) -> bool:
        return _normal(spec, name, value, wanted)

    profiles = {slot.name: learn(slot, examples, same, carrier, Carrier(slot.words, vectors, _NEAR)) for slot in slots}
    evidence = {
        slot.name: learn_options(slot, examples, vectors)
        for slot in slots
        if slot.kind in {SlotKind.ENUM, SlotKind.BOOLEAN}
    }
    return PreparedTool(spec, slots, profiles, evidence, examples)


def _normal(spec: ToolSpec, name: str, value: Any, wanted: Any) -> bool:
    """Tell whether the tool takes `value` for `wanted` (a city for its time zone)."""
    if spec.normalise is None:
        return False
    for example in spec.examples:
        if example.arguments.get(name) == wanted:
            try:
                told = spec.normalise({**example.arguments, name: value})
                return bool(told.get(name) == spec.normalise(example.arguments).get(name))
            except ToolFailure:
                return False
    return False


def _carrier_words(spec: ToolSpec, examples: Iterable[tuple[Utterance, Mapping[str, Any]]]) -> set[str]:
    """Return the content words that examples use around their arguments, or that the tool is named by."""
    found: set[str] = {*name_words(spec.name), *_words(spec.description.partition(".")[0])}
    for clause, arguments in examples:
        values = " ".join(
            str(item) for value in arguments.values() for item in (value if isinstance(value, list) else [value])
        )
        inside = set(_words(values))
        found |= {word.text for word in clause.words if word.text not in inside}
    return found - LIGHT_WORDS


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def _document(tool: PreparedTool) -> Document:
    spec = tool.spec
    summary, _, rest = spec.description.partition(".")
    carriers, wording = [], []
    for clause, arguments in tool.examples:
        carrier = carrier_of(tool, clause, arguments)
        carriers.append(carrier)
        wording.extend(carrier)
    return Document(
        spec.name,
        {
            "name": name_words(spec.name),
            "summary": _words(summary),
            "description": _words(rest),
            "arguments": [word for slot in tool.slots for word in slot.words],
            "options": [word for slot in tool.slots for option in slot.options for word in _words(str(option))],
            "examples": wording,
        },
        carriers,
    )


def carrier_of(tool: PreparedTool, clause: Utterance, arguments: Mapping[str, Any]) -> list[str]:
    """Return an example's wording with its arguments cut out, as they would be from a request."""
    places: list[tuple[int, int]] = []
    lowered = clause.text.lower()
    for assignment in tool.fill(clause)[:3]:
        if all(assignment.values.get(name) == value for name, value in arguments.items()):
            places = list(assignment.stretches)
            break
    for value in arguments.values():
        for item in value if isinstance(value, list) else [value]:
            at = lowered.find(str(item).lower()) if not isinstance(item, bool) else -1
            if at >= 0 and str(item):
                places.append((at, at + len(str(item))))
    return clause.wording(places)


class ToolMatcher(Protocol):
    """What was trained to tell how well requests suit tools; `podium.inference.planner.matcher.Matcher` is one."""

    def prepared(self, specs: Sequence[ToolSpec]) -> Callable[[Utterance], Mapping[str, float]]:
        """Prepare a set of tools; what is returned tells the log-odds that a request, or a clause, asks for each."""
        ...


class ToolSet:
    """The tools of a turn, indexed. Building takes milliseconds a tool; using it changes nothing in it."""

    def __init__(
        self,
        specs: Sequence[ToolSpec],
        today: date,
        vectors: WordVectors | None = None,
        matcher: ToolMatcher | None = None,
    ) -> None:
        self.match = None if matcher is None else matcher.prepared(specs)
        self.tools = {spec.name: _prepare(spec, today, vectors) for spec in specs}
        self.index = RetrievalIndex([_document(tool) for tool in self.tools.values()], vectors)
        self.today = today

    def analyse(self, text: str) -> Utterance:
        """Take a clause apart, relative dates counted from the set's day."""
        return analyse(text, self.today)
