"""A benchmark's repetitions: fresh processes, systems in shuffled order, figures and raw samples for the report."""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.rig.measure import LOAD_CORE, Rig, Running, Samples
from bench.rig.systems import SYSTEMS

__all__ = ["Result", "Session", "median", "print_figures", "ready_made_parser", "share"]

_SEED = 20_25
REPETITIONS = 5


@dataclass
class Result:
    """What one process gave for one script."""

    system: str
    script: str
    repetition: int
    samples: Samples
    peak_rss_mb: float
    how: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


def ready_made_parser(description: str, *, rounds: int) -> argparse.ArgumentParser:
    """Return the options that every benchmark of the rig has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="one repetition, few rounds; saves nothing")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="which to measure, by commas")
    parser.add_argument("--rounds", type=int, default=rounds, help="measured rounds of each repetition")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="fresh processes of each system")
    return parser


class Session:
    """The repetitions of one benchmark."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.systems = [name for name in arguments.systems.split(",") if name]
        if unknown := sorted(set(self.systems) - set(SYSTEMS)):
            raise SystemExit(f"there is no system {', '.join(unknown)}; there are {', '.join(SYSTEMS)}")
        self.repetitions = 1 if arguments.quick else arguments.repetitions
        self.results: list[Result] = []
        self.versions: dict[str, str] = {}
        self.failures: dict[str, str] = {}
        self._began = time.monotonic()

    def run(self, measure: Callable[[Rig, str, int], Sequence[Result]], *, many: bool = False) -> None:
        """Measure every system in every repetition; one that cannot run is left out, with the reason."""
        if (os.cpu_count() or 1) > 1:
            os.sched_setaffinity(0, {LOAD_CORE})
        shuffled = random.Random(_SEED)
        with Rig(many=many) as rig:
            for repetition in range(self.repetitions):
                order = list(self.systems)
                shuffled.shuffle(order)
                for system in order:
                    if system in self.failures:
                        continue
                    self._say(f"repetition {repetition + 1} of {self.repetitions}: {system}")
                    try:
                        self.results += measure(rig, system, repetition)
                    except RuntimeError as error:
                        self.failures[system] = str(error)
                        self._say(f"{system} is left out: {error}")

    def note(self, running: Running) -> None:
        """Remember the versions of a system."""
        self.versions |= running.ready["versions"]

    def of(self, system: str, script: str = "", how: str = "") -> list[Result]:
        """Return the results of a system."""
        found = [one for one in self.results if one.system == system and one.how == how]
        return [one for one in found if not script or one.script == script]

    @property
    def measured(self) -> list[str]:
        """The systems that have results, in the order of the table."""
        have = {one.system for one in self.results}
        return [name for name in SYSTEMS if name in have]

    def summary(self, system: str, script: str, how: str = "") -> dict[str, Any]:
        """Return the figures of one row: wall time, processor time, memory."""
        results = self.of(system, script, how)
        walls = [wall for one in results for wall in one.samples.wall_ms]
        cpu = [used for one in results for used in one.samples.cpu_ms]
        return {
            "wall_median_ms": median(walls),
            "wall_p95_ms": share(walls, 0.95),
            "cpu_median_ms": median(cpu),
            "peak_rss_mb": round(max((one.peak_rss_mb for one in results), default=0.0), 1),
            "rounds": len(walls),
            "runs_per_second": round(len(walls) / max(sum(one.samples.wall_s for one in results), 1e-9), 1),
            "failed": sum(bool(one["error"]) for result in results for one in result.samples.rounds),
        }

    def lateness(self) -> dict[str, Any]:
        """Return the rig's own figures, over all that was kept."""
        late = [step for one in self.results for step in one.samples.late_ms]
        return {
            "steps": len(late),
            "max_ms": round(max(late, default=0.0), 3),
            "p99_ms": share(late, 0.99, digits=3),
            "rounds_repeated": sum(one.samples.repeated for one in self.results),
            "worst_of_repeated_ms": round(max((one.samples.worst_late_ms for one in self.results), default=0.0), 3),
            "rounds_missing": sum(one.samples.missing for one in self.results),
        }

    def common(self) -> dict[str, Any]:
        """Return what every report says: versions, lateness, what was left out, raw samples."""
        return {
            "versions": dict(sorted(self.versions.items())),
            "lateness": self.lateness(),
            "left_out": self.failures,
            "seconds": round(time.monotonic() - self._began),
            "repetitions": self.repetitions,
            "load_average": round(os.getloadavg()[0], 2),
            "raw": [_raw(one) for one in self.results],
        }

    def paragraphs(self) -> list[str]:
        """Return what every report ends with."""
        late = self.lateness()
        versions = ", ".join(f"{name} {version}" for name, version in sorted(self.versions.items()))
        text = (
            "The system under test is pinned to core 0; the scripted upstream and, for gRPC, the client to core 1. "
            f"{self.repetitions} repetitions in fresh processes, systems in shuffled order, 20 warm-up rounds each; "
            "medians over all rounds. Processor time is that of the system's process tree; for gRPC that is the "
            "server with every interceptor on, without its client, while a library has its caller in the same process."
        )
        kept = (
            f" The upstream's {late['steps']} steps were at most {late['max_ms']} ms late (p99 {late['p99_ms']} ms); "
            f"{late['rounds_repeated']} rounds in which it was more than 2 ms late were made again"
        )
        kept += f", {late['rounds_missing']} could not be had." if late["rounds_missing"] else "."
        text += kept if late["steps"] else ""
        left = [f"`{name}` was left out: {reason}." for name, reason in self.failures.items()]
        return [text, *left, f"Versions: {versions}. Adapters: `tests/bench/rig/adapters/`."]

    def _say(self, words: str) -> None:
        print(f"[{time.monotonic() - self._began:5.0f} s] {words}", file=sys.stderr, flush=True)


def _raw(result: Result) -> dict[str, Any]:
    samples = result.samples
    bins = Counter(round(step, 1) for step in samples.late_ms)
    return {
        "system": result.system,
        "script": result.script,
        **({"how": result.how} if result.how else {}),
        "repetition": result.repetition,
        "wall_ms": [round(wall, 2) for wall in samples.wall_ms],
        "cpu_ms": [round(used, 3) for used in samples.cpu_ms],
        "peak_rss_mb": round(result.peak_rss_mb, 1),
        "steps_by_lateness_ms": {f"{late:g}": bins[late] for late in sorted(bins)},
        "rounds_repeated": samples.repeated,
        **result.extra,
    }


def print_figures(figures: Mapping[str, Any]) -> None:
    """Print what `bench.report.save` would print, without saving anything."""
    print(json.dumps({key: value for key, value in figures.items() if not isinstance(value, list)}))


def median(values: Sequence[float], digits: int = 2) -> float:
    """Return the median, or 0 of nothing."""
    return round(statistics.median(values), digits) if values else 0.0


def share(values: Sequence[float], quantile: float, digits: int = 2) -> float:
    """Return a quantile by the nearest rank, or 0 of nothing."""
    ordered = sorted(values)
    return round(ordered[min(int(quantile * len(ordered)), len(ordered) - 1)], digits) if ordered else 0.0
