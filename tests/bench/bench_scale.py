"""How many tools and runs one server core carries.

`podium serve` on core 0 with everything on (API key, JSON access log into a file, metrics, limits, breakers), its
limits raised by settings; the model is scripted, in the server's process, and takes no time. The caller, on core 1,
uses generated stubs and `Execute`. Each part, in fresh servers:

- `one`: one run at a time of five tools that take 500 ms. How much longer than 500 ms is the whole run?
- `open`: 100 such runs a second whether or not earlier ones have ended (evenly spaced, each shifted by up to 2 ms at
  random), so 250 tools in flight. Latency counts from when a run was to be sent.
- `flight`: 200 such runs a second, sent likewise: 500 tools in flight. A tool measures meanwhile how late the server's
  event loop turns, a beat every 5 ms. Then, without a target, `burst`: 100 such runs at the same moment.
- `saturated`: runs of five tools that take no time, as fast as 32 callers can ask.
- `held`: 1,000 runs open at once, each waiting for five slow tools. What does one take in memory?

Run `make bench-scale`. The last line of output is one JSON object; report and picture are saved under
docs/benchmarks/.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from bench.core_server import LOAD_CORE, Caller, CoreServer, keep_to_core, write_scripts
from bench.report import FOLDER, save
from bench.rig.session import median, print_figures, share
from podium.v1 import run_pb2

TOOL_MS = 500.0
TOOLS = 5
OPEN_RATE, FLIGHT_RATE = 100.0, 200.0  # runs a second
JITTER_SECONDS = 0.002
BURST = 100  # runs
CALLERS = 32
SETTLE_SECONDS = 1.0
ONE_TARGET, OPEN_TARGET_MS, LAG_TARGET_MS, RATE_TARGET = 1.02, 600.0, 20.0, 300.0

FIVE, NOTHING, SLOW, WATCH = "five tools", "five at once", "five slow ones", "watch the loop"


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    repetitions: int
    alone: int  # runs
    seconds: float  # of load
    stretches: int  # of saturation
    stretch_seconds: float
    held: int  # runs
    held_ms: float
    settle: int = 200  # warm-up runs


FULL = Size(repetitions=3, alone=20, seconds=30, stretches=4, stretch_seconds=4, held=1000, held_ms=25_000)
QUICK = Size(repetitions=1, alone=3, seconds=4, stretches=2, stretch_seconds=2, held=1000, held_ms=14_000)


@dataclass
class Samples:
    """Raw: nothing is averaged. Times in milliseconds."""

    one: list[float] = field(default_factory=list)
    open: list[float] = field(default_factory=list)
    open_late: list[float] = field(default_factory=list)  # how late the caller itself was
    open_busy: list[float] = field(default_factory=list)  # of the server's core, one per repetition
    flight: list[float] = field(default_factory=list)
    flight_lag: list[float] = field(default_factory=list)
    flight_busy: list[float] = field(default_factory=list)
    flight_tools: list[float] = field(default_factory=list)  # in flight before and after the lag was measured
    flight_lag_metric: list[float] = field(default_factory=list)  # p99 of the last minute, the server's own metric
    burst: list[float] = field(default_factory=list)
    burst_lag: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)  # runs a second
    rates_off: list[float] = field(default_factory=list)  # without prediction
    cpu: list[float] = field(default_factory=list)  # of a run
    cpu_off: list[float] = field(default_factory=list)
    client_busy: list[float] = field(default_factory=list)
    held: list[float] = field(default_factory=list)
    held_kb: list[float] = field(default_factory=list)  # of a run
    held_tools: list[float] = field(default_factory=list)  # in flight when memory was read


# --- the parts ------------------------------------------------------------------------------------


async def timed(call: Callable[[], Awaitable[object]], since: float | None = None) -> float:
    """Return how long a call took, in milliseconds, or how long ago it was to begin."""
    begun = time.perf_counter() if since is None else since
    await call()
    return (time.perf_counter() - begun) * 1000


async def at_rate(
    call: Callable[[], Awaitable[object]], rate: float, seconds: float
) -> tuple[list[float], list[float]]:
    """Start so many calls a second whatever becomes of them; return their latencies and how late each was sent."""
    shift = random.Random(1)
    loop = asyncio.get_running_loop()
    tasks, late = [], []
    begun = time.perf_counter() + 0.1
    for number in range(round(rate * seconds)):
        planned = begun + number / rate + shift.uniform(0, JITTER_SECONDS)
        if (left := planned - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        late.append(max(0.0, time.perf_counter() - planned) * 1000)
        tasks.append(loop.create_task(timed(call, planned)))
    return list(await asyncio.gather(*tasks)), late


async def one_at_a_time(caller: Caller, size: Size, samples: Samples) -> None:
    for _ in range(size.alone):
        samples.one.append(await timed(lambda: caller.run(FIVE, tools=["pause"])))


async def open_loop(server: CoreServer, caller: Caller, size: Size, samples: Samples) -> None:
    cpu, begun = server.cpu_seconds(), time.perf_counter()
    found, late = await at_rate(lambda: caller.run(FIVE, tools=["pause"]), OPEN_RATE, size.seconds)
    samples.open_busy.append((server.cpu_seconds() - cpu) / (time.perf_counter() - begun))
    samples.open += found
    samples.open_late += late


async def in_flight(server: CoreServer, caller: Caller, size: Size, samples: Samples) -> None:
    """Keep 500 tools in flight, and watch the loop while that is so."""
    cpu, begun = server.cpu_seconds(), time.perf_counter()
    load = asyncio.create_task(at_rate(lambda: caller.run(FIVE, tools=["pause"]), FLIGHT_RATE, size.seconds + 4))
    await asyncio.sleep(SETTLE_SECONDS)
    # Reading the metrics is work for the server, so not while the lag is measured.
    samples.flight_tools.append(await asyncio.to_thread(server.metric, "podium_tool_slots_taken "))
    samples.flight_lag += await watch(caller, size.seconds)
    samples.flight_tools.append(await asyncio.to_thread(server.metric, "podium_tool_slots_taken "))
    lag = await asyncio.to_thread(server.metric, 'podium_event_loop_lag_seconds{quantile="0.99"}')
    samples.flight_lag_metric.append(lag * 1000)
    found, _ = await load
    samples.flight_busy.append((server.cpu_seconds() - cpu) / (time.perf_counter() - begun))
    samples.flight += found


async def burst(caller: Caller, samples: Samples) -> None:
    watching = asyncio.create_task(watch(caller, 3.0))
    await asyncio.sleep(SETTLE_SECONDS)
    samples.burst += await asyncio.gather(*(timed(lambda: caller.run(FIVE, tools=["pause"])) for _ in range(BURST)))
    samples.burst_lag += await watching


async def watch(caller: Caller, seconds: float) -> list[float]:
    """Return the lag of every beat of the server's event loop for a while."""
    run = await caller.run(f"{WATCH} {seconds:g} s", tools=["watch_loop"])
    return list(json.loads(run.calls[0].result_json)["lag_ms"])


async def saturate(
    server: CoreServer, caller: Caller, seconds: float, *, predict: bool = True
) -> tuple[float, float, float]:
    """Ask as fast as it answers; return runs a second, milliseconds of CPU a run, and how busy this process was."""
    until = time.perf_counter() + seconds
    speculation = run_pb2.SPECULATION_UNSPECIFIED if predict else run_pb2.SPECULATION_OFF
    made = 0

    async def one_after_another() -> None:
        nonlocal made
        while time.perf_counter() < until:
            await caller.run(NOTHING, tools=["instant"], speculation=speculation)
            made += 1

    cpu, own, begun = server.cpu_seconds(), time.process_time(), time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(CALLERS)))
    wall = time.perf_counter() - begun
    return made / wall, (server.cpu_seconds() - cpu) / made * 1000, (time.process_time() - own) / wall


async def held_open(server: CoreServer, caller: Caller, size: Size, samples: Samples) -> None:
    """Open many runs and read the memory while none has ended."""
    before = server.memory_mb()
    waiting = []
    for _ in range(size.held):
        waiting.append(asyncio.create_task(timed(lambda: caller.run(SLOW, tools=["pause"]))))
        await asyncio.sleep(0.004)  # a connection that is flooded at once measures something else
    begun = time.perf_counter()
    while (tools := server.metric("podium_tool_slots_taken ")) < size.held * TOOLS:
        if time.perf_counter() - begun > size.held_ms / 1000 / 2:
            raise RuntimeError(f"only {tools:g} of {size.held * TOOLS} tools are in flight")
        await asyncio.sleep(0.2)
    if ended := sum(task.done() for task in waiting):
        raise RuntimeError(f"{ended} runs ended before all were open")
    samples.held_tools.append(tools)
    samples.held_kb.append((server.memory_mb() - before) * 1024 / size.held)
    samples.held += await asyncio.gather(*waiting)


# --- all together ---------------------------------------------------------------------------------


def scripts(size: Size) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    watches = {size.seconds, 3.0}
    return {
        FIVE: [("pause", {"i": index, "ms": TOOL_MS}) for index in range(TOOLS)],
        NOTHING: [("instant", {"i": index}) for index in range(TOOLS)],
        SLOW: [("pause", {"i": index, "ms": size.held_ms}) for index in range(TOOLS)],
        **{f"{WATCH} {seconds:g} s": [("watch_loop", {"seconds": seconds})] for seconds in watches},
    }


def model_of(folder: Path, size: Size) -> dict[str, object]:
    """Write the model's file and return its table."""
    folder.mkdir(exist_ok=True)
    path = folder / "script.json"
    write_scripts(path, scripts(size))
    return {"kind": "scripted", "file": str(path)}


async def warm_up(caller: Caller, count: int) -> None:
    for _ in range(count // 20):
        await asyncio.gather(*(caller.run(NOTHING, tools=["instant"]) for _ in range(20)))


async def repeat(folder: Path, size: Size, samples: Samples) -> None:
    """Measure everything once: one server for the load, another for the memory."""
    model = model_of(folder, size)
    with CoreServer(folder / "load", model=model) as server:
        async with Caller(server) as caller:
            await warm_up(caller, size.settle)
            await one_at_a_time(caller, size, samples)
            await open_loop(server, caller, size, samples)
            await in_flight(server, caller, size, samples)
            await burst(caller, samples)
            for number in range(size.stretches + 1):
                rate, cpu, busy = await saturate(server, caller, size.stretch_seconds)
                rate_off, cpu_off, _ = await saturate(server, caller, size.stretch_seconds, predict=False)
                if number:  # the first fills caches, and the memory of ended runs
                    samples.rates.append(rate)
                    samples.rates_off.append(rate_off)
                    samples.cpu.append(cpu)
                    samples.cpu_off.append(cpu_off)
                    samples.client_busy.append(busy)
        server.check_log(len(samples.open) // size.repetitions)
    with CoreServer(folder / "held", model=model) as server:
        async with Caller(server) as caller:
            await warm_up(caller, 20)
            await held_open(server, caller, size, samples)


async def run(size: Size) -> Samples:
    samples = Samples()
    with tempfile.TemporaryDirectory(prefix="podium-") as name:
        for repetition in range(size.repetitions):
            await repeat(Path(name) / str(repetition), size, samples)
    return samples


async def profile(seconds: float) -> None:
    """Saturate a server for a while, for a profiler."""
    with (
        tempfile.TemporaryDirectory(prefix="podium-") as name,
        CoreServer(Path(name) / "load", model=model_of(Path(name), QUICK)) as server,
    ):
        print(f"server: process {server.pid}", flush=True)
        async with Caller(server) as caller:
            await saturate(server, caller, 2.0)
            rate, cpu, busy = await saturate(server, caller, seconds)
            print(f"{rate:.0f} runs/s, {cpu:.2f} ms of CPU a run; the client's core {busy:.2f} busy", flush=True)


# --- the report -----------------------------------------------------------------------------------


def summary(samples: Samples, size: Size, seconds: float) -> dict[str, Any]:
    ratios = [wall / TOOL_MS for wall in samples.one]
    return {
        "one_ratio_median": round(statistics.median(ratios), 4),
        "one_ratio_p95": share(ratios, 0.95, digits=4),
        "one_target": ONE_TARGET,
        "open_p50_ms": share(samples.open, 0.5),
        "open_p95_ms": share(samples.open, 0.95),
        "open_p99_ms": share(samples.open, 0.99),
        "open_target_p95_ms": OPEN_TARGET_MS,
        "open_runs": len(samples.open),
        "open_server_busy": median(samples.open_busy),
        "open_sent_late_p99_ms": share(samples.open_late, 0.99),
        "flight_lag_p50_ms": share(samples.flight_lag, 0.5),
        "flight_lag_p99_ms": share(samples.flight_lag, 0.99),
        "flight_lag_max_ms": round(max(samples.flight_lag), 2),
        "flight_target_p99_ms": LAG_TARGET_MS,
        "flight_lag_metric_p99_ms": median(samples.flight_lag_metric),
        "flight_tools_in_flight": round(statistics.median(samples.flight_tools)),
        "flight_p95_ms": share(samples.flight, 0.95),
        "flight_server_busy": median(samples.flight_busy),
        "burst_lag_max_ms": round(max(samples.burst_lag), 2),
        "burst_p95_ms": share(samples.burst, 0.95),
        "saturated_runs_per_second": median(samples.rates, 1),
        "saturated_target": RATE_TARGET,
        "saturated_cpu_ms_per_run": median(samples.cpu, 3),
        "saturated_without_prediction": median(samples.rates_off, 1),
        "saturated_cpu_ms_without_prediction": median(samples.cpu_off, 3),
        "saturated_client_busy": median(samples.client_busy),
        "held_runs": size.held,
        "held_finished": len(samples.held),
        "held_kb_per_run": median(samples.held_kb, 1),
        "held_tools_in_flight": round(min(samples.held_tools)),
        "held_longest_ms": round(max(samples.held)),
        "repetitions": size.repetitions,
        "seconds": round(seconds),
        "load_average": round(os.getloadavg()[0], 2),
        "raw": [{"what": name, "values": [round(one, 3) for one in values]} for name, values in vars(samples).items()],
    }


def picture(samples: Samples, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10.5, 3.4), layout="constrained")
    blue, grey, red = "#2f6fde", "#8a8f98", "#c0392b"
    limits = (TOOL_MS - 10, OPEN_TARGET_MS + 20)
    left.hist([min(one, limits[1]) for one in samples.open], bins=60, range=limits, color=blue)
    left.axvline(OPEN_TARGET_MS, color=red, linewidth=1, linestyle="--")
    left.axvline(share(samples.open, 0.95), color="black", linewidth=1)
    left.set_title("100 runs/s of five 500 ms tools:\nlatency, ms (black: p95)", fontsize=9)
    left.set_yticks([])
    for values, colour, words in (
        (samples.flight_lag, blue, "200 runs/s"),
        (samples.burst_lag, grey, "100 runs at once"),
    ):
        ordered = sorted(values)
        ranks = [100 * (number + 1) / len(ordered) for number in range(len(ordered))]
        middle.plot([max(one, 0.05) for one in ordered], ranks, color=colour, label=words)
    middle.axvline(LAG_TARGET_MS, color=red, linewidth=1, linestyle="--")
    middle.axhline(99, color="#d9dce1", linewidth=1)
    middle.set_xscale("log")
    middle.set_ylim(50, 100.5)
    middle.legend(frameon=False, fontsize=8, loc="lower right")
    middle.set_title("500 tools in flight: % of beats\nno later than, ms", fontsize=9)
    for index, rates in enumerate((samples.rates, samples.rates_off)):
        right.bar(index, statistics.median(rates), color=grey if index else blue, width=0.5)
        right.plot([index] * len(rates), rates, "k.", markersize=3)
    right.axhline(RATE_TARGET, color=red, linewidth=1, linestyle="--")
    right.set_xlim(-0.6, 1.6)
    right.set_xticks([0, 1], ["as it comes", "without\nprediction"], fontsize=8)
    right.set_title("five tools that take no time:\nruns/s on one core", fontsize=9)
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def paragraphs(figures: dict[str, Any]) -> list[str]:
    f = figures
    rows = [
        (
            "five 500 ms tools in one run: wall / 500 ms",
            f"{f['one_ratio_median']} (p95 {f['one_ratio_p95']})",
            "1.02",
        ),
        ("100 runs/s of them: p95 latency", f"{f['open_p95_ms']} ms (p99 {f['open_p99_ms']})", "600 ms"),
        ("500 tools in flight: event-loop lag p99", f"{f['flight_lag_p99_ms']} ms", "20 ms"),
        ("five tools that take no time, saturated", f"{f['saturated_runs_per_second']} runs/s", "at least 300"),
        (f"{f['held_runs']} runs held open", f"all finish, {f['held_kb_per_run']} KB each", "all finish"),
    ]
    table = "| what | measured | target |\n|---|---|---|\n" + "\n".join(f"| {a} | {b} | {c} |" for a, b, c in rows)
    text = (__doc__ or "").strip().split("\n\n")
    return [
        text[1],
        text[2],
        table,
        f"A saturated run costs {f['saturated_cpu_ms_per_run']} ms of the server's processor time (the caller's core "
        f"is {f['saturated_client_busy']} busy meanwhile). Since all runs are alike, their first calls are predicted, "
        "which gains nothing for tools that take no time; without prediction it is "
        f"{f['saturated_cpu_ms_without_prediction']} ms, and {f['saturated_without_prediction']} runs/s.",
        f"At 100 runs a second the server's core is {f['open_server_busy']} busy, at 200 {f['flight_server_busy']}; "
        f"the caller sent 99 of 100 runs at most {f['open_sent_late_p99_ms']} ms late. With "
        f"{f['flight_tools_in_flight']} tools in flight the median lag is {f['flight_lag_p50_ms']} ms and the longest "
        f"{f['flight_lag_max_ms']} ms; the server's own metric, a beat every 50 ms for a minute, says a p99 of "
        f"{f['flight_lag_metric_p99_ms']} ms. When 100 runs come at the same moment the loop is "
        f"{f['burst_lag_max_ms']} ms late at worst, and 95 of 100 of them have ended after {f['burst_p95_ms']} ms.",
        f"Median of {f['repetitions']} repetitions in fresh processes (latency and lag: of all samples together). "
        f"Memory is what the process grew by while {f['held_tools_in_flight']} tools were in flight, divided by the "
        f"runs. Load average at the end: {f['load_average']}.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how many tools and runs one server core carries.")
    parser.add_argument("--quick", action="store_true", help="one repetition, short; saves nothing")
    parser.add_argument("--profile", type=float, metavar="SECONDS", help="only saturate, and print the process id")
    arguments = parser.parse_args()
    keep_to_core(LOAD_CORE)
    if arguments.profile:
        uvloop.run(profile(arguments.profile))
        return
    size = QUICK if arguments.quick else FULL
    begun = time.monotonic()
    samples = uvloop.run(run(size))
    figures = summary(samples, size, time.monotonic() - begun)
    if arguments.quick:
        print_figures(figures)
        return
    picture(samples, FOLDER / "scale.png")
    save("scale", "What one server core carries", paragraphs(figures), figures, picture=True)


if __name__ == "__main__":
    main()
