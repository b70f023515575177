"""Which of the calls that the model wrote are made: those that do not take each other's words.

The model is asked about each tool by itself, and says yes to near neighbours (`book`, `move`) of the
one that is meant. They then copy the same words. So the tool with the best odds is heard first, and
another one only where the request has room for two wishes and it has words of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from podium.inference.guided.clauses import split
from podium.inference.guided.utterance import Utterance
from podium.inference.planner.lines import Line
from podium.inference.planner.settling import Place, Settled, moved, overlap
from podium.inference.planner.shown import ShownTool

__all__ = ["Candidate", "Proposal", "chosen", "clauses"]

# A sentence, or what a joining word begins, may be another wish; behind a comma there seldom is one.
_JOINT = 2
# A call that takes no words of the request has only its odds to speak for it.
_SURE_WITHOUT_WORDS = 3.0
# With such odds in every clause, each is a wish of its own.
_A_WISH = 3.0
# What a lacking required value takes from the log-odds; fitted on the tuning set beside the odds themselves.
_LACKING = 2.0
# A call that the model was sure of as a whole is likelier meant; this share of its log-probability counts.
_WRITTEN = 0.6
_LEAST_SURE = 1e-4


@dataclass(frozen=True, slots=True)
class Proposal:
    """A line that the model wrote about a tool.

    Attributes:
        shown: the tool.
        line: what was written.
        odds: the tool's joint log-odds.
        clause: the part of the request that the model was shown, taken apart.
        start: where that begins in the request.
    """

    shown: ShownTool
    line: Line
    odds: float
    clause: Utterance
    start: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A proposal with its copies put right; `lacks` counts the required values that it has not."""

    proposal: Proposal
    settled: Settled
    lacks: int

    @property
    def odds(self) -> float:
        """The log-odds of its tool, less what is lacking and what the model was unsure of."""
        sure = 1.0 if self.proposal.line.sure is None else max(self.proposal.line.sure, _LEAST_SURE)
        return self.proposal.odds - _LACKING * min(self.lacks, 2) + _WRITTEN * math.log(sure)

    @property
    def stretches(self) -> list[Place]:
        """What it takes from the request."""
        return moved(self.settled.stretches, self.proposal.start)


def chosen(candidates: Sequence[Candidate], request: Utterance) -> list[Candidate]:
    """Return the calls to make, in the order in which the request has their words."""
    if each := _clause_by_clause(candidates, request):
        return _in_order(each, request)
    joints = len(clauses(request)) > 1
    kept: list[Candidate] = []
    taken: list[Place] = []
    for tool in _by_odds(candidates):
        mine = [one for one in tool if not kept or (joints and _has_own_words(one, taken))]
        kept += mine
        taken += [stretch for one in mine for stretch in one.stretches]
    return _in_order(kept, request)


def _clause_by_clause(candidates: Sequence[Candidate], request: Utterance) -> list[Candidate]:
    """Return the likeliest tool's calls for each clause; none unless every clause has a likely one."""
    parts = clauses(request)
    if len(parts) == 1:
        return []
    found: list[Candidate] = []
    for start, end in parts:
        mine = [
            one
            for one in candidates
            if (one.proposal.start, one.proposal.clause.text) == (start, request.text[start:end])
        ]
        best = next(iter(_by_odds(mine)), ())
        if max((one.odds for one in best), default=-math.inf) < _A_WISH:
            return []
        found += best
    return found


def _in_order(candidates: Sequence[Candidate], request: Utterance) -> list[Candidate]:
    return sorted(candidates, key=lambda one: min(one.stretches, default=(len(request.text), 0)))


def clauses(request: Utterance) -> list[Place]:
    """Return the parts of a request that may be wishes of their own; all of it when it has no joints."""
    found: list[Place] = []
    for piece in split(request.text, request.spans):
        if not found or piece.strength >= _JOINT:
            found.append((piece.start, piece.end))
        else:
            found[-1] = (found[-1][0], piece.end)
    return found


def _by_odds(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Return each tool's candidates, the likeliest tool first."""
    tools: dict[tuple[str, Utterance], list[Candidate]] = {}
    for candidate in candidates:
        tools.setdefault((candidate.proposal.shown.name, candidate.proposal.clause), []).append(candidate)
    return sorted(tools.values(), key=lambda ones: -max(one.odds for one in ones))


def _has_own_words(one: Candidate, taken: Sequence[Place]) -> bool:
    stretches = one.stretches
    if one.odds < 0 or not stretches:
        return one.odds > _SURE_WITHOUT_WORDS
    return 2 * sum(overlap(stretch, taken) for stretch in stretches) < len(stretches)
