"""Our engine host as a process, around the real package or the fake."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine_fixtures import (
    FAKE_CONTEXT,
    FAKE_EOS,
    FAKE_VOCABULARY,
    RunningHost,
    fake_model,
    start_host,
    stop_host,
    wait_for_host,
)
from gpu.conftest import REAL, TIMEOUT
from support.fake_tensorrt_llm import FAKE_PATH

__all__ = ["PROMPT", "running_host"]

PROMPT = list(range(100, 116))


@contextlib.contextmanager
def running_host(*options: str, **faults: Any) -> Iterator[RunningHost]:
    """Start a host and wait until it is ready; `faults` are the fake's."""
    directory = Path(tempfile.mkdtemp(prefix="pdm-"))
    environment = {}
    if REAL:
        model = Path(os.environ["PODIUM_TEST_GPU_MODEL"])
    else:
        model = _write_model(directory / "model")
        settings = {"natural_length": 10_000, "tokens_per_second": 500}
        fake = json.dumps({"settings": settings, "faults": faults})
        environment = {"PYTHONPATH": str(FAKE_PATH), "FAKE_TRTLLM": fake}
    running = start_host(model, directory, "--engine", "tensorrt_llm", *options, environment=environment)
    try:
        wait_for_host(running, TIMEOUT - 10)
        yield running
    finally:
        stop_host(running)
        shutil.rmtree(directory, ignore_errors=True)


def _write_model(folder: Path) -> Path:
    """Write a model folder in Hugging Face's format, without weights."""
    dimensions = {"max_position_embeddings": FAKE_CONTEXT, "vocab_size": FAKE_VOCABULARY, "num_hidden_layers": 2}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(dimensions))
    (folder / "tokenizer.json").write_bytes(fake_model().tokenizer_json)
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token_id": FAKE_EOS}))
    return folder
