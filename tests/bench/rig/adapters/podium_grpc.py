"""Podium through gRPC: this process is the client; it starts the server, pinned to the core of systems under test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio

from bench.child import POLLER, Child, module
from bench.rig.adapters.serving import main
from bench.rig.workloads import tools_of
from podium.security import KeyStore
from podium.v1 import orchestrator_pb2 as pb
from podium.v1 import run_pb2
from podium.v1.orchestrator_pb2_grpc import OrchestratorServiceStub

SERVER_CORE = 0
_SECONDS = 600.0


class Grpc:
    """A client with one channel; `pid` is the server's."""

    def __init__(self, channel: grpc.aio.Channel, address: str, key: str, pid: int) -> None:
        self._stub = OrchestratorServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {key}"),)
        self._victim = (address, key)
        self.pid = pid

    def _call(self, script: str) -> grpc.aio.UnaryStreamCall:
        spec = run_pb2.RunSpec(input=script, tools=tools_of(script))
        request = pb.ExecuteStreamRequest(spec=spec, together=True)
        return self._stub.ExecuteStream(request, metadata=self._metadata, timeout=_SECONDS)

    async def run(self, script: str) -> str:
        finished = None
        async for response in self._call(script):
            for event in (response.event, *response.more):
                if event.WhichOneof("kind") == "run_finished":
                    finished = event.run_finished
        if finished is None or finished.state != run_pb2.RUN_STATE_SUCCEEDED:
            raise RuntimeError(f"the run failed: {finished and finished.error.message}")
        return str(finished.answer)

    async def cancelled(self, script: str, seconds: float) -> tuple[int, int]:
        """Cancel the call."""
        began = time.monotonic_ns()
        call = self._call(script)

        async def read() -> None:
            async for _ in call:
                pass

        reader = asyncio.ensure_future(read())
        await asyncio.sleep(seconds)
        cancelled = time.monotonic_ns()
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await reader
        return began, cancelled

    async def disconnected(self, script: str, seconds: float) -> tuple[int, int]:
        """Run it from a client process of its own, and kill that: the server sees the connection end."""
        command = module("rig.adapters.podium_grpc", "--victim", *self._victim, script)
        process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert process.stdout is not None
        began = int(await process.stdout.readline())
        await asyncio.sleep(max(seconds - (time.monotonic_ns() - began) / 1e9, 0))
        cancelled = time.monotonic_ns()
        process.kill()
        await process.wait()
        return began, cancelled


@asynccontextmanager
async def opened(base_url: str) -> AsyncIterator[Grpc]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        key, _ = KeyStore(folder).create(frozenset({"run", "read"}))
        command = module("rig.podium_server", base_url, name)
        with Child(command, core=SERVER_CORE, environment=POLLER) as server:
            address = server.ready["address"]
            async with grpc.aio.insecure_channel(address) as channel:
                # The server's process is the last of the chain that starts it.
                yield Grpc(channel, address, key, server.pid)


async def victim(address: str, key: str, script: str) -> None:
    """Start a run, tell when, and read until killed."""
    async with grpc.aio.insecure_channel(address) as channel:
        await channel.channel_ready()
        client = Grpc(channel, address, key, os.getpid())
        print(time.monotonic_ns(), flush=True)
        await client.run(script)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--victim"]:
        asyncio.run(victim(*sys.argv[2:5]))
    else:
        main(opened, "podium", "grpcio", "uvloop")
