"""Word vectors of a model, worked out once and kept beside its weights.

Working them out takes seconds of pure Python and numpy, so `podium models pull` does it; a server
that finds a model without them lets a process of its own do it, and its event loop never notices.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from podium.inference.guided import WordVectors

__all__ = ["keep_word_vectors", "word_vectors"]

_log = logging.getLogger(__name__)
_SECONDS = 120.0


def keep_word_vectors(model: Path) -> bool:
    """Work out the vectors of a model and keep them, unless they are there; return whether they are there now.

    Args:
        model: a GGUF file, or a folder with `model.gguf`. Other models have none.
    """
    weights, kept = _places(model)
    if kept.is_file():
        return True
    if not weights.is_file():
        return False
    try:
        vectors = WordVectors.from_gguf(weights)
        with tempfile.TemporaryDirectory(dir=weights.parent) as folder:
            partial = Path(folder) / "vectors.npz"
            vectors.save(partial)
            partial.replace(kept)
    except (OSError, ValueError) as error:
        _log.warning("no word vectors, so planning is poorer: %s", error)
        return False
    return True


async def word_vectors(model: Path) -> WordVectors | None:
    """Return the vectors of a model; None when it has none or they cannot be kept."""
    _, kept = _places(model)
    if not kept.is_file() and not await _keep_in_a_process(model):
        return None
    try:
        return await asyncio.to_thread(WordVectors.load, kept)
    except (OSError, ValueError) as error:
        _log.warning("the word vectors cannot be read: %s", error)
        return None


async def _keep_in_a_process(model: Path) -> bool:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "podium.inference.word_vectors", str(model), stdin=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(_SECONDS):
            return await process.wait() == 0
    except TimeoutError:
        _log.warning("working out the word vectors takes too long; planning is poorer without them")
        return False
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _places(model: Path) -> tuple[Path, Path]:
    """Return where the weights are, and where the vectors are kept."""
    weights = model if model.suffix == ".gguf" else model / "model.gguf"
    return weights, weights.with_suffix(".vectors.npz")


if __name__ == "__main__":
    sys.exit(0 if keep_word_vectors(Path(sys.argv[1])) else 1)
