"""A plan whose calls use each other's results (E3).

A (100 ms) -> B1..B4 (50, 80, 120, 200 ms, each uses A's id) -> C (40 ms, uses all B) -> D (60 ms, uses C), and
E (300 ms, free). The first token comes after 100 ms, each line takes 20 ms, the final turn 200 ms.

**In one turn.** Podium's model writes the whole plan, nine lines, with references to results that are not there yet:
the critical path is {plan:g} ms.

**Turn by turn.** Without references the model has to read each level's results before it can write the next: five
turns, at best {overlapping:g} ms for a system that starts calls while the turn goes on, {waiting:g} ms for one that
waits for its end.

Run `make bench-dag`. The last line of output is one JSON object; report and picture are saved under
docs/benchmarks/.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.bench_overlap import typical
from bench.report import FOLDER, save
from bench.rig.measure import Rig
from bench.rig.session import Result, Session, median, print_figures, ready_made_parser
from bench.rig.systems import SYSTEMS
from bench.rig.workloads import DAG_BEST_LEVELS, DAG_NAMES, dag_ideal, dag_turn_by_turn_ideal

PLAN, TURNS = "dag-plan", "dag-turns"
WITHIN = 1.03
SPEED_UP_TARGET = 1.8
IDEAL = dag_ideal()
IDEAL_OVERLAPPING = dag_turn_by_turn_ideal(overlapping=True)
IDEAL_WAITING = dag_turn_by_turn_ideal(overlapping=False)
IDEAL_FORESEEING = dag_turn_by_turn_ideal(overlapping=True, levels=DAG_BEST_LEVELS)
BYTES_A_TOKEN = 4


def scripts_of(system: str) -> tuple[str, ...]:
    """Return what a system is asked to run; the libraries have no references."""
    return (TURNS,) if SYSTEMS[system].library else (PLAN, TURNS)


def measured(session: Session, rig: Rig, system: str, repetition: int, rounds: int) -> list[Result]:
    found = []
    for script in scripts_of(system):
        with rig.start(system, script=script, tool_log=True) as running:
            session.note(running)
            rig.warm_up(running)
            samples = rig.measure(running, script, rounds)
            if wrong := [why for one in samples.rounds if (why := wrong_with(one))]:
                session.failures[f"{system}, {script}"] = f"{len(wrong)} of {rounds} rounds went wrong: {wrong[0]}"
                continue
            requests = [one["requests"] for one in samples.rounds]
            extra = {
                "turns": [len(one) for one in requests],
                "request_bytes": [sum(request["bytes"] for request in one) for one in requests],
            }
            found.append(Result(system, script, repetition, samples, running.memory_mb(), extra=extra))
    return found


def wrong_with(one: dict[str, Any]) -> str:
    """Return why a round does not count: it failed, or not every call ran once with the right values."""
    ran = sorted(index for what, index, _ in one["tools"] if what == "begin")
    if one["error"]:
        return str(one["error"])
    return "" if ran == list(range(len(DAG_NAMES))) else f"calls that ran: {ran}"


def summary(session: Session) -> dict[str, Any]:
    systems: dict[str, Any] = {}
    for system in session.measured:
        for script in scripts_of(system):
            results = session.of(system, script)
            if not results:
                continue
            sent = [size for one in results for size in one.extra["request_bytes"]]
            row = session.summary(system, script)
            row["turns"] = int(median([count for one in results for count in one.extra["turns"]]))
            row["request_bytes"] = int(median(sent))
            row["tokens_sent"] = round(median(sent) / BYTES_A_TOKEN)
            systems[f"{system} {script}"] = row
    ratios = {
        system: round(systems[f"{system} {TURNS}"]["wall_median_ms"] / systems[f"{system} {PLAN}"]["wall_median_ms"], 2)
        for system in session.measured
        if f"{system} {TURNS}" in systems and f"{system} {PLAN}" in systems
    }
    return {
        "ideal_ms": IDEAL,
        "ideal_turn_by_turn_overlapping_ms": IDEAL_OVERLAPPING,
        "ideal_turn_by_turn_waiting_ms": IDEAL_WAITING,
        "ideal_turn_by_turn_foreseeing_ms": IDEAL_FORESEEING,
        "target_ms": round(IDEAL * WITHIN, 1),
        "speed_up": ratios,
        "speed_up_target": SPEED_UP_TARGET,
        "systems": systems,
        "typical": [
            {"system": system, "script": script, **typical(session.of(system, script))}
            for system in session.measured
            for script in scripts_of(system)
            if session.of(system, script)
        ],
        **session.common(),
    }


def title(system: str, script: str) -> str:
    return f"{SYSTEMS[system].title}, {'in one turn' if script == PLAN else 'turn by turn'}"


def picture(figures: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rounds = figures["typical"]
    figure, axes = plt.subplots(
        len(rounds), 1, figsize=(8, 1.5 * len(rounds) + 0.6), sharex=True, layout="constrained", squeeze=False
    )
    for row, one in zip(axes[:, 0], rounds, strict=True):
        colour = SYSTEMS[one["system"]].colour
        for start, end in one["turns"]:
            row.barh(-1, end - start, left=start, height=0.9, color="#d9dce1", edgecolor="white")
        for index, start, end in one["tools"]:
            row.barh(index, end - start, left=start, height=0.8, color=colour)
            row.text(end + 4, index, DAG_NAMES[index], fontsize=5.5, va="center")
        row.axvline(one["end"], color="#c0392b", linewidth=1)
        row.text(one["end"] + 6, 3.5, f"{one['end']:.0f} ms", color="#c0392b", fontsize=8, va="center")
        row.set_ylim(8, -2)
        row.set_yticks([-1, 3.5], ["model", "tools"], fontsize=7)
        row.set_title(title(one["system"], one["script"]), fontsize=8, loc="left", pad=2)
        row.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlim(0, 1560)
    axes[-1, 0].set_xlabel("ms from the start of the run", fontsize=8)
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def paragraphs(session: Session, figures: dict[str, Any]) -> list[str]:
    def split(name: str) -> str:
        system, _, script = name.partition(" ")
        return title(system, script)

    rows = "\n".join(
        f"| {split(name)} | {one['wall_median_ms']} | {one['wall_p95_ms']} | {one['turns']} | {one['request_bytes']} | "
        f"{one['tokens_sent']} | {one['cpu_median_ms']} |"
        for name, one in figures["systems"].items()
    )
    ratios = ", ".join(f"{ratio:g} times {SYSTEMS[name].title}" for name, ratio in figures["speed_up"].items())
    doc = (__doc__ or "").format(plan=IDEAL, overlapping=IDEAL_OVERLAPPING, waiting=IDEAL_WAITING)
    verdict = (
        f"**With references in one turn Podium is faster than turn by turn: {ratios} (target {SPEED_UP_TARGET:g}).**"
        if ratios
        else "Podium's plan with references was not measured in this run."
    )
    return [
        *doc.strip().split("\n\n")[1:4],
        verdict,
        f"| system | wall median, ms (ideal {IDEAL:g}, target {figures['target_ms']:g}) | p95 | turns | bytes sent "
        f"upstream | tokens sent, about | CPU, ms a run |\n|---|---|---|---|---|---|---|\n{rows}",
        f"Tokens are estimated at {BYTES_A_TOKEN} bytes each of the requests' bodies, which hold the tools' schemas "
        "and the conversation so far. The libraries have no references between calls of one turn, so they were not "
        "asked for the plan. Turn by turn the free call E is in the first level, as nothing keeps it from there; a "
        f"model that foresaw all times would put it beside the B calls, and could come to {IDEAL_FORESEEING:g} ms. "
        "Every tool checks that it was given the right values.",
        *session.paragraphs(),
    ]


def main() -> None:
    arguments = ready_made_parser("Measure a plan with dependencies.", rounds=12).parse_args()
    rounds = min(arguments.rounds, 2) if arguments.quick else arguments.rounds
    print(
        f"ideal: {IDEAL:g} ms in one turn; turn by turn {IDEAL_OVERLAPPING:g} ms with overlap, "
        f"{IDEAL_WAITING:g} ms without"
    )
    session = Session(arguments)
    session.run(lambda rig, system, repetition: measured(session, rig, system, repetition, rounds))
    figures = summary(session)
    if arguments.quick:
        print_figures(figures)
        return
    picture(figures, FOLDER / "dag.png")
    save("dag", "A plan whose calls use each other's results", paragraphs(session, figures), figures, picture=True)


if __name__ == "__main__":
    main()
