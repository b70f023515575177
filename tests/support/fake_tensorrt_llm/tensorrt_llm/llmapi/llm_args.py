"""The constructor's arguments and its configuration classes (sections 2.1 and 2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

__all__ = ["DEFAULTS", "CudaGraphConfig", "KvCacheConfig", "SchedulerConfig", "TorchLlmArgs", "checked"]


@dataclass(kw_only=True)
class KvCacheConfig:
    """KV cache. The real class is a pydantic model; unknown fields fail there too."""

    enable_block_reuse: bool = True
    max_tokens: int | None = None
    max_attention_window: list[int] | None = None
    sink_token_length: int | None = None
    free_gpu_memory_fraction: float = 0.9
    host_cache_size: int | None = None
    cross_kv_cache_fraction: float | None = None
    secondary_offload_min_priority: int | None = None
    event_buffer_max_size: int = 0
    attention_dp_events_gather_period_ms: int = 5
    enable_partial_reuse: bool = True
    copy_on_partial_reuse: bool = True
    use_uvm: bool = False
    max_gpu_total_bytes: int = 0
    dtype: str = "auto"
    tokens_per_block: int = 32

    def __post_init__(self) -> None:
        if not 0 <= self.free_gpu_memory_fraction <= 1:
            raise ValueError("kv_cache_config.free_gpu_memory_fraction must be a float between 0 and 1")


@dataclass(kw_only=True)
class CudaGraphConfig:
    """CUDA graphs."""

    batch_sizes: list[int] | None = None
    max_batch_size: int = 0
    enable_padding: bool = False

    def __post_init__(self) -> None:
        if self.max_batch_size < 0:
            raise ValueError("cuda_graph_config.max_batch_size must be non-negative")


@dataclass(kw_only=True)
class SchedulerConfig:
    """The scheduler's policies."""

    capacity_scheduler_policy: str = "GUARANTEED_NO_EVICT"
    context_chunking_policy: str | None = None
    dynamic_batch_config: Any = None

    def __post_init__(self) -> None:
        if self.capacity_scheduler_policy not in {"GUARANTEED_NO_EVICT", "MAX_UTILIZATION", "STATIC_BATCH"}:
            raise ValueError(f"unknown capacity_scheduler_policy: {self.capacity_scheduler_policy}")


# `LLM(model, tokenizer, tokenizer_mode, skip_tokenizer_init, trust_remote_code, tensor_parallel_size, dtype, revision,
# tokenizer_revision)` are the constructor's own; everything else goes through keywords and is checked against these.
DEFAULTS: dict[str, Any] = {
    "pipeline_parallel_size": 1,
    "context_parallel_size": 1,
    "gpus_per_node": None,
    "moe_tensor_parallel_size": None,
    "moe_expert_parallel_size": None,
    "moe_cluster_parallel_size": None,
    "enable_attention_dp": False,
    "attention_dp_config": None,
    "max_batch_size": None,
    "max_num_tokens": 8192,
    "max_seq_len": None,
    "max_input_len": None,
    "max_beam_width": None,
    "enable_chunked_prefill": False,
    "kv_cache_config": None,
    "scheduler_config": None,
    "cuda_graph_config": None,
    "disable_overlap_scheduler": False,
    "guided_decoding_backend": None,
    "enable_lora": False,
    "lora_config": None,
    "speculative_config": None,
    "stream_interval": 1,
    "enable_iter_perf_stats": False,
    "enable_iter_req_stats": False,
    "iter_stats_max_iterations": None,
    "request_stats_max_iterations": None,
    "return_perf_metrics": False,
    "perf_metrics_max_requests": 0,
    "num_postprocess_workers": 0,
    "postprocess_tokenizer_dir": None,
    "otlp_traces_endpoint": None,
    "sampler_type": "auto",
    "reasoning_parser": None,
    "cache_transceiver_config": None,
    "kv_connector_config": None,
    "batch_wait_timeout_ms": 0,
    "batch_wait_timeout_iters": 0,
    "batch_wait_max_tokens_ratio": 0,
    "garbage_collection_gen0_threshold": 20000,
    "orchestrator_type": None,
    "load_format": "auto",
    "checkpoint_format": None,
    "attn_backend": "TRTLLM",
    "moe_config": None,
    "torch_compile_config": None,
    "allreduce_strategy": "AUTO",
    "enable_autotuner": True,
    "env_overrides": None,
    "backend": "pytorch",
    "print_iter_log": False,
}


class TorchLlmArgs:
    """The real one is a pydantic model of all arguments; here only its fields."""

    model_fields: ClassVar[dict[str, Any]] = {name: SimpleNamespace(default=value) for name, value in DEFAULTS.items()}


_POSITIVE = ("pipeline_parallel_size", "context_parallel_size", "stream_interval")
_CLASSES = {"kv_cache_config": KvCacheConfig, "cuda_graph_config": CudaGraphConfig, "scheduler_config": SchedulerConfig}


def checked(given: dict[str, Any]) -> dict[str, Any]:
    """Return every argument, or raise ValueError as the constructor does at once (`llm.py` [A] `BaseLLM.__init__`)."""
    for name in given:
        if name not in DEFAULTS:
            raise ValueError(f"{name} is not a valid argument for the LLM class")
    arguments = DEFAULTS | given
    for name in _POSITIVE:
        if arguments[name] <= 0:
            raise ValueError(f"{name} must be positive, got {arguments[name]}")
    if arguments["guided_decoding_backend"] not in {None, "xgrammar", "llguidance"}:
        raise ValueError(f"unknown guided_decoding_backend: {arguments['guided_decoding_backend']}")
    for name, kind in _CLASSES.items():
        value = arguments[name]
        if isinstance(value, dict):
            try:
                arguments[name] = kind(**value)
            except TypeError as error:
                raise ValueError(f"{name}: {error}") from error
        elif value is not None and not isinstance(value, kind):
            raise ValueError(f"{name} must be a {kind.__name__}")
    arguments["kv_cache_config"] = arguments["kv_cache_config"] or KvCacheConfig()
    arguments["scheduler_config"] = arguments["scheduler_config"] or SchedulerConfig()
    if "cuda_graph_config" not in given:
        arguments["cuda_graph_config"] = CudaGraphConfig()
    return arguments
