"""One `podium run`: finds or starts a server, streams the run, and lets signals cancel it."""

# ruff: noqa: PLC0415  commands import what they need when they run

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from podium.cli.connection import Server
from podium.cli.failures import CommandFailed, Exit
from podium.cli.local_server import local_server
from podium.cli.run_output import RunOutput

if TYPE_CHECKING:
    from podium_client import AsyncPodium, AsyncRunStream

__all__ = ["RunRequest", "run_request"]

# How long a run may take to end by itself once we have asked for that.
_CANCEL_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What the user asked for."""

    input: str
    model: str | None = None
    tools: tuple[str, ...] = ()
    deadline: float | None = None
    correlation_id: str | None = None


@dataclass(slots=True)
class _Interrupt:
    """The first signal asks the run to end; the second ends us."""

    task: asyncio.Task[object]
    received: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    streaming: bool = False

    def on_signal(self, number: int) -> None:
        if self.received or not self.streaming:
            self.task.cancel()
        self.received = self.received or number
        self.asked.set()


async def run_request(request: RunRequest, server: Server, output: RunOutput, *, may_start: bool) -> int:
    """Run it and return the exit code. `may_start` lets us start a server when none answers."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("run_request needs a task of its own")
    interrupt = _Interrupt(task)
    with _signals(interrupt):
        try:
            async with _reachable(server, may_start) as reachable:
                return await _stream(request, reachable, output, interrupt)
        except asyncio.CancelledError:
            if not interrupt.received:
                raise
            return 128 + interrupt.received


@asynccontextmanager
async def _reachable(server: Server, may_start: bool) -> AsyncIterator[Server]:
    if not may_start or await server.is_up():
        yield server
        return
    async with local_server() as address:
        yield replace(server, address=address, api_key=None, tls=False, tls_roots=None)


async def _stream(request: RunRequest, server: Server, output: RunOutput, interrupt: _Interrupt) -> int:
    async with server.connect() as podium:
        stream = podium.stream(
            request.input,
            model=request.model,
            tools=request.tools,
            deadline=request.deadline,
            correlation_id=request.correlation_id,
        )
        async with stream as events:
            interrupt.streaming = True
            canceller = asyncio.create_task(_cancel_when_asked(podium, events, interrupt))
            try:
                with output:
                    async for event in events:
                        output.event(event)
            finally:
                canceller.cancel()
                await asyncio.gather(canceller, return_exceptions=True)
    if interrupt.received:
        return 128 + interrupt.received
    if stream.finished is None:
        raise CommandFailed("the stream ended before the run did", todo="look at the server's log")
    return Exit.OK if stream.finished.state == "SUCCEEDED" else Exit.FAILED


async def _cancel_when_asked(podium: AsyncPodium, events: AsyncRunStream, interrupt: _Interrupt) -> None:
    """Have the server cancel the run, so that its last event still arrives; else break the stream off."""
    import podium_client

    await interrupt.asked.wait()
    if events.run_id:
        # Whatever comes of asking, the stream is broken off when the run goes on.
        with contextlib.suppress(podium_client.PodiumError):
            await podium.cancel_run(events.run_id, deadline=_CANCEL_SECONDS)
            await asyncio.sleep(_CANCEL_SECONDS)
    interrupt.task.cancel()


@contextlib.contextmanager
def _signals(interrupt: _Interrupt) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    handled: list[signal.Signals] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, interrupt.on_signal, number)
        except (NotImplementedError, RuntimeError, ValueError):
            continue  # not this system's, or not the main thread: Ctrl-C raises KeyboardInterrupt then
        handled.append(number)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
