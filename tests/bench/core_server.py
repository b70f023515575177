"""`podium serve` for the benchmarks of the core, everything on, and a caller of it with generated stubs.

API keys are asked for; the access log goes into a file as JSON; metrics, breakers and rate limits are on. Every
bound is so wide that it never binds, unless a benchmark sets it.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc.aio

from bench.child import Child
from podium.security import KeyStore
from podium.v1 import orchestrator_pb2, run_pb2
from podium.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from support.server import free_port

__all__ = ["LOAD_CORE", "MODEL", "SERVER_CORE", "Caller", "CoreServer", "keep_to_core", "write_scripts"]

MODEL = "bench"
SERVER_CORE, LOAD_CORE = 0, 1
_START_SECONDS = 60.0
_LONG = 3600

_WIDE: Mapping[str, object] = {
    "ops.enabled": True,
    "auth.enabled": True,
    "tools.python": ["bench.core_tools"],
    "log.format": "json",
    "limits.global_per_second": 1_000_000,
    "limits.requests_per_minute": 10_000_000,
    "limits.requests_per_hour": 100_000_000,
    "limits.burst": 1_000_000,
    "limits.max_in_flight": 100_000,
    "deadlines.run_seconds": _LONG,
    "deadlines.llm_seconds": _LONG,
    "run.parallel": 10_000,
    "run.parallel_process": 100_000,
    "run.parallel_type": 10_000,
    "run.max_active": 100_000,
    "run.max_calls": 10_000,
    "run.max_tokens": 1_000_000,
    "breaker.call_timeout_seconds": 120,  # one of the tools watches the loop for half a minute
    "governor.max_queued_run": 10_000,
}


def keep_to_core(core: int) -> None:
    """Pin this process to a core, where there is more than one."""
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {core})


def write_scripts(path: Path, scripts: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]]) -> None:
    """Write a scripted model's file: by request, the calls of its one turn; the answer is "done". No time passes.

    Raises:
        ValueError: one request contains another, so that the wrong script would play.
    """
    for name in scripts:
        if any(name != other and name in other for other in scripts):
            raise ValueError(f"{name} is contained in the name of another script")
    written = [
        {
            "match": name,
            "turns": [
                {"events": [{"call": tool, "arguments": dict(arguments)} for tool, arguments in calls]},
                {"events": [{"text": "done"}]},
            ],
        }
        for name, calls in scripts.items()
    ]
    path.write_text(json.dumps({"scripts": written}), encoding="utf-8")


class CoreServer(Child):
    """A server process, pinned to its core. A context manager; entering waits until it is ready.

    Args:
        folder: where its configuration, keys and log go; made for it.
        model: the table of its one model.
        settings: settings by dotted path, on top of the wide ones.
        environment: further environment variables.
    """

    def __init__(
        self,
        folder: Path,
        *,
        model: Mapping[str, object],
        settings: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True)
        (folder / "workspace").mkdir()
        self.address, self._ops = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        given = {
            **_WIDE,
            "server.listen": [self.address],
            "ops.listen": self._ops,
            "storage.data_dir": str(folder),
            "tools.workspace": str(folder / "workspace"),
            **{f"models.{MODEL}.{name}": value for name, value in model.items()},
            **(settings or {}),
        }
        config = folder / "podium.toml"
        # JSON's strings, numbers, booleans and lists are TOML's, too.
        config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items()), encoding="utf-8")
        self.log = folder / "server.log"
        self._keys = KeyStore(folder)
        super().__init__(
            [sys.executable, "-m", "podium", "serve", "--config", str(config)],
            core=SERVER_CORE,
            environment=environment,
            log=self.log,
            reports=False,
        )

    def __enter__(self) -> Self:
        super().__enter__()
        give_up = time.monotonic() + _START_SECONDS
        while time.monotonic() < give_up and self.running:
            try:
                self._get("/api/v1/health/ready")
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
            else:
                return self
        self.__exit__(None, None, None)
        raise RuntimeError("the server is not ready: " + "\n".join(self.last_words()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if error is not None:
            print(*self.last_words(), sep="\n", file=sys.stderr)

    def key(self, tenant: str = "default") -> str:
        """Return a new API key that may run requests for a tenant."""
        token, _ = self._keys.create(frozenset({"run", "read"}), tenant=tenant)
        return token

    def cpu_seconds(self) -> float:
        """Return the processor time of all its threads, exact to the microsecond (`clock_getcpuclockid(3)`)."""
        return time.clock_gettime((~self.pid << 3) | 2)

    def memory_mb(self) -> float:
        """Return its resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024

    def metric(self, line: str) -> float:
        """Return the figure on the line of its metrics that begins so.

        Raises:
            LookupError: there is no such line.
        """
        for each in self._get("/metrics").splitlines():
            if each.startswith(line):
                return float(each.rpartition(" ")[2])
        raise LookupError(f"the server's metrics have no {line}")

    def check_log(self, least: int) -> None:
        """Raise RuntimeError unless the access log has at least so many lines of good runs."""
        lines = self.log.read_bytes().count(b'"status":"OK"')
        if lines < least:
            raise RuntimeError(f"the access log has {lines} lines for {least} runs: not everything was on")

    def last_words(self) -> list[str]:
        """Return what its log says of anything but good runs, the last of it."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in lines if '"OK"' not in line and '"SUCCEEDED"' not in line][-5:]

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://{self._ops}{path}", timeout=10) as answer:
            return str(answer.read().decode())


class Caller:
    """One tenant's caller, with a connection of its own. An async context manager."""

    def __init__(self, server: CoreServer, tenant: str = "default") -> None:
        self._metadata = (("authorization", f"Bearer {server.key(tenant)}"),)
        self._channel = grpc.aio.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)])
        self._stub: Any = OrchestratorServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def run(
        self,
        request: str,
        *,
        tools: Sequence[str] = (),
        speculation: run_pb2.Speculation.ValueType = run_pb2.SPECULATION_UNSPECIFIED,
        seconds: float = 300.0,
    ) -> run_pb2.Run:
        """Run a request to its end.

        Raises:
            RuntimeError: it failed, or a call of it did.
        """
        spec = run_pb2.RunSpec(input=request, tools=tools, speculation=speculation)
        reply = await self._stub.Execute(
            orchestrator_pb2.ExecuteRequest(spec=spec), metadata=self._metadata, timeout=seconds
        )
        run: run_pb2.Run = reply.run
        if run.state != run_pb2.RUN_STATE_SUCCEEDED or run.partial or not run.calls:
            failed = next((call.failure.message for call in run.calls if call.HasField("failure")), "")
            raise RuntimeError(f"the run of {request!r} did not succeed: {run.error.message} {failed}")
        return run
