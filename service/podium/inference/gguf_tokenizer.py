"""Build `tokenizer.json` and `tokenizer_config.json` from what a GGUF file says of its tokenizer.

The usual converter forgets that some families split digits one by one; a table here says how each
family cuts text before byte-pair encoding.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from podium.errors import InvalidRequest

if TYPE_CHECKING:
    from gguf import GGUFReader

__all__ = ["build_tokenizer", "tokenizer_config", "write_tokenizer"]

_NORMAL_TOKEN = 1
_UNKNOWN_TOKEN = 2
_CONTROL_TOKEN = 3
_USER_DEFINED_TOKEN = 4

_LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2_SPLIT = _LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")


def _gpt2() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _digits_then_gpt2() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


def _split(pattern: str) -> Callable[[], pre_tokenizers.PreTokenizer]:
    def make() -> pre_tokenizers.PreTokenizer:
        return pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )

    return make


# `tokenizer.ggml.pre` -> how text is cut before byte-pair encoding.
_CUTTERS: dict[str, Callable[[], pre_tokenizers.PreTokenizer]] = {
    "smollm": _digits_then_gpt2,
    "starcoder": _digits_then_gpt2,
    "gpt-2": _gpt2,
    "llama-bpe": _split(_LLAMA3_SPLIT),
    "qwen2": _split(_QWEN2_SPLIT),
}


def build_tokenizer(reader: GGUFReader) -> Tokenizer:
    """Make the tokenizer that `reader`'s file describes.

    Raises:
        InvalidRequest: it is not byte-pair encoding, or of a family that is not known here.
    """
    kind = _value(reader, "tokenizer.ggml.model", "")
    family = _value(reader, "tokenizer.ggml.pre", "gpt-2")
    cutter = _CUTTERS.get(family)
    if kind != "gpt2" or cutter is None:
        raise InvalidRequest(
            f"The tokenizer of this GGUF ('{kind}', '{family}') is not one that can be rebuilt; known are "
            f"{', '.join(sorted(_CUTTERS))}. Put tokenizer.json and tokenizer_config.json beside the file."
        )
    tokens: list[str] = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ", 1)) for merge in reader.fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: index for index, token in enumerate(tokens)},
            merges=merges,
            fuse_unk=False,
            ignore_merges=family == "llama-bpe",
        )
    )
    if family == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = cutter()
    tokenizer.decoder = decoders.ByteLevel()
    _add_special(tokenizer, tokens, reader.fields["tokenizer.ggml.token_type"].contents())
    return tokenizer


def _add_special(tokenizer: Tokenizer, tokens: list[str], kinds: list[int]) -> None:
    for token, kind in zip(tokens, kinds, strict=True):
        if kind in (_CONTROL_TOKEN, _UNKNOWN_TOKEN):
            tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        elif kind == _USER_DEFINED_TOKEN:
            tokenizer.add_tokens([AddedToken(token, special=False, normalized=False)])


def tokenizer_config(reader: GGUFReader) -> dict[str, Any]:
    """Return the content of `tokenizer_config.json`: template, special tokens, context length."""
    tokens: list[str] = reader.fields["tokenizer.ggml.tokens"].contents()
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": _context_length(reader),
        "add_bos_token": bool(_value(reader, "tokenizer.ggml.add_bos_token", default=False)),
        "clean_up_tokenization_spaces": False,
    }
    template = _value(reader, "tokenizer.chat_template", "")
    if template:
        config["chat_template"] = template
    for name in ("bos", "eos", "unk", "pad"):
        key = {"unk": "unknown", "pad": "padding"}.get(name, name)
        index = _value(reader, f"tokenizer.ggml.{key}_token_id", None)
        if index is not None:
            config[f"{name}_token"] = tokens[index]
            config[f"{name}_token_id"] = int(index)
    return config


def write_tokenizer(reader: GGUFReader, directory: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` into `directory`, each whole or not at all."""
    tokenizer = build_tokenizer(reader)
    _replace(directory / "tokenizer.json", tokenizer.to_str())
    _replace(directory / "tokenizer_config.json", json.dumps(tokenizer_config(reader), indent=2))


def _replace(target: Path, text: str) -> None:
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(target)


def _context_length(reader: GGUFReader) -> int:
    architecture = _value(reader, "general.architecture", "llama")
    return int(_value(reader, f"{architecture}.context_length", 0))


def _value(reader: GGUFReader, name: str, default: Any) -> Any:
    field = reader.fields.get(name)
    return default if field is None else field.contents()
