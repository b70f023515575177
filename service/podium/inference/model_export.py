"""Write a pulled model as a Hugging Face checkpoint, so that TensorRT-LLM and others serve the same weights.

A GGUF of the llama family keeps the rows of each head's query and key projections in another order
than Hugging Face: rotary embedding turns pairs of rows, which are neighbours in the GGUF and half a
head apart in the checkpoint. The converter of llama.cpp does
`w.reshape(heads, 2, size / 2, -1).swapaxes(1, 2)`; `unpermuted` undoes it.

The weights are written as bfloat16, which the model was trained in, in the safetensors format: the
header's length in 8 bytes, a JSON header of each tensor's type, shape and place, then the data.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from podium.errors import FailedPrecondition, InvalidRequest, ResourceExhausted
from podium.inference.model_convert import decode, load_gguf
from podium.inference.model_files import (
    ADAPTER_KEY,
    DIALECT_KEY,
    HF_CONFIG_FILE,
    Manifest,
)
from podium.inference.model_sources import copy_tokenizer

if TYPE_CHECKING:
    from gguf import GGUFReader, ReaderTensor

__all__ = ["export_hf", "hf_config", "unpermuted"]

Floats = npt.NDArray[np.float32]

_WEIGHTS_FILE = "model.safetensors"
_GENERATION_FILE = "generation_config.json"
_BYTES = 2
_SPARE_BYTES = 64 << 20
_ALIGNED = 8

_TENSORS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER = re.compile(r"blk\.(\d+)\.(\w+)\.weight")
_LAYER_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def export_hf(
    model: Path, target: Path, *, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> dict[str, Any]:
    """Write a pulled model to `target` as a Hugging Face checkpoint.

    Blocks for seconds. `config.json` comes last: a folder without it is no checkpoint to anybody. It also names the
    model's dialect and adapter, which a server that is given the folder reads there.

    Args:
        model: the folder of a pulled model whose weights are a GGUF of the llama family.
        target: the folder to make; it may exist when it is empty.
        progress: told of weights written and of all there are.

    Returns:
        The checkpoint's configuration.

    Raises:
        InvalidRequest: the model cannot be written in this form, or the folder holds something.
        ResourceExhausted: the disk is too full.
        FailedPrecondition: the folder cannot be made, or the `gguf` package is not installed.
    """
    manifest = Manifest.read(model)
    if manifest is None or not manifest.format.startswith("gguf"):
        raise InvalidRequest(f"'{model.name}' is no pulled model of GGUF weights, which is what can be exported.")
    reader = load_gguf(model / manifest.weights)
    config = hf_config(reader, manifest)
    plan = [_Planned.of(tensor, config) for tensor in reader.tensors]
    staging = _staging_in(target)
    try:
        _need_space(staging, sum(entry.count for entry in plan) * _BYTES)
        copy_tokenizer(model, staging)
        _write_json(staging / _GENERATION_FILE, {key: config[key] for key in config if key.endswith("_token_id")})
        with (staging / _WEIGHTS_FILE).open("wb") as sink:
            _write_weights(sink, plan, progress)
        for part in sorted(staging.iterdir()):
            part.rename(target / part.name)
        _write_json(staging / HF_CONFIG_FILE, config)
        (staging / HF_CONFIG_FILE).rename(target / HF_CONFIG_FILE)
    except OSError as error:
        raise ResourceExhausted(f"The checkpoint could not be written: {error.strerror}.", quota="disk") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return config


def hf_config(reader: GGUFReader, manifest: Manifest) -> dict[str, Any]:
    """Return the content of `config.json` for a model of the llama family.

    Raises:
        InvalidRequest: it is of another family, or has what this form of ours does not cover.
    """
    architecture = reader.fields["general.architecture"].contents()
    if architecture != "llama":
        raise InvalidRequest(f"A model of the family '{architecture}' cannot be exported; 'llama' can.")

    def value(name: str, default: Any = None) -> Any:
        entry = reader.fields.get(name)
        if entry is None and default is None:
            raise InvalidRequest(f"The model file does not say '{name}', which an export needs.")
        return default if entry is None else entry.contents()

    if value("llama.rope.scaling.type", "none") != "none" or value("llama.expert_count", 0):
        raise InvalidRequest("Models with scaled rotary embeddings or with experts cannot be exported.")
    heads = int(value("llama.attention.head_count"))
    size = int(value("llama.embedding_length"))
    names = {tensor.name for tensor in reader.tensors}
    config: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "bfloat16",
        "hidden_act": "silu",
        "hidden_size": size,
        "intermediate_size": int(value("llama.feed_forward_length")),
        "num_hidden_layers": int(value("llama.block_count")),
        "num_attention_heads": heads,
        "num_key_value_heads": int(value("llama.attention.head_count_kv", heads)),
        "head_dim": int(value("llama.attention.key_length", size // heads)),
        "max_position_embeddings": int(value("llama.context_length")),
        "rms_norm_eps": _short(value("llama.attention.layer_norm_rms_epsilon")),
        "rope_theta": _short(value("llama.rope.freq_base", 10000.0)),
        "rope_scaling": None,
        "vocab_size": _rows(reader, "token_embd.weight"),
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": "output.weight" not in names,
        "use_cache": True,
    }
    for ours, theirs in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        entry = reader.fields.get(f"tokenizer.ggml.{theirs}_token_id")
        if entry is not None:
            config[f"{ours}_token_id"] = int(entry.contents())
    if manifest.dialect:
        config[DIALECT_KEY] = manifest.dialect
    if manifest.adapter:
        config[ADAPTER_KEY] = manifest.adapter
    return config


def unpermuted(weights: Floats, heads: int) -> Floats:
    """Return a query or key projection with its rows in Hugging Face's order.

    Args:
        weights: of shape (heads * size of a head, in), as a GGUF of the llama family has them.
        heads: of this projection: a key projection may have fewer than the query's.
    """
    half = weights.shape[0] // heads // 2
    return weights.reshape(heads, half, 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


@dataclass(frozen=True, slots=True)
class _Planned:
    """A tensor to write. `heads` is 0 for one whose rows stay where they are."""

    source: ReaderTensor
    name: str
    shape: tuple[int, ...]
    heads: int

    @classmethod
    def of(cls, source: ReaderTensor, config: Mapping[str, Any]) -> _Planned:
        # A GGUF lists the fastest dimension first, a checkpoint the slowest.
        shape = tuple(int(size) for size in reversed(source.shape.tolist()))
        layer = _LAYER.fullmatch(source.name)
        if layer is None or layer[2] not in _LAYER_TENSORS:
            if source.name not in _TENSORS:
                raise InvalidRequest(f"The model has weights '{source.name}', which a checkpoint of ours cannot hold.")
            return cls(source, _TENSORS[source.name], shape, 0)
        heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}.get(layer[2], "")
        return cls(
            source,
            f"model.layers.{layer[1]}.{_LAYER_TENSORS[layer[2]]}.weight",
            shape,
            int(config[heads]) if heads else 0,
        )

    @property
    def count(self) -> int:
        return int(np.prod(self.shape))

    def data(self) -> bytes:
        weights = decode(self.source)
        return _bfloat16(unpermuted(weights, self.heads) if self.heads else weights)


def _staging_in(target: Path) -> Path:
    """Make the folder, and one in it for what is not whole yet: it may be a mount that cannot be exchanged."""
    staging = target / ".export"
    # Left by an export that was killed.
    shutil.rmtree(staging, ignore_errors=True)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidRequest(f"'{target}' exists and is not an empty folder; name another.")
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise FailedPrecondition(f"The folder '{target}' cannot be made: {error.strerror}.") from error
    return staging


def _write_weights(sink: BinaryIO, plan: list[_Planned], progress: Callable[[int, int], None]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for entry in plan:
        begin, end = end, end + entry.count * _BYTES
        header[entry.name] = {"dtype": "BF16", "shape": entry.shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNED)
    sink.write(struct.pack("<Q", len(text)))
    sink.write(text)
    done, total = 0, end // _BYTES
    for entry in plan:
        sink.write(entry.data())
        done += entry.count
        progress(done, total)


def _bfloat16(weights: Floats) -> bytes:
    """Round to the nearest bfloat16, ties to even: the upper half of a single-precision number."""
    bits = np.ascontiguousarray(weights, dtype="<f4").view("<u4")
    rounded = bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
    upper: npt.NDArray[np.uint16] = (rounded >> np.uint32(16)).astype("<u2")
    return upper.tobytes()


def _rows(reader: GGUFReader, name: str) -> int:
    for tensor in reader.tensors:
        if tensor.name == name:
            return int(tensor.shape[-1])
    raise InvalidRequest(f"The model file has no '{name}'.")


def _short(number: Any) -> float:
    """Return a single-precision number as people write it: 1e-05, not 9.999999747378752e-06."""
    return float(f"{float(number):.7g}")


def _need_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise ResourceExhausted(
            f"The disk has {free >> 20} MiB left and the checkpoint needs {(needed + _SPARE_BYTES) >> 20} MiB.",
            quota="disk",
        )


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
