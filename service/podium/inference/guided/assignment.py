"""Which candidates go together: a beam search over a tool's slots.

Every stretch of the clause is used once; required slots that stay empty, and arguments of one
kind that change their usual order, cost points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from podium.inference.guided.choices import choose
from podium.inference.guided.contexts import NO_PROFILE, Profile, introduced
from podium.inference.guided.lists import collect
from podium.inference.guided.ranking import OPTIONAL_TEXT, ranked
from podium.inference.guided.slots import Slot, SlotKind
from podium.inference.guided.utterance import Utterance
from podium.inference.guided.values import Candidate

__all__ = ["Assignment", "assign"]

_BEAM = 16
_MISSING = -1.6
_OUT_OF_ORDER = -0.35
_SETTLED = {SlotKind.ENUM, SlotKind.BOOLEAN, SlotKind.OBJECT}


@dataclass(frozen=True, slots=True)
class Assignment:
    """Values for a tool's slots. `missing` names required slots without one."""

    values: Mapping[str, Any]
    places: Mapping[str, tuple[tuple[int, int], ...]]
    score: float
    missing: tuple[str, ...] = ()
    per_slot: Mapping[str, float] | None = None
    fits: Mapping[str, float] | None = None

    @property
    def stretches(self) -> list[tuple[int, int]]:
        """Return the parts of the clause that some value was taken from."""
        return [place for places in self.places.values() for place in places]


@dataclass(frozen=True, slots=True)
class _Partial:
    chosen: tuple[tuple[Slot, Candidate | None, float], ...]
    score: float

    def accepts(self, candidate: Candidate) -> bool:
        return not any(
            other is not None and other.end > other.start and candidate.overlaps(other) for _, other, _ in self.chosen
        )


def _order_penalty(
    chosen: Sequence[tuple[Slot, Candidate | None, float]], slots: Sequence[Slot], cued: Set[tuple[str, int]]
) -> float:
    """Charge pairs of one kind (start and end, from and to) that stand the other way round.

    `cued` are the places that a word like "from" or "to" introduces: those stand as they like.
    """
    placed = {slot.name: candidate for slot, candidate, _ in chosen if candidate and candidate.end > candidate.start}
    same: dict[SlotKind, list[Candidate]] = {}
    for slot in slots:
        if slot.name in placed and (slot.name, placed[slot.name].start) not in cued:
            same.setdefault(slot.kind, []).append(placed[slot.name])
    return sum(
        _OUT_OF_ORDER for group in same.values() for first, second in pairwise(group) if second.start < first.start
    )


def assign(
    slots: Sequence[Slot], profiles: Mapping[str, Profile], clause: Utterance, evidence: Mapping[str, Any]
) -> list[Assignment]:
    """Return the best ways to fill `slots` from `clause`, best first; never empty.

    `evidence` maps a slot's name to what `choices` learned of its options from the examples.
    """
    chosen, searched, lists = _choices(slots, clause, evidence)
    beam = _search(searched, profiles, clause, chosen.stretches)
    found = [_completed(slots, lists, profiles, clause, chosen=chosen, partial=partial) for partial in beam]
    found.sort(key=lambda assignment: -assignment.score)
    return found


def _choices(
    slots: Sequence[Slot], clause: Utterance, evidence: Mapping[str, Any]
) -> tuple[Assignment, list[Slot], list[Slot]]:
    """Settle what has few values or parts of its own; return it, the slots to search for, and the lists."""
    values: dict[str, Any] = {}
    places: dict[str, tuple[tuple[int, int], ...]] = {}
    points: dict[str, float] = {}
    missing: list[str] = []
    total = 0.0
    searched, lists = [slot for slot in slots if not slot.many and slot.kind not in _SETTLED], []
    for slot in slots:
        if slot.many:
            lists.append(slot)
        elif slot.kind is SlotKind.OBJECT:
            inner = assign(slot.children, {}, clause, {})[0] if slot.children else None
            if inner is not None and inner.values and (slot.required or inner.score > 1):
                values[slot.name], places[slot.name] = dict(inner.values), tuple(inner.stretches)
                total += inner.score / max(1, len(slot.children))
        elif slot.kind in _SETTLED:
            choice = choose(slot, clause, evidence.get(slot.name))
            if choice is not None:
                values[slot.name], places[slot.name], points[slot.name] = choice.value, choice.places, choice.points
                total += choice.points
            elif slot.required:
                missing.append(slot.name)
                total += _MISSING / 4
    return Assignment(values, places, total, tuple(missing), points), searched, lists


def _completed(
    slots: Sequence[Slot],
    lists: Sequence[Slot],
    profiles: Mapping[str, Profile],
    clause: Utterance,
    *,
    chosen: Assignment,
    partial: _Partial,
) -> Assignment:
    """Join what was settled, what the search found, and the lists that what is left holds."""
    taken = {slot.name: (candidate, points) for slot, candidate, points in partial.chosen if candidate is not None}
    values = {**chosen.values, **{name: candidate.value for name, (candidate, _) in taken.items()}}
    places = {
        **chosen.places,
        **{name: ((c.start, c.end),) for name, (c, _) in taken.items() if c.end > c.start},
    }
    missing = [*chosen.missing, *(slot.name for slot, c, _ in partial.chosen if c is None and slot.required)]
    total = chosen.score + partial.score
    used = [place for each in places.values() for place in each]
    for slot in lists:
        listed = collect(slot, profiles.get(slot.name) or NO_PROFILE, _without(clause, used), used)
        if listed is not None and (slot.required or listed.points > OPTIONAL_TEXT):
            values[slot.name], places[slot.name] = listed.values, listed.places
            total += listed.points
        elif slot.required:
            missing.append(slot.name)
            total += _MISSING
    ordered = {slot.name: values[slot.name] for slot in slots if slot.name in values}
    points = {**(chosen.per_slot or {}), **{name: p for name, (_, p) in taken.items()}}
    fits = {name: candidate.fit for name, (candidate, _) in taken.items()}
    return Assignment(ordered, places, total, tuple(missing), points, fits)


def _without(clause: Utterance, taken: Sequence[tuple[int, int]]) -> Utterance:
    """Return the clause without the spans that other slots took."""
    spans = tuple(s for s in clause.spans if not any(a < s.end and s.start < b for a, b in taken))
    return Utterance(clause.text, clause.words, spans, clause.leading, clause.tokens, clause.body, clause.today)


def _search(
    slots: Sequence[Slot], profiles: Mapping[str, Profile], clause: Utterance, taken: Sequence[tuple[int, int]]
) -> list[_Partial]:
    options = {slot.name: ranked(slot, profiles.get(slot.name) or NO_PROFILE, clause) for slot in slots}
    # Few candidates first: what can only be one thing should not be taken by what could be many.
    order = sorted(
        slots,
        key=lambda slot: (not slot.required, slot.kind in {SlotKind.TEXT, SlotKind.QUOTED}, len(options[slot.name])),
    )
    cued = {
        (slot.name, candidate.start)
        for slot in slots
        for candidate, _ in options[slot.name]
        if introduced(profiles.get(slot.name) or NO_PROFILE, clause.left_of(candidate.start))
    }
    beam = [_Partial((), 0.0)]
    for slot in order:
        grown: list[_Partial] = []
        for partial in beam:
            for candidate, points in options[slot.name]:
                hidden = candidate.run and any(a < candidate.end and candidate.start < b for a, b in taken)
                if partial.accepts(candidate) and not (hidden and slot.kind is not SlotKind.TEXT):
                    grown.append(_Partial((*partial.chosen, (slot, candidate, points)), partial.score + points))
            empty = _MISSING if slot.required else 0.0
            if slot.required or options[slot.name]:
                grown.append(_Partial((*partial.chosen, (slot, None, 0.0)), partial.score + empty))
            else:
                grown.append(partial)
        grown.sort(key=lambda partial: -(partial.score + _order_penalty(partial.chosen, slots, cued)))
        beam = grown[:_BEAM]
    return [_Partial(p.chosen, p.score + _order_penalty(p.chosen, slots, cued)) for p in beam]
