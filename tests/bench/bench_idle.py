"""What waiting costs: 1,000 runs whose 8 tools each sleep (E5).

The runs are started in waves; once all 8,000 calls have come, each sleeps, and for ten seconds nothing at all happens.
What is measured is the processor time of those ten seconds, and the memory that the runs take.

Run `make bench-idle`. The last line of output is one JSON object; report and picture are saved under
docs/benchmarks/.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.report import FOLDER, save
from bench.rig.measure import Rig, Running, Samples
from bench.rig.session import Result, Session, median, print_figures, ready_made_parser
from bench.rig.systems import SYSTEMS
from bench.rig.workloads import CALLS, IDLE_WAVE_RUNS

SCRIPT = "idle"
RUNS = 1000
WINDOW_SECONDS = 10.0
TARGET_SHARE = 0.01
WAVE_LIMIT_SECONDS = 180.0
TICK_SECONDS = 0.5


def measured(session: Session, rig: Rig, system: str, repetition: int, runs: int) -> list[Result]:
    with rig.start(system, script=SCRIPT, tool_log=True, expected=runs * CALLS) as running:
        session.note(running)
        rig.warm_up(running)
        before, began = running.memory_mb("VmRSS"), time.monotonic()
        start_cpu = running.cpu_ms()
        for started in range(IDLE_WAVE_RUNS, runs + 1, IDLE_WAVE_RUNS):
            running.ask(do="launch", script=SCRIPT, count=IDLE_WAVE_RUNS)
            wait_for(running, "arrived", started * CALLS)
        wait_for(running, "asleep", runs * CALLS)
        extra: dict[str, Any] = {
            "starting_seconds": round(time.monotonic() - began, 2),
            "starting_cpu_ms_per_run": round((running.cpu_ms() - start_cpu) / runs, 2),
        }
        extra["cpu_ms_over_time"] = watch(running)
        extra["cpu_seconds"] = round(extra["cpu_ms_over_time"][-1][1] / 1000, 4)
        extra["rss_kb_per_run"] = round((running.memory_mb("VmRSS") - before) * 1024 / runs, 1)
        return [Result(system, SCRIPT, repetition, Samples(), running.memory_mb(), extra=extra)]


def wait_for(running: Running, what: str, index: int) -> None:
    """Wait until the tools have noted something.

    Raises:
        RuntimeError: they have not, in the time allowed.
    """
    until(lambda: any(note[0] == what and note[1] >= index for note in running.tool_notes()), f"{index} calls {what}")


def until(met: Callable[[], bool], words: str) -> None:
    end = time.monotonic() + WAVE_LIMIT_SECONDS
    while not met():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {WAVE_LIMIT_SECONDS:g} s in vain for {words}")
        time.sleep(0.02)


def watch(running: Running) -> list[list[float]]:
    """Return the processor time used since now, every half second, over the window: seconds, ms."""
    zero, began = running.cpu_ms(), time.monotonic()
    points = [[0.0, 0.0]]
    while points[-1][0] < WINDOW_SECONDS:
        time.sleep(max(0.0, began + len(points) * TICK_SECONDS - time.monotonic()))
        points.append([round(time.monotonic() - began, 2), round(running.cpu_ms() - zero, 2)])
    return points


def summary(session: Session, runs: int) -> dict[str, Any]:
    systems = {}
    for system in session.measured:
        extras = [one.extra for one in session.of(system)]
        seconds = median([one["cpu_seconds"] for one in extras], 4)
        systems[system] = {
            "cpu_seconds": seconds,
            "share_of_a_core": round(seconds / WINDOW_SECONDS, 5),
            "rss_kb_per_run": median([one["rss_kb_per_run"] for one in extras], 1),
            "peak_rss_mb": round(max(one.peak_rss_mb for one in session.of(system)), 1),
            "starting_cpu_ms_per_run": median([one["starting_cpu_ms_per_run"] for one in extras]),
            "starting_seconds": median([one["starting_seconds"] for one in extras]),
        }
    return {
        "runs": runs,
        "calls": runs * CALLS,
        "window_seconds": WINDOW_SECONDS,
        "target_share": TARGET_SHARE,
        "systems": systems,
        **session.common(),
    }


def picture(session: Session, figures: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained", width_ratios=[3, 2])
    for index, (name, one) in enumerate(figures["systems"].items()):
        kind = SYSTEMS[name]
        points = session.of(name)[0].extra["cpu_ms_over_time"]
        left.plot([at for at, _ in points], [used for _, used in points], color=kind.colour, label=kind.title)
        bar = right.bar(index, one["rss_kb_per_run"], color=kind.colour, width=0.62)
        right.bar_label(bar, fmt="%.0f", fontsize=8, padding=2)
    bound = [0, TARGET_SHARE * 1000 * WINDOW_SECONDS]
    left.plot([0, WINDOW_SECONDS], bound, color="#c0392b", linestyle="--", linewidth=1, label="1% of a core")
    left.set_ylim(bottom=-0.02 * bound[1])
    left.set_title(f"CPU used while {figures['calls']:,} calls sleep, ms", fontsize=10)
    left.set_xlabel("seconds")
    left.legend(frameon=False, fontsize=8)
    right.set_title("memory of a waiting run, KB", fontsize=10)
    right.set_xticks(range(len(figures["systems"])), [SYSTEMS[n].label for n in figures["systems"]], fontsize=6)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def paragraphs(session: Session, figures: dict[str, Any]) -> list[str]:
    systems = figures["systems"]
    rows = "\n".join(
        f"| {SYSTEMS[name].title} | {one['cpu_seconds']} | {100 * one['share_of_a_core']:.2f}% | "
        f"{one['rss_kb_per_run']} | {one['starting_cpu_ms_per_run']} | {one['starting_seconds']} |"
        for name, one in systems.items()
    )
    ours = [
        f"{100 * systems[name]['share_of_a_core']:.2f}% of a core {SYSTEMS[name].title.partition(', ')[2]}"
        for name in systems
        if name.startswith("podium")
    ]
    return [
        (__doc__ or "").strip().split("\n\n")[1],
        f"**{figures['runs']:,} waiting Podium runs take {' and '.join(ours)} (target under 1%).**"
        if ours
        else "Podium was not measured in this run.",
        "| system | CPU, s in 10 s | of a core | RSS, KB a run | CPU to start a run, ms | starting all, s |\n"
        f"|---|---|---|---|---|---|\n{rows}",
        "Runs start 50 at a time, the next 50 when the tools of the last have been called.",
        *session.paragraphs(),
    ]


def main() -> None:
    parser = ready_made_parser("Measure what waiting costs.", rounds=1)
    parser.add_argument("--runs", type=int, help=f"waiting runs, a multiple of {IDLE_WAVE_RUNS}; {RUNS} by default")
    parser.set_defaults(repetitions=2)
    arguments = parser.parse_args()
    runs = arguments.runs or (IDLE_WAVE_RUNS if arguments.quick else RUNS)
    if runs % IDLE_WAVE_RUNS:
        parser.error(f"--runs is a multiple of {IDLE_WAVE_RUNS}")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    session = Session(arguments)
    session.run(lambda rig, system, repetition: measured(session, rig, system, repetition, runs), many=True)
    figures = summary(session, runs)
    if arguments.quick:
        print_figures(figures)
        return
    picture(session, figures, FOLDER / "idle.png")
    save("idle", "What waiting costs", paragraphs(session, figures), figures, picture=True)


if __name__ == "__main__":
    main()
