"""What `podium engine --engine tensorrt_llm --options-json` may say."""

from __future__ import annotations

import dataclasses
import json
import logging
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from podium.errors import InvalidRequest

__all__ = ["LoraAdapter", "TensorRtOptions"]

_log = logging.getLogger(__name__)

_MAX_OPTIONS_BYTES = 1 << 20
_GUIDE_BACKENDS = ("xgrammar", "llguidance", None)
# Given to the engine by us, or never by anybody: each says why.
_RESERVED = {
    "model": "use --model",
    "max_seq_len": "use --max-seq-len",
    "trust_remote_code": "it would run code from the model's folder",
    "num_postprocess_workers": "the host makes no text",
    "skip_tokenizer_init": "guides need the tokenizer",
    "kv_cache_config": "use the kv_cache_* options",
    "cuda_graph_config": "use the cuda_graph_* options",
    "lora_config": "use lora and lora_max_rank",
    "orchestrator_type": "the host runs the engine itself",
}


@dataclass(frozen=True, slots=True)
class LoraAdapter:
    """An adapter from the configuration; `number` stays the same for the same name."""

    name: str
    path: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRtOptions:
    """Options of the engine and of the host around it.

    Attributes:
        tensor_parallel_size, pipeline_parallel_size: devices that share the model.
        max_batch_size: requests decoded together; 0 takes the host's `--max-active`.
        max_num_tokens: tokens of one engine step; also the longest prompt without chunked prefill.
        kv_cache_fraction: of the device memory that the weights leave.
        kv_cache_dtype: `auto`, `fp8` or `nvfp4`.
        kv_event_buffer: cache events kept by the engine for us to publish; 0 publishes none.
        cuda_graph_max_batch: largest batch with a CUDA graph; None takes the batch size, 0 uses no graphs.
        guided_decoding_backend: `xgrammar`, `llguidance`, or null, which refuses guides.
        lora: adapter name to its folder.
        speculative: `{"decoding_type": "Eagle", ...}`: the engine's own class and arguments.
        stream_interval: decode steps between two outputs of a stream.
        iteration_stats: read per-iteration statistics; leaks in the engine's workers with more than one device.
        extra: further arguments of `tensorrt_llm.LLM`, passed on as they are.
        max_logprobs: most alternatives per token that a request may ask for.
        construct_limit: seconds for loading the model.
        first_token_limit, token_limit: seconds a request may wait for its first and each further token.
        abort_limit: seconds that an aborted request gets to end.
        shutdown_limit: seconds for the engine to shut down.
        loop_stall_limit: seconds that the engine's event loop may stand still.
        canary_interval, canary_limit: seconds between two canaries, and for one.
        canary_prompt: token ids of the canary.
        probe_limit: seconds for importing the package on trial.
    """

    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    max_batch_size: int = 0
    max_num_tokens: int = 8192
    enable_chunked_prefill: bool = True
    kv_cache_fraction: float = 0.85
    kv_cache_dtype: str = "auto"
    kv_block_reuse: bool = True
    kv_event_buffer: int = 0
    cuda_graph_max_batch: int | None = None
    cuda_graph_padding: bool = True
    guided_decoding_backend: str | None = "xgrammar"
    lora: Mapping[str, str] = field(default_factory=dict)
    lora_max_rank: int = 64
    speculative: Mapping[str, Any] | None = None
    stream_interval: int = 1
    iteration_stats: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    max_logprobs: int = 20
    construct_limit: float = 1800.0
    first_token_limit: float = 120.0
    token_limit: float = 30.0
    abort_limit: float = 1.0
    shutdown_limit: float = 10.0
    loop_stall_limit: float = 10.0
    canary_interval: float = 30.0
    canary_limit: float = 20.0
    canary_prompt: tuple[int, ...] = (1, 2, 3, 4)
    probe_limit: float = 180.0

    def __post_init__(self) -> None:
        for name in ("tensor_parallel_size", "pipeline_parallel_size", "max_num_tokens", "stream_interval"):
            _check(getattr(self, name) >= 1, name, "must be at least 1")
        for name in ("max_batch_size", "kv_event_buffer", "max_logprobs"):
            _check(getattr(self, name) >= 0, name, "must not be negative")
        for part in dataclasses.fields(self):
            if part.name.endswith(("_limit", "_interval")):
                _check(getattr(self, part.name) > 0, part.name, "must be above 0")
        _check(0 < self.kv_cache_fraction < 1, "kv_cache_fraction", "must lie between 0 and 1")
        _check(self.guided_decoding_backend in _GUIDE_BACKENDS, "guided_decoding_backend", "is not known")
        _check(bool(self.canary_prompt), "canary_prompt", "must hold at least one token id")
        _check(self.kv_block_reuse or not self.kv_event_buffer, "kv_event_buffer", "needs kv_block_reuse")
        for name, why in _RESERVED.items():
            _check(name not in self.extra, f"extra.{name}", f"cannot be set: {why}")
        if self.extra:
            _log.warning("unchecked options are passed to TensorRT-LLM: %s", ", ".join(sorted(self.extra)))
        self.adapters()

    @classmethod
    def read(cls, text: str) -> Self:
        """Read a JSON object, or the file whose path this is; an empty text means the defaults.

        Raises:
            InvalidRequest: it cannot be read, or holds an option that does not exist or is out of range.
        """
        if not text.strip():
            return cls()
        if not text.lstrip().startswith("{"):
            try:
                with Path(text).open("rb") as file:
                    text = file.read(_MAX_OPTIONS_BYTES).decode()
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidRequest("--options-json names a file that cannot be read.") from error
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidRequest("--options-json is not JSON.") from error
        if not isinstance(values, dict):
            raise InvalidRequest("--options-json must be a JSON object.")
        return cls.of(values)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Check names and types, then make the options."""
        parts = {part.name: part for part in dataclasses.fields(cls)}
        for name, value in values.items():
            if name not in parts:
                raise InvalidRequest(
                    f"There is no option '{name}' for TensorRT-LLM; arguments of its own class go under 'extra'."
                )
            _check(_fits(value, str(parts[name].type)), name, f"must be of type {parts[name].type}")
        given = dict(values)
        if "canary_prompt" in given:
            given["canary_prompt"] = tuple(given["canary_prompt"])
        return cls(**given)

    def adapters(self) -> tuple[LoraAdapter, ...]:
        """Return the LoRA table, each adapter with a number made from its name."""
        made = tuple(LoraAdapter(name, path, _number(name)) for name, path in sorted(self.lora.items()))
        if len({adapter.number for adapter in made}) != len(made):
            raise InvalidRequest("Two LoRA adapters have names that collide; rename one.")
        return made


def _number(name: str) -> int:
    """Make the adapter's number: positive, 31 bits, the same on every start and in every order."""
    return (zlib.crc32(name.encode()) & 0x7FFFFFFF) or 1


_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (int, type(None)),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "str | None": (str, type(None)),
}


def _fits(value: Any, declared: str) -> bool:
    if declared == "Mapping[str, str]":
        return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
    if declared.startswith("Mapping"):
        return isinstance(value, dict) or (value is None and declared.endswith("None"))
    if declared.startswith("tuple"):
        return isinstance(value, list) and all(type(entry) is int and entry >= 0 for entry in value)
    if isinstance(value, bool):
        return declared == "bool"
    return isinstance(value, _TYPES[declared])


def _check(fine: bool, name: str, why: str) -> None:
    if not fine:
        raise InvalidRequest(f"The option '{name}' of TensorRT-LLM {why}.")
