"""Scores: how many requests and calls a model plans exactly right."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podium.orchestration.tool import ToolFailure, ToolSpec
from quality.cases import Case

__all__ = ["Outcome", "canonical", "matched", "summarise"]

Call = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a model did with one case. `seconds` is the time to the last sealed call or the first word."""

    case: Case
    calls: tuple[tuple[str, Mapping[str, Any]], ...]
    seconds: float
    error: str = ""


def canonical(spec: ToolSpec | None, arguments: Mapping[str, Any]) -> str:
    """Return arguments in the tool's canonical form, as text that can be compared."""
    values = dict(arguments)
    if spec is not None:
        for name, part in spec.input_schema.get("properties", {}).items():
            if "default" in part:
                values.setdefault(name, part["default"])
    if spec is not None and spec.normalise is not None:
        try:
            values = spec.normalise(values)
        except ToolFailure:
            values = {"refused": values}
    return json.dumps(values, sort_keys=True, default=str, ensure_ascii=False)


def _calls(calls: Sequence[tuple[str, Mapping[str, Any]]], specs: Mapping[str, ToolSpec]) -> list[Call]:
    return [(tool, canonical(specs.get(tool), arguments)) for tool, arguments in calls]


def matched(outcome: Outcome, specs: Mapping[str, ToolSpec]) -> tuple[int, int, int]:
    """Return `(exact, right tool, expected)` of a case's calls; order does not matter, each counts once."""
    wanted = _calls([(call.tool, call.arguments) for call in outcome.case.calls], specs)
    made = _calls(outcome.calls, specs)
    exact = tools = 0
    left, names = list(made), [tool for tool, _ in made]
    for call in wanted:
        if call in left:
            left.remove(call)
            exact += 1
        if call[0] in names:
            names.remove(call[0])
            tools += 1
    return exact, tools, len(wanted)


def _share(part: float, whole: float) -> float | None:
    """Return a share, or None of nothing."""
    return round(part / whole, 3) if whole else None


def summarise(outcomes: Sequence[Outcome], specs: Mapping[str, Mapping[str, ToolSpec]]) -> dict[str, Any]:
    """Return the figures of a set of outcomes.

    `request_exact` counts requests with exactly the right calls and no other (for `none`: no call);
    `call_exact` counts expected calls made exactly, `tool` those of the right tool.
    """
    exact = tools = expected = surplus = perfect = 0
    by_kind: dict[str, list[bool]] = {"single": [], "compound": [], "none": []}
    none_said = none_right = 0
    for outcome in outcomes:
        right, named, wanted = matched(outcome, specs[outcome.case.pack])
        exact, tools, expected = exact + right, tools + named, expected + wanted
        surplus += max(0, len(outcome.calls) - wanted)
        whole = right == wanted == len(outcome.calls) and not outcome.error
        perfect += whole
        by_kind[outcome.case.kind].append(whole)
        none_said += not outcome.calls
        none_right += not outcome.calls and outcome.case.kind == "none"
    seconds = sorted(outcome.seconds for outcome in outcomes)
    return {
        "requests": len(outcomes),
        "request_exact": _share(perfect, len(outcomes)),
        "call_exact": _share(exact, expected),
        "tool": _share(tools, expected),
        "surplus_calls": surplus,
        **{f"{kind}_exact": _share(sum(results), len(results)) for kind, results in by_kind.items()},
        "none_precision": _share(none_right, none_said),
        "none_recall": _share(none_right, len(by_kind["none"])),
        "p50_ms": round(1000 * seconds[len(seconds) // 2], 1) if seconds else 0.0,
        "p95_ms": round(1000 * seconds[int(len(seconds) * 0.95)], 1) if seconds else 0.0,
    }
