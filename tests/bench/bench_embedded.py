"""The embedded engine through Podium: does the event loop stay quick, and what does the way through cost?

Eight streams at once, greedy, the same prompts and the same number of tokens each time: once as
`InferenceService.Generate`, once as a client of the engine host's own socket, in turns within one
run. Reported: the ratio of tokens per second, and the server's event-loop lag while it serves.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import grpc.aio
import matplotlib as mpl

from bench.report import FOLDER, save
from podium.inference.engine import EngineRequest, Sampling, TokensFinished
from podium.inference.engine_client import TrtllmEngine
from podium.inference.guided import GuidedProfile
from podium.v1 import inference_pb2 as pb
from podium.v1.inference_pb2_grpc import InferenceServiceStub

mpl.use("Agg")
from matplotlib import pyplot as plt

STREAMS = 8
TOKENS = 128
ROUNDS = 6
PROMPTS = [
    f"Write a long story about {subject}."
    for subject in (
        "a lighthouse", "two brothers", "a stolen map", "the first snow",
        "a slow train", "an honest thief", "a glass garden", "the last whale",
    )
]  # fmt: skip


async def through_podium(stub: Any) -> int:
    """Run the streams through Podium and return the tokens that came."""

    async def one(prompt: str) -> int:
        message = pb.ChatMessage(role=pb.CHAT_ROLE_USER, text=prompt)
        call = stub.Generate(pb.GenerateRequest(messages=[message], max_tokens=TOKENS), timeout=120)
        async for part in call:
            if part.HasField("finished"):
                return int(part.finished.usage.completion_tokens)
        raise AssertionError("a stream ended without its result")

    return sum(await asyncio.gather(*map(one, PROMPTS)))


async def direct(engine: TrtllmEngine, prompts: list[list[int]], round_number: int) -> int:
    """Run the streams on the host's socket and return the tokens that came."""

    async def one(index: int) -> int:
        request = EngineRequest(
            request_id=f"direct_{round_number}_{index}",
            token_ids=prompts[index],
            max_tokens=TOKENS,
            sampling=Sampling(repetition_penalty=GuidedProfile().repetition_penalty),
        )
        async for item in engine.generate(request):
            if isinstance(item, TokensFinished):
                return item.completion_tokens
        raise AssertionError("a stream ended without its result")

    return sum(await asyncio.gather(*(one(index) for index in range(STREAMS))))


async def measure(address: str, engine_address: str, server: subprocess.Popen[str]) -> dict[str, Any]:
    rates: dict[str, list[float]] = {"podium": [], "direct": []}
    lags: list[dict[str, float]] = []
    async with grpc.aio.insecure_channel(address) as channel, TrtllmEngine(engine_address) as engine:
        stub: Any = InferenceServiceStub(channel)
        tokenizer = await engine.tokenizer()
        prompts = [
            tokenizer.encode_chat(
                [{"role": "system", "content": GuidedProfile().system}, {"role": "user", "content": prompt}]
            )
            for prompt in PROMPTS
        ]
        await through_podium(stub)
        await direct(engine, prompts, -1)
        for number in range(ROUNDS):
            # The order changes from round to round, so that neither always comes second.
            for name in ("podium", "direct") if number % 2 else ("direct", "podium"):
                ask(server)
                begun = time.perf_counter()
                count = await (through_podium(stub) if name == "podium" else direct(engine, prompts, number))
                rates[name].append(count / (time.perf_counter() - begun))
                lag = ask(server)
                if name == "podium":
                    lags.append(lag)
    ratios = [a / b for a, b in zip(rates["podium"], rates["direct"], strict=True)]
    return {
        "ratio": round(statistics.median(ratios), 3),
        "podium_tokens_per_second": round(statistics.median(rates["podium"]), 1),
        "direct_tokens_per_second": round(statistics.median(rates["direct"]), 1),
        "loop_lag_p50_ms": round(statistics.median(lag["p50"] for lag in lags), 2),
        "loop_lag_p99_ms": round(statistics.median(lag["p99"] for lag in lags), 2),
        "loop_lag_worst_p99_ms": round(max(lag["p99"] for lag in lags), 2),
        "loop_lag_max_ms": round(max(lag["p100"] for lag in lags), 2),
        "streams": STREAMS,
        "tokens_each": TOKENS,
        "rounds": [{"podium": a, "direct": b, "lag_ms": c} for a, b, c in zip(*rates.values(), lags, strict=True)],
    }


def ask(server: subprocess.Popen[str]) -> dict[str, float]:
    """Return the lag since the last question."""
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write("\n")
    server.stdin.flush()
    answer: dict[str, float] = json.loads(server.stdout.readline())
    return answer


def draw(figures: dict[str, Any]) -> None:
    rounds = figures["rounds"]
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    xs = range(1, len(rounds) + 1)
    left.plot(xs, [r["direct"] for r in rounds], "o-", color="#8a8f98", label="client on the host's socket")
    left.plot(xs, [r["podium"] for r in rounds], "o-", color="#2563eb", label="through Podium")
    left.set(title=f"{STREAMS} streams: tokens per second", xlabel="round", ylim=(0, None))
    left.legend(frameon=False, loc="lower right")
    shares = ["p50", "p90", "p99", "p99.9"]
    for r in rounds:
        right.plot(shares, [r["lag_ms"][s] for s in shares], color="#2563eb", alpha=0.4)
    right.axhline(10, color="#dc2626", linewidth=1, linestyle="--")
    right.text(0, 10.2, "target for p99", color="#dc2626", fontsize=8)
    right.set(title="Event-loop lag while serving (ms)", ylim=(0, None))
    fig.savefig(FOLDER / "embedded.png", dpi=130)


def main() -> None:
    command = [sys.executable, "-m", "bench.embedded_server"]
    environment = {**os.environ, "GRPC_EXPERIMENTS": "-event_engine_listener"}  # as `podium serve` sets it
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as server:
        assert server.stdout is not None
        where = json.loads(server.stdout.readline())
        figures = asyncio.run(measure(where["address"], where["engine"], server))
        assert server.stdin is not None
        server.stdin.close()
        server.wait(timeout=60)
    FOLDER.mkdir(parents=True, exist_ok=True)
    draw(figures)
    save(
        "embedded",
        "The embedded engine through Podium",
        [
            __doc__.split("\n\n", 1)[1].strip(),
            f"**{figures['podium_tokens_per_second']} tokens/s through Podium, "
            f"{figures['direct_tokens_per_second']} directly: ratio {figures['ratio']}** (median of "
            f"{ROUNDS} pairs of rounds). Event-loop lag while serving: p50 {figures['loop_lag_p50_ms']} ms, "
            f"p99 {figures['loop_lag_p99_ms']} ms (median of rounds), worst round's p99 "
            f"{figures['loop_lag_worst_p99_ms']} ms; target under 10 ms.",
            "The server, its engine host (at nice 10) and the client share the same two cores.",
        ],
        figures,
        picture=True,
    )


if __name__ == "__main__":
    main()
