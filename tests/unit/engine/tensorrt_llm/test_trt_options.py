"""Options, versions, constructor arguments, model folders."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from podium.engine.arguments import HostArguments
from podium.engine.job import SamplingSpec
from podium.engine.tensorrt_llm.capabilities import capabilities
from podium.engine.tensorrt_llm.construct import constructor_arguments
from podium.engine.tensorrt_llm.model import open_tensorrt_model
from podium.engine.tensorrt_llm.module import load
from podium.engine.tensorrt_llm.options import TensorRtOptions
from podium.engine.tensorrt_llm.sampling import RequestBuilder
from podium.engine.tensorrt_llm.versions import check_version, inert_settings
from podium.errors import FailedPrecondition, InvalidRequest
from podium.inference.engine import Guide, GuideKind
from unit.engine.tensorrt_llm import trtllm_harness
from unit.engine.tensorrt_llm.trtllm_harness import job, write_model

trt = trtllm_harness.trt


@pytest.mark.parametrize("version", ["1.2.0", "1.2.0rc3", "1.2.1rc1", "1.1.9", "0.20.0", "nonsense"])
def test_t29_versions_that_corrupt_their_cache_are_refused(version: str) -> None:
    with pytest.raises(FailedPrecondition, match=r"1\.2\.1"):
        check_version(version)


@pytest.mark.parametrize(
    ("version", "warned"), [("1.2.1", False), ("1.2.4", False), ("1.3.0rc29", True), ("2.0", True)]
)
def test_t29_newer_versions_are_used_with_a_warning(
    version: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert check_version(version) >= (1, 2, 1)
    assert bool(caplog.records) is warned


def test_t35_penalties_and_seed_are_inert_on_1_2_and_work_from_1_3() -> None:
    assert set(inert_settings((1, 2, 1))) == {"repetition_penalty", "presence_penalty", "frequency_penalty", "seed"}
    assert inert_settings((1, 3, 0)) == {}
    options = TensorRtOptions()
    assert "seed" not in capabilities(options, (1, 2, 1), max_batch_size=4).features
    assert {"seed", "penalties"} <= set(capabilities(options, (1, 3, 0), max_batch_size=4).features)


@pytest.mark.parametrize(
    "values",
    [
        {"no_such": 1},
        {"max_num_tokens": "8192"},
        {"max_num_tokens": True},
        {"max_num_tokens": 0},
        {"kv_cache_fraction": 1.5},
        {"guided_decoding_backend": "outlines"},
        {"lora": {"a": 1}},
        {"canary_prompt": []},
        {"canary_prompt": [-1]},
        {"kv_block_reuse": False, "kv_event_buffer": 10},
        {"extra": {"trust_remote_code": True}},
        {"extra": {"model": "other"}},
        {"abort_limit": 0},
    ],
    ids=json.dumps,
)
def test_options_that_do_not_fit_are_refused_by_name(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        TensorRtOptions.read(json.dumps(values))
    assert any(name in refused.value.message for name in values)


@pytest.mark.parametrize("text", ["{", "[1]", "/no/such/file"])
def test_options_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        TensorRtOptions.read(text)


def test_options_come_from_json_or_a_file_and_extras_are_named_in_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "options.json"
    file.write_text('{"tensor_parallel_size": 2, "extra": {"attn_backend": "TRTLLM"}}')
    with caplog.at_level(logging.WARNING):
        options = TensorRtOptions.read(str(file))
    assert options.tensor_parallel_size == 2
    assert "attn_backend" in caplog.text
    assert TensorRtOptions.read("") == TensorRtOptions()


def test_t46_the_number_of_an_adapter_depends_on_its_name_only(trt: Any, tmp_path: Path) -> None:
    one = TensorRtOptions.of({"lora": {"a": "/x", "b": "/y"}}).adapters()
    other = TensorRtOptions.of({"lora": {"b": "/elsewhere", "c": "/z", "a": "/x"}}).adapters()
    numbers = {adapter.name: adapter.number for adapter in other}
    assert all(numbers[adapter.name] == adapter.number > 0 for adapter in one)
    options = TensorRtOptions.of({"lora": {"gone": str(tmp_path / "gone")}})
    with pytest.raises(FailedPrecondition, match="gone"):
        constructor_arguments(load(), options, model=tmp_path, max_batch_size=4, max_seq_len=64)


def test_the_constructor_gets_the_starting_configuration(trt: Any, tmp_path: Path) -> None:
    options = TensorRtOptions.of({"extra": {"attn_backend": "TRTLLM"}, "iteration_stats": True})
    made = constructor_arguments(load(), options, model=tmp_path, max_batch_size=48, max_seq_len=2048)
    assert made["enable_chunked_prefill"] is True
    assert made["trust_remote_code"] is False
    assert made["num_postprocess_workers"] == 0
    assert made["guided_decoding_backend"] == "xgrammar"
    assert (made["cuda_graph_config"].max_batch_size, made["cuda_graph_config"].enable_padding) == (48, True)
    assert made["kv_cache_config"].free_gpu_memory_fraction == 0.85
    assert made["kv_cache_config"].host_cache_size is None
    assert made["attn_backend"] == "TRTLLM"
    assert made["iter_stats_max_iterations"] > 0
    load().llm(**made).shutdown()
    none = constructor_arguments(
        load(), TensorRtOptions(cuda_graph_max_batch=0), model=tmp_path, max_batch_size=4, max_seq_len=64
    )
    assert none["cuda_graph_config"] is None


def test_speculative_decoding_names_its_class(trt: Any, tmp_path: Path) -> None:
    options = TensorRtOptions(speculative={"decoding_type": "Odd"})
    with pytest.raises(InvalidRequest, match="decoding_type"):
        constructor_arguments(load(), options, model=tmp_path, max_batch_size=4, max_seq_len=64)


def test_every_setting_is_a_field_of_the_engines_own_class(trt: Any) -> None:
    module = load()
    builder = RequestBuilder(module, eos_token_id=2, stop_token_ids=frozenset({5}))
    guide = Guide(GuideKind.JSON_SCHEMA, "{}")
    one = builder.arguments(job(guide=guide, stop_token_ids=frozenset({7})))
    other = builder.arguments(job())
    assert one["sampling_params"] is not other["sampling_params"]
    assert one["sampling_params"].stop_token_ids == [5, 7]
    assert one["sampling_params"].guided_decoding.json == "{}"
    assert not one["sampling_params"]._greedy_decoding
    greedy = builder.arguments(job(sampling=SamplingSpec(temperature=0.0)))
    assert greedy["sampling_params"]._greedy_decoding


@pytest.mark.parametrize("version", ["1.2.1", "1.3.0rc29"])
def test_t45_only_arguments_that_this_version_has_are_passed(trt: Any, version: str) -> None:
    trt.use_version(version)
    import tensorrt_llm

    before = tensorrt_llm.__version__
    tensorrt_llm.__version__ = version
    try:
        module = load()
    finally:
        tensorrt_llm.__version__ = before
    assert module.version[:2] == tuple(int(part) for part in version.split(".")[:2])
    assert module.takes("priority") is (version != "1.2.1")
    arguments = RequestBuilder(module, eos_token_id=2).arguments(job())
    assert all(module.takes(name) for name in arguments)
    narrow = dataclasses.replace(module, arguments=module.arguments - {"cache_salt"})
    with pytest.raises(FailedPrecondition, match="cache_salt"):
        RequestBuilder(narrow, eos_token_id=2).arguments(job())


def test_a_model_folder_names_its_ends_and_sizes(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", text_config={"max_position_embeddings": 77, "vocab_size": 9})
    (folder / "generation_config.json").write_text('{"eos_token_id": [2, 5, 6]}')
    model = open_tensorrt_model(folder)
    assert (model.eos_token_id, model.stop_token_ids) == (2, frozenset({5, 6}))
    assert (model.files.dimensions.context_length, model.files.dimensions.vocab_size) == (77, 9)


@pytest.mark.parametrize("missing", ["", "config.json", "tokenizer.json"])
def test_a_folder_that_is_no_model_is_refused(tmp_path: Path, missing: str) -> None:
    folder = write_model(tmp_path / "m")
    (folder / missing).unlink() if missing else None
    with pytest.raises(InvalidRequest):
        open_tensorrt_model(folder if missing else tmp_path / "nowhere")


@pytest.mark.parametrize("address", ["0.0.0.0:8001", "unix:/m.sock", "8001"])
def test_metrics_stay_on_loopback(address: str) -> None:
    with pytest.raises(InvalidRequest):
        HostArguments(model=Path("/m"), listen="unix:/s", metrics_listen=address)
