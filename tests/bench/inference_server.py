"""A Podium server for `bench_inference`, as `podium serve` runs it, everything on.

Its one model is either an engine behind an address or an OpenAI-compatible upstream. API keys are
asked for; the limits are so wide that nothing is refused; the log goes into a file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import uvloop

from bench.child import report_and_wait
from bench.fake_openai_process import MODEL as UPSTREAM_MODEL
from podium.app import Application
from podium.observability.logging import LogConfig, configure_logging
from podium.resilience.scheduling import prefer_throughput
from podium.settings import load_settings

MODEL = "bench"
WIDE = {"requests_per_minute": 10_000_000, "requests_per_hour": 100_000_000, "burst": 1_000_000}


def flags(arguments: argparse.Namespace) -> dict[str, object]:
    if arguments.engine:
        model: dict[str, object] = {"kind": "trtllm", "addresses": [arguments.engine]}
    else:
        model = {"kind": "openai", "model": UPSTREAM_MODEL, "base_url": arguments.upstream}
    return {
        "server.listen": "127.0.0.1:0",
        "ops.enabled": False,
        "auth.enabled": True,
        "storage.data_dir": arguments.directory,
        "limits.global_per_second": 1_000_000,
        **{f"limits.{name}": value for name, value in WIDE.items()},
        **{f"models.{MODEL}.{key}": value for key, value in model.items()},
    }


async def serve(arguments: argparse.Namespace) -> None:
    prefer_throughput()
    loaded = load_settings(environ={}, flags=flags(arguments))
    with (arguments.directory / "access.log").open("wb", buffering=0) as stream:
        config = LogConfig(format="json", cache_loggers=True, production=True)
        with configure_logging(config, stream=stream) as log:
            async with Application(loaded, log) as application:
                await application.wait_ready(60)
                await report_and_wait({"address": application.address})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--engine", metavar="unix:PATH", help="an engine's address")
    what.add_argument("--upstream", metavar="URL", help="base URL of an OpenAI-compatible server")
    parser.add_argument("--directory", type=Path, required=True, help="where keys and the access log are")
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
