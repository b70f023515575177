"""What the installed TensorRT-LLM looks like: signatures, fields and versions, and how two of them differ.

`python -m podium.engine.tensorrt_llm.signatures` writes it as JSON. Its answers settle what the package's
documentation leaves open, and a fake is compared with the real one by it.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import inspect
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["describe", "differences"]

_MODULES = (
    "tensorrt_llm",
    "tensorrt_llm.llmapi",
    "tensorrt_llm.executor",
    "tensorrt_llm.executor.utils",
    "tensorrt_llm.executor.result",
    "tensorrt_llm.executor.request",
    "tensorrt_llm.executor.executor",
    "tensorrt_llm.lora_helper",
    "tensorrt_llm.scheduling_params",
)
# Class to the methods whose signatures we rely on.
_CLASSES: Mapping[str, tuple[str, ...]] = {
    "LLM": (
        "__init__",
        "generate_async",
        "get_stats",
        "get_stats_async",
        "get_kv_cache_events",
        "get_kv_cache_events_async",
        "shutdown",
        "_check_health",
    ),
    "TorchLlmArgs": (),
    "SamplingParams": (),
    "GuidedDecodingParams": (),
    "KvCacheConfig": (),
    "CudaGraphConfig": (),
    "SchedulerConfig": (),
    "SchedulingParams": (),
    "DisaggregatedParams": (),
    "LoRARequest": ("__init__",),
    "RequestOutput": ("abort", "aborted", "result", "aresult", "__anext__", "__await__"),
    "CompletionOutput": (),
    "RequestError": (),
    "CppExecutorError": (),
}
_VERSIONS = (
    *("tensorrt_llm", "tensorrt", "torch", "transformers", "mpi4py", "xgrammar", "llguidance", "flashinfer-python"),
    *("nvidia-nccl-cu13", "cuda-python", "numpy", "protobuf", "pydantic"),
)


def describe() -> dict[str, Any]:
    """Import `tensorrt_llm` and describe what we use of it.

    Returns:
        A JSON object: `versions` by distribution (null where absent), and by class its `bases`, `fields` with
        their defaults as texts, `properties` and `signatures`; null for a class that is nowhere to be found.

    Raises:
        ImportError: the package is absent or does not import.
    """
    importlib.import_module("tensorrt_llm")
    return {
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _VERSIONS},
        "classes": {name: _class(name, methods) for name, methods in _CLASSES.items()},
    }


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Say how the classes of two descriptions differ, a line each; annotations do not count."""
    return list(_differences("", one["classes"], other["classes"]))


def _differences(path: str, one: Any, other: Any) -> Iterator[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in sorted({*one, *other}):
            place = f"{path}.{name}" if path else name
            if name not in one or name not in other:
                yield f"{place}: only in the {'first' if name in one else 'second'}"
            else:
                yield from _differences(place, one[name], other[name])
    elif one != other:
        yield f"{path}: {one} / {other}"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _find(name: str) -> type | None:
    for place in _MODULES:
        try:
            found = getattr(importlib.import_module(place), name, None)
        except ImportError:
            continue
        if isinstance(found, type):
            return found
    return None


def _class(name: str, methods: tuple[str, ...]) -> dict[str, Any] | None:
    found = _find(name)
    if found is None:
        return None
    return {
        "bases": [base.__name__ for base in found.__mro__[1:-1] if base.__module__ == "builtins"],
        "fields": dict(_fields(found)),
        "properties": {
            part: "property" for part, _ in inspect.getmembers(found, _is_property) if not part.startswith("_")
        },
        "signatures": {method: _signature(found, method) for method in methods},
    }


def _is_property(value: object) -> bool:
    return isinstance(value, property)


def _fields(found: type) -> Iterator[tuple[str, str]]:
    """Yield public fields and their defaults, of a dataclass or a pydantic model."""
    if dataclasses.is_dataclass(found):
        for part in dataclasses.fields(found):
            made = part.default_factory is not dataclasses.MISSING
            default = "factory" if made else "required" if part.default is dataclasses.MISSING else repr(part.default)
            if not part.name.startswith("_"):
                yield part.name, default
        return
    models = getattr(found, "model_fields", None)
    if isinstance(models, Mapping):
        for name, part in models.items():
            yield name, "factory" if getattr(part, "default_factory", None) else repr(part.default)


def _signature(found: type, method: str) -> dict[str, str] | None:
    """Return the parameters in order, each with its kind and default."""
    function = getattr(found, method, None)
    if function is None:
        return None
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {"unreadable": "no signature"}
    described = {"()": "coroutine function" if inspect.iscoroutinefunction(function) else "plain function"}
    for position, parameter in enumerate(parameters):
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        described[parameter.name] = f"{position} {parameter.kind.description}{default}"
    return described


def _main() -> None:
    # The import and its libraries may write to standard output, where only the document belongs.
    document = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with os.fdopen(document, "w") as out:
        json.dump(describe(), out, indent=2)
        out.write("\n")
    sys.stderr.flush()
    # Hooks that the import registers may hang at the end.
    os._exit(0)


if __name__ == "__main__":
    _main()
