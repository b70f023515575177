"""How much of the tools' time is hidden behind the model's turn (E2).

The first token comes after 100 ms; then 8 calls, each streamed over 50 ms, so call k is complete 150 + 50k ms after the
request and the turn ends at 500 ms. Tool 0 works 600 ms, the others 20 ms; the second turn takes 200 ms. A system that
starts a call once it is complete ends after {with_overlap:g} ms at best, one that waits for the end of the turn after
{without:g} ms.

Run `make bench-overlap`. The last line of output is one JSON object; report and picture are saved under
docs/benchmarks/.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.report import FOLDER, save
from bench.rig.measure import Rig
from bench.rig.session import Result, Session, median, print_figures, ready_made_parser, share
from bench.rig.systems import SYSTEMS
from bench.rig.workloads import overlap_ideal, script

SCRIPT = "overlap"
TARGET_MS = 975.0
IDEAL, IDEAL_WITHOUT = overlap_ideal(overlapping=True), overlap_ideal(overlapping=False)


def measured(session: Session, rig: Rig, system: str, repetition: int, rounds: int) -> list[Result]:
    with rig.start(system, script=SCRIPT, tool_log=True) as running:
        session.note(running)
        rig.warm_up(running)
        samples = rig.measure(running, SCRIPT, rounds)
        starts = [start_after_sealing(one) for one in samples.rounds]
        extra = {"start_after_sealing_ms": [round(one, 2) for one in starts if one is not None]}
        return [Result(system, SCRIPT, repetition, samples, running.memory_mb(), extra=extra)]


def start_after_sealing(one: dict[str, Any]) -> float | None:
    """Return the time from the chunk that completes call 0 to the start of its tool."""
    begun = [when for what, index, when in one["tools"] if what == "begin" and index == 0]
    if not begun or not one["requests"]:
        return None
    return float(begun[0] - one["requests"][0]["sealed_ns"][0]) / 1e6


def lanes(one: dict[str, Any]) -> dict[str, Any]:
    """Return one round as bars from its start, in ms: model turns and tools."""
    zero = one["start_ns"]
    ends = {index: when for what, index, when in one["tools"] if what == "end"}
    return {
        "turns": [[(r["arrived_ns"] - zero) / 1e6, (r["end_ns"] - zero) / 1e6] for r in one["requests"]],
        "tools": [
            [index, (when - zero) / 1e6, (ends.get(index, one["end_ns"]) - zero) / 1e6]
            for what, index, when in one["tools"]
            if what == "begin"
        ],
        "end": (one["end_ns"] - zero) / 1e6,
    }


def typical(results: list[Result]) -> dict[str, Any]:
    """Return the round whose wall time is the median, as bars."""
    rounds = sorted(
        (one for result in results for one in result.samples.rounds), key=lambda r: r["end_ns"] - r["start_ns"]
    )
    return lanes(rounds[len(rounds) // 2])


def summary(session: Session) -> dict[str, Any]:
    systems = {}
    for system in session.measured:
        results = session.of(system)
        starts = [start for one in results for start in one.extra["start_after_sealing_ms"]]
        systems[system] = {
            **session.summary(system, SCRIPT),
            "start_after_sealing_median_ms": median(starts),
            "start_after_sealing_p95_ms": share(starts, 0.95),
        }
    return {
        "ideal_ms": IDEAL,
        "ideal_without_overlap_ms": IDEAL_WITHOUT,
        "target_ms": TARGET_MS,
        "systems": systems,
        "typical": [{"system": system, **typical(session.of(system))} for system in session.measured],
        **session.common(),
    }


def picture(figures: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rounds = figures["typical"]
    figure, axes = plt.subplots(
        len(rounds), 1, figsize=(8, 1.35 * len(rounds) + 0.6), sharex=True, layout="constrained", squeeze=False
    )
    sealed = script(SCRIPT).turns[0].sealed_ms
    for row, one in zip(axes[:, 0], rounds, strict=True):
        kind = SYSTEMS[one["system"]]
        for start, end in one["turns"]:
            row.barh(-1, end - start, left=start, height=0.9, color="#d9dce1")
        for index, start, end in one["tools"]:
            row.barh(index, end - start, left=start, height=0.8, color=kind.colour)
        row.plot(sealed, range(len(sealed)), "k|", markersize=5)
        row.axvline(one["end"], color="#c0392b", linewidth=1)
        row.text(one["end"] + 6, 3.5, f"{one['end']:.0f} ms", color="#c0392b", fontsize=8, va="center")
        row.set_ylim(8, -2)
        row.set_yticks([-1, 3.5], ["model", "tools"], fontsize=7)
        row.set_title(kind.title, fontsize=8, loc="left", pad=2)
        row.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlim(0, 1480)
    axes[-1, 0].set_xlabel("ms from the start of the run; ticks: the call is complete in the stream", fontsize=8)
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def paragraphs(session: Session, figures: dict[str, Any]) -> list[str]:
    systems = figures["systems"]
    rows = "\n".join(
        f"| {SYSTEMS[name].title} | {one['wall_median_ms']} | {one['wall_p95_ms']} | "
        f"{one['start_after_sealing_median_ms']} | {one['start_after_sealing_p95_ms']} | {one['cpu_median_ms']} | "
        f"{one['peak_rss_mb']} |"
        for name, one in systems.items()
    )
    walls = {name: one["wall_median_ms"] for name, one in systems.items()}
    ours = [
        f"{walls[name]:g} ms {SYSTEMS[name].title.partition(', ')[2]}" for name in walls if name.startswith("podium")
    ]
    theirs = [f"{walls[name]:g} ms for {SYSTEMS[name].title}" for name in walls if not name.startswith("podium")]
    verdict = f"**{', '.join(['Podium takes ' + ' and '.join(ours)] * bool(ours) + theirs)}; ideal {IDEAL:g} ms, "
    text = (__doc__ or "").format(with_overlap=IDEAL, without=IDEAL_WITHOUT).strip().split("\n\n")[1]
    return [
        text,
        f"{verdict}target at most {TARGET_MS:g} ms.**",
        "| system | wall median, ms | p95 | tool 0 starts after its call is complete, ms | p95 | CPU, ms a run "
        f"| peak RSS, MB |\n|---|---|---|---|---|---|---|\n{rows}",
        "The libraries start their tools when the turn has ended, which is 350 ms after call 0 is complete.",
        *session.paragraphs(),
    ]


def main() -> None:
    arguments = ready_made_parser("Measure how much of the tools' time is hidden.", rounds=40).parse_args()
    rounds = min(arguments.rounds, 3) if arguments.quick else arguments.rounds
    session = Session(arguments)
    session.run(lambda rig, system, repetition: measured(session, rig, system, repetition, rounds))
    figures = summary(session)
    if arguments.quick:
        print_figures(figures)
        return
    picture(figures, FOLDER / "overlap.png")
    save(
        "overlap", "Tools that start before the model has finished", paragraphs(session, figures), figures, picture=True
    )


if __name__ == "__main__":
    main()
