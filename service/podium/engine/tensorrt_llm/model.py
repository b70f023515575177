"""A model folder in Hugging Face's format, as TensorRT-LLM loads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium.errors import InvalidRequest
from podium.inference.model_files import CONFIG_FILE, TOKENIZER_FILE, Dimensions, ModelFiles

__all__ = ["TensorRtModel", "open_tensorrt_model"]

_MAX_JSON_BYTES = 64 << 20
_ABSURD_CONTEXT = 10_000_000
_DEFAULT_CONTEXT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRtModel:
    """A model and how it ends: `stop_token_ids` are those of its own that are not the end id."""

    files: ModelFiles
    eos_token_id: int
    stop_token_ids: frozenset[int]


def open_tensorrt_model(folder: Path) -> TensorRtModel:
    """Read what the host needs of a model; the weights are the engine's to read.

    Raises:
        InvalidRequest: it is no local folder with the model's configuration and tokenizer.
    """
    if not folder.is_dir():
        raise InvalidRequest("The model of TensorRT-LLM must be a local folder in Hugging Face's format.")
    config = _read(folder, "config.json")
    if not config:
        raise InvalidRequest("This folder holds no model for TensorRT-LLM: it has no config.json.")
    # Models that also see keep the sizes of their language part one level down.
    inner = config.get("text_config")
    text: dict[str, Any] = inner if isinstance(inner, dict) else config
    try:
        tokenizer = (folder / TOKENIZER_FILE).read_bytes()
        tokenizer_config = (folder / CONFIG_FILE).read_bytes()
    except OSError as error:
        raise InvalidRequest(f"The model's folder lacks {TOKENIZER_FILE} or {CONFIG_FILE}.") from error
    files = ModelFiles(
        name=folder.resolve().name,
        weights=folder,
        tokenizer_json=tokenizer,
        tokenizer_config=tokenizer_config,
        dimensions=_dimensions(text, _read(folder, CONFIG_FILE)),
    )
    declared = _ids(_read(folder, "generation_config.json").get("eos_token_id")) or _ids(text.get("eos_token_id"))
    eos = _end(files, declared)
    return TensorRtModel(files=files, eos_token_id=eos, stop_token_ids=frozenset(declared) - {eos})


def _end(files: ModelFiles, declared: list[int]) -> int:
    try:
        return files.eos_token_id
    except InvalidRequest:
        if not declared:
            raise
        return declared[0]


def _ids(value: Any) -> list[int]:
    if isinstance(value, list):
        return [int(entry) for entry in value]
    return [] if value is None else [int(value)]


def _dimensions(config: dict[str, Any], tokenizer_config: dict[str, Any]) -> Dimensions:
    context = config.get("max_position_embeddings") or tokenizer_config.get("model_max_length") or 0
    return Dimensions(
        # Some exporters write 10^30 for "unlimited".
        context_length=int(context) if 0 < context < _ABSURD_CONTEXT else _DEFAULT_CONTEXT,
        vocab_size=int(config.get("vocab_size") or 0),
        hidden_size=int(config.get("hidden_size") or 0),
        num_layers=int(config.get("num_hidden_layers") or 0),
        num_heads=int(config.get("num_attention_heads") or 0),
    )


def _read(folder: Path, name: str) -> dict[str, Any]:
    try:
        with (folder / name).open("rb") as file:
            content = json.loads(file.read(_MAX_JSON_BYTES))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
