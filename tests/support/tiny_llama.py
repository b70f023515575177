"""A model of the llama family small enough to make in a test, and an adapter for it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

from podium.inference.adapter import AdapterHeader, ShippedAdapter, pack

__all__ = [
    "HEADS",
    "HEADS_KV",
    "HIDDEN",
    "INNER",
    "LAYERS",
    "RANK",
    "VOCABULARY",
    "make_adapter",
    "make_factors",
    "make_gguf",
]

Floats = npt.NDArray[np.float32]

HIDDEN = 64
HEADS = 4
HEADS_KV = 2
INNER = 96
LAYERS = 2
RANK = 3
VOCABULARY = 98
MATRICES = {
    "attn_q": (HIDDEN, HIDDEN),
    "attn_k": (HIDDEN * HEADS_KV // HEADS, HIDDEN),
    "attn_v": (HIDDEN * HEADS_KV // HEADS, HIDDEN),
    "attn_output": (HIDDEN, HIDDEN),
    "ffn_gate": (INNER, HIDDEN),
    "ffn_up": (INNER, HIDDEN),
    "ffn_down": (HIDDEN, INNER),
}


def make_gguf(path: Path, kind: gguf.GGMLQuantizationType, *, architecture: str = "llama") -> str:
    """Write a model with weights of `kind` to `path`; return the file's SHA-256."""
    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, architecture)
    _describe(writer)

    def add(name: str, shape: tuple[int, ...]) -> None:
        weights = rng.normal(0, 0.05, shape).astype(np.float32)
        writer.add_tensor(name, gguf.quants.quantize(weights, kind), raw_dtype=kind)

    add("token_embd.weight", (VOCABULARY, HIDDEN))
    for layer in range(LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", rng.normal(1, 0.1, HIDDEN).astype(np.float32))
        for name, shape in MATRICES.items():
            add(f"blk.{layer}.{name}.weight", shape)
    writer.add_tensor("output_norm.weight", np.ones(HIDDEN, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _describe(writer: gguf.GGUFWriter) -> None:
    tokens = ["<eos>", *(chr(code) for code in range(33, 127)), "Ġ", "Ċ", "ab"]
    assert len(tokens) == VOCABULARY
    writer.add_context_length(128)
    writer.add_block_count(LAYERS)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS_KV)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(100_000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, *([1] * (len(tokens) - 1))])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(0)


def make_factors(seed: int = 2, *, size: float = 0.1) -> dict[str, tuple[Floats, Floats]]:
    """Return `A` and `B` for every matrix of the first layer."""
    rng = np.random.default_rng(seed)
    return {
        f"blk.0.{name}.weight": (
            rng.normal(0, size, (RANK, inputs)).astype(np.float32),
            rng.normal(0, size, (outputs, RANK)).astype(np.float32),
        )
        for name, (outputs, inputs) in MATRICES.items()
    }


def make_adapter(path: Path, base_sha256: str, *, version: str = "1", seed: int = 2) -> ShippedAdapter:
    """Write an adapter for the model file with this digest to `path`, and pin it."""
    header = AdapterHeader(
        name="planner", version=version, base_sha256=base_sha256, rank=RANK, scale=2.0, dialect="lines"
    )
    content = pack(make_factors(seed), header)
    path.write_bytes(content)
    return ShippedAdapter(name="planner", version=version, path=path, sha256=hashlib.sha256(content).hexdigest())
