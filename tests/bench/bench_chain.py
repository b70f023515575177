"""What the interceptor chain costs: a full Podium chain against a bare grpc.aio server.

Both servers run the same handler on uvloop, each in a fresh process pinned to core 0; one client
process on core 1 keeps 32 unary calls in flight and measures them in turn, round after round, so
that whatever else the machine does strikes all alike. The server's core is the bottleneck: the
report says how busy the client's was.

- `bare`: grpc.aio with the handler and nothing else.
- `full`: the standard chain, everything on: ids in initial metadata and trailers, JSON access log
  with masking into a real file, metrics, deadline, API key, scope, rate limit, load shedding, breaker, validation.
- `trailers`: the same, but unary calls carry their ids in trailers alone. Not the default (the
  contract asks for both); it shows what the extra write of initial metadata costs.

Run `python tests/bench/bench_chain.py`. The last line of output is one JSON object; the report
and its picture go to `docs/benchmarks/`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
import uvloop

from podium.v1 import tool_pb2, tool_pb2_grpc

MODES = ("bare", "full", "trailers")
IN_FLIGHT = 32
REPORTS = Path(__file__).resolve().parents[2] / "docs" / "benchmarks"


class Tools(tool_pb2_grpc.ToolServiceServicer):  # type: ignore[misc]
    """The handler of both servers."""

    def __init__(self) -> None:
        description = "Works out an arithmetic expression. " * 4
        self._reply = tool_pb2.GetToolResponse(tool=tool_pb2.Tool(name="calculate", description=description))

    async def GetTool(self, request: Any, context: Any) -> Any:
        return self._reply


# --- the servers --------------------------------------------------------------------------------


def interceptors(mode: str, directory: Path) -> list[Any]:
    """Return the chain of a mode, logging set up and a key made."""
    if mode == "bare":
        return []
    from prometheus_client import CollectorRegistry

    from podium.interceptors import Drain, MethodClass, MethodPolicy, RateLimits, standard_chain
    from podium.observability.logging import LogConfig, configure_logging
    from podium.resilience.breakers import Breakers
    from podium.security import ApiKeyAuthenticator, KeyStore

    stream = (directory / f"{mode}.log").open("wb", buffering=0)
    pipeline = configure_logging(LogConfig(format="json", cache_loggers=True), stream=stream)
    store = KeyStore(directory)
    breakers = Breakers()
    breakers.get("model:embedded")
    # Limits so wide that none refuses, but every bucket is counted.
    limits = RateLimits(per_minute=60_000_000, per_hour=1_000_000_000, burst=1_000_000, global_per_second=1e6)
    chain = standard_chain(
        {"/podium.v1.ToolService/GetTool": MethodPolicy("read", MethodClass.READ, 10.0, ("model:*",))},
        registry=CollectorRegistry(),
        breakers=breakers,
        drain=Drain(),
        authenticators=[ApiKeyAuthenticator(store)],
        rate_limits=limits,
        initial_ids="streams" if mode == "trailers" else "always",
        redact=pipeline.masker.mask if hasattr(pipeline.masker, "mask") else str,
    )
    return [chain]


async def serve(mode: str, directory: Path) -> None:
    """Serve until standard input closes; answer each line on it with the CPU time used."""
    server = grpc.aio.server(interceptors=interceptors(mode, directory), options=[("grpc.so_reuseport", 0)])
    tool_pb2_grpc.add_ToolServiceServicer_to_server(Tools(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(used.ru_utime + used.ru_stime, flush=True)
    await server.stop(None)


# --- the client ---------------------------------------------------------------------------------


@dataclass
class Sample:
    """One measurement of one server."""

    calls_per_second: float
    server_cpu_us: float
    client_busy: float


class Server:
    """A server process and the way to ask for its CPU time."""

    def __init__(self, mode: str, directory: Path) -> None:
        command = [sys.executable, globals()["__file__"], "--serve", mode, "--directory", str(directory)]
        self.process = subprocess.Popen(
            ["taskset", "-c", "0", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.port = int(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the server ended early")
        return line

    def cpu(self) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


async def load(port: int, calls: int, key: str) -> None:
    """Make `calls` calls, 32 at a time, each with a deadline and the key."""
    metadata = (("authorization", f"Bearer {key}"),)
    request = tool_pb2.GetToolRequest(name="calculate")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = tool_pb2_grpc.ToolServiceStub(channel)

        async def one_after_another(count: int) -> None:
            for _ in range(count):
                await stub.GetTool(request, metadata=metadata, timeout=30)

        await asyncio.gather(*(one_after_another(calls // IN_FLIGHT) for _ in range(IN_FLIGHT)))


async def measure(server: Server, calls: int, key: str) -> Sample:
    await load(server.port, max(calls // 10, 10 * IN_FLIGHT), key)  # warm: connection, caches, branches
    calls = calls // IN_FLIGHT * IN_FLIGHT
    cpu, own, start = server.cpu(), time.process_time(), time.perf_counter()
    await load(server.port, calls, key)
    wall, used, busy = time.perf_counter() - start, server.cpu() - cpu, time.process_time() - own
    return Sample(calls / wall, used / calls * 1e6, busy / wall)


async def run(rounds: int, calls: int) -> dict[str, list[Sample]]:
    from podium.security import KeyStore

    samples: dict[str, list[Sample]] = {mode: [] for mode in MODES}
    with tempfile.TemporaryDirectory() as name:
        key, _ = KeyStore(Path(name)).create(frozenset({"read"}))
        servers: dict[str, Server] = {}
        try:
            for mode in MODES:
                servers[mode] = Server(mode, Path(name))
            for number in range(rounds):
                # Forwards and backwards in turn, so that a drift favours nobody.
                for mode in MODES if number % 2 == 0 else reversed(MODES):
                    samples[mode].append(await measure(servers[mode], calls, key))
        finally:
            for server in servers.values():
                server.close()
        lines = (Path(name) / "full.log").read_bytes().count(b"\n")
    expected = rounds * (calls // IN_FLIGHT * IN_FLIGHT)
    if lines < expected:
        raise RuntimeError(f"the access log has {lines} lines for at least {expected} calls: not everything was on")
    return samples


# --- the report ---------------------------------------------------------------------------------


def summary(samples: dict[str, list[Sample]], calls: int) -> dict[str, Any]:
    def median(mode: str, field: str) -> float:
        return statistics.median(getattr(sample, field) for sample in samples[mode])

    bare = median("bare", "calls_per_second")
    figures: dict[str, Any] = {
        "benchmark": "chain",
        "ratio": round(median("full", "calls_per_second") / bare, 3),
        "ratio_cpu": round(median("bare", "server_cpu_us") / median("full", "server_cpu_us"), 3),
        "ratio_ids_in_trailers_only": round(median("trailers", "calls_per_second") / bare, 3),
        "target": 0.85,
    }
    for mode in MODES:
        figures[mode] = {
            "calls_per_second": round(median(mode, "calls_per_second")),
            "server_cpu_us": round(median(mode, "server_cpu_us"), 1),
            "client_busy": round(median(mode, "client_busy"), 2),
        }
    figures["rounds"] = len(samples["bare"])
    figures["calls_a_round"] = calls
    figures["in_flight"] = IN_FLIGHT
    figures["load_average"] = round(os.getloadavg()[0], 2)
    figures["raw"] = {mode: [asdict(sample) for sample in found] for mode, found in samples.items()}
    return figures


def picture(samples: dict[str, list[Sample]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    labels = {"bare": "bare grpc.aio", "full": "whole chain", "trailers": "chain, ids only\nin trailers"}
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for index, mode in enumerate(MODES):
        rates = [sample.calls_per_second for sample in samples[mode]]
        axes.bar(index, statistics.median(rates), color=("#8a8f98", "#2f6fde", "#a9c4f5")[index], width=0.6)
        axes.plot([index] * len(rates), rates, "k.", markersize=4)
    axes.axhline(
        0.85 * statistics.median(sample.calls_per_second for sample in samples["bare"]),
        color="#c0392b", linestyle="--", linewidth=1, label="0.85 of bare",
    )  # fmt: skip
    axes.set_xticks(range(len(MODES)), [labels[mode] for mode in MODES])
    axes.set_ylabel("unary calls/s, one core")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def report(figures: dict[str, Any]) -> str:
    rows = "\n".join(
        f"| {mode} | {figures[mode]['calls_per_second']} | {figures[mode]['server_cpu_us']} "
        f"| {figures[mode]['client_busy']} |"
        for mode in MODES
    )
    return f"""# The interceptor chain against a bare grpc.aio server

`make bench-chain`. Unary calls with {IN_FLIGHT} in flight; both servers on uvloop, pinned to core 0, the client on
core 1; medians of {figures["rounds"]} alternating rounds of {figures["calls_a_round"]} calls. CPython {platform.python_version()},
grpcio {grpc.__version__}, {os.cpu_count()} cores, load average {figures["load_average"]} at the end.

| server | calls/s | server CPU, us a call | client's core busy |
|---|---|---|---|
{rows}

**Ratio, whole chain to bare: {figures["ratio"]}** (by CPU a call {figures["ratio_cpu"]}; target 0.85). With ids in trailers alone:
{figures["ratio_ids_in_trailers_only"]}.

![calls per second](chain.png)

*bare* has the handler and nothing else. *full* is the standard chain with everything on: ids in initial metadata and
trailers, a masked JSON line for each call into a file, metrics, deadline, API key, scope, rate limit, load shedding,
circuit breaking and validation. *trailers* is the same, except that unary calls do not send initial metadata of their
own: grpc.aio sends it as a batch and a write of its own, which costs about a fifth of a bare call.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the interceptor chain.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=8_000, help="calls in each round, for each server")
    parser.add_argument("--no-report", action="store_true", help="write no files")
    parser.add_argument("--serve", choices=MODES, help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve(arguments.serve, arguments.directory))
        return
    if arguments.rounds < 1 or arguments.calls < IN_FLIGHT:
        parser.error("at least one round and 32 calls")
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})
    samples = uvloop.run(run(arguments.rounds, arguments.calls))
    figures = summary(samples, arguments.calls)
    if not arguments.no_report:
        REPORTS.mkdir(parents=True, exist_ok=True)
        (REPORTS / "chain.json").write_text(json.dumps(figures, indent=1) + "\n")
        (REPORTS / "chain.md").write_text(report(figures))
        picture(samples, REPORTS / "chain.png")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
