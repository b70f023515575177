"""Measures planning: `python -m quality.run` (with `tests/` and `service/` on the path), or `make quality`.

Prints the misses of the development set when asked to, never those of the held-out set. The last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quality.cases import load, packs
from quality.harness import ask_all, embedded_model
from quality.report import write_report
from quality.scoring import Outcome, canonical, matched, summarise

_REPORTS = Path(__file__).parents[2] / "docs" / "benchmarks"


def _miss(outcome: Outcome, specs: dict[str, Any]) -> str:
    lines = [f"# {outcome.case.request}"]
    lines += [f"  want {c.tool} {canonical(specs.get(c.tool), c.arguments)}" for c in outcome.case.calls]
    lines += [f"  got  {tool} {json.dumps(values, ensure_ascii=False)}" for tool, values in outcome.calls]
    return "\n".join([*lines, f"  error {outcome.error}"] if outcome.error else lines)


async def _run(names: list[str], show_misses: bool) -> dict[str, dict[str, Any]]:
    offered = packs()
    specs = {name: {spec.name: spec for spec in tools} for name, tools in offered.items()}
    today = datetime.now(UTC).date()
    results: dict[str, dict[str, Any]] = {}
    async with embedded_model(offered["core"]) as model:
        for name in names:
            outcomes = await ask_all(model, load(name, today), offered)
            by_pack: dict[str, list[Outcome]] = {}
            for outcome in outcomes:
                by_pack.setdefault(outcome.case.pack, []).append(outcome)
                right, _, wanted = matched(outcome, specs[outcome.case.pack])
                if show_misses and name == "dev" and not right == wanted == len(outcome.calls):
                    print(_miss(outcome, specs[outcome.case.pack]))
            results[name] = {
                "all": summarise(outcomes, specs),
                "packs": {pack: summarise(part, specs) for pack, part in sorted(by_pack.items())},
            }
    return results


def main() -> None:
    """Run the sets, write the report, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=["dev", "holdout"], choices=["dev", "holdout"])
    parser.add_argument("--misses", action="store_true", help="print what went wrong in the development set")
    parser.add_argument("--no-report", action="store_true")
    options = parser.parse_args()
    results = asyncio.run(_run(options.sets, options.misses))
    if not options.no_report:
        write_report(results, "SmolLM2-135M-Instruct, Q8_0, OpenVINO", _REPORTS)
    print(json.dumps({"benchmark": "quality", **{name: result["all"] for name, result in results.items()}}))


if __name__ == "__main__":
    main()
