"""What Podium costs between a caller and a fast engine, and beside another gateway.

**Streaming.** A fake engine in a process of its own writes 20,000 tokens a second over 32 streams, real text
in ids of a real tokenizer, behind `trtllm.TrtllmService` on a Unix socket. The same 32 streams are read
once by a client of that socket, which gets bare ids, and once as `InferenceService.Generate` of a Podium server,
which turns them into text; in turns, round after round. What arrives is compared with what the engine
wrote, character for character.

**Gateway.** Short answers of one token from an OpenAI-compatible upstream that costs next to nothing, 32 at a time:
through Podium (gRPC, streamed from upstream) and through LiteLLM's proxy (HTTP, not streamed, one worker, no
database and no keys), each alone on core 0.

Run `make bench-inference`; `PYTHONPATH=tests .venv/bin/python -m bench.bench_inference --litellm` measures
LiteLLM, too, in a virtual environment of its own that it makes first. The last line of output is one JSON
object; report and picture are saved under docs/benchmarks/.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import uvloop

from bench.child import POLLER, Child, module
from bench.fake_engine_process import output_ids, stored_model
from bench.litellm_proxy import LITELLM, LitellmProxy
from bench.report import FOLDER, save
from podium.inference.engine import EngineRequest, TokensFinished
from podium.inference.engine_client import TrtllmEngine
from podium.inference.tokenizer import Tokenizer
from podium.v1 import inference_pb2 as pb
from podium.v1.inference_pb2_grpc import InferenceServiceStub

STREAMS = 32
RATE = 20_000
TARGET = 0.97
IN_FLIGHT = 32
SERVER_CORE, OTHER_CORE = 0, 1
CALL_SECONDS = 120.0


@dataclass(frozen=True)
class Streamed:
    """One round of all streams.

    `first_ms` is the median time to a stream's first output, `engine_cpu` and `podium_cpu` are
    microseconds of processor time a token.
    """

    tokens_per_second: float
    first_ms: float
    messages: int
    engine_cpu: float
    podium_cpu: float
    client_busy: float


@dataclass(frozen=True)
class Gateway:
    """One round of short answers."""

    requests_per_second: float
    cpu_us: float
    client_busy: float


# --- streaming ----------------------------------------------------------------------------------


@dataclass
class Reading:
    """What one stream brought."""

    tokens: int = 0
    messages: int = 0
    first: float = 0.0


def most_tokens(tokens: int, stream: int) -> int:
    """Return the length of a stream; the fake engine's text depends on it, so each has its own."""
    return tokens + stream


async def read_engine(engine: TrtllmEngine, tokens: int, number: int, stream: int) -> Reading:
    request = EngineRequest(
        request_id=f"direct_{number}_{stream}", token_ids=[1] * 24, max_tokens=most_tokens(tokens, stream)
    )
    reading, begun = Reading(), time.perf_counter()
    async for item in engine.generate(request):
        if isinstance(item, TokensFinished):
            reading.tokens = item.completion_tokens
        else:
            reading.first = reading.first or time.perf_counter() - begun
            reading.messages += 1
    return reading


async def read_podium(stub: Any, metadata: Any, tokens: int, expected: Sequence[str], stream: int) -> Reading:
    message = pb.ChatMessage(role=pb.CHAT_ROLE_USER, text="Write out the licence, from any place you like.")
    request = pb.GenerateRequest(messages=[message], max_tokens=most_tokens(tokens, stream))
    reading, begun, text = Reading(), time.perf_counter(), []
    async for part in stub.Generate(request, metadata=metadata, timeout=CALL_SECONDS):
        if part.HasField("finished"):
            reading.tokens = part.finished.usage.completion_tokens
        else:
            reading.first = reading.first or time.perf_counter() - begun
            reading.messages += 1
            text.append(part.text)
    if "".join(text) != expected[stream]:
        raise AssertionError("the text that came is not the text that the engine wrote")
    return reading


async def measure_streams(
    read: Callable[[int], Awaitable[Reading]], engine: Child, podium: Child, streams: int = STREAMS
) -> Streamed:
    engine_cpu, podium_cpu, own = engine.cpu_seconds(), podium.cpu_seconds(), time.process_time()
    begun = time.perf_counter()
    readings = await asyncio.gather(*(read(stream) for stream in range(streams)))
    wall = time.perf_counter() - begun
    tokens = sum(reading.tokens for reading in readings)
    return Streamed(
        tokens_per_second=tokens / wall,
        first_ms=statistics.median(reading.first for reading in readings) * 1000,
        messages=sum(reading.messages for reading in readings),
        engine_cpu=(engine.cpu_seconds() - engine_cpu) / tokens * 1e6,
        podium_cpu=(podium.cpu_seconds() - podium_cpu) / tokens * 1e6,
        client_busy=(time.process_time() - own) / wall,
    )


async def stream_rounds(
    arguments: argparse.Namespace, key: str, engine: Child, podium: Child
) -> dict[str, list[Streamed]]:
    """Read all streams, directly and through Podium in turns; the order changes from round to round."""
    tokenizer = Tokenizer.from_directory(stored_model())
    expected = [expected_text(tokenizer, most_tokens(arguments.tokens, stream)) for stream in range(STREAMS)]
    samples: dict[str, list[Streamed]] = {"direct": [], "podium": []}
    metadata = (("authorization", f"Bearer {key}"),)
    async with (
        TrtllmEngine(engine.ready["address"]) as client,
        grpc.aio.insecure_channel(podium.ready["address"]) as channel,
    ):
        stub: Any = InferenceServiceStub(channel)
        for number in range(-1, arguments.rounds):
            readers: dict[str, Callable[[int], Awaitable[Reading]]] = {
                "direct": partial(read_engine, client, arguments.tokens, number),
                "podium": partial(read_podium, stub, metadata, arguments.tokens, expected),
            }
            for name in sorted(readers, reverse=number % 2 == 0):
                sample = await measure_streams(readers[name], engine, podium)
                if number >= 0:  # the first round warms connections and caches
                    samples[name].append(sample)
    return samples


def expected_text(tokenizer: Tokenizer, count: int) -> str:
    """Return the text of the fake engine's answer."""
    detokenizer = tokenizer.detokenizer()
    return detokenizer.push(output_ids(tokenizer, count)) + detokenizer.finish()


# --- the gateway --------------------------------------------------------------------------------


async def measure_gateway(call: Callable[[], Awaitable[None]], calls: int, child: Child) -> Gateway:
    """Make calls, 32 at a time."""

    async def one_after_another(count: int) -> None:
        for _ in range(count):
            await call()

    each = max(1, calls // IN_FLIGHT)
    cpu, own, begun = child.cpu_seconds(), time.process_time(), time.perf_counter()
    await asyncio.gather(*(one_after_another(each) for _ in range(IN_FLIGHT)))
    wall = time.perf_counter() - begun
    made = each * IN_FLIGHT
    return Gateway(made / wall, (child.cpu_seconds() - cpu) / made * 1e6, (time.process_time() - own) / wall)


async def podium_gateway(arguments: argparse.Namespace, key: str, podium: Child) -> list[Gateway]:
    message = pb.ChatMessage(role=pb.CHAT_ROLE_USER, text="Is water wet? Answer with one word.")
    request = pb.GenerateRequest(messages=[message], max_tokens=1)
    metadata = (("authorization", f"Bearer {key}"),)
    async with grpc.aio.insecure_channel(podium.ready["address"]) as channel:
        stub: Any = InferenceServiceStub(channel)

        async def call() -> None:
            text = ""
            async for part in stub.Generate(request, metadata=metadata, timeout=CALL_SECONDS):
                text += part.text
            if text != "Yes":
                raise AssertionError(f"the answer was {text!r}")

        await measure_gateway(call, arguments.calls // 4, podium)
        return [await measure_gateway(call, arguments.calls, podium) for _ in range(arguments.rounds)]


async def litellm_gateway(arguments: argparse.Namespace, proxy: LitellmProxy, child: Child) -> list[Gateway]:
    async with proxy.client(IN_FLIGHT) as client:

        async def call() -> None:
            await proxy.ask(client)

        await proxy.wait_ready(client, child)
        calls = max(IN_FLIGHT, arguments.calls // 10)  # it takes that much longer
        await measure_gateway(call, calls // 2, child)
        return [await measure_gateway(call, calls, child) for _ in range(arguments.rounds)]


# --- all together -------------------------------------------------------------------------------


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    from podium.security import KeyStore

    with tempfile.TemporaryDirectory(prefix="podium-") as name:
        folder = Path(name)
        key, _ = KeyStore(folder).create(frozenset({"infer"}))
        try:
            streams = await run_streams(arguments, folder, key)
            gateways = {} if arguments.profile else await run_gateways(arguments, folder, key)
        except grpc.RpcError:
            print(*server_errors(folder), sep="\n", file=sys.stderr)
            raise
    return {"streams": streams, "gateways": gateways}


def server_errors(folder: Path) -> list[str]:
    """Return what the server's log says of errors, the last of it."""
    lines = (folder / "access.log").read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if '"level":"ERROR"' in line][-5:]


async def run_streams(arguments: argparse.Namespace, folder: Path, key: str) -> dict[str, list[Streamed]]:
    listen = f"unix:{folder}/engine.sock"
    rate = ("--rate", str(arguments.rate / STREAMS), "--flush-seconds", str(arguments.flush_ms / 1000))
    with (
        Child(module("fake_engine_process", "--listen", listen, *rate), core=OTHER_CORE) as engine,
        Child(
            module("inference_server", "--engine", listen, "--directory", str(folder)),
            core=SERVER_CORE,
            environment=POLLER,
        ) as podium,
    ):
        if arguments.profile:
            print(f"server: process {podium.pid}, engine: process {engine.pid}", flush=True)
        return await stream_rounds(arguments, key, engine, podium)


async def run_gateways(arguments: argparse.Namespace, folder: Path, key: str) -> dict[str, list[Gateway]]:
    found: dict[str, list[Gateway]] = {}
    with Child(module("fake_openai_process"), core=OTHER_CORE) as upstream:
        url = upstream.ready["url"]
        command = module("inference_server", "--upstream", url, "--directory", str(folder))
        with Child(command, core=SERVER_CORE, environment=POLLER) as podium:
            found["podium"] = await podium_gateway(arguments, key, podium)
        if arguments.litellm:
            proxy = await asyncio.to_thread(LitellmProxy.install, arguments.litellm_venv, folder, url)
            if proxy is not None:
                with proxy.start(core=SERVER_CORE) as child:
                    found["litellm"] = await litellm_gateway(arguments, proxy, child)
    return found


# --- the report ---------------------------------------------------------------------------------


def summary(samples: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    streams, gateways = samples["streams"], samples["gateways"]
    ratios = [
        podium.tokens_per_second / direct.tokens_per_second
        for podium, direct in zip(streams["podium"], streams["direct"], strict=True)
    ]
    figures: dict[str, Any] = {
        "ratio": round(statistics.median(ratios), 3),
        "target": TARGET,
        "rate": arguments.rate,
        "streams": STREAMS,
        "tokens_each": arguments.tokens,
        "flush_ms": arguments.flush_ms,
        "rounds": arguments.rounds,
        "podium_cpu_us_per_token": round(_median(streams["podium"], "podium_cpu"), 1),
        **{name: _medians(found) for name, found in streams.items()},
        "gateway": {name: _medians(found) for name, found in gateways.items()},
        "load_average": round(os.getloadavg()[0], 2),
    }
    if "litellm" in gateways:
        ours, theirs = gateways["podium"], gateways["litellm"]
        figures["litellm_version"] = LITELLM
        figures["gateway_cpu_share"] = round(_median(ours, "cpu_us") / _median(theirs, "cpu_us"), 3)
        figures["gateway_speed_up"] = round(
            _median(ours, "requests_per_second") / _median(theirs, "requests_per_second"), 1
        )
    figures["raw"] = [
        {"what": f"{title} {name}", **asdict(sample)}
        for title, group in (("streams", streams), ("gateway", gateways))
        for name in group
        for sample in group[name]
    ]
    return figures


def _median(samples: list[Any], field: str) -> float:
    return float(statistics.median(getattr(sample, field) for sample in samples))


def _medians(samples: list[Any]) -> dict[str, float]:
    return {field: round(_median(samples, field), 2) for field in asdict(samples[0])}


def picture(samples: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    colours = {"direct": "#8a8f98", "podium": "#2f6fde", "litellm": "#8a8f98"}
    labels = {"direct": "client on the\nengine's socket", "podium": "through\nPodium", "litellm": "through\nLiteLLM"}
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    for axes, group, field in (
        (left, samples["streams"], "tokens_per_second"),
        (right, samples["gateways"], "requests_per_second"),
    ):
        for index, (name, found) in enumerate(group.items()):
            values = [getattr(sample, field) for sample in found]
            axes.bar(index, statistics.median(values), color=colours[name], width=0.6)
            axes.plot([index] * len(values), values, "k.", markersize=3)
        axes.set_xticks(range(len(group)), [labels[name] for name in group], fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_title(f"{STREAMS} streams: tokens/s", fontsize=10)
    right.set_title("short answers: requests/s, one core", fontsize=10)
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def paragraphs(figures: dict[str, Any]) -> list[str]:
    direct, podium = figures["direct"], figures["podium"]
    gateways = figures["gateway"]
    rows = "\n".join(
        f"| {name} | {one['requests_per_second']:.0f} | {one['cpu_us']:.0f} | {one['client_busy']} |"
        for name, one in gateways.items()
    )
    if "litellm" in gateways:
        verdict = (
            f"**Podium takes {figures['gateway_cpu_share']} of the processor time of LiteLLM's proxy "
            f"({figures['litellm_version']}) and answers {figures['gateway_speed_up']} times as many requests "
            "a second** (aim: a tenth, ten times)."
        )
    else:
        verdict = "LiteLLM's proxy was not measured in this run (`--litellm`)."
    return [
        *(__doc__ or "").strip().split("\n\n")[1:3],
        f"**{podium['tokens_per_second']:.0f} tokens/s through Podium, {direct['tokens_per_second']:.0f} directly: "
        f"ratio {figures['ratio']}** (target {TARGET}; median of {figures['rounds']} pairs of rounds), for "
        f"**{figures['podium_cpu_us_per_token']} us of the server's processor time a token**. Median time to the first "
        f"output {podium['first_ms']:.1f} ms against {direct['first_ms']:.1f}. The engine lets ids gather for "
        f"{figures['flush_ms']:g} ms: {direct['messages']:.0f} messages a round directly, {podium['messages']:.0f} "
        f"through Podium, for {STREAMS} streams of about {figures['tokens_each']} tokens.",
        verdict,
        "| gateway | requests/s | CPU, us a request | client's core busy |\n|---|---|---|---|\n" + rows,
        "Podium has everything on: API key, limits, breakers, validation, metrics and a JSON access log. It has core 0 "
        "to itself; client, engine and upstream share the others. Load average at the end: "
        f"{figures['load_average']}; grpcio {grpc.__version__}.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the way from an engine, and from an upstream, to a caller.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=2000, help="tokens of each stream")
    parser.add_argument("--rate", type=float, default=RATE, help="tokens a second of all streams together")
    parser.add_argument("--flush-ms", type=float, default=10.0, help="how long the engine lets ids gather")
    parser.add_argument("--calls", type=int, default=4000, help="short answers in each round")
    parser.add_argument("--litellm", action="store_true", help="measure LiteLLM's proxy, too")
    parser.add_argument(
        "--litellm-venv", type=Path, metavar="DIR", help="keep its virtual environment there (default: throw it away)"
    )
    parser.add_argument("--profile", action="store_true", help="print process ids, for a profiler; save nothing")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.tokens < 2 or arguments.calls < IN_FLIGHT:
        parser.error("at least one round, 2 tokens and 32 calls")
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {OTHER_CORE})
    samples = uvloop.run(run(arguments))
    figures = summary(samples, arguments)
    if arguments.profile:
        print(figures)
        return
    picture(samples, FOLDER / "inference.png")
    save("inference", "From a fast engine to a caller", paragraphs(figures), figures, picture=True)


if __name__ == "__main__":
    main()
