"""One `podium run` or `podium watch`: finds or starts a server, streams the run, and lets signals end that."""

# ruff: noqa: PLC0415  commands import what they need when they run

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import typer

from podium.cli.connection import Server
from podium.cli.explain import show_explanation
from podium.cli.failures import CommandFailed, Exit
from podium.cli.local_server import local_server
from podium.cli.run_output import JsonLines, LivePicture, RunOutput

if TYPE_CHECKING:
    from podium_client import AsyncPodium, AsyncRunStream, AsyncRunWatch, RunEvent

__all__ = ["RunRequest", "run_request", "watch_run"]

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
    plan_only: bool = False
    detach: bool = False
    bypass_cache: bool = False
    may_ask: bool = False
    speculation: Literal["off", "safe"] | None = None
    max_cost_micros: int | None = None
    explain: bool = False


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
    with _interruptible() as interrupt:
        try:
            async with _reachable(server, may_start) as reachable, reachable.connect() as podium:
                return await _run(podium, request, output, interrupt)
        except asyncio.CancelledError:
            if not interrupt.received:
                raise
            return 128 + interrupt.received


async def watch_run(run_id: str, after_seq: int, deadline: float, server: Server, output: RunOutput) -> int:
    """Show a run that was started elsewhere and return the exit code; leaving does not touch the run."""
    with _interruptible() as interrupt:
        try:
            async with (
                server.connect() as podium,
                podium.watch(run_id, after_seq=after_seq, deadline=deadline) as events,
            ):
                with output:
                    async for event in events:
                        output.event(event)
                return _code(events)
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


async def _run(podium: AsyncPodium, request: RunRequest, output: RunOutput, interrupt: _Interrupt) -> int:
    import podium_client

    # A detached run outlives this call, and so the call's deadline: its own limit holds it instead.
    duration = request.deadline if request.detach else None
    stream = podium.stream(
        request.input,
        model=request.model,
        tools=request.tools,
        limits=podium_client.RunLimits(max_cost_micros=request.max_cost_micros, max_duration=duration),
        plan_only=request.plan_only,
        detach=request.detach,
        bypass_cache=request.bypass_cache,
        may_ask=request.may_ask,
        speculation=request.speculation,
        deadline=request.deadline,
        correlation_id=request.correlation_id,
    )
    async with stream as events:
        if request.detach:
            return _show_started(await anext(events, None), output)
        await _show(podium, events, output, interrupt, asks=request.may_ask)
    if interrupt.received:
        return 128 + interrupt.received
    code = _code(stream)
    if request.explain:
        typer.echo()
        show_explanation(await podium.explain_run(stream.run_id))
    return code


async def _show(
    podium: AsyncPodium, events: AsyncRunStream, output: RunOutput, interrupt: _Interrupt, *, asks: bool
) -> None:
    interrupt.streaming = True
    async with _beside(_cancel_when_asked(podium, events, interrupt)):
        with output:
            if not (asks and isinstance(output, LivePicture) and sys.stdin.isatty()):
                async for event in events:
                    output.event(event)
                return
            from podium.cli.asking import Asker

            asker = Asker(podium, output)
            async with _beside(asker.run()):
                async for event in events:
                    output.event(event)
                    asker.event(event)


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do something else for as long as the block lasts."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _show_started(event: RunEvent | None, output: RunOutput) -> int:
    if event is None:
        raise _broken_off()
    if isinstance(output, JsonLines):
        output.event(event)
    else:
        typer.echo(event.run_id)
    return Exit.OK


def _code(stream: AsyncRunStream | AsyncRunWatch) -> int:
    if stream.finished is None:
        raise _broken_off()
    return Exit.OK if stream.finished.state == "SUCCEEDED" else Exit.FAILED


def _broken_off() -> CommandFailed:
    return CommandFailed("the stream ended before the run did", todo="look at the server's log")


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
def _interruptible() -> Iterator[_Interrupt]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a run needs a task of its own")
    interrupt = _Interrupt(task)
    loop = asyncio.get_running_loop()
    handled: list[signal.Signals] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, interrupt.on_signal, number)
        except (NotImplementedError, RuntimeError, ValueError):
            continue  # not this system's, or not the main thread: Ctrl-C raises KeyboardInterrupt then
        handled.append(number)
    try:
        yield interrupt
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
