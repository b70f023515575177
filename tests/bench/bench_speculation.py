"""What predicted calls save, and what they cost when the prediction is wrong (E14).

Every run: the model writes `search`, which takes 300 ms; 500 ms after it has the results it writes `open`, which takes
400 ms; then `send`, which has side effects and always follows; then the answer. Nothing else takes time. In 70 % of
the runs (drawn once, by a fixed seed) `open` is for the first address of the results, else for a random one of the
other seven. Without prediction a run takes 1,200 ms; with `open` started as soon as the results are there, 800 ms.

Three cases, each a tenant of its own of one server whose predictor has seen 50 earlier runs of the same script:

- `likely`: 70 % hits, with prediction and without (each request says which), in turns;
- `never`: the same script with 0 %, likewise;
- `turned`: history has 70 % hits, and then the model never does it again.

The model is an HTTP upstream on core 1, with the caller; `podium serve` has core 0, everything on. 16 runs at a time.

Run `make bench-speculation`. The last line of output is one JSON object; report and picture are saved under
docs/benchmarks/.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import uvloop

from bench.child import Child, module
from bench.core_server import LOAD_CORE, Caller, CoreServer, keep_to_core
from bench.core_tools import EFFECTS, RESULTS, page_url
from bench.report import FOLDER, save
from bench.rig import upstream, workloads
from bench.rig.session import median, print_figures, share
from podium.v1 import run_pb2

HIT_SHARE = 0.7
TRAINING, MEASURED, BLOCK, IN_FLIGHT = 50, 200, 50, 16
SECOND_TURN_MS = 500.0
RUN_SECONDS = 1.2
TOOLS = ("search", "open", "send")
ON, OFF = run_pb2.SPECULATION_SAFE, run_pb2.SPECULATION_OFF
SAVED_TARGET, CPU_TARGET, WASTE_CAP = 0.3, 0.05, 0.25

# Numbers of topics: first those of the training, then those measured.
LIKELY, NEVER = 0, 1000


@dataclass(frozen=True)
class Case:
    """A tenant, and the topics of its runs."""

    name: str
    history: int
    present: int
    modes: tuple[str, ...]


CASES = (
    Case("likely", LIKELY, LIKELY, ("on", "off")),
    Case("never", NEVER, NEVER, ("on", "off")),
    Case("turned", LIKELY, NEVER, ("on",)),
)


@dataclass
class Samples:
    """What the runs of one case in one mode gave. Raw: nothing is averaged. Calls are predicted `open` calls."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)  # a run, by blocks
    hits: int = 0
    misses: int = 0
    saved_s: list[float] = field(default_factory=list)
    wasted_s: list[float] = field(default_factory=list)
    useful_s: float = 0.0
    other_predictions: Counter[str] = field(default_factory=Counter)  # of other tools


# --- the script -----------------------------------------------------------------------------------


def draws(count: int, hit_share: float, seed: int) -> list[int]:
    """Return which result is opened in each run: exactly that share of them the first."""
    chance = random.Random(seed)
    hits = round(count * hit_share)
    found = [0] * hits + [chance.randrange(1, RESULTS) for _ in range(count - hits)]
    chance.shuffle(found)
    return found


def opened() -> dict[int, int]:
    """Return the result that is opened, by number of the topic."""
    found: dict[int, int] = {}
    for base, hit_share in ((LIKELY, HIT_SHARE), (NEVER, 0.0)):
        for start, count in ((base, TRAINING), (base + 100, MEASURED)):
            found |= dict(enumerate(draws(count, hit_share, seed=start), start))
    return found


def request(number: int) -> str:
    """Return what a run is asked; also the script's name."""
    return f"Look up topic-{number:04} and tell the desk"


def play(number: int, index: int) -> workloads.Script:
    """Return the model's turns."""
    topic = f"topic-{number:04}"
    calls = (
        (0.0, workloads.Call("search", {"query": topic})),
        (SECOND_TURN_MS, workloads.Call("open", {"url": page_url(topic, index)})),
        (0.0, workloads.Call("send", {"to": "desk", "subject": topic})),
    )
    turns = [workloads._calls(turn, [call], ttft_ms=at, slice_ms=0) for turn, (at, call) in enumerate(calls)]
    return workloads.Script((*turns, workloads._text(0)))


def serve_upstream() -> None:
    """Be the upstream: the rig's, with these scripts."""
    for number, index in opened().items():
        workloads._SCRIPTS[request(number)] = cache(partial(play, number, index))
    upstream.keep_time()
    asyncio.run(upstream.serve())


# --- the load -------------------------------------------------------------------------------------


async def block(
    server: CoreServer, caller: Caller, numbers: Sequence[int], mode: str, samples: Samples
) -> list[run_pb2.Run]:
    """Make runs, 16 at a time."""
    left: Iterator[int] = iter(numbers)
    runs: list[run_pb2.Run] = []

    async def one_after_another(delay: float) -> None:
        await asyncio.sleep(delay)  # else all would ask for everything at the same moments
        for number in left:
            begun = time.perf_counter()
            run = await caller.run(request(number), tools=TOOLS, speculation=ON if mode == "on" else OFF)
            samples.wall_ms.append((time.perf_counter() - begun) * 1000)
            count(run, samples)
            runs.append(run)

    cpu = server.cpu_seconds()
    await asyncio.gather(*(one_after_another(index * RUN_SECONDS / IN_FLIGHT) for index in range(IN_FLIGHT)))
    samples.cpu_ms.append((server.cpu_seconds() - cpu) / len(numbers) * 1000)
    return runs


def count(run: run_pb2.Run, samples: Samples) -> None:
    samples.useful_s += sum(seconds(call.waits.work) for call in run.calls)
    for prediction in run.predictions:
        settled = prediction.settled
        if settled.call_id:
            samples.useful_s += seconds(settled.spent)
        else:
            samples.wasted_s.append(seconds(settled.spent))
        if prediction.predicted.tool != "open":
            samples.other_predictions[prediction.predicted.tool] += 1
        elif settled.call_id:
            samples.hits += 1
            samples.saved_s.append(seconds(settled.saved))
        else:
            samples.misses += 1


def seconds(span: Any) -> float:
    return float(span.ToNanoseconds()) / 1e9


async def measure(
    server: CoreServer, case: Case, blocks: int, found: dict[tuple[str, str], Samples]
) -> list[run_pb2.Run]:
    """Train, then measure with and without prediction in turns; return all runs."""
    runs: list[run_pb2.Run] = []
    async with Caller(server, case.name) as caller:
        runs += await block(server, caller, range(case.history, case.history + TRAINING), "on", Samples())
        for number in range(blocks):
            first = case.present + 100 + number * BLOCK
            # The order changes, so that neither always comes second.
            for mode in case.modes if number % 2 else reversed(case.modes):
                samples = found.setdefault((case.name, mode), Samples())
                runs += await block(server, caller, range(first, first + BLOCK), mode, samples)
    return runs


def early_effects(runs: Sequence[run_pb2.Run], notes: Path) -> int:
    """Return how often `send` ran before, or without, the model's asking for it.

    Raises:
        RuntimeError: it did not run as often as it was asked for.
    """
    asked: dict[str, list[int]] = {}
    for run in runs:
        sends = [call for call in run.calls if call.tool == "send"]
        topic = run.spec.input.split()[2]
        asked.setdefault(topic, []).extend(call.seal_time.ToNanoseconds() for call in sends)
    done: dict[str, list[int]] = {}
    for line in notes.read_text(encoding="utf-8").splitlines():
        topic, _, when = line.partition(" ")
        done.setdefault(topic, []).append(int(when))
    early = 0
    for topic, times in done.items():
        sealed = sorted(asked.get(topic, []))
        early += max(0, len(times) - len(sealed))
        # One topic may be asked for by several runs, so the n-th message is that of the n-th call.
        early += sum(when < seal for when, seal in zip(sorted(times), sealed, strict=False))
    if (sent := sum(map(len, done.values()))) < (wanted := sum(map(len, asked.values()))):
        raise RuntimeError(f"{sent} messages were sent, {wanted} were asked for")
    return early


@dataclass
class Measured:
    """All repetitions."""

    found: dict[tuple[str, str], Samples] = field(default_factory=dict)
    early: int = 0
    sends: int = 0
    predicted_sends: int = 0


async def run(repetitions: int, blocks: int, cases: Sequence[Case]) -> Measured:
    measured = Measured()
    with (
        tempfile.TemporaryDirectory(prefix="podium-") as name,
        Child(module("bench_speculation", "--upstream"), core=LOAD_CORE) as model,
    ):
        for repetition in range(repetitions):
            folder = Path(name) / str(repetition)
            notes = Path(name) / f"effects-{repetition}"
            with CoreServer(
                folder,
                model={"kind": "openai", "model": upstream.MODEL, "base_url": model.ready["url"]},
                settings={"speculation.max_waste_share": WASTE_CAP},
                environment={EFFECTS: str(notes)},
            ) as server:
                async with Caller(server, "warm") as caller:
                    await block(server, caller, range(LIKELY, LIKELY + IN_FLIGHT), "off", Samples())
                notes.unlink()
                runs = [run for case in cases for run in await measure(server, case, blocks, measured.found)]
            measured.early += early_effects(runs, notes)
            measured.sends += sum(call.tool == "send" for run in runs for call in run.calls)
            measured.predicted_sends += sum(p.predicted.tool == "send" for run in runs for p in run.predictions)
    return measured


# --- the report -----------------------------------------------------------------------------------


def summary(measured: Measured, repetitions: int, took: float) -> dict[str, Any]:
    found = measured.found
    on, off = found["likely", "on"], found["likely", "off"]
    return {
        "saved_share": round(1 - statistics.median(on.wall_ms) / statistics.median(off.wall_ms), 4),
        "saved_target": SAVED_TARGET,
        "saved_share_mean": round(1 - statistics.mean(on.wall_ms) / statistics.mean(off.wall_ms), 4),
        "cpu_more_at_0": round(cpu_more(found["never", "on"], found["never", "off"]), 4),
        "cpu_target": CPU_TARGET,
        "cpu_more_at_70": round(cpu_more(on, off), 4),
        "waste_cap": WASTE_CAP,
        **{f"waste_share_{case}": waste(samples) for (case, mode), samples in found.items() if mode == "on"},
        "effects_started_early": measured.early + measured.predicted_sends,
        "effects": measured.sends,
        "cases": {f"{case}_{mode}": figures_of(samples) for (case, mode), samples in found.items()},
        "repetitions": repetitions,
        "in_flight": IN_FLIGHT,
        "seconds": round(took),
        "load_average": round(os.getloadavg()[0], 2),
        "raw": [
            {
                "what": f"{case}_{mode}",
                "wall_ms": [round(wall, 1) for wall in samples.wall_ms],
                "cpu_ms": [round(used, 3) for used in samples.cpu_ms],
                "saved_s": [round(saved, 3) for saved in samples.saved_s],
                "wasted_s": [round(wasted, 3) for wasted in samples.wasted_s],
            }
            for (case, mode), samples in found.items()
        ],
    }


def cpu_more(on: Samples, off: Samples) -> float:
    """Return by how much more processor time a run takes with prediction: the median over pairs of blocks."""
    return statistics.median(a / b for a, b in zip(on.cpu_ms, off.cpu_ms, strict=True)) - 1


def waste(samples: Samples) -> float:
    """Return the tools' time that was for nothing, as a share of the time that was not."""
    return round(sum(samples.wasted_s) / samples.useful_s, 4)


def figures_of(samples: Samples) -> dict[str, Any]:
    return {
        "runs": len(samples.wall_ms),
        "wall_median_ms": median(samples.wall_ms, 1),
        "wall_mean_ms": round(statistics.mean(samples.wall_ms), 1),
        "wall_p95_ms": share(samples.wall_ms, 0.95, digits=1),
        "hits": samples.hits,
        "misses": samples.misses,
        "wasted_calls": len(samples.wasted_s),
        "wasted_s": round(sum(samples.wasted_s), 2),
        "saved_s": round(sum(samples.saved_s), 2),
        "useful_s": round(samples.useful_s, 2),
        "other_predictions": dict(samples.other_predictions),
        "cpu_ms_per_run": median(samples.cpu_ms, 3),
    }


def picture(found: Mapping[tuple[str, str], Samples], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(10.5, 3.4), layout="constrained", width_ratios=(2.2, 1, 1)
    )
    blue, grey = "#2f6fde", "#8a8f98"
    for (case, mode), style in ((("likely", "on"), "-"), (("likely", "off"), "-"), (("never", "on"), "--")):
        ordered = sorted(found[case, mode].wall_ms)
        ranks = [100 * (number + 1) / len(ordered) for number in range(len(ordered))]
        hits = "70 % hits" if case == "likely" else "0 % hits"
        words = f"{hits}, prediction {mode}"
        left.plot(ordered, ranks, color=blue if mode == "on" else grey, linestyle=style, label=words)
    left.set_title("% of runs that took no longer than, ms", fontsize=9)
    left.legend(frameon=False, fontsize=8, loc="lower center")
    cases = [case for case, mode in found if mode == "on"]
    shares = [100 * waste(found[case, "on"]) for case in cases]
    middle.bar(range(len(cases)), shares, color=blue, width=0.6)
    middle.axhline(100 * WASTE_CAP, color="#c0392b", linewidth=1, linestyle="--")
    middle.set_xticks(range(len(cases)), cases, fontsize=8)
    middle.set_title("tool time wasted, % of useful\n(dashed: the cap)", fontsize=9)
    for index, mode in enumerate(("off", "on")):
        values = found["never", mode].cpu_ms
        right.bar(index, statistics.median(values), color=blue if mode == "on" else grey, width=0.6)
        right.plot([index] * len(values), values, "k.", markersize=3)
    right.set_xticks([0, 1], ["off", "on"], fontsize=8)
    right.set_title("CPU a run at 0 % hits, ms,\nprediction off and on", fontsize=9)
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def paragraphs(figures: dict[str, Any]) -> list[str]:
    f, cases = figures, figures["cases"]
    text = (__doc__ or "").strip().split("\n\n")
    rows = "\n".join(
        f"| {name.replace('_', ', ')} | {one['wall_median_ms']} | {one['wall_mean_ms']} | {one['wall_p95_ms']} | "
        f"{one['hits']} | {one['misses']} | {one['wasted_calls']} | {one['wasted_s']} | {one['saved_s']} | "
        f"{one['cpu_ms_per_run']} |"
        for name, one in cases.items()
    )
    others = {name: one["other_predictions"] for name, one in cases.items() if one["other_predictions"]}
    return [
        *text[1:5],
        f"**At 70 % hits prediction makes the median run {100 * f['saved_share']:.1f} % shorter (target at least "
        f"{100 * SAVED_TARGET:g} %; the mean {100 * f['saved_share_mean']:.1f} %). At 0 % it costs "
        f"{100 * f['cpu_more_at_0']:+.1f} % processor time a run (target at most {100 * CPU_TARGET:g} %).** The tools' "
        f"time that was wasted is {100 * f['waste_share_likely']:.1f} % of the useful one at 70 % hits, "
        f"{100 * f['waste_share_never']:.1f} % at 0 %, and {100 * f['waste_share_turned']:.1f} % where the habit "
        f"ended (cap {100 * WASTE_CAP:g} %). **Of {f['effects']} calls with side effects, which history made certain, "
        f"{f['effects_started_early']} were started before the model asked.**",
        "| case, prediction | wall median, ms | mean | p95 | hits | misses | wasted calls | wasted, s | saved, s | "
        "CPU, ms a run |\n|---|---|---|---|---|---|---|---|---|---|\n" + rows,
        "Hits and misses are those of `open`; wasted calls and seconds those of all tools."
        + (f" Other calls were predicted, too: {others}." if others else ""),
        f"{f['repetitions']} repetitions in fresh servers. Processor time is the server's, by blocks of {BLOCK} runs; "
        f"the ratio is the median of pairs of neighbouring blocks. Load average at the end: {f['load_average']}.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what predicted calls save and cost.")
    parser.add_argument("--quick", action="store_true", help="one repetition, 50 runs a case; saves nothing")
    parser.add_argument("--repetitions", type=int, default=3, help="fresh servers")
    parser.add_argument("--upstream", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.upstream:
        serve_upstream()
        return
    keep_to_core(LOAD_CORE)
    repetitions, blocks = (1, 1) if arguments.quick else (arguments.repetitions, MEASURED // BLOCK)
    begun = time.monotonic()
    measured = uvloop.run(run(repetitions, blocks, CASES))
    figures = summary(measured, repetitions, time.monotonic() - begun)
    if arguments.quick:
        print_figures(figures)
        return
    picture(measured.found, FOLDER / "speculation.png")
    save("speculation", "Calls before the model asks", paragraphs(figures), figures, picture=True)


if __name__ == "__main__":
    main()
