"""Word vectors taken from the language model's own token embeddings.

A model that writes a language has learned which words mean alike; its embedding table holds that
without running it. The table is centred and freed of its few dominant directions (Mu and
Viswanath, "All-but-the-Top", 2018), reduced by PCA and kept for whole lower-case words only, a
few megabytes. It lets retrieval see that a "flight" is something one "flies".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["WordVectors"]

_DIMENSIONS = 160
_DOMINANT = 3
_SAMPLE = 8000


class WordVectors:
    """Unit vectors of words. Similarity is the cosine; unknown words are like nothing."""

    def __init__(self, words: Sequence[str], matrix: npt.NDArray[np.float32]) -> None:
        if len(words) != len(matrix):
            raise ValueError("one row a word")
        self._index = {word: row for row, word in enumerate(words)}
        norms = np.linalg.norm(matrix, axis=1, keepdims=True)
        self._matrix = (matrix / np.where(norms > 0, norms, 1)).astype(np.float32)

    def __contains__(self, word: str) -> bool:
        return word in self._index

    def __len__(self) -> int:
        return len(self._index)

    def rows(self, words: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one row a word; zeros for an unknown one."""
        found = np.zeros((len(words), self._matrix.shape[1] if len(self._index) else 1), dtype=np.float32)
        for place, word in enumerate(words):
            row = self._index.get(word)
            if row is not None:
                found[place] = self._matrix[row]
        return found

    def similarity(self, first: str, second: str) -> float:
        """Return the cosine of two words, 0 when either is unknown."""
        left, right = self._index.get(first), self._index.get(second)
        return 0.0 if left is None or right is None else float(self._matrix[left] @ self._matrix[right])

    @classmethod
    def from_embeddings(cls, tokens: Sequence[str], table: npt.NDArray[np.float32]) -> WordVectors:
        """Build from a vocabulary and its embedding table.

        `tokens` are as a byte-level BPE writes them: `Ġ` before what starts a word.
        """
        rng = np.random.default_rng(0)
        centred = table - table.mean(axis=0)
        sample = centred[rng.permutation(len(centred))[:_SAMPLE]]
        _, _, directions = np.linalg.svd(sample, full_matrices=False)
        basis = directions[_DOMINANT : _DOMINANT + _DIMENSIONS]
        rows = [
            (token[1:], row)
            for row, token in enumerate(tokens)
            if token.startswith("Ġ")
            and len(token) > 2
            and token[1:].isascii()
            and token[1:].isalpha()
            and token[1:].islower()
        ]
        matrix = centred[[row for _, row in rows]] @ basis.T
        return cls([word for word, _ in rows], matrix.astype(np.float32))

    @classmethod
    def from_gguf(cls, path: Path) -> WordVectors:
        """Build from a GGUF file. Takes seconds: keep the result with `save`.

        Raises:
            ValueError: the file has no token embeddings or no vocabulary.
        """
        from gguf import GGUFReader  # noqa: PLC0415  an extra, loaded only where it is used
        from gguf.quants import dequantize  # noqa: PLC0415  likewise

        reader = GGUFReader(str(path))
        tensor = next((tensor for tensor in reader.tensors if tensor.name == "token_embd.weight"), None)
        field = reader.fields.get("tokenizer.ggml.tokens")
        if tensor is None or field is None:
            raise ValueError("the model file has no token embeddings or no vocabulary")
        tokens = [bytes(field.parts[part]).decode("utf-8") for part in field.data]
        table: npt.NDArray[np.float32] = dequantize(tensor.data, tensor.tensor_type)
        return cls.from_embeddings(tokens, table)

    def save(self, path: Path) -> None:
        """Write to `path` (`.npz`), in 8 bits a number."""
        scale = float(np.abs(self._matrix).max()) / 127 if len(self) else 1.0
        np.savez_compressed(
            path, words=np.array(list(self._index)), rows=np.round(self._matrix / scale).astype(np.int8)
        )

    @classmethod
    def load(cls, path: Path) -> WordVectors:
        """Read what `save` wrote.

        Raises:
            OSError, ValueError: it is not there or is something else.
        """
        with np.load(path, allow_pickle=False) as stored:
            return cls([str(word) for word in stored["words"]], stored["rows"].astype(np.float32))
