"""What the interceptor chain costs: a Podium server's chain against a bare grpc.aio server.

All servers run the same handler on uvloop, each in a fresh process pinned to core 0; one client
process on core 1 keeps 32 unary calls in flight and measures them in turn, round after round,
forwards and backwards, so that whatever else the machine does strikes all alike. The report says
how busy the client's core was: the server's is the bottleneck.

- `bare`: grpc.aio with the handler and nothing else.
- `full`: what `podium serve` runs: the standard chain, everything on (ids in the trailers, a JSON access
  log into a real file, metrics, deadline, API key, scope, rate limit, load shedding, breaker,
  validation), in a process tuned for throughput (`podium.resilience.scheduling`).
- `bare_tuned`: bare, but in a process tuned like that.
- `full_default`: full, but in a process as it comes, like `bare`'s.
- `full_always`: full, but every call sends its ids as initial metadata too, as calls that come with a
  correlation id do.

Run `make bench-chain`. The last line of output is one JSON object; report and picture are saved
under docs/benchmarks/.
"""

from __future__ import annotations

import argparse
import asyncio
import os
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

from bench.report import FOLDER, save
from podium.v1 import tool_pb2, tool_pb2_grpc

MODES = ("bare", "full", "bare_tuned", "full_default", "full_always")
UNTUNED = {"bare", "full_default"}
POLLER = {"GRPC_EXPERIMENTS": "-event_engine_listener"}  # what `podium serve` sets before it imports gRPC
TESTS = str(Path(__file__).resolve().parents[1])
IN_FLIGHT = 32
TARGET = 0.85


class Tools(tool_pb2_grpc.ToolServiceServicer):  # type: ignore[misc]
    """The handler of every server."""

    def __init__(self) -> None:
        description = "Works out an arithmetic expression. " * 4
        self._reply = tool_pb2.GetToolResponse(tool=tool_pb2.Tool(name="calculate", description=description))

    async def GetTool(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        return self._reply


# --- the servers --------------------------------------------------------------------------------


def interceptors(mode: str, directory: Path) -> list[Any]:
    """Return the chain of a mode, with logging set up; none for the bare ones."""
    from podium.resilience.scheduling import prefer_throughput

    if mode not in UNTUNED:
        prefer_throughput()
    if mode.startswith("bare"):
        return []
    from prometheus_client import CollectorRegistry

    from podium.interceptors import Drain, MethodClass, MethodPolicy, RateLimits, standard_chain
    from podium.observability.logging import LogConfig, configure_logging
    from podium.resilience.breakers import Breakers
    from podium.security import ApiKeyAuthenticator, KeyStore

    stream = (directory / f"{mode}.log").open("wb", buffering=0)
    pipeline = configure_logging(LogConfig(format="json", cache_loggers=True), stream=stream)
    breakers = Breakers()
    breakers.get("model:embedded")
    chain = standard_chain(
        {"/podium.v1.ToolService/GetTool": MethodPolicy("read", MethodClass.READ, 10.0, ("model:*",))},
        registry=CollectorRegistry(),
        breakers=breakers,
        drain=Drain(),
        authenticators=[ApiKeyAuthenticator(KeyStore(directory))],
        # So wide that none refuses, but every bucket is counted.
        rate_limits=RateLimits(per_minute=60_000_000, per_hour=10**9, burst=10**6, global_per_second=1e6),
        initial_ids="always" if mode == "full_always" else "on demand",
        redact=pipeline.masker.mask,
        write_line=getattr(pipeline, "write_line", None),
    )
    return [chain]


async def serve(mode: str, directory: Path) -> None:
    """Serve until standard input closes; answer each line on it with the CPU time used."""
    chains = interceptors(mode, directory)
    server = grpc.aio.server(interceptors=chains, options=[("grpc.so_reuseport", 0)])
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
    for chain in chains:
        chain.close()


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
        command = ["-m", "bench.bench_chain", "--serve", mode, "--directory", str(directory)]
        pinned = ["taskset", "-c", "0"] if (os.cpu_count() or 1) > 1 else []
        self.process = subprocess.Popen(
            [*pinned, sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **({} if mode in UNTUNED else POLLER), "PYTHONPATH": TESTS},
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
    """Make calls, 32 at a time, each with a deadline and the key."""
    metadata = (("authorization", f"Bearer {key}"),)
    request = tool_pb2.GetToolRequest(name="calculate")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = tool_pb2_grpc.ToolServiceStub(channel)

        async def one_after_another(count: int) -> None:
            for _ in range(count):
                await stub.GetTool(request, metadata=metadata, timeout=5)

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
                for mode in MODES if number % 2 == 0 else reversed(MODES):
                    samples[mode].append(await measure(servers[mode], calls, key))
        finally:
            for server in servers.values():
                server.close()
        lines = (Path(name) / "full.log").read_bytes().count(b'"status":"OK"')
    expected = rounds * (calls // IN_FLIGHT * IN_FLIGHT)
    if lines < expected:
        raise RuntimeError(f"the access log has {lines} lines for at least {expected} calls: not everything was on")
    return samples


# --- the report ---------------------------------------------------------------------------------


def summary(samples: dict[str, list[Sample]], calls: int) -> dict[str, Any]:
    def rate(mode: str) -> float:
        return statistics.median(sample.calls_per_second for sample in samples[mode])

    def median(mode: str, field: str) -> float:
        return statistics.median(getattr(sample, field) for sample in samples[mode])

    return {
        "ratio": round(rate("full") / rate("bare"), 3),
        "target": TARGET,
        "ratio_both_default": round(rate("full_default") / rate("bare"), 3),
        "ratio_both_tuned": round(rate("full") / rate("bare_tuned"), 3),
        "ratio_ids_always_ahead": round(rate("full_always") / rate("bare"), 3),
        "ratio_cpu": round(median("bare", "server_cpu_us") / median("full", "server_cpu_us"), 3),
        **{
            mode: {
                "calls_per_second": round(rate(mode)),
                "server_cpu_us": round(median(mode, "server_cpu_us"), 1),
                "client_busy": round(median(mode, "client_busy"), 2),
            }
            for mode in MODES
        },
        "rounds": len(samples["bare"]),
        "calls_a_round": calls,
        "in_flight": IN_FLIGHT,
        "load_average": round(os.getloadavg()[0], 2),
        "raw": [{"mode": mode, **asdict(sample)} for mode, found in samples.items() for sample in found],
    }


def picture(samples: dict[str, list[Sample]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = {"bare": "bare\ngrpc.aio", "full": "Podium,\neverything on", "full_default": "Podium,\nprocess\nuntuned"}
    shown |= {"bare_tuned": "bare,\nprocess\ntuned", "full_always": "Podium,\nids always\nahead"}
    figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for index, mode in enumerate(shown):
        rates = [sample.calls_per_second for sample in samples[mode]]
        color = "#8a8f98" if mode.startswith("bare") else "#2f6fde"
        axes.bar(index, statistics.median(rates), color=color, width=0.6, alpha=1 if index < 2 else 0.45)
        axes.plot([index] * len(rates), rates, "k.", markersize=3)
    bare = statistics.median(sample.calls_per_second for sample in samples["bare"])
    axes.axhline(TARGET * bare, color="#c0392b", linestyle="--", linewidth=1, label=f"{TARGET} of bare")
    axes.set_xticks(range(len(shown)), list(shown.values()), fontsize=8)
    axes.set_ylabel("unary calls/s, one core")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def paragraphs(figures: dict[str, Any]) -> list[str]:
    rows = "\n".join(
        f"| `{mode}` | {figures[mode]['calls_per_second']} | {figures[mode]['server_cpu_us']} "
        f"| {figures[mode]['client_busy']} |"
        for mode in MODES
    )
    text = f"""**With everything on, a Podium server does {figures["ratio"]} of a bare grpc.aio server's unary calls a
second** on one core (target {TARGET}), its process tuned as `podium serve` does it. With both processes as they come,
the ratio is {figures["ratio_both_default"]}; with both tuned, {figures["ratio_both_tuned"]}.

Unary calls with {IN_FLIGHT} in flight; every server on uvloop, pinned to core 0, the client on core 1; medians of
{figures["rounds"]} alternating rounds of {figures["calls_a_round"]} calls; load average {figures["load_average"]} at
the end; grpcio {grpc.__version__}.

| server | calls/s | server CPU, us a call | client's core busy |
|---|---|---|---|
{rows}

`bare` has the handler and nothing else. `full` is the standard chain as `podium serve` has it: ids in the trailers, a
JSON line for each call into a file, metrics, deadline, API key, scope, rate limit, load shedding,
circuit breaking and validation, in a process tuned for throughput: scheduled in batches, its sockets read by gRPC's
poller (`podium.resilience.scheduling`). `bare_tuned` is the bare server in such a process, `full_default` the chain in
a process as it comes. In `full_always` every call sends its ids ahead as initial metadata, too, as calls with an
`x-correlation-id` do: in grpc.aio that is a batch and a write of its own."""
    return text.split("\n\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the interceptor chain.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=8_000, help="calls in each round, for each server")
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
    picture(samples, FOLDER / "chain.png")
    save("chain", "The interceptor chain against a bare server", paragraphs(figures), figures, picture=True)


if __name__ == "__main__":
    main()
