"""What one bad call does to its siblings (E6), and what is left after a cancel (E7).

**One bad sibling.** 8 calls of 100 ms in one turn. Call 3 raises after 30 ms; then, in a second variant, call 3 hangs
and has a timeout of 50 ms. Default settings. Are the other seven results kept, and what is the model told?

**Cancel.** The client cancels after 250 ms: while 4 tools of 5 s work; while 4 tools work and the model's stream is
still open (a fifth call whose arguments grow by a letter every 100 ms); while only the stream is open; and, for gRPC,
by the death of the client's process. Time until the last tool's cleanup has run and the upstream has seen its
connection close.

Run `make bench-failure`. The last line of output is one JSON object; report and picture are saved under
docs/benchmarks/.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from bench.report import FOLDER, save
from bench.rig.measure import LATE_MS, Rig, Running, Samples
from bench.rig.session import Result, Session, median, print_figures, ready_made_parser, share
from bench.rig.systems import SYSTEMS
from bench.rig.workloads import CALLS, CANCEL_AFTER_MS

SIBLINGS = ("raise", "hang")
CANCELS = {
    ("cancel-tools", "cancelled"): "4 tools work",
    ("cancel-both", "cancelled"): "4 tools and the stream",
    ("cancel-stream", "cancelled"): "only the stream",
    ("cancel-both", "disconnected"): "4 tools and the stream; the client dies",
    ("cancel-stream", "disconnected"): "only the stream; the client dies",
}
SETTLED_SECONDS = 7.0
_RESULT = re.compile(r"""['"]i['"]\s*:\s*\d""")


# --- one bad sibling --------------------------------------------------------------------------------


def siblings(session: Session, rig: Rig, system: str, repetition: int, rounds: int) -> list[Result]:
    found = []
    for script in SIBLINGS:
        with rig.start(system, script=script, tool_log=True) as running:
            session.note(running)
            rig.warm_up(running)
            samples = rig.measure(running, script, rounds)
            seen = [outcome(one) for one in samples.rounds]
            found.append(Result(system, script, repetition, samples, running.memory_mb(), extra={"outcomes": seen}))
    return found


def outcome(one: dict[str, Any]) -> dict[str, Any]:
    """Return what became of the eight calls of a round."""
    told = next((request["told"] for request in one["requests"] if request["turn"] == 1), [])
    begun = {index: when for what, index, when in one["tools"] if what == "begin"}
    worked = [
        index
        for what, index, when in one["tools"]
        if what == "end" and index != 3 and (when - begun[index]) / 1e6 >= 95
    ]
    return {
        "kept": sum(bool(_RESULT.search(text)) for index, text in enumerate(told) if index != 3),
        "finished": len(worked),
        "told_of_call_3": told[3] if len(told) == CALLS else "",
        "error": one["error"],
    }


def siblings_summary(session: Session, system: str, script: str) -> dict[str, Any]:
    outcomes = [one for result in session.of(system, script) for one in result.extra["outcomes"]]
    return {
        **session.summary(system, script),
        "results_kept": min((one["kept"] for one in outcomes), default=0),
        "tools_that_finished": min((one["finished"] for one in outcomes), default=0),
        "run_raised": next((one["error"] for one in outcomes if one["error"]), ""),
        "model_is_told": next((one["told_of_call_3"] for one in outcomes if one["told_of_call_3"]), ""),
    }


# --- cancelling -------------------------------------------------------------------------------------


def cancels(session: Session, rig: Rig, system: str, repetition: int, rounds: int) -> list[Result]:
    found = []
    for script, how in CANCELS:
        if how == "disconnected" and not SYSTEMS[system].server:
            continue
        with rig.start(system, script=script, tool_log=True) as running:
            rig.warm_up(running)
            samples, kept = Samples(), []
            while len(kept) < rounds:
                one = cancel(rig, running, script, how)
                late = one.pop("late_ms")
                if late and max(late) > LATE_MS:
                    samples.repeated += 1
                    samples.worst_late_ms = max(samples.worst_late_ms, *late)
                    if samples.repeated > 3 * rounds:
                        samples.missing = rounds - len(kept)
                        break
                    continue
                samples.late_ms += late
                kept.append(one)
            found.append(Result(system, script, repetition, samples, running.memory_mb(), how, {"cancels": kept}))
    return found


def cancel(rig: Rig, running: Running, script: str, how: str) -> dict[str, Any]:
    """Cancel one run and wait until everything that it held has ended; times are ms after the cancel."""
    noted = len(running.tool_notes())
    done = running.ask(do="cancel", script=script, after_ms=CANCEL_AFTER_MS, how=how)
    requests: list[dict[str, Any]] = []
    end = time.monotonic() + SETTLED_SECONDS
    while True:
        requests += rig.log()
        notes = running.tool_notes()[noted:]
        begun = [note for note in notes if note[0] == "begin"]
        ended = [note for note in notes if note[0] == "end"]
        if (requests and len(begun) == len(ended)) or time.monotonic() > end:
            break
        time.sleep(0.01)

    def after(moment: int | None) -> float | None:
        return None if moment is None else round((moment - done["cancel_ns"]) / 1e6, 2)

    closed = [request["disconnected_ns"] for request in requests if "disconnected_ns" in request]
    return {
        "tools_begun": len(begun),
        "tools_left": len(begun) - len(ended),
        "tools_ended_ms": after(max((note[2] for note in ended), default=None)),
        "stream_closed_ms": after(max(closed, default=None)),
        "given_back_ms": after(done["end_ns"]),
        "late_ms": [step for request in requests for step in request["late_ms"]],
    }


def cancel_summary(session: Session, system: str, script: str, how: str) -> dict[str, Any]:
    rounds = [one for result in session.of(system, script, how) for one in result.extra["cancels"]]

    def figures(field: str) -> dict[str, float | None]:
        values = [one[field] for one in rounds if one[field] is not None]
        if not values:
            return {f"{field}_median": None, f"{field}_p95": None}
        return {f"{field}_median": median(values), f"{field}_p95": share(values, 0.95)}

    return {
        "tools_begun": max((one["tools_begun"] for one in rounds), default=0),
        "tools_left": sum(one["tools_left"] for one in rounds),
        **figures("tools_ended_ms"),
        **figures("stream_closed_ms"),
        "rounds": len(rounds),
    }


# --- the report -------------------------------------------------------------------------------------


def summary(session: Session) -> dict[str, Any]:
    cancelled = {
        f"{script} {how}": {
            system: cancel_summary(session, system, script, how)
            for system in session.measured
            if session.of(system, script, how)
        }
        for script, how in CANCELS
    }
    return {
        "siblings": {
            script: {
                name: siblings_summary(session, name, script) for name in session.measured if session.of(name, script)
            }
            for script in SIBLINGS
        },
        "cancel": cancelled,
        **session.common(),
    }


def picture(figures: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
    names = [*figures["siblings"]["raise"]]
    for index, name in enumerate(names):
        for offset, script in ((-0.2, "raise"), (0.2, "hang")):
            kept = figures["siblings"][script][name]["results_kept"]
            bar = left.bar(
                index + offset, kept, color=SYSTEMS[name].colour, width=0.36, alpha=1 if offset < 0 else 0.55
            )
            left.bar_label(bar, fontsize=8, padding=1)
    left.set_title("results kept of 7, when call 3 raises (left) or hangs", fontsize=9)
    left.set_xticks(range(len(names)), [SYSTEMS[name].label for name in names], fontsize=6)
    left.set_ylim(0, 8)
    shown = {"cancel-tools cancelled": "4 tools", "cancel-both cancelled": "tools\nand stream"}
    shown |= {"cancel-stream cancelled": "stream", "cancel-both disconnected": "tools, stream,\nclient dies"}
    for place, key in enumerate(shown):
        rows = figures["cancel"][key]
        for index, (name, one) in enumerate(rows.items()):
            last = max(one["tools_ended_ms_median"] or 0, one["stream_closed_ms_median"] or 0)
            right.bar(place + 0.16 * (index - (len(rows) - 1) / 2), last, color=SYSTEMS[name].colour, width=0.15)
    right.set_title("ms from the cancel until all is cleaned up", fontsize=9)
    right.set_xticks(range(len(shown)), list(shown.values()), fontsize=7)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def paragraphs(session: Session, figures: dict[str, Any]) -> list[str]:
    tables = []
    for script, words in (("raise", "Call 3 raises after 30 ms"), ("hang", "Call 3 hangs; its timeout is 50 ms")):
        rows = "\n".join(
            f"| {SYSTEMS[name].title} | {one['results_kept']} | {one['tools_that_finished']} | "
            f"{one['wall_median_ms']} | {_cell(one['model_is_told'] or 'nothing: raised ' + one['run_raised'])} |"
            for name, one in figures["siblings"][script].items()
        )
        tables.append(
            f"{words}:\n\n| system | results kept of 7 | tools that finished | wall median, ms | "
            f"what the model is told of call 3 |\n|---|---|---|---|---|\n{rows}"
        )
    rows = "\n".join(
        f"| {words} | {SYSTEMS[name].title} | {one['tools_begun']} | {_or_dash(one['tools_ended_ms_median'])} | "
        f"{_or_dash(one['tools_ended_ms_p95'])} | {_or_dash(one['stream_closed_ms_median'])} | "
        f"{_or_dash(one['stream_closed_ms_p95'])} | {one['tools_left']} |"
        for (script, how), words in CANCELS.items()
        for name, one in figures["cancel"][f"{script} {how}"].items()
    )
    return [
        *(__doc__ or "").strip().split("\n\n")[1:3],
        *tables,
        "After the cancel, in ms (`-`: there was nothing of that sort):\n\n"
        "| when | system | tools working | tools ended, median | p95 | stream closed, median | p95 | tools left |\n"
        f"|---|---|---|---|---|---|---|---|\n{rows}",
        "The libraries start no tool while the model's stream is open, so with both there is only the stream to close. "
        "langgraph has no timeout of a tool: there the tool watches the clock itself. A run is cancelled by "
        "`RunResultStreaming.cancel()` in openai-agents, by its task elsewhere in process, and by the call through "
        "gRPC.",
        *session.paragraphs(),
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")[:200]


def _or_dash(value: float | None) -> str:
    return "-" if value is None else str(value)


def main() -> None:
    arguments = ready_made_parser("Measure failing and cancelled runs.", rounds=5).parse_args()
    rounds = min(arguments.rounds, 2) if arguments.quick else arguments.rounds
    session = Session(arguments)

    def measured(rig: Rig, system: str, repetition: int) -> list[Result]:
        return siblings(session, rig, system, repetition, rounds) + cancels(session, rig, system, repetition, rounds)

    session.run(measured)
    figures = summary(session)
    if arguments.quick:
        print_figures(figures)
        return
    picture(figures, FOLDER / "failure.png")
    save("failure", "A bad call, and a cancelled run", paragraphs(session, figures), figures, picture=True)


if __name__ == "__main__":
    main()
