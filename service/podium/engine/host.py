"""The engine host: a gRPC server around one engine, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc.aio
from smg_grpc_proto.generated import trtllm_service_pb2_grpc

from podium.engine.arguments import HostArguments
from podium.engine.job import Pipeline
from podium.engine.openvino_pipeline import OpenVinoFactory, silence_telemetry
from podium.engine.requests import RequestReader
from podium.engine.servicer import EngineServicer
from podium.engine.stepper import Delivery, Stepper, StepperState
from podium.engine.stream import deliver
from podium.errors import FailedPrecondition
from podium.inference.model_files import ModelFiles, open_model

__all__ = ["MAX_MESSAGE_BYTES", "run_host", "serve"]

_log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 32 << 20
_DEFAULT_CONTEXT = 4096
_CLOSE_LIMIT = 3.0
# The stepping thread must get the interpreter back at once when the loop has work for milliseconds.
_SWITCH_INTERVAL = 0.001
_PR_SET_PDEATHSIG = 1

# Builds pipelines and says their version; tests put fakes in its place.
PipelineFactory = Callable[[], Pipeline]


def run_host(arguments: HostArguments) -> int:
    """Serve until SIGTERM or SIGINT (or the parent's end); return the process's exit status.

    Owns the process: switches off OpenVINO's telemetry, handles signals, ends with the parent.

    Raises:
        FailedPrecondition: the engine is not installed, or is not one that this build has.
        InvalidRequest: the model or the address cannot be used.
    """
    if arguments.engine != "openvino":
        raise FailedPrecondition(
            f"The engine '{arguments.engine}' is not part of this release; use 'openvino', or point a model of "
            "kind 'trtllm' at a running trtllm-serve --grpc."
        )
    silence_telemetry()
    if arguments.nice:
        # Before any thread is made: on Linux each has a niceness of its own, inherited when it starts.
        os.nice(arguments.nice)
    if arguments.exit_with_stdin:
        _die_with_parent()
    model = open_model(arguments.model)
    factory = OpenVinoFactory(
        model.weights,
        device=arguments.device,
        kv_cache_tokens=arguments.kv_cache_tokens,
        max_active=arguments.max_active,
        threads=arguments.threads,
        eos_token_id=model.eos_token_id,
    )
    return asyncio.run(_serve_process(arguments, model, factory, version=f"openvino-genai {factory.version()}"))


async def _serve_process(arguments: HostArguments, model: ModelFiles, build: PipelineFactory, *, version: str) -> int:
    """Serve as the whole process: stop on signals, and hand the interpreter to and fro quickly."""
    sys.setswitchinterval(_SWITCH_INTERVAL)
    stop = asyncio.Event()
    with _signals(asyncio.get_running_loop(), stop, watch_stdin=arguments.exit_with_stdin):
        return await serve(arguments, model, build, version=version, stop=stop)


async def serve(
    arguments: HostArguments, model: ModelFiles, build: PipelineFactory, *, version: str, stop: asyncio.Event
) -> int:
    """Serve `model` with pipelines from `build` until `stop` is set; return the exit status.

    The status is 0 when it was told to stop, 1 when the engine failed beyond a rebuild.
    """
    loop = asyncio.get_running_loop()
    failed = False

    def on_batch(batch: Sequence[Delivery]) -> None:
        # The loop is closed only after the stepper has ended, but its end may come late.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(deliver, batch)

    def on_state(state: StepperState) -> None:
        nonlocal failed
        _log.info("engine %s", state.value)
        if state is StepperState.FAILED:
            failed = True
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(stop.set)

    max_seq_len = _max_seq_len(arguments, model)
    stepper = Stepper(
        build,
        deliver=on_batch,
        on_state=on_state,
        max_active=arguments.max_active,
        max_waiting=arguments.max_waiting,
        cache_tokens=arguments.kv_cache_tokens,
        eos_token_ids=frozenset({model.eos_token_id}),
    )
    servicer = EngineServicer(
        stepper,
        RequestReader(max_seq_len=max_seq_len, vocab_size=model.dimensions.vocab_size),
        model,
        version=version,
        backend=arguments.engine,
        max_seq_len=max_seq_len,
        max_active=arguments.max_active,
        flush_interval=arguments.flush_interval,
        request_limit=arguments.request_limit,
        stall_limit=arguments.stall_limit,
    )
    server = _server(arguments, servicer)
    await server.start()
    stepper.start()
    _log.info("listening on %s with model %s", arguments.listen, model.name)
    await stop.wait()
    _log.info("stopping with %d requests in flight", stepper.in_flight)
    await server.stop(0 if failed else arguments.drain_limit)
    await asyncio.to_thread(stepper.close, _CLOSE_LIMIT)
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


def _max_seq_len(arguments: HostArguments, model: ModelFiles) -> int:
    own = model.dimensions.context_length or _DEFAULT_CONTEXT
    wanted = min(arguments.max_seq_len, own) if arguments.max_seq_len else own
    return min(wanted, arguments.kv_cache_tokens)


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
