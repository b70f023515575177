"""What small runs of one tenant notice of a wide run of another.

`podium serve` on core 0 with everything on, its model scripted. There are eight backends (tools, each of a type of its
own) that take 80 to 120 ms a call, by a fixed seed; at most 8 calls of one backend at once, at most 32 in all. Tenant
B sends 20 runs of 5 calls at the same moment, spread over the backends, in turns

- `alone`,
- `narrow`: while one run of tenant A with 500 calls to the first backend is going on,
- `wide`: while one run of tenant A with 500 calls to all backends is going on,
- `half`: alone, on a server with half of every limit, which is what fairness leaves of everything beside `wide`.

Reported: how long the calls waited for a slot (`waits.queue` of each call). Then both tenants send more calls than
there are slots for, to one backend and to all, with weights of 1 and 3: whose calls were started while both waited
for every backend?

Run `make bench-fairness`. The last line of output is one JSON object; report and picture are saved under
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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvloop

from bench.core_server import LOAD_CORE, Caller, CoreServer, keep_to_core, write_scripts
from bench.core_tools import BACKENDS
from bench.report import FOLDER, save
from bench.rig.session import print_figures, share
from podium.v1 import run_pb2

PROCESS, BACKEND = 32, 8  # calls at once
WIDE_CALLS, SMALL_RUNS, SMALL_CALLS = 500, 20, 5
WORK_MS = (80.0, 120.0)
AHEAD_SECONDS = 0.4  # by which A's run comes first
SITUATIONS = ("alone", "narrow", "wide", "half")
TARGET = 2.0
WEIGHTS = {"a": 1, "b": 3}
WEIGHT_CALLS = {"one backend": 600, "all backends": 1500}  # of each tenant
SHARE_TARGET = 0.05

Waits = dict[str, dict[str, list[float]]]  # situation, tenant: milliseconds


def scripts() -> dict[str, list[tuple[str, Mapping[str, Any]]]]:
    chance = random.Random(7)

    def calls(count: int, first: int = 0, backends: int = BACKENDS) -> list[tuple[str, Mapping[str, Any]]]:
        return [
            (f"backend_{(first + index) % backends}", {"ms": round(chance.uniform(*WORK_MS), 1)})
            for index in range(count)
        ]

    return {
        "narrow": calls(WIDE_CALLS, backends=1),
        "wide": calls(WIDE_CALLS),
        **{small(number): calls(SMALL_CALLS, number * SMALL_CALLS) for number in range(SMALL_RUNS)},
        "one backend": calls(WEIGHT_CALLS["one backend"], backends=1),
        "all backends": calls(WEIGHT_CALLS["all backends"]),
    }


def small(number: int) -> str:
    """Return the request of one of B's runs."""
    return f"small {number:02}"


# --- waits ----------------------------------------------------------------------------------------


async def measure_waits(a: Caller, b: Caller, situation: str, waits: Waits) -> None:
    """Send B's runs, beside A's or alone."""
    found = waits.setdefault(situation, {"a": [], "b": []})
    beside = None
    if situation in ("narrow", "wide"):
        beside = asyncio.create_task(a.run(situation))
        await asyncio.sleep(AHEAD_SECONDS)
    runs = await asyncio.gather(*(b.run(small(number)) for number in range(SMALL_RUNS)))
    found["b"] += [wait for run in runs for wait in queue_ms(run)]
    if beside is None:
        return
    ended = max(call.start_time.ToNanoseconds() for run in runs for call in run.calls)
    run = await beside
    if ended > max(call.start_time.ToNanoseconds() for call in run.calls):
        raise RuntimeError("A had nothing left that waits before all of B's calls were started")
    found["a"] += queue_ms(run)


def queue_ms(run: run_pb2.Run) -> list[float]:
    """Return how long each call waited for a slot."""
    return [call.waits.queue.ToNanoseconds() / 1e6 for call in run.calls]


# --- weights --------------------------------------------------------------------------------------


async def measure_shares(a: Caller, b: Caller, request: str) -> dict[str, Any]:
    """Return the starts of both tenants' calls, in milliseconds, and A's share of them while both waited everywhere."""
    runs = dict(zip("ab", await asyncio.gather(a.run(request), b.run(request)), strict=True))
    starts = {name: sorted(call.start_time.ToNanoseconds() / 1e6 for call in run.calls) for name, run in runs.items()}
    since = max(call.seal_time.ToNanoseconds() / 1e6 for run in runs.values() for call in run.calls)
    last: dict[tuple[str, str], float] = {}
    for name, run in runs.items():
        for call in run.calls:
            key = name, call.tool
            last[key] = max(last.get(key, 0.0), call.start_time.ToNanoseconds() / 1e6)
    # Whoever has nothing left for one backend leaves it to the other.
    until = min(last.values())
    counted = {name: sum(since < start <= until for start in one) for name, one in starts.items()}
    zero = min(one[0] for one in starts.values())
    return {
        "what": request,
        "share_a": counted["a"] / sum(counted.values()),
        "counted": sum(counted.values()),
        "since_ms": round(since - zero, 1),
        "until_ms": round(until - zero, 1),
        **{f"starts_{name}": [round(start - zero, 1) for start in one] for name, one in starts.items()},
    }


# --- all together ---------------------------------------------------------------------------------


def limits(part: int = 1) -> dict[str, object]:
    """Return the settings of the governor's limits, divided by `part`."""
    return {"run.parallel_process": PROCESS // part, "run.parallel_type": BACKEND // part}


async def run(rounds: int) -> tuple[Waits, list[dict[str, Any]]]:
    waits: Waits = {}
    shares: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="podium-") as name:
        folder = Path(name)
        write_scripts(folder / "script.json", scripts())
        model = {"kind": "scripted", "file": str(folder / "script.json")}
        with CoreServer(folder / "whole", model=model, settings=limits()) as server:
            async with Caller(server, "a") as a, Caller(server, "b") as b:
                for number in range(-1, rounds):
                    # The first round warms up; then the order turns, so that none always comes first.
                    order = SITUATIONS[:3] if number % 2 else SITUATIONS[2::-1]
                    for situation in order:
                        await measure_waits(a, b, situation, waits if number >= 0 else {})
        with CoreServer(folder / "half", model=model, settings=limits(2)) as server:
            async with Caller(server, "a") as a, Caller(server, "b") as b:
                for number in range(-1, rounds):
                    await measure_waits(a, b, "half", waits if number >= 0 else {})
        weighted = {**limits(), "governor.tenant_weights": [f"{name}={weight}" for name, weight in WEIGHTS.items()]}
        with CoreServer(folder / "weighted", model=model, settings=weighted) as server:
            async with Caller(server, "a") as a, Caller(server, "b") as b:
                await asyncio.gather(a.run(small(0)), b.run(small(0)))
                for request in [*WEIGHT_CALLS] * max(1, rounds // 3):
                    shares.append(await measure_shares(a, b, request))  # noqa: PERF401  one after another
    return waits, shares


# --- the report -----------------------------------------------------------------------------------


def summary(waits: Waits, shares: list[dict[str, Any]], rounds: int, seconds: float) -> dict[str, Any]:
    p95 = {name: {tenant: share(found, 0.95) for tenant, found in one.items()} for name, one in waits.items()}
    wanted = WEIGHTS["a"] / sum(WEIGHTS.values())
    by_request = {request: [one["share_a"] for one in shares if one["what"] == request] for request in WEIGHT_CALLS}
    return {
        "ratio_narrow": round(p95["narrow"]["b"] / p95["alone"]["b"], 3),
        "target": TARGET,
        "ratio_wide_to_half": round(p95["wide"]["b"] / p95["half"]["b"], 3),
        "ratio_wide": round(p95["wide"]["b"] / p95["alone"]["b"], 3),
        **{f"b_p95_ms_{name}": p95[name]["b"] for name in SITUATIONS},
        "a_p95_ms_narrow": p95["narrow"]["a"],
        "a_p95_ms_wide": p95["wide"]["a"],
        **{f"b_longest_ms_{name}": round(max(waits[name]["b"]), 1) for name in SITUATIONS},
        "weights": ":".join(map(str, WEIGHTS.values())),
        "share_wanted": wanted,
        "share_tolerance": SHARE_TARGET,
        **{f"share_a_{name.replace(' ', '_')}": round(statistics.median(one), 4) for name, one in by_request.items()},
        "share_furthest": round(max(abs(one["share_a"] - wanted) for one in shares), 4),
        "rounds": rounds,
        "seconds": round(seconds),
        "load_average": round(os.getloadavg()[0], 2),
        "raw": [
            {"what": name, "tenant": tenant, "wait_ms": [round(wait, 2) for wait in found]}
            for name, one in waits.items()
            for tenant, found in one.items()
            if found
        ],
        "shares": shares,
    }


def picture(waits: Waits, shares: list[dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    colours = {"alone": "#1b7f5c", "narrow": "#2f6fde", "wide": "#7b4fc9", "half": "#8a8f98"}
    words = {
        "alone": "alone",
        "narrow": "beside 500 calls to one backend",
        "wide": "beside 500 calls to all backends",
        "half": "alone with half of every limit",
    }
    for name in SITUATIONS:
        ordered = sorted(waits[name]["b"])
        ranks = [100 * (number + 1) / len(ordered) for number in range(len(ordered))]
        left.plot(ordered, ranks, color=colours[name], label=words[name], linestyle="--" if name == "half" else "-")
    left.axhline(95, color="#d9dce1", linewidth=1)
    left.axvline(TARGET * share(waits["alone"]["b"], 0.95), color="#c0392b", linewidth=1, linestyle=":")
    left.legend(frameon=False, fontsize=7, loc="lower right")
    left.set_title("20 small runs: % of calls that waited\nno longer than, ms (dotted: twice p95 alone)", fontsize=9)
    one = next(each for each in shares if each["what"] == "all backends")
    for name, colour in (("a", "#8a8f98"), ("b", "#2f6fde")):
        starts = one[f"starts_{name}"]
        label = f"tenant {name.upper()}, weight {WEIGHTS[name]}"
        right.plot([start / 1000 for start in starts], range(1, len(starts) + 1), color=colour, label=label)
    right.axvline(one["until_ms"] / 1000, color="#d9dce1", linewidth=1)
    right.legend(frameon=False, fontsize=8, loc="lower right")
    right.set_title("calls started, after s\n(until the grey line both wait for every backend)", fontsize=9)
    for axes in (left, right):
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def paragraphs(figures: dict[str, Any]) -> list[str]:
    f = figures
    text = (__doc__ or "").strip().split("\n\n")
    rows = "\n".join(
        f"| {name} | {f[f'b_p95_ms_{name}']} | {f[f'b_longest_ms_{name}']} | {f.get(f'a_p95_ms_{name}', '')} |"
        for name in SITUATIONS
    )
    return [
        *text[1:4],
        f"**Beside 500 calls to a backend that B uses too, B's calls wait {f['ratio_narrow']} times as long as alone "
        f"(p95; target at most {TARGET:g}). Beside 500 calls to all backends they wait {f['ratio_wide_to_half']} times "
        "as long as with half of every limit to themselves.**",
        f"| situation | B's p95 wait, ms | B's longest, ms | A's p95, ms |\n|---|---|---|---|\n{rows}",
        f"**With weights {f['weights']} A gets {f['share_a_one_backend']:.1%} of the starts at one backend and "
        f"{f['share_a_all_backends']:.1%} at all (wanted {f['share_wanted']:.0%}, to within "
        f"{100 * SHARE_TARGET:g} points; furthest off: {100 * f['share_furthest']:.1f} points).**",
        f"{f['rounds']} rounds; waits of all rounds together, shares as medians. Load average at the end: "
        f"{f['load_average']}.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what tenants notice of each other.")
    parser.add_argument("--quick", action="store_true", help="one round; saves nothing")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of each situation")
    arguments = parser.parse_args()
    rounds = 1 if arguments.quick else arguments.rounds
    keep_to_core(LOAD_CORE)
    begun = time.monotonic()
    waits, shares = uvloop.run(run(rounds))
    figures = summary(waits, shares, rounds, time.monotonic() - begun)
    if arguments.quick:
        print_figures(figures)
        return
    picture(waits, shares, FOLDER / "fairness.png")
    save("fairness", "A wide run beside many small ones", paragraphs(figures), figures, picture=True)


if __name__ == "__main__":
    main()
