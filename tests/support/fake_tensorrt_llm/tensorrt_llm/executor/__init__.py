"""The executor: the proxy on the caller's side, the dispatcher thread and the worker."""

from tensorrt_llm.executor.executor import CppExecutorError, GenerationExecutorProxy
from tensorrt_llm.executor.request import LoRARequest
from tensorrt_llm.executor.result import CompletionOutput, GenerationResult, Logprob
from tensorrt_llm.executor.utils import RequestError

__all__ = [
    "CompletionOutput",
    "CppExecutorError",
    "GenerationExecutorProxy",
    "GenerationResult",
    "LoRARequest",
    "Logprob",
    "RequestError",
]
