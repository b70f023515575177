"""Requests with the calls that they ask for, and the tools that they are asked of."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from podium.orchestration.tool import ToolSpec

__all__ = ["Case", "ExpectedCall", "load", "packs"]

_HERE = Path(__file__).parent
_RELATIVE = re.compile(r"@today([+-]\d+)?")


@dataclass(frozen=True, slots=True)
class ExpectedCall:
    """A call that a request asks for."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """A request, the pack whose tools are offered, and what should be called (nothing, when no tool is needed)."""

    request: str
    pack: str
    calls: tuple[ExpectedCall, ...]

    @property
    def kind(self) -> str:
        """`none`, `single` or `compound`."""
        return ("none", "single", "compound")[min(len(self.calls), 2)]


def _dated(value: Any, today: date) -> Any:
    """Replace `@today+1` by that day."""
    match = _RELATIVE.fullmatch(value) if isinstance(value, str) else None
    return (today + timedelta(days=int(match[1] or 0))).isoformat() if match else value


def load(name: str, today: date) -> list[Case]:
    """Read `dev` or `holdout`; relative dates in it are counted from `today`."""
    cases = []
    for line in (_HERE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        calls = tuple(
            ExpectedCall(call["tool"], {key: _dated(value, today) for key, value in call["arguments"].items()})
            for call in entry["calls"]
        )
        cases.append(Case(entry["request"], entry["pack"], calls))
    return cases


def packs() -> dict[str, Sequence[ToolSpec]]:
    """Return the tools of each pack: the shipped one, and the invented ones."""
    from podium.tools import ToolRegistry
    from quality import fourth_pack, second_pack, third_pack
    from quality.core_pack import core_specs

    found: dict[str, Sequence[ToolSpec]] = {"core": core_specs(lambda: datetime.now(UTC))}
    for name, module in (("second", second_pack), ("third", third_pack), ("fourth", fourth_pack)):
        registry = ToolRegistry()
        registry.add_module(module.__name__)
        found[name] = registry.list()
    return found
