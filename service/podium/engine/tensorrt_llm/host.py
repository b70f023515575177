"""The host's process around TensorRT-LLM: probe, build, serve, and leave nothing behind."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import sys
from collections.abc import Callable

from podium.engine.arguments import HostArguments
from podium.engine.backend import EngineState, HostDescription
from podium.engine.requests import RequestReader
from podium.engine.servicer import EngineServicer
from podium.engine.serving import prepare_process, serve_engine, serve_process
from podium.engine.tensorrt_llm.capabilities import capabilities
from podium.engine.tensorrt_llm.construct import constructor_arguments
from podium.engine.tensorrt_llm.engine import TensorRtEngine
from podium.engine.tensorrt_llm.model import TensorRtModel, open_tensorrt_model
from podium.engine.tensorrt_llm.module import load
from podium.engine.tensorrt_llm.options import TensorRtOptions
from podium.engine.tensorrt_llm.probe import probe_tensorrt_llm
from podium.engine.tensorrt_llm.processes import kill_workers
from podium.engine.tensorrt_llm.runner import BuiltEngine
from podium.engine.tensorrt_llm.sampling import RequestBuilder
from podium.engine.tensorrt_llm.stats import serve_metrics
from podium.engine.tensorrt_llm.versions import check_version
from podium.errors import FailedPrecondition

__all__ = ["build_engine", "run_tensorrt_host", "serve_tensorrt"]

_log = logging.getLogger(__name__)

_MISCONFIGURED = 2


def run_tensorrt_host(arguments: HostArguments) -> int:
    """Serve until told to stop; return the process's exit status.

    Raises:
        FailedPrecondition: TensorRT-LLM cannot be used here; says why in one sentence.
        InvalidRequest: the model, an option or the address cannot be used.
    """
    options = TensorRtOptions.read(arguments.options_json)
    prepare_process(arguments)
    version = _probe(options)
    model = open_tensorrt_model(arguments.model)
    # What Hugging Face's libraries would fetch must be in the folder; nothing leaves the machine.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        return asyncio.run(
            serve_process(
                arguments,
                lambda stop: serve_tensorrt(arguments, options, model, version=version, stop=stop),
            )
        )
    finally:
        killed = kill_workers()
        if killed:
            _log.warning("killed %d processes that the engine left behind", killed)


def _probe(options: TensorRtOptions) -> str:
    """Import the package on trial, in a process of its own, and return its version."""
    found = probe_tensorrt_llm(sys.executable, options.probe_limit)
    if found.status != "ok":
        raise FailedPrecondition(f"tensorrt_llm cannot be used here ({found.status}): {found.detail}")
    for warning in found.warnings:
        _log.warning("tensorrt_llm: %s", warning)
    return found.version


def build_engine(
    options: TensorRtOptions, model: TensorRtModel, *, max_batch_size: int, max_seq_len: int
) -> BuiltEngine:
    """Import the package and load the model; takes minutes.

    Raises:
        FailedPrecondition: the package or an option cannot be used.
        InvalidRequest: an option is wrong.
    """
    module = load()
    arguments = constructor_arguments(
        module, options, model=model.files.weights, max_batch_size=max_batch_size, max_seq_len=max_seq_len
    )
    builder = RequestBuilder(
        module,
        eos_token_id=model.eos_token_id,
        stop_token_ids=model.stop_token_ids,
        adapters=options.adapters(),
    )
    return BuiltEngine(
        llm=module.llm(**arguments),
        builder=builder,
        request_error=module.request_error,
        eos_token_id=model.eos_token_id,
        stop_token_ids=model.stop_token_ids,
    )


async def serve_tensorrt(
    arguments: HostArguments,
    options: TensorRtOptions,
    model: TensorRtModel,
    *,
    version: str,
    stop: asyncio.Event,
    build: Callable[..., BuiltEngine] = build_engine,
) -> int:
    """Serve `model` until `stop` is set or the engine has failed; return the exit status.

    The status is 0 when it was told to stop, 1 when the engine died, 2 when it cannot run as configured.
    """
    max_batch_size = options.max_batch_size or arguments.max_active
    context = model.files.dimensions.context_length
    max_seq_len = min(arguments.max_seq_len, context) if arguments.max_seq_len else context

    def on_state(state: EngineState) -> None:
        _log.info("engine %s", state.value)
        if state is EngineState.FAILED:
            stop.set()

    engine = TensorRtEngine(
        functools.partial(build, options, model, max_batch_size=max_batch_size, max_seq_len=max_seq_len),
        options,
        max_in_flight=max_batch_size + arguments.max_waiting,
        on_state=on_state,
    )
    able = capabilities(options, check_version(version), max_batch_size=max_batch_size)
    reader = RequestReader(
        able,
        max_seq_len=max_seq_len,
        vocab_size=model.files.dimensions.vocab_size,
        max_prompt_tokens=0 if options.enable_chunked_prefill else options.max_num_tokens,
    )
    servicer = EngineServicer(
        engine,
        reader,
        HostDescription(
            model=model.files,
            version=version,
            backend=arguments.engine,
            max_seq_len=max_seq_len,
            max_batch_size=max_batch_size,
            capabilities=able,
            tensor_parallel_size=options.tensor_parallel_size,
            pipeline_parallel_size=options.pipeline_parallel_size,
            kv_events=engine.kv_events,
        ),
        flush_interval=arguments.flush_interval,
        request_limit=arguments.request_limit,
        stall_limit=arguments.stall_limit,
    )
    with serve_metrics(arguments.metrics_listen, engine.stats.snapshot):
        status = await serve_engine(arguments, engine, servicer, stop=stop)
    return _MISCONFIGURED if engine.misconfigured else status
