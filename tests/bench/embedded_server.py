"""A server with the embedded model that also measures its own event loop, for `bench_embedded`.

Speaks lines: prints one JSON object when it serves; each line read from standard input starts a new
measurement of event-loop lag and prints the figures of the one before.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile

import uvloop

from podium.app import Application
from podium.observability.logging import LogConfig, configure_logging
from podium.observability.loop_lag import LoopLag
from podium.resilience.scheduling import prefer_throughput
from podium.settings import load_settings

BEAT_SECONDS = 0.005


async def main() -> None:
    # As `podium serve` does.
    prefer_throughput()
    with tempfile.TemporaryDirectory() as folder, configure_logging(LogConfig(level="WARNING")) as log:
        loaded = load_settings(
            environ={},
            flags={
                "server.listen": "127.0.0.1:0",
                "ops.listen": "127.0.0.1:0",
                "storage.data_dir": folder,
            },
        )
        async with Application(loaded, log) as application:
            await application.wait_ready(120)
            model = application.embedded[application.models.default]
            print(json.dumps({"address": application.address, "engine": model.engine_address}), flush=True)
            await measure(asyncio.get_running_loop())


async def measure(loop: asyncio.AbstractEventLoop) -> None:
    """Answer each line with the lag since the one before; end with the input."""
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while True:
        async with LoopLag(interval=BEAT_SECONDS, window=1_000_000) as lag:
            if not await reader.readline():
                return
            figures = {f"p{share:g}": lag.quantile(share / 100) * 1000 for share in (50, 90, 99, 99.9, 100)}
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
