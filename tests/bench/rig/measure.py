"""Measures one system under test against the scripted upstream, in rounds; a round with a late upstream is repeated.

The system is pinned to core 0; the upstream, this process and the client of a server are on core 1.
"""

from __future__ import annotations

import json
import select
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from bench.child import Child, module
from bench.rig.systems import SYSTEMS, SystemKind

__all__ = ["LATE_MS", "LOAD_CORE", "SYSTEM_CORE", "WARM_UP", "Rig", "Running", "Samples"]

SYSTEM_CORE, LOAD_CORE = 0, 1
LATE_MS = 2.0
WARM_UP = 20
WARM_SCRIPT = "fan-8"
_ANSWER_SECONDS = 600.0
_ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Samples:
    """What rounds of one script gave in one process. Raw: nothing is averaged.

    Attributes:
        rounds: start, end, answer, error of each kept round, with its upstream requests and tool notes.
        cpu_ms: per batch that was kept, its processor time divided by its rounds.
        late_ms: lateness of every step of the upstream in the rounds that were kept.
        repeated: rounds that were thrown away because the upstream was late, and made again.
        worst_late_ms: of the rounds that were thrown away.
        missing: rounds that could not be had within the limit of repetitions.
    """

    rounds: list[dict[str, Any]] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    repeated: int = 0
    worst_late_ms: float = 0.0
    missing: int = 0
    wall_s: float = 0.0

    @property
    def wall_ms(self) -> list[float]:
        """Wall time of each round."""
        return [(one["end_ns"] - one["start_ns"]) / 1e6 for one in self.rounds]


class Running(Child):
    """An adapter's process, started for one script's tools. A context manager."""

    def __init__(
        self,
        kind: SystemKind,
        base_url: str,
        folder: Path,
        *,
        script: str = "",
        tool_log: bool = False,
        expected: int = 0,
    ) -> None:
        self.kind = kind
        self.tool_log = folder / f"tools-{time.monotonic_ns()}.log"
        environment = {
            "BENCH_SCRIPT": script,
            "BENCH_TOOL_LOG": str(self.tool_log) if tool_log else "",
            "BENCH_EXPECTED": str(expected),
            **_QUIET,
        }
        python = str(_ROOT / ".venv-bench" / "bin" / "python") if kind.library else sys.executable
        super().__init__(
            [python, "-m", f"bench.rig.adapters.{kind.name}", base_url],
            core=LOAD_CORE if kind.server else SYSTEM_CORE,
            environment=environment,
            log=folder / f"{kind.name}.log",
        )

    def __enter__(self) -> Self:
        try:
            return super().__enter__()
        except RuntimeError as error:
            raise RuntimeError(f"{error}: {self._last_words()}") from None

    @property
    def under_test(self) -> int:
        """The process that is measured."""
        return int(self.ready["pid"])

    def ask(self, **order: Any) -> dict[str, Any]:
        """Give an order and return the answer.

        Raises:
            RuntimeError: the adapter ended, or does not answer.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], _ANSWER_SECONDS)[0]:
            raise RuntimeError(f"{self.kind.name} does not answer to {order}")
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.kind.name} ended at {order}: {self._last_words()}")
        return dict(json.loads(line))

    def _last_words(self) -> str:
        assert self._log is not None
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines() if self._log.exists() else []
        return lines[-1] if lines else "it said nothing"

    def cpu_ms(self) -> float:
        """Return the processor time, user and system, of the system's process tree; exact to the microsecond."""
        process = psutil.Process(self.under_test)
        pids = [process.pid, *(child.pid for child in process.children(recursive=True))]
        return sum(_cpu_ns(pid) for pid in pids) / 1e6

    def memory_mb(self, line: str = "VmHWM") -> float:
        """Return the peak (`VmHWM`) or present (`VmRSS`) resident memory of the system's process."""
        status = Path(f"/proc/{self.under_test}/status").read_text(encoding="utf-8")
        found = next(row for row in status.splitlines() if row.startswith(line))
        return int(found.split()[1]) / 1024

    def tool_notes(self) -> list[tuple[str, int, int]]:
        """Return what the tools have noted so far: what, index, when."""
        if not self.tool_log.exists():
            return []
        rows = (row.split() for row in self.tool_log.read_text(encoding="utf-8").splitlines())
        return [(what, int(index), int(when)) for what, index, when in rows]


class Rig:
    """The upstream, and a folder for what the systems write. A context manager."""

    def __init__(self, *, many: bool = False) -> None:
        self._upstream = Child(module("rig.upstream", *(["--many"] if many else [])), core=LOAD_CORE)
        self._folder = tempfile.TemporaryDirectory()

    def __enter__(self) -> Self:
        self._upstream.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._upstream.__exit__(kind, error, trace)
        self._folder.cleanup()

    @property
    def base_url(self) -> str:
        """The upstream's."""
        return str(self._upstream.ready["url"])

    def start(self, system: str, **options: Any) -> Running:
        """Return the process of a system, to be entered; options as `Running` takes them."""
        return Running(SYSTEMS[system], self.base_url, Path(self._folder.name), **options)

    def log(self) -> list[dict[str, Any]]:
        """Return and forget the requests that have ended since the last time."""
        with urllib.request.urlopen(self.base_url.removesuffix("/v1") + "/log", timeout=30) as answer:  # noqa: S310
            return list(json.loads(answer.read()))

    def warm_up(self, running: Running, script: str = WARM_SCRIPT, rounds: int = WARM_UP) -> None:
        """Run rounds that nobody looks at, of the script whose times are zero: the paths are the same.

        Raises:
            RuntimeError: they fail, so that nothing that follows would mean anything.
        """
        found = running.ask(do="rounds", script=script, count=rounds, in_flight=1)["rounds"]
        if wrong := [one for one in found if one["error"] or one["answer"] != "done"]:
            raise RuntimeError(f"{running.kind.name} cannot run {script}: {wrong[0]}")
        self.log()

    def measure(self, running: Running, script: str, rounds: int, *, batch: int = 1, in_flight: int = 1) -> Samples:
        """Run a script until so many rounds are kept; whole batches with a late upstream are repeated."""
        samples = Samples()
        most = 3 * rounds + 10 * batch
        while len(samples.rounds) < rounds:
            if samples.repeated + len(samples.rounds) >= most:
                samples.missing = rounds - len(samples.rounds)
                break
            count = min(batch, rounds - len(samples.rounds))
            self._batch(running, script, count, in_flight, samples)
        return samples

    def _batch(self, running: Running, script: str, count: int, in_flight: int, samples: Samples) -> None:
        cpu, began, noted = running.cpu_ms(), time.monotonic(), len(running.tool_notes())
        rounds = running.ask(do="rounds", script=script, count=count, in_flight=in_flight)["rounds"]
        wall, used = time.monotonic() - began, running.cpu_ms() - cpu
        requests = self.log()
        late = [step for request in requests for step in request["late_ms"]]
        if late and max(late) > LATE_MS:
            samples.repeated += count
            samples.worst_late_ms = max(samples.worst_late_ms, *late)
            return
        samples.late_ms += late
        samples.cpu_ms.append(used / count)
        samples.wall_s += wall
        notes = running.tool_notes()[noted:]
        if in_flight == 1:
            for one in rounds:
                one["requests"] = [r for r in requests if one["start_ns"] <= r["arrived_ns"] <= one["end_ns"]]
                one["tools"] = [n for n in notes if one["start_ns"] <= n[2] <= one["end_ns"]]
        samples.rounds += rounds


def _cpu_ns(pid: int) -> int:
    """Read a process's clock of processor time (`clock_getcpuclockid(3)`): all threads, ended ones too."""
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        return 0


# No telemetry, no tracing, no way out of the machine.
_QUIET: Mapping[str, str] = {
    "DO_NOT_TRACK": "1",
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_TRACING": "false",
    "LOGFIRE_SEND_TO_LOGFIRE": "false",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "OPENAI_API_KEY": "bench",
    "OTEL_SDK_DISABLED": "true",
    "no_proxy": "*",
}
