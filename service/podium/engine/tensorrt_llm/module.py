"""The real `tensorrt_llm` package: imported once, late, and looked up by name.

Importing it loads CUDA libraries, initialises MPI and replaces `sys.excepthook`, so only a host
process does it, after a probe in a subprocess.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
from dataclasses import dataclass
from typing import Any

from podium.engine.tensorrt_llm.versions import check_version
from podium.errors import FailedPrecondition

__all__ = ["TensorRtModule", "installed_version", "load"]

_NEEDED_ARGUMENTS = ("inputs", "sampling_params", "streaming", "cache_salt")
# Where a class lives moved between versions; the first module that has it wins.
_PLACES = ("tensorrt_llm", "tensorrt_llm.llmapi", "tensorrt_llm.executor", "tensorrt_llm.lora_helper")


@dataclass(frozen=True, slots=True)
class TensorRtModule:
    """The parts of the package that we use.

    Attributes:
        version: as numbers.
        llm: the class `LLM`.
        request_error: the error of one request; any other error at iteration is the engine's.
        arguments: what `generate_async` takes; empty when it takes anything.
    """

    version: tuple[int, int, int]
    version_text: str
    llm: Any
    sampling_params: Any
    request_error: type[Exception]
    arguments: frozenset[str]

    def find(self, name: str) -> Any:
        """Return a class by name, wherever this version keeps it.

        Raises:
            FailedPrecondition: this version has none.
        """
        for place in _PLACES:
            try:
                found = getattr(importlib.import_module(place), name, None)
            except ImportError:
                continue
            if found is not None:
                return found
        raise FailedPrecondition(f"tensorrt_llm {self.version_text} has no {name}; leave that option out.")

    def takes(self, argument: str) -> bool:
        """Whether `generate_async` has this argument."""
        return not self.arguments or argument in self.arguments


def installed_version() -> str:
    """Return the installed version without importing the package, or an empty string."""
    for name in ("tensorrt_llm", "tensorrt-llm"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def load() -> TensorRtModule:
    """Import the package: seconds at best, minutes when cold.

    Raises:
        FailedPrecondition: it is absent, does not import, or is a version that must not be used.
    """
    try:
        package = importlib.import_module("tensorrt_llm")
        request_error = importlib.import_module("tensorrt_llm.executor.utils").RequestError
    except (ImportError, AttributeError) as error:
        raise FailedPrecondition("tensorrt_llm does not import here; the log of the engine host says why.") from error
    text = str(getattr(package, "__version__", "") or installed_version())
    version = check_version(text)
    arguments = _arguments(package.LLM.generate_async)
    missing = [name for name in _NEEDED_ARGUMENTS if arguments and name not in arguments]
    if missing:
        raise FailedPrecondition(f"tensorrt_llm {text} is not usable: generate_async takes no {' or '.join(missing)}.")
    return TensorRtModule(version, text, package.LLM, package.SamplingParams, request_error, arguments)


def _arguments(function: Any) -> frozenset[str]:
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return frozenset()
    return frozenset(parameter.name for parameter in parameters) - {"self"}
