"""A small tokenizer: one token a byte, and control tokens."""

from __future__ import annotations

import io
import json
import zipfile

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from podium.inference.tokenizer import Tokenizer

CONTROL = (
    *("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|python_tag|>"),
    *("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>"),
    *("[TOOL_CALLS]", "[ARGS]"),
)
TEMPLATE = (
    "{{ bos_token }}{% if tools %}{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{% for call in message.tool_calls or [] %}{{ call.id }}{{ call.function | tojson }}{% endfor %}"
    "{% if message.tool_call_id %}={{ message.tool_call_id }}{% endif %}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)


def tokenizer_files(template: str = TEMPLATE, eos: str = "<|im_end|>") -> tuple[bytes, bytes]:
    """Return `tokenizer.json` and `tokenizer_config.json`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    built = tokenizers.Tokenizer(models.BPE(vocab={character: i for i, character in enumerate(alphabet)}, merges=[]))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    built.decoder = decoders.ByteLevel()
    built.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL])
    config = {"chat_template": template, "bos_token": "<s>", "eos_token": eos, "model_max_length": 4096}
    return built.to_str().encode(), json.dumps(config).encode()


def byte_tokenizer(template: str = TEMPLATE, eos: str = "<|im_end|>") -> Tokenizer:
    """Return the tokenizer itself."""
    return Tokenizer(*tokenizer_files(template, eos))


def tokenizer_archive(template: str = TEMPLATE) -> bytes:
    """Return the files as `GetTokenizer` sends them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in zip(("tokenizer.json", "tokenizer_config.json"), tokenizer_files(template), strict=True):
            archive.writestr(name, content)
    return buffer.getvalue()
