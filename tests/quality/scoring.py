"""Scores: how many requests and calls a model plans exactly right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from podium.orchestration.tool import ToolSpec
from quality.canonical import alternatives, canonical, named_references
from quality.cases import KINDS, Case

__all__ = ["ASK", "MadeCall", "Match", "Outcome", "match", "percentile", "right", "share", "summarise"]

ASK = "ask_user"
_RESAMPLES = 1000

Specs = Mapping[str, ToolSpec]


@dataclass(frozen=True, slots=True)
class MadeCall:
    """A call that a model made.

    Attributes:
        tool, arguments: what it calls.
        provider_id: the model's name for the call, or "".
        confidence: how sure the model is that the call is right, 0 to 1; None when it does not say.
        seconds: from the request until the call was sealed.
    """

    tool: str
    arguments: Mapping[str, Any]
    provider_id: str = ""
    confidence: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a model did with one case.

    Attributes:
        case: what was asked.
        calls: in the order of sealing.
        first_word: seconds until the first word of text; None without text.
        error: why the turn failed, or "".
    """

    case: Case
    calls: tuple[MadeCall, ...] = ()
    first_word: float | None = None
    error: str = ""

    @property
    def declined(self) -> bool:
        """Whether the model answered, and without any call."""
        return not self.calls and not self.error


@dataclass(frozen=True, slots=True)
class Match:
    """How a case's calls fit: order does not matter, and each counts once.

    Attributes:
        exact: which of the made calls, by index, are exactly one that was asked for.
        tools: expected calls whose tool was called.
        wanted, made: how many calls were expected, and made.
    """

    exact: frozenset[int] = field(default_factory=frozenset)
    tools: int = 0
    wanted: int = 0
    made: int = 0

    @property
    def whole(self) -> bool:
        """Whether no call is missing, wrong or too many."""
        return len(self.exact) == self.wanted == self.made


def match(outcome: Outcome, specs: Specs) -> Match:
    """Compare the made calls with the expected ones."""
    named = [call.tool for call in outcome.calls]
    ids = [call.provider_id for call in outcome.calls]
    expected_tools = [call.tool for call in outcome.case.calls]
    made = [(c.tool, canonical(specs.get(c.tool), named_references(c.arguments, ids, named))) for c in outcome.calls]
    wanted = [
        {
            (call.tool, canonical(specs.get(call.tool), named_references(arguments, (), expected_tools)))
            for arguments in alternatives(call.arguments)
        }
        for call in outcome.case.calls
    ]
    tools = (Counter(named) & Counter(expected_tools)).total()
    return Match(frozenset(_paired(made, wanted)), tools, len(wanted), len(made))


def _paired(made: Sequence[tuple[str, str]], wanted: Sequence[set[tuple[str, str]]]) -> set[int]:
    """Return the made calls of a largest pairing: two expected calls may allow the same call."""
    taken_by: dict[int, int] = {}

    def pair(want: int, tried: set[int]) -> bool:
        for index, call in enumerate(made):
            if call in wanted[want] and index not in tried:
                tried.add(index)
                if index not in taken_by or pair(taken_by[index], tried):
                    taken_by[index] = want
                    return True
        return False

    for want in range(len(wanted)):
        pair(want, set())
    return set(taken_by)


def right(outcome: Outcome, found: Match) -> bool:
    """Say whether a request was handled entirely right.

    A request that leaves a required argument unsaid is, when the model asks back (by `ask_user`, or in
    words without a call), or makes the expected call with just the arguments that were said.
    """
    if outcome.error:
        return False
    if outcome.case.kind != "clarify":
        return found.whole
    if not outcome.calls:
        return outcome.first_word is not None
    asked = all(call.tool == ASK for call in outcome.calls)
    return asked or found.whole


def share(part: float, whole: float) -> float | None:
    """Return a share to three digits, or None of nothing."""
    return round(part / whole, 3) if whole else None


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return a percentile of seconds, in milliseconds; None of nothing."""
    return round(1000 * float(np.percentile(values, percent)), 1) if values else None


def _interval(exact: Sequence[int], expected: Sequence[int]) -> list[float] | None:
    """Return where the share lies in 95 of 100 sets of other such requests (bootstrap over requests).

    None where all or none are right: resampling cannot tell then.
    """
    if not 0 < sum(exact) < sum(expected):
        return None
    parts, wholes = np.asarray(exact), np.asarray(expected)
    picks = np.random.default_rng(7).integers(0, len(parts), (_RESAMPLES, len(parts)))
    sums = np.maximum(wholes[picks].sum(axis=1), 1)
    low, high = np.percentile(parts[picks].sum(axis=1) / sums, (2.5, 97.5))
    return [round(float(low), 3), round(float(high), 3)]


def summarise(outcomes: Sequence[Outcome], specs: Mapping[str, Specs]) -> dict[str, Any]:
    """Return the figures of a set of outcomes; `specs` are the tools by pack and name.

    `call_exact` counts expected calls made exactly and `tool` those of the right tool, `request_exact`
    requests with exactly the right calls and no other: all three over single, compound and none. What
    leaves an argument unsaid counts in `clarify_exact` only, of which `clarify_call` are by the
    incomplete call. `none_precision` is how many of the answers without a call should have had none.
    """
    matches = [match(outcome, specs[outcome.case.pack]) for outcome in outcomes]
    rows = [(o, m, right(o, m)) for o, m in zip(outcomes, matches, strict=True)]
    by_kind = {kind: [row for row in rows if row[0].case.kind == kind] for kind in KINDS}
    calling, clear = by_kind["single"] + by_kind["compound"], [row for row in rows if row[0].case.kind != "clarify"]
    exact, wanted = [len(m.exact) for _, m, _ in calling], [m.wanted for _, m, _ in calling]
    declined = sum(outcome.declined for outcome, _, _ in clear)
    return {
        "requests": len(outcomes),
        "kinds": {kind: len(part) for kind, part in by_kind.items()},
        "call_exact": share(sum(exact), sum(wanted)),
        "call_exact_95": _interval(exact, wanted),
        "tool": share(sum(m.tools for _, m, _ in calling), sum(wanted)),
        "request_exact": _right_share(clear),
        "single_exact": _right_share(by_kind["single"]),
        "compound_exact": _right_share(by_kind["compound"]),
        "compound_call_exact": share(
            sum(len(m.exact) for _, m, _ in by_kind["compound"]), sum(m.wanted for _, m, _ in by_kind["compound"])
        ),
        "none_precision": share(sum(outcome.declined for outcome, _, _ in by_kind["none"]), declined),
        "none_recall": _right_share(by_kind["none"]),
        "clarify_exact": _right_share(by_kind["clarify"]),
        "clarify_call": share(sum(m.whole for _, m, _ in by_kind["clarify"]), len(by_kind["clarify"])),
        "surplus_calls": sum(max(0, m.made - m.wanted) for _, m, _ in clear),
        "errors": sum(bool(outcome.error) for outcome in outcomes),
        **_times(outcomes),
    }


def _right_share(rows: Sequence[tuple[Outcome, Match, bool]]) -> float | None:
    return share(sum(good for _, _, good in rows), len(rows))


def _times(outcomes: Sequence[Outcome]) -> dict[str, float | None]:
    calling = [outcome.calls for outcome in outcomes if outcome.calls]
    times = {
        "first_call": [calls[0].seconds for calls in calling],
        "last_call": [calls[-1].seconds for calls in calling],
        "first_word": [o.first_word for o in outcomes if o.declined and o.first_word is not None],
    }
    return {f"{name}_p{n}_ms": percentile(values, n) for name, values in times.items() for n in (50, 95)}
