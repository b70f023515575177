"""Serving one engine as a process: the gRPC server, signals, the parent's end."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

import grpc.aio
from smg_grpc_proto.generated import trtllm_service_pb2_grpc

from podium.engine.arguments import HostArguments
from podium.engine.backend import EngineBackend, EngineState
from podium.engine.servicer import EngineServicer
from podium.errors import FailedPrecondition

__all__ = ["MAX_MESSAGE_BYTES", "prepare_process", "serve_engine", "serve_process"]

_log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 32 << 20
# The engine's thread must get the interpreter back at once when the loop has work for milliseconds.
_SWITCH_INTERVAL = 0.001
_PR_SET_PDEATHSIG = 1


def prepare_process(arguments: HostArguments) -> None:
    """Set niceness and the bond to the parent: to be called before any thread is made."""
    if arguments.nice:
        # On Linux each thread has a niceness of its own, inherited when it starts.
        os.nice(arguments.nice)
    if arguments.exit_with_stdin:
        _die_with_parent()


async def serve_process(arguments: HostArguments, serve: Callable[[asyncio.Event], Coroutine[None, None, int]]) -> int:
    """Serve as the whole process: stop on signals, and hand the interpreter to and fro quickly."""
    sys.setswitchinterval(_SWITCH_INTERVAL)
    stop = asyncio.Event()
    with _signals(asyncio.get_running_loop(), stop, watch_stdin=arguments.exit_with_stdin):
        return await serve(stop)


async def serve_engine(
    arguments: HostArguments, engine: EngineBackend, servicer: EngineServicer, *, stop: asyncio.Event
) -> int:
    """Serve until `stop` is set; the status is 0 when told to stop, 1 when the engine failed for good."""
    server = _server(arguments, servicer)
    await server.start()
    engine.start()
    _log.info("listening on %s", arguments.listen)
    await stop.wait()
    failed = engine.state is EngineState.FAILED
    _log.info("stopping with %d requests in flight", engine.in_flight)
    await server.stop(0 if failed else arguments.drain_limit)
    await engine.aclose()
    _remove_socket(arguments)
    return 1 if failed else 0


def _server(arguments: HostArguments, servicer: EngineServicer) -> grpc.aio.Server:
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            # A second host on the same port must fail, not share it.
            ("grpc.so_reuseport", 0),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ]
    )
    trtllm_service_pb2_grpc.add_TrtllmServiceServicer_to_server(servicer, server)
    # One left by a killed host would make the bind fail.
    _remove_socket(arguments)
    try:
        server.add_insecure_port(arguments.listen)
    except RuntimeError as error:
        raise FailedPrecondition("The engine host cannot listen on its address: it is taken or not allowed.") from error
    return server


def _remove_socket(arguments: HostArguments) -> None:
    if arguments.listen.startswith("unix:"):
        Path(arguments.listen.removeprefix("unix:")).unlink(missing_ok=True)


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, *, watch_stdin: bool) -> Iterator[None]:
    """Set `stop` on SIGTERM, SIGINT and, if asked, at the end of standard input."""
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if watch_stdin:
        threading.Thread(target=_wait_for_parent, args=(loop, stop), name="podium-parent", daemon=True).start()
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _wait_for_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Read standard input to its end, which comes when the parent closes it or dies."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            continue
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(stop.set)


def _die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies, for a host that hangs in native code."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It died before we asked.
        raise SystemExit(1)
