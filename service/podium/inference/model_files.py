"""A model on disk: where its weights are, its tokenizer, its dimensions."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.errors import InvalidRequest
from podium.inference.gguf_tokenizer import build_tokenizer, tokenizer_config
from podium.inference.model_convert import load_gguf

if TYPE_CHECKING:
    from gguf import GGUFReader

__all__ = [
    "CONFIG_FILE",
    "MANIFEST_FILE",
    "TOKENIZER_FILE",
    "Dimensions",
    "Manifest",
    "ModelFiles",
    "gguf_dimensions",
    "open_model",
    "taught_dialect",
]

HF_CONFIG_FILE = "config.json"
MANIFEST_FILE = "manifest.json"
TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
OPENVINO_FILE = "openvino_model.xml"

# What an exported checkpoint's configuration says beside what its format knows.
DIALECT_KEY = "podium_dialect"
ADAPTER_KEY = "podium_adapter"

# Bumped when what a pull writes changes; an older folder is then made anew.
MANIFEST_VERSION = 1
_DEFAULT_CONTEXT = 4096
_ABSURD_CONTEXT = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimensions:
    """Sizes of a model, in tokens, layers and so on; 0 where its files do not say."""

    context_length: int = 0
    vocab_size: int = 0
    hidden_size: int = 0
    num_layers: int = 0
    num_heads: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a pull left behind, written last: a folder without one is not finished.

    `weights` is relative to the folder for files of ours, absolute for files left in place;
    `weights_bytes` is its size, checked at each start. `source_sha256` is empty for a folder.
    `adapter` is the `name@version` of the trained adapter in the weights, `adapter_sha256` its
    file's digest, and `dialect` how it wants tools shown and writes calls; empty without one.
    """

    name: str
    weights: str
    weights_bytes: int
    format: str
    source: str
    source_sha256: str
    dimensions: Dimensions = field(default_factory=Dimensions)
    adapter: str = ""
    adapter_sha256: str = ""
    dialect: str = ""
    version: int = MANIFEST_VERSION

    def write(self, directory: Path) -> None:
        """Write it into `directory`."""
        text = json.dumps(asdict(self), indent=2, sort_keys=True)
        (directory / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, directory: Path) -> Manifest | None:
        """Return the manifest of `directory`, or None when there is none that can be used."""
        try:
            values = json.loads((directory / MANIFEST_FILE).read_bytes())
            dimensions = Dimensions(**values.pop("dimensions"))
            manifest = cls(**values, dimensions=dimensions)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        return manifest if manifest.version == MANIFEST_VERSION else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """What an engine host needs of a model. `weights` is a .gguf file or an OpenVINO folder."""

    name: str
    weights: Path
    tokenizer_json: bytes
    tokenizer_config: bytes
    dimensions: Dimensions

    @property
    def eos_token_id(self) -> int:
        """The token that ends an answer.

        Raises:
            InvalidRequest: the tokenizer's configuration names none.
        """
        config: dict[str, Any] = json.loads(self.tokenizer_config)
        index = config.get("eos_token_id")
        if index is None:
            index = _token_id(config.get("eos_token"), config, self.tokenizer_json)
        if index is None:
            raise InvalidRequest(f"{CONFIG_FILE} of this model names no end-of-sequence token.")
        return int(index)


def open_model(path: Path) -> ModelFiles:
    """Find the parts of a model in a folder made by a pull, a .gguf file, or an OpenVINO folder.

    Raises:
        InvalidRequest: there is no model, or a part of it is missing.
        FailedPrecondition: it is a lone GGUF and the `gguf` package is not installed.
    """
    if path.is_dir():
        manifest = Manifest.read(path)
        if manifest is not None:
            weights = path / manifest.weights
            return _with_tokenizer_of(path, manifest.name, weights, manifest.dimensions)
        if (path / OPENVINO_FILE).is_file():
            return _with_tokenizer_of(path, path.name, path, openvino_dimensions(path))
        raise InvalidRequest(
            "This folder holds no model: neither one made by 'podium models pull' nor an OpenVINO model."
        )
    if path.suffix == ".gguf" and path.is_file():
        return _open_gguf(path)
    raise InvalidRequest("There is no model at this path: run 'podium models pull' and use the folder that it names.")


def taught_dialect(path: Path) -> str:
    """Return the dialect that a trained adapter taught a model; empty for a model without one.

    Args:
        path: a folder made by a pull or by an export, or any other model's file or folder.
    """
    manifest = Manifest.read(path)
    if manifest is not None:
        return manifest.dialect
    found = _json_object(path / HF_CONFIG_FILE).get(DIALECT_KEY, "")
    return found if isinstance(found, str) else ""


def _open_gguf(path: Path) -> ModelFiles:
    reader = load_gguf(path)
    dimensions = gguf_dimensions(reader)
    if (path.parent / TOKENIZER_FILE).is_file():
        return _with_tokenizer_of(path.parent, path.stem, path, dimensions)
    return ModelFiles(
        name=path.stem,
        weights=path,
        tokenizer_json=build_tokenizer(reader).to_str().encode(),
        tokenizer_config=json.dumps(tokenizer_config(reader)).encode(),
        dimensions=dimensions,
    )


def _with_tokenizer_of(folder: Path, name: str, weights: Path, dimensions: Dimensions) -> ModelFiles:
    if not weights.exists():
        raise InvalidRequest("The weights of this model are gone; pull it again.")
    try:
        tokenizer = (folder / TOKENIZER_FILE).read_bytes()
        config = (folder / CONFIG_FILE).read_bytes()
    except OSError as error:
        raise InvalidRequest(f"The model's folder lacks {TOKENIZER_FILE} or {CONFIG_FILE}.") from error
    return ModelFiles(
        name=name, weights=weights, tokenizer_json=tokenizer, tokenizer_config=config, dimensions=dimensions
    )


def gguf_dimensions(reader: GGUFReader) -> Dimensions:
    """Read a model's sizes from its GGUF header."""

    def value(name: str) -> int:
        entry = reader.fields.get(name)
        return 0 if entry is None else int(entry.contents())

    architecture = reader.fields["general.architecture"].contents()
    vocabulary = reader.fields.get("tokenizer.ggml.tokens")
    return Dimensions(
        context_length=value(f"{architecture}.context_length") or _DEFAULT_CONTEXT,
        vocab_size=value(f"{architecture}.vocab_size") or (len(vocabulary.data) if vocabulary else 0),
        hidden_size=value(f"{architecture}.embedding_length"),
        num_layers=value(f"{architecture}.block_count"),
        num_heads=value(f"{architecture}.attention.head_count"),
    )


def openvino_dimensions(folder: Path) -> Dimensions:
    """Read a model's sizes from the `config.json` beside an OpenVINO model; zeros where it does not say."""
    config = _json_object(folder / HF_CONFIG_FILE)
    context = config.get("max_position_embeddings") or _json_object(folder / CONFIG_FILE).get("model_max_length") or 0
    return Dimensions(
        # Some exporters write 10^30 for "unlimited".
        context_length=int(context) if 0 < context < _ABSURD_CONTEXT else _DEFAULT_CONTEXT,
        vocab_size=int(config.get("vocab_size", 0)),
        hidden_size=int(config.get("hidden_size", 0)),
        num_layers=int(config.get("num_hidden_layers", 0)),
        num_heads=int(config.get("num_attention_heads", 0)),
    )


def _json_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _token_id(token: Any, config: dict[str, Any], tokenizer_json: bytes) -> int | None:
    text = token.get("content") if isinstance(token, dict) else token
    for index, entry in config.get("added_tokens_decoder", {}).items():
        if entry.get("content") == text:
            return int(index)
    for entry in json.loads(tokenizer_json).get("added_tokens", []):
        if entry.get("content") == text:
            return int(entry["id"])
    return None
