"""The engine host: a gRPC server around one engine, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from podium.engine.arguments import HostArguments
from podium.engine.backend import Capabilities, HostDescription
from podium.engine.job import Pipeline
from podium.engine.openvino_pipeline import OpenVinoFactory, silence_telemetry
from podium.engine.requests import RequestReader
from podium.engine.servicer import EngineServicer
from podium.engine.serving import MAX_MESSAGE_BYTES, prepare_process, serve_engine, serve_process
from podium.engine.stepper import Delivery, Stepper, StepperState
from podium.engine.stream import deliver
from podium.engine.tensorrt_llm.host import run_tensorrt_host
from podium.inference.model_files import ModelFiles, open_model

__all__ = ["CAPABILITIES", "MAX_MESSAGE_BYTES", "run_host", "serve"]

_log = logging.getLogger(__name__)

CAPABILITIES = Capabilities(
    features=("guided_decoding", "prefix_caching", "abort", "tokenizer", "seed", "penalties", "logprobs"),
    fields=frozenset({"output_config.logprobs"}),
)
_DEFAULT_CONTEXT = 4096

# Builds pipelines and says their version; tests put fakes in its place.
PipelineFactory = Callable[[], Pipeline]


def run_host(arguments: HostArguments) -> int:
    """Serve until SIGTERM or SIGINT (or the parent's end); return the process's exit status.

    Owns the process: handles signals, ends with the parent.

    Raises:
        FailedPrecondition: the engine is not installed, or is a version that must not be used.
        InvalidRequest: the model, an option or the address cannot be used.
    """
    if arguments.engine == "tensorrt_llm":
        return run_tensorrt_host(arguments)
    silence_telemetry()
    prepare_process(arguments)
    model = open_model(arguments.model)
    factory = OpenVinoFactory(
        model.weights,
        device=arguments.device,
        kv_cache_tokens=arguments.kv_cache_tokens,
        max_active=arguments.max_active,
        threads=arguments.threads,
        eos_token_id=model.eos_token_id,
    )
    version = f"openvino-genai {factory.version()}"
    return asyncio.run(
        serve_process(arguments, lambda stop: serve(arguments, model, factory, version=version, stop=stop))
    )


async def serve(
    arguments: HostArguments, model: ModelFiles, build: PipelineFactory, *, version: str, stop: asyncio.Event
) -> int:
    """Serve `model` with pipelines from `build` until `stop` is set; return the exit status.

    The status is 0 when it was told to stop, 1 when the engine failed beyond a rebuild.
    """
    loop = asyncio.get_running_loop()

    def on_batch(batch: Sequence[Delivery]) -> None:
        # The loop is closed only after the stepper has ended, but its end may come late.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(deliver, batch)

    def on_state(state: StepperState) -> None:
        _log.info("engine %s", state.value)
        if state is StepperState.FAILED:
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
        RequestReader(CAPABILITIES, max_seq_len=max_seq_len, vocab_size=model.dimensions.vocab_size),
        HostDescription(
            model=model,
            version=version,
            backend=arguments.engine,
            max_seq_len=max_seq_len,
            max_batch_size=arguments.max_active,
            capabilities=CAPABILITIES,
        ),
        flush_interval=arguments.flush_interval,
        request_limit=arguments.request_limit,
        stall_limit=arguments.stall_limit,
    )
    return await serve_engine(arguments, stepper, servicer, stop=stop)


def _max_seq_len(arguments: HostArguments, model: ModelFiles) -> int:
    own = model.dimensions.context_length or _DEFAULT_CONTEXT
    wanted = min(arguments.max_seq_len, own) if arguments.max_seq_len else own
    return min(wanted, arguments.kv_cache_tokens)
