"""What TensorRT-LLM can do, as it is configured and in its version."""

from __future__ import annotations

from podium.engine.backend import Capabilities
from podium.engine.tensorrt_llm.options import TensorRtOptions
from podium.engine.tensorrt_llm.versions import inert_settings
from podium.inference.engine import GuideKind

__all__ = ["MAX_SEQUENCES", "capabilities"]

MAX_SEQUENCES = 8
_GUIDES = frozenset({GuideKind.JSON_SCHEMA, GuideKind.REGEX, GuideKind.EBNF})
_FIELDS = frozenset({"lora_config", "kv_cache_retention", "cache_salt_id", "bad_token_ids", "output_config.logprobs"})


def capabilities(options: TensorRtOptions, version: tuple[int, int, int], *, max_batch_size: int) -> Capabilities:
    """Describe an engine with these options."""
    adapters = options.adapters()
    features = ["abort", "tokenizer", "cache_salt", "logprobs", "sequences", "kv_cache_retention"]
    guides: frozenset[GuideKind] = frozenset()
    if options.guided_decoding_backend is not None:
        features.append("guided_decoding")
        guides = _GUIDES
    if options.guided_decoding_backend == "xgrammar":
        features.append("structural_tag")
        guides |= {GuideKind.STRUCTURAL_TAG}
    if options.kv_block_reuse:
        features.append("prefix_caching")
    if options.kv_event_buffer:
        features.append("kv_events")
    if not inert_settings(version):
        features += ["penalties", "seed"]
    if adapters:
        features += ["lora", *(f"lora:{adapter.name}={adapter.number}" for adapter in adapters)]
    return Capabilities(
        features=tuple(features),
        fields=_FIELDS,
        inert=inert_settings(version),
        guides=guides,
        max_sequences=min(MAX_SEQUENCES, max_batch_size),
        max_logprobs=options.max_logprobs,
        lora_ids=frozenset(adapter.number for adapter in adapters),
    )
