"""Processes of a benchmark: started with one JSON line, ended by closing their input, measured from outside."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

TESTS = str(Path(__file__).resolve().parents[1])
POLLER = {"GRPC_EXPERIMENTS": "-event_engine_listener"}  # what `podium serve` sets before it imports gRPC
_END_SECONDS = 20.0


class Child:
    """A child process, children of its own included. A context manager.

    Args:
        command: what to run; a module of this package as `[sys.executable, "-m", "bench.x"]`.
        core: the core to pin it to, where there is more than one; None for all.
        reports: whether it prints one JSON line once it is ready.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        core: int | None = None,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
        reports: bool = True,
    ) -> None:
        pinned = ["taskset", "-c", str(core)] if core is not None and (os.cpu_count() or 1) > 1 else []
        self._command = [*pinned, *command]
        self._environment = {**os.environ, "PYTHONPATH": TESTS, **(environment or {})}
        self._log = log
        self._reports = reports
        self.ready: dict[str, Any] = {}

    def __enter__(self) -> Self:
        with open(self._log or os.devnull, "ab") as log:  # noqa: PTH123  also takes the null device's name
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if self._reports else log,
                stderr=log if self._log else None,
                text=True,
                env=self._environment,
            )
        if self._reports:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError(f"{' '.join(self._command)} ended before it was ready")
            self.ready = json.loads(line)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        if not self._reports:
            self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def pid(self) -> int:
        """Its process id, for a profiler."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def cpu_seconds(self) -> float:
        """Return the processor time that it and its children have used."""
        process = psutil.Process(self._process.pid)
        times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
        return float(sum(one.user + one.system for one in times))


def module(name: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this package."""
    return [sys.executable, "-m", f"bench.{name}", *arguments]


async def report_and_wait(ready: Mapping[str, Any]) -> None:
    """Tell the parent that this process is ready; return when the parent closes its input."""
    print(json.dumps(dict(ready)), flush=True)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        await reader.read()
    finally:
        transport.close()
