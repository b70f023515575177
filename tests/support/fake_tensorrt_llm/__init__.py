"""A fake of TensorRT-LLM that is importable under its real name, in this process or in another.

Only `FAKE_PATH` on `sys.path` makes it importable, so nothing gets it by accident.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

__all__ = ["FAKE_PATH", "fake_tensorrt_llm"]

FAKE_PATH = Path(__file__).parent
"""What another process needs in PYTHONPATH, beside `FAKE_TRTLLM` for its faults."""


@contextmanager
def fake_tensorrt_llm(version: str = "1.2.1") -> Iterator[ModuleType]:
    """Import a fresh fake as `tensorrt_llm`; afterwards end its threads and put back what was imported before.

    Args:
        version: Which version it behaves as; the metadata of the distribution always say 1.2.1.
    """
    before = _taken()
    sys.path.insert(0, str(FAKE_PATH))
    try:
        module = importlib.import_module("tensorrt_llm")
        module.fake.use_version(version)
        try:
            yield module
        finally:
            module.fake.reset()
    finally:
        sys.path.remove(str(FAKE_PATH))
        _taken()
        sys.modules.update(before)


def _taken() -> dict[str, ModuleType]:
    """Take the package's modules out of `sys.modules`."""
    names = [name for name in sys.modules if name.partition(".")[0] == "tensorrt_llm"]
    return {name: sys.modules.pop(name) for name in names}
