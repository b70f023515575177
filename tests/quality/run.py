"""Measures planning: `python -m quality.run` (with `tests/` and `service/` on the path), or `make quality`.

Each model is asked every request of each set, and one report puts them side by side. Misses are shown
for the development sets only, when asked for; of the others nothing but figures leaves this program.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from podium.errors import PodiumError
from podium.orchestration.tool import ToolSpec
from podium.settings import SettingsError
from quality.canonical import canonical
from quality.cases import OPEN_SETS, SETS, evenly, load, packs
from quality.curves import judged_calls, latency, reliability
from quality.harness import ask_all
from quality.models import MODELS, opened
from quality.report import headline, write_report
from quality.scoring import Outcome, Specs, match, right, summarise

_REPORTS = Path(__file__).parents[2] / "docs" / "benchmarks"
_EPILOG = "Models: " + "; ".join(f"{name}: {what}" for name, what in MODELS.items()) + "; or FILE.toml:NAME."


def _show_miss(console: Console, outcome: Outcome, specs: Specs) -> None:
    lines = [f"# {outcome.case.kind}, {outcome.case.pack}: {outcome.case.request}"]
    lines += [f"  want {c.tool} {canonical(specs.get(c.tool), c.arguments)}" for c in outcome.case.calls]
    lines += [f"  got  {c.tool} {json.dumps(c.arguments, ensure_ascii=False)}" for c in outcome.calls]
    lines += [f"  error {outcome.error}"] if outcome.error else []
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _advance(progress: Progress, task: TaskID, outcome: Outcome) -> None:
    progress.advance(task)


class _Run:
    """One run over models and sets."""

    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        self._options = options
        self._console = console
        self._packs: dict[str, Sequence[ToolSpec]] = packs()
        self._specs = {pack: {spec.name: spec for spec in tools} for pack, tools in self._packs.items()}

    async def measure(self, name: str, progress: Progress) -> tuple[str, dict[str, Any]]:
        """Return a model's heading and its figures."""
        async with opened(name, self._packs["core"]) as contender:
            figures: dict[str, Any] = {"detail": contender.detail, "sets": {}}
            for set_name in self._options.sets:
                # A run may go on past midnight: "tomorrow" is counted when it is asked.
                today = datetime.now(UTC).date()
                cases = evenly(load(set_name, today), self._options.limit or sys.maxsize)
                task = progress.add_task(f"{contender.name}: {set_name}", total=len(cases))
                outcomes = await ask_all(contender, cases, self._packs, today, done=partial(_advance, progress, task))
                figures["sets"][set_name] = self._figures(outcomes)
                if self._options.misses and set_name in OPEN_SETS:
                    self._show_misses(outcomes)
        return contender.name, figures

    def _figures(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        by_pack: dict[str, list[Outcome]] = {}
        for outcome in outcomes:
            by_pack.setdefault(outcome.case.pack, []).append(outcome)
        return {
            "all": summarise(outcomes, self._specs),
            "packs": {pack: summarise(part, self._specs) for pack, part in sorted(by_pack.items())},
            "reliability": reliability(judged_calls(outcomes, self._specs)),
            "first_call_ms": latency(outcomes),
        }

    def _show_misses(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            specs = self._specs[outcome.case.pack]
            if not right(outcome, match(outcome, specs)):
                _show_miss(self._console, outcome, specs)


async def _measure_all(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    run = _Run(options, console)
    models: dict[str, Any] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        for name in options.model:
            heading, figures = await run.measure(name, progress)
            models[heading] = figures
            # What took long to measure is kept, whatever becomes of the models after it.
            _write(options, models)
    return models


def _added(files: Sequence[Path]) -> dict[str, Any]:
    """Return the models of earlier runs' figures."""
    return {name: figures for file in files for name, figures in json.loads(file.read_text("utf-8"))["models"].items()}


def _write(options: argparse.Namespace, models: Mapping[str, Any]) -> None:
    folder = options.out or (None if options.limit else _REPORTS)
    if folder is not None and not options.no_report:
        write_report({**models, **_added(options.add)}, folder, limit=options.limit)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, epilog=_EPILOG)
    parser.add_argument(
        "--model", nargs="+", default=["embedded"], metavar="MODEL", help="models to measure (default: embedded)"
    )
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS), help="sets to ask (default: all)")
    parser.add_argument("--limit", type=int, metavar="N", help="ask N requests of each set; writes no report by itself")
    parser.add_argument("--misses", action="store_true", help="show what went wrong in the development sets")
    parser.add_argument("--add", nargs="+", type=Path, default=[], metavar="FILE", help="add models of a quality.json")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the report goes (default: docs/benchmarks)")
    parser.add_argument("--no-report", action="store_true", help="write nothing")
    options = parser.parse_args()
    if options.limit is not None and options.limit < 1:
        parser.error("--limit is at least 1")
    return options


def main() -> None:
    """Run the sets, write the report, print the figures."""
    options, console = _options(), Console(stderr=True)
    try:
        models = asyncio.run(_measure_all(options, console))
    except (PodiumError, SettingsError, ValueError, OSError) as problem:
        sys.exit(f"quality: {getattr(problem, 'message', problem)}")
    console.print(headline(models), markup=False, highlight=False, soft_wrap=True)
    sets = {name: {part: found["all"] for part, found in model["sets"].items()} for name, model in models.items()}
    print(json.dumps({"benchmark": "quality", **sets}))


if __name__ == "__main__":
    main()
