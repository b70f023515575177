"""Candidates of a slot in the order of how well form and surroundings suit it."""

from __future__ import annotations

from podium.inference.guided.candidates import candidates_for
from podium.inference.guided.contexts import Profile, score
from podium.inference.guided.slots import Slot, SlotKind
from podium.inference.guided.utterance import Utterance
from podium.inference.guided.values import Candidate

__all__ = ["OPTIONAL_TEXT", "ranked"]

# An optional argument is given only on evidence: form alone does not carry it over this.
_OPTIONAL_TYPED = 1.5
OPTIONAL_TEXT = 1.3


def ranked(slot: Slot, profile: Profile, clause: Utterance, most: int = 7) -> list[tuple[Candidate, float]]:
    """Return the `most` likeliest candidates with their points; for an optional slot only on evidence."""
    scored = [
        (candidate, candidate.fit + score(slot, profile, candidate, clause))
        for candidate in candidates_for(slot, clause)
    ]
    scored.sort(key=lambda pair: (-pair[1], pair[0].start))
    if not slot.required and not slot.many:
        floor = OPTIONAL_TEXT if slot.kind in {SlotKind.TEXT, SlotKind.NAME, SlotKind.PLACE} else _OPTIONAL_TYPED
        if slot.kind in {SlotKind.DATE, SlotKind.TIME, SlotKind.URL, SlotKind.PATH, SlotKind.EMAIL}:
            floor = 1.0  # these are unmistakable by their form
        scored = [pair for pair in scored if pair[1] >= floor]
    return scored[:most]
