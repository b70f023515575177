"""A Podium server as `podium serve` runs it, every interceptor on; its tools are the rig's, its model the upstream."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvloop

from bench.child import report_and_wait
from bench.rig.podium_settings import flags
from podium.app import Application
from podium.observability.logging import LogConfig, configure_logging
from podium.resilience.scheduling import collect_rarely, prefer_throughput
from podium.settings import load_settings

__all__: list[str] = []


async def serve(base_url: str, directory: Path) -> None:
    prefer_throughput()
    loaded = load_settings(environ={}, flags=flags(base_url, directory))
    with (directory / "access.log").open("wb", buffering=0) as stream:
        config = LogConfig(level="WARNING", format="json", cache_loggers=True, production=True)
        with configure_logging(config, stream=stream) as log:
            async with Application(loaded, log) as application:
                await application.wait_ready(60)
                collect_rarely()
                await report_and_wait({"address": application.address})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base_url")
    parser.add_argument("directory", type=Path)
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.base_url, arguments.directory))


if __name__ == "__main__":
    main()
