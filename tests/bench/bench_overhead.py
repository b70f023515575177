"""What a run costs, whatever its tools do: one run of eight calls, and how the cost grows with the calls (E1, E4).

**One run.** Turn 1 makes 8 calls of a tool that returns at once, turn 2 says "done"; the upstream takes no time. One
run at a time, then 16 at a time.

**Width.** One turn with 1, 8, 64 and 512 calls of that tool. What counts is processor time, not latency.

Run `make bench-overhead`. The last line of output is one JSON object; report and picture are saved under
docs/benchmarks/.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bench.report import FOLDER, save
from bench.rig.measure import Rig
from bench.rig.session import Result, Session, print_figures, ready_made_parser
from bench.rig.systems import SYSTEMS

IN_FLIGHT = 16
WIDTHS = {1: 60, 8: 60, 64: 20, 512: 4}
TARGETS = {"podium_inprocess": 12.0, "podium_grpc": 14.0}
SLOPE_TARGET = 0.4


def measured(session: Session, rig: Rig, system: str, repetition: int, arguments: argparse.Namespace) -> list[Result]:
    found = []
    with rig.start(system) as running:
        session.note(running)
        rig.warm_up(running)

        def keep(script: str, how: str, rounds: int, *, batch: int, in_flight: int = 1) -> None:
            samples = rig.measure(running, script, rounds, batch=batch, in_flight=in_flight)
            found.append(Result(system, script, repetition, samples, running.memory_mb(), how))

        keep("fan-8", "one", arguments.rounds, batch=10)
        keep("fan-8", "sixteen", arguments.rounds, batch=4 * IN_FLIGHT, in_flight=IN_FLIGHT)
        for width, rounds in WIDTHS.items():
            try:
                rig.warm_up(running, f"fan-{width}", 2)
            except RuntimeError as error:
                session.failures[f"{system}, {width} calls"] = str(error)
                continue
            some = max(2, rounds // 10) if arguments.quick else rounds
            keep(f"fan-{width}", "width", some, batch=max(1, rounds // 6))
    return found


def summary(session: Session) -> dict[str, Any]:
    systems = {}
    for system in session.measured:
        one, many = session.summary(system, "fan-8", "one"), session.summary(system, "fan-8", "sixteen")
        widths = {str(n): session.summary(system, f"fan-{n}", "width")["cpu_median_ms"] or None for n in WIDTHS}
        systems[system] = {
            "cpu_ms_per_run": one["cpu_median_ms"],
            "wall_median_ms": one["wall_median_ms"],
            "wall_p95_ms": one["wall_p95_ms"],
            "cpu_ms_per_run_16": many["cpu_median_ms"],
            "runs_per_second_16": many["runs_per_second"],
            "peak_rss_mb": max(session.summary(system, f"fan-{n}", "width")["peak_rss_mb"] for n in WIDTHS),
            "failed": one["failed"] + many["failed"],
            "cpu_ms_by_width": widths,
            "slope_ms_per_call": _slope(widths),
        }
    return {"systems": systems, "targets": {**TARGETS, "slope_ms_per_call": SLOPE_TARGET}, **session.common()}


def _slope(widths: dict[str, float | None]) -> float | None:
    wide, narrow = widths["512"], widths["8"]
    return round((wide - narrow) / 504, 3) if wide and narrow else None


def picture(figures: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
    for index, (name, one) in enumerate(figures["systems"].items()):
        kind = SYSTEMS[name]
        bar = left.bar(index, one["cpu_ms_per_run"], color=kind.colour, width=0.62)
        left.bar_label(bar, fmt="%.1f", fontsize=8, padding=2)
        widths = {int(n): used for n, used in one["cpu_ms_by_width"].items() if used}
        right.plot([*widths], [*widths.values()], "o-", color=kind.colour, label=kind.title)
    left.set_xticks(range(len(figures["systems"])), [SYSTEMS[n].label for n in figures["systems"]], fontsize=7)
    left.set_title("CPU of a run of 8 calls, ms", fontsize=10)
    right.set_title("CPU of a run by its calls, ms", fontsize=10)
    right.set_xscale("log", base=2)
    right.set_yscale("log")
    right.set_xticks(list(WIDTHS), [str(n) for n in WIDTHS])
    right.set_xlabel("calls in one turn")
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def paragraphs(session: Session, figures: dict[str, Any]) -> list[str]:
    systems = figures["systems"]
    rows = "\n".join(
        f"| {SYSTEMS[name].title} | {one['cpu_ms_per_run']} | {one['wall_median_ms']} | "
        f"{one['wall_p95_ms']} | {one['cpu_ms_per_run_16']} | {one['runs_per_second_16']} | {one['peak_rss_mb']} |"
        for name, one in systems.items()
    )
    widths = "\n".join(
        f"| {SYSTEMS[name].title} | "
        + " | ".join(str(one["cpu_ms_by_width"][str(n)] or "-") for n in WIDTHS)
        + f" | {one['slope_ms_per_call'] or '-'} |"
        for name, one in systems.items()
    )
    targets = ", ".join(
        f"{SYSTEMS[name].title} {systems[name]['cpu_ms_per_run']} ms (target at most {target:g})"
        for name, target in TARGETS.items()
        if name in systems
    )
    return [
        *(__doc__ or "").strip().split("\n\n")[1:3],
        f"**Processor time of a run: {targets}.**" if targets else "Podium was not measured in this run.",
        "| system | CPU, ms a run | wall median, ms | p95 | CPU at 16 at a time | runs/s at 16 | peak RSS, MB |\n"
        f"|---|---|---|---|---|---|---|\n{rows}",
        f"Processor time by width, ms a run; slope from 8 to 512 calls, ms a call (target at most {SLOPE_TARGET}):",
        f"| system | 1 | 8 | 64 | 512 | slope |\n|---|---|---|---|---|---|\n{widths}",
        *session.paragraphs(),
    ]


def main() -> None:
    arguments = ready_made_parser("Measure the fixed cost of a run and of a call.", rounds=300).parse_args()
    if arguments.quick:
        arguments.rounds = min(arguments.rounds, 20)
    session = Session(arguments)
    session.run(lambda rig, system, repetition: measured(session, rig, system, repetition, arguments))
    figures = summary(session)
    if arguments.quick:
        print_figures(figures)
        return
    picture(figures, FOLDER / "overhead.png")
    save("overhead", "What a run costs", paragraphs(session, figures), figures, picture=True)


if __name__ == "__main__":
    main()
