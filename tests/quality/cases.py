"""Requests with the calls that they ask for, and the tools that they are asked of."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from podium.orchestration.tool import ToolSpec

__all__ = ["KINDS", "OPEN_SETS", "SETS", "Case", "ExpectedCall", "evenly", "load", "packs"]

KINDS = ("single", "compound", "none", "clarify")
# Which files make up a set.
SETS: Mapping[str, tuple[str, ...]] = {
    "dev": ("dev",),
    "holdout": ("holdout",),
    "tuning": ("tuning", "tuning_b", "tuning_c", "tuning_d"),
    "test": ("unseen_a", "unseen_b"),
}
# The others' requests are nobody's to see: a planner that is improved on them measures nothing.
OPEN_SETS = frozenset({"dev", "tuning"})

_HERE = Path(__file__).parent
_RELATIVE = re.compile(r"@today([+-]\d+)?")


@dataclass(frozen=True, slots=True)
class ExpectedCall:
    """A call that a request asks for. `{"$any": [...]}` in place of a value means that each of these is right."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """A request.

    Attributes:
        request: in a person's words.
        pack: whose tools are offered.
        calls: what should be called; for `clarify` the call that is meant, as far as the request tells it.
        kind: `single` or `compound` (one call, or more), `none` (no tool is needed), or `clarify` (the
            tool is plain, and a required argument is not said).
    """

    request: str
    pack: str
    calls: tuple[ExpectedCall, ...]
    kind: str


def _dated(value: Any, today: date) -> Any:
    """Replace `@today+1` by that day, at any depth."""
    if isinstance(value, dict):
        return {key: _dated(item, today) for key, item in value.items()}
    if isinstance(value, list):
        return [_dated(item, today) for item in value]
    match = _RELATIVE.fullmatch(value) if isinstance(value, str) else None
    return (today + timedelta(days=int(match[1] or 0))).isoformat() if match else value


def _case(entry: Mapping[str, Any], today: date) -> Case:
    calls = tuple(ExpectedCall(call["tool"], _dated(call["arguments"], today)) for call in entry["calls"])
    kind = entry.get("kind") or ("none", "single", "compound")[min(len(calls), 2)]
    if kind not in KINDS:
        raise ValueError(f"a request of pack {entry['pack']} is of kind {kind!r}; there are {', '.join(KINDS)}")
    return Case(entry["request"], entry["pack"], calls, kind)


def load(name: str, today: date, *, folder: Path = _HERE) -> list[Case]:
    """Read a set of `SETS`; relative dates in it are counted from `today`.

    Raises:
        KeyError: there is no such set.
        FileNotFoundError: a file of it is missing.
        ValueError: a line is no case.
    """
    lines = [line for file in SETS[name] for line in (folder / f"{file}.jsonl").read_text("utf-8").splitlines()]
    return [_case(json.loads(line), today) for line in lines if line.strip()]


def evenly(cases: Sequence[Case], most: int) -> list[Case]:
    """Return at most so many of the cases, spread over the whole so that every pack and kind has its share."""
    if len(cases) <= most:
        return list(cases)
    ordered = sorted(cases, key=lambda case: (KINDS.index(case.kind), case.pack))
    return [ordered[index * len(ordered) // most] for index in range(most)]


def packs() -> dict[str, Sequence[ToolSpec]]:
    """Return the tools of each pack: the shipped one, and the invented ones, those of `packs/` by their file names."""
    import quality.packs
    from podium.tools import ToolRegistry
    from quality.core_pack import core_specs

    found: dict[str, Sequence[ToolSpec]] = {"core": core_specs(lambda: datetime.now(UTC))}
    modules = {name: f"quality.{name}_pack" for name in ("second", "third", "fourth")}
    modules |= {entry.name: f"quality.packs.{entry.name}" for entry in pkgutil.iter_modules(quality.packs.__path__)}
    for name, module in modules.items():
        importlib.import_module(module)
        registry = ToolRegistry()
        registry.add_module(module)
        found[name] = registry.list()
    return found
