"""A pulled model as a Hugging Face checkpoint: names, shapes, values, and the order of rotary rows."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import pytest

from podium.engine.tensorrt_llm.model import open_tensorrt_model
from podium.errors import FailedPrecondition, InvalidRequest, ResourceExhausted
from podium.inference import model_export
from podium.inference.model_convert import load_gguf
from podium.inference.model_export import export_hf, unpermuted
from podium.inference.model_files import Manifest, taught_dialect
from podium.inference.model_store import ModelStore
from support.tiny_llama import HEADS, HEADS_KV, HIDDEN, INNER, LAYERS, VOCABULARY, make_gguf

Floats = npt.NDArray[np.float32]
Kind = gguf.GGMLQuantizationType


def permuted(weights: Floats, heads: int) -> Floats:
    """The formula of llama.cpp's converter for query and key projections of the llama family."""
    half = weights.shape[0] // heads // 2
    return weights.reshape(heads, 2, half, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def read_safetensors(path: Path) -> tuple[dict[str, Floats], dict[str, Any]]:
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    data = content[8 + length :]
    assert (8 + length) % 8 == 0
    tensors, end = {}, 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, stop = entry["data_offsets"]
        assert begin == end, "no holes and no overlaps"
        end = stop
        assert entry["dtype"] == "BF16"
        halves = np.frombuffer(data[begin:stop], dtype="<u2").astype("<u4") << np.uint32(16)
        tensors[name] = halves.view("<f4").reshape(entry["shape"])
    assert end == len(data)
    return tensors, header


def pulled(tmp_path: Path, kind: Kind = Kind.Q4_1, *, architecture: str = "llama") -> Path:
    source = tmp_path / "tiny.gguf"
    make_gguf(source, kind, architecture=architecture)
    return ModelStore(tmp_path / "models").pull(source).path


def decoded(model: Path) -> dict[str, Floats]:
    weights = model / "model.gguf"
    return {
        tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in load_gguf(weights).tensors
    }


@pytest.mark.parametrize("heads", [HEADS, HEADS_KV, 1])
def test_unpermuting_undoes_the_converters_formula(heads: int) -> None:
    """There and back is nothing, for matrices and for vectors."""
    rng = np.random.default_rng(0)
    for shape in ((32, 5), (32,)):
        weights = rng.normal(size=shape).astype(np.float32)
        turned = permuted(weights, heads)
        assert not np.array_equal(turned, weights)
        np.testing.assert_array_equal(unpermuted(turned, heads), weights)


def test_both_orders_rotate_to_the_same_attention() -> None:
    """Turning neighbours in the GGUF's order and halves in the checkpoint's gives the same scores."""
    rng = np.random.default_rng(0)
    size, inputs = 8, 5
    query, key = (rng.normal(size=(size, inputs)) for _ in range(2))
    here, there = rng.normal(size=inputs), rng.normal(size=inputs)
    angles = 10_000.0 ** (-np.arange(size // 2) / (size // 2))

    def turned(pairs: npt.NDArray[np.float64], position: int) -> npt.NDArray[np.float64]:
        turns = np.exp(1j * position * angles)
        return (pairs[:, 0] + 1j * pairs[:, 1]) * turns

    def score_of_neighbours(q: Any, k: Any) -> float:
        left, right = (turned((w @ x).reshape(-1, 2), at) for w, x, at in ((q, here, 7), (k, there, 3)))
        return float((left * right.conj()).real.sum())

    def score_of_halves(q: Any, k: Any) -> float:
        left, right = (turned((w @ x).reshape(2, -1).T, at) for w, x, at in ((q, here, 7), (k, there, 3)))
        return float((left * right.conj()).real.sum())

    wanted = score_of_neighbours(query, key)
    assert score_of_halves(unpermuted(query, 1), unpermuted(key, 1)) == pytest.approx(wanted)
    assert score_of_halves(query, key) != pytest.approx(wanted, rel=1e-3)


def test_a_checkpoint_has_every_weight_under_its_name(tmp_path: Path) -> None:
    """Values are the model's to bfloat16's precision, and rotary rows are in the other order."""
    model = pulled(tmp_path)
    seen: list[tuple[int, int]] = []
    export_hf(model, tmp_path / "hf", progress=lambda done, total: seen.append((done, total)))
    tensors, header = read_safetensors(tmp_path / "hf" / "model.safetensors")
    before = decoded(model)
    assert header["__metadata__"] == {"format": "pt"}
    assert len(tensors) == len(before) == 2 + 9 * LAYERS
    assert seen[-1] == (sum(w.size for w in before.values()),) * 2
    layer = "model.layers.1"
    wanted = {
        "model.embed_tokens.weight": before["token_embd.weight"],
        "model.norm.weight": before["output_norm.weight"],
        f"{layer}.input_layernorm.weight": before["blk.1.attn_norm.weight"],
        f"{layer}.post_attention_layernorm.weight": before["blk.1.ffn_norm.weight"],
        f"{layer}.self_attn.q_proj.weight": unpermuted(before["blk.1.attn_q.weight"], HEADS),
        f"{layer}.self_attn.k_proj.weight": unpermuted(before["blk.1.attn_k.weight"], HEADS_KV),
        f"{layer}.self_attn.v_proj.weight": before["blk.1.attn_v.weight"],
        f"{layer}.self_attn.o_proj.weight": before["blk.1.attn_output.weight"],
        f"{layer}.mlp.gate_proj.weight": before["blk.1.ffn_gate.weight"],
        f"{layer}.mlp.up_proj.weight": before["blk.1.ffn_up.weight"],
        f"{layer}.mlp.down_proj.weight": before["blk.1.ffn_down.weight"],
    }
    for name, weights in wanted.items():
        assert tensors[name].shape == weights.shape, name
        # Half of bfloat16's last place.
        np.testing.assert_allclose(tensors[name], weights, rtol=2**-8, atol=0, err_msg=name)


def test_numbers_are_rounded_to_the_nearest_bfloat16(tmp_path: Path) -> None:
    """Ties go to even; cutting off would shift every weight towards zero."""
    exact = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-12, -(1 + 2**-7 * 0.75), 0.0], dtype=np.float32)
    halves = np.frombuffer(model_export._bfloat16(exact), dtype="<u2").astype("<u4") << np.uint32(16)
    assert halves.view("<f4").tolist() == [1.0, 1.0, 1 + 2**-6, 1 + 2**-7, -(1 + 2**-7), 0.0]


def test_the_configuration_describes_the_model(tmp_path: Path) -> None:
    """As LlamaForCausalLM reads it; and our own engine host takes the folder."""
    model = pulled(tmp_path)
    config = export_hf(model, tmp_path / "hf")
    assert json.loads((tmp_path / "hf" / "config.json").read_bytes()) == config
    expected = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS_KV,
        "head_dim": HIDDEN // HEADS,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "rope_theta": 100_000.0,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": True,
        "eos_token_id": 0,
        "torch_dtype": "bfloat16",
    }
    assert {name: config[name] for name in expected} == expected
    assert taught_dialect(tmp_path / "hf") == ""
    opened = open_tensorrt_model(tmp_path / "hf")
    assert opened.eos_token_id == 0
    assert opened.files.dimensions.num_layers == LAYERS
    assert opened.files.tokenizer_json == (model / "tokenizer.json").read_bytes()
    assert sorted(entry.name for entry in (tmp_path / "hf").iterdir()) == [
        *("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    ]


def test_a_checkpoint_says_what_its_model_was_taught(tmp_path: Path) -> None:
    """A server that is given the folder plans as with the pulled model."""
    model = pulled(tmp_path)
    values = {**json.loads((model / "manifest.json").read_bytes()), "dialect": "lines", "adapter": "planner@1"}
    (model / "manifest.json").write_text(json.dumps(values))
    export_hf(model, tmp_path / "hf")
    assert taught_dialect(tmp_path / "hf") == "lines"
    assert json.loads((tmp_path / "hf" / "config.json").read_bytes())["podium_adapter"] == "planner@1"


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    """Neither files of others nor an earlier export are written over; an empty folder is filled."""
    model, target = pulled(tmp_path), tmp_path / "hf"
    target.mkdir()
    export_hf(model, target)
    before = (target / "config.json").stat()
    with pytest.raises(InvalidRequest, match="not an empty folder"):
        export_hf(model, target)
    assert (target / "config.json").stat() == before
    with pytest.raises(InvalidRequest, match="not an empty folder"):
        export_hf(model, model / "manifest.json")
    with pytest.raises(FailedPrecondition, match="cannot be made"):
        export_hf(model, model / "manifest.json" / "hf")


def test_an_export_that_fails_leaves_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is said, and the folder can be used for the next attempt, also after a kill."""
    model, target = pulled(tmp_path), tmp_path / "hf"

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(model_export, "_write_weights", fail)
        with pytest.raises(ResourceExhausted, match="No space left"):
            export_hf(model, target)
    assert list(target.iterdir()) == []
    (target / ".export").mkdir()
    (target / ".export" / "model.safetensors").write_bytes(b"half")
    export_hf(model, target)
    assert not (target / ".export").exists()


@pytest.mark.parametrize("case", ["family", "format", "weights", "folder"])
def test_what_cannot_be_a_checkpoint_is_refused_before_anything_is_made(tmp_path: Path, case: str) -> None:
    """Families, formats and weights that this form does not cover have their own words."""
    model = pulled(tmp_path, architecture="qwen2" if case == "family" else "llama")
    says = {"family": "qwen2", "format": "GGUF weights", "weights": "rope_freqs", "folder": "no pulled model"}[case]
    if case == "format":
        values = json.loads((model / "manifest.json").read_bytes())
        (model / "manifest.json").write_text(json.dumps({**values, "format": "openvino"}))
    elif case == "weights":
        with_extra(model / "model.gguf")
    elif case == "folder":
        (model / "manifest.json").unlink()
    with pytest.raises(InvalidRequest, match=says):
        export_hf(model, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


def with_extra(weights: Path) -> None:
    """Write the tiny model anew with a tensor that a checkpoint has no place for."""
    writer = gguf.GGUFWriter(weights, "llama")
    for name, value in (("head_count", 4), ("embedding_length", 64), ("feed_forward_length", 96), ("block_count", 2)):
        getattr(writer, f"add_{name}")(value)
    writer.add_context_length(128)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tensor("token_embd.weight", np.ones((4, 64), dtype=np.float32))
    writer.add_tensor("rope_freqs.weight", np.ones(8, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_manifest_is_not_enough(tmp_path: Path) -> None:
    """Weights that are gone are said to be."""
    model = pulled(tmp_path)
    (model / "model.gguf").unlink()
    assert Manifest.read(model) is not None
    with pytest.raises(InvalidRequest, match="cannot be read"):
        export_hf(model, tmp_path / "hf")
