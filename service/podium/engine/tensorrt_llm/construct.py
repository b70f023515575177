"""The arguments of `tensorrt_llm.LLM` from our options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from podium.engine.tensorrt_llm.module import TensorRtModule
from podium.engine.tensorrt_llm.options import TensorRtOptions
from podium.errors import FailedPrecondition, InvalidRequest

__all__ = ["constructor_arguments"]

_STATS_KEPT = 1000
_SPECULATIVE = {
    "Eagle": "EagleDecodingConfig",
    "MTP": "MTPDecodingConfig",
    "NGram": "NGramDecodingConfig",
    "DraftTarget": "DraftTargetDecodingConfig",
    "Medusa": "MedusaDecodingConfig",
    "Lookahead": "LookaheadDecodingConfig",
    "Auto": "AutoDecodingConfig",
}


def constructor_arguments(
    module: TensorRtModule, options: TensorRtOptions, *, model: Path, max_batch_size: int, max_seq_len: int
) -> dict[str, Any]:
    """Return keyword arguments for `LLM`.

    Raises:
        FailedPrecondition: this version lacks something that an option asks for, or an adapter is missing.
        InvalidRequest: the speculative decoding is of no known type.
    """
    arguments: dict[str, Any] = {
        "model": str(model),
        "trust_remote_code": False,
        "tensor_parallel_size": options.tensor_parallel_size,
        "pipeline_parallel_size": options.pipeline_parallel_size,
        "max_batch_size": max_batch_size,
        "max_num_tokens": options.max_num_tokens,
        "max_seq_len": max_seq_len,
        "enable_chunked_prefill": options.enable_chunked_prefill,
        "guided_decoding_backend": options.guided_decoding_backend,
        "stream_interval": options.stream_interval,
        "num_postprocess_workers": 0,
        "kv_cache_config": module.find("KvCacheConfig")(
            enable_block_reuse=options.kv_block_reuse,
            free_gpu_memory_fraction=options.kv_cache_fraction,
            event_buffer_max_size=options.kv_event_buffer,
            dtype=options.kv_cache_dtype,
        ),
        "cuda_graph_config": _cuda_graphs(module, options, max_batch_size),
    }
    if options.iteration_stats:
        arguments |= {"enable_iter_perf_stats": True, "iter_stats_max_iterations": _STATS_KEPT}
    if options.lora:
        arguments |= _lora(module, options)
    if options.speculative is not None:
        arguments["speculative_config"] = _speculative(module, options)
    return arguments | dict(options.extra)


def _cuda_graphs(module: TensorRtModule, options: TensorRtOptions, max_batch_size: int) -> Any:
    largest = max_batch_size if options.cuda_graph_max_batch is None else options.cuda_graph_max_batch
    if largest == 0:
        return None
    return module.find("CudaGraphConfig")(max_batch_size=largest, enable_padding=options.cuda_graph_padding)


def _lora(module: TensorRtModule, options: TensorRtOptions) -> dict[str, Any]:
    adapters = options.adapters()
    for adapter in adapters:
        if not Path(adapter.path).exists():
            raise FailedPrecondition(f"The folder of the LoRA adapter '{adapter.name}' is not there.")
    config = module.find("LoraConfig")(
        lora_dir=[adapter.path for adapter in adapters],
        max_lora_rank=options.lora_max_rank,
        max_loras=len(adapters),
        max_cpu_loras=len(adapters),
    )
    return {"enable_lora": True, "lora_config": config}


def _speculative(module: TensorRtModule, options: TensorRtOptions) -> Any:
    given = dict(options.speculative or {})
    kind = given.pop("decoding_type", None)
    if kind not in _SPECULATIVE:
        raise InvalidRequest(f"speculative.decoding_type must be one of {', '.join(_SPECULATIVE)}.")
    try:
        return module.find(_SPECULATIVE[kind])(**given)
    except (TypeError, ValueError) as error:
        raise InvalidRequest("TensorRT-LLM refuses the speculative options; see its own documentation.") from error
