"""A tokenizer for prompts and stop strings given as text: bytes, and whole words with ids of their own.

`encode` only ever makes byte ids, while the engine may make the word id of the same text: so a stop string has two
tokenisations, and matching by ids misses one (rule 10).
"""

from __future__ import annotations

from collections.abc import Sequence

from tensorrt_llm._control import fake

__all__ = ["BOS_ID", "FakeTokenizer", "byte_ids"]

PAD_ID, BOS_ID = 0, 1
_FIRST_BYTE = 3
_FIRST_WORD = _FIRST_BYTE + 256


def byte_ids(text: str) -> list[int]:
    """Return the ids of a text's bytes."""
    return [_FIRST_BYTE + value for value in text.encode()]


class FakeTokenizer:
    """As much of a Hugging Face tokenizer as the engine uses."""

    pad_token_id = PAD_ID
    bos_token_id = BOS_ID
    vocab_size = 32_000

    @property
    def eos_token_id(self) -> int:
        """The id that ends an answer."""
        return fake.settings.eos_id

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return byte ids, after BOS if special tokens are added: the double BOS of rule 21."""
        return [BOS_ID, *byte_ids(text)] if add_special_tokens else byte_ids(text)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Return the text; incomplete UTF-8 becomes replacement characters."""
        pieces: list[bytes] = []
        for token in ids:
            if token >= _FIRST_WORD:
                pieces.append(f" w{token}".encode())
            elif token >= _FIRST_BYTE:
                pieces.append(bytes([token - _FIRST_BYTE]))
            elif not skip_special_tokens:
                pieces.append((b"<pad>", b"<s>", b"</s>")[token])
        return b"".join(pieces).decode(errors="replace")
