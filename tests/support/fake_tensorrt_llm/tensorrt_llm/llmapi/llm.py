"""`LLM` (sections 2.1, 2.3 and 2.6; `llmapi/llm.py@51c29d6` and `@f786e75` [B])."""

from __future__ import annotations

import atexit
import builtins
import dataclasses
import itertools
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from tensorrt_llm._control import fake
from tensorrt_llm.disaggregated_params import DisaggregatedParams
from tensorrt_llm.executor.executor import GenerationExecutorProxy
from tensorrt_llm.executor.request import GenerationRequest, LoRARequest
from tensorrt_llm.executor.result import GenerationResult
from tensorrt_llm.llmapi.guides import forced_ids
from tensorrt_llm.llmapi.llm_args import checked
from tensorrt_llm.sampling_params import SamplingParams
from tensorrt_llm.scheduling_params import SchedulingParams
from tensorrt_llm.tokenizer import FakeTokenizer

__all__ = ["LLM", "RequestOutput"]

_llm_ids = itertools.count(1)


class RequestOutput(GenerationResult):
    """What `generate_async` returns."""


class LLM:
    """The PyTorch-backend class."""

    def __init__(  # noqa: PLR0917  the real signature
        self,
        model: str,
        tokenizer: Any = None,
        tokenizer_mode: str = "auto",
        skip_tokenizer_init: bool = False,
        trust_remote_code: bool = False,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        revision: str | None = None,
        tokenizer_revision: str | None = None,
        **kwargs: Any,
    ) -> None:
        # First, so that `__del__` finds it whatever fails below.
        self._executor: GenerationExecutorProxy | None = None
        own = {
            "model": model,
            "tokenizer_mode": tokenizer_mode,
            "skip_tokenizer_init": skip_tokenizer_init,
            "trust_remote_code": trust_remote_code,
            "tensor_parallel_size": tensor_parallel_size,
            "dtype": dtype,
            "revision": revision,
            "tokenizer_revision": tokenizer_revision,
        }
        if tensor_parallel_size <= 0:
            raise ValueError(f"tensor_parallel_size must be positive, got {tensor_parallel_size}")
        self.args: dict[str, Any] = own | checked(kwargs)
        self.llm_id = f"fake-{next(_llm_ids)}"
        fake.calls.constructed.append(own | kwargs)
        self._construct()
        self.tokenizer = None if skip_tokenizer_init else tokenizer or FakeTokenizer()
        self._executor = GenerationExecutorProxy(self.args)
        # Rule 32: hooks at exit. Weak, as a test process makes many.
        atexit.register(_shut_down, weakref.ref(self))

    def _construct(self) -> None:
        """Block the calling thread for as long as loading takes (section 2)."""
        faults = fake.faults
        fake.sleep(faults.construct_seconds)
        if faults.construct_hang:
            fake.hang()
        if faults.construct_error:
            raise RuntimeError(faults.construct_error)

    # Rule 1: a plain function, which works and raises on the calling thread. Its form depends on the version.
    def generate_async(  # noqa: PLR0917
        self,
        inputs: Any,
        sampling_params: SamplingParams | None = None,
        lora_request: LoRARequest | None = None,
        prompt_adapter_request: Any = None,
        streaming: bool = False,
        kv_cache_retention_config: Any = None,
        disaggregated_params: DisaggregatedParams | None = None,
        trace_headers: Mapping[str, str] | None = None,
        _postproc_params: Any = None,
        scheduling_params: SchedulingParams | None = None,
        cache_salt: str | None = None,
    ) -> RequestOutput:
        """Submit one prompt and return its result (1.2)."""
        given = {name: value for name, value in locals().items() if name not in {"self", "inputs", "sampling_params"}}
        return self._generate(inputs, sampling_params, given)

    def _generate_async_1_3(  # noqa: PLR0917
        self,
        inputs: Any,
        sampling_params: SamplingParams | None = None,
        lora_request: LoRARequest | None = None,
        prompt_adapter_request: Any = None,
        streaming: bool = False,
        kv_cache_retention_config: Any = None,
        disaggregated_params: DisaggregatedParams | None = None,
        trace_headers: Mapping[str, str] | None = None,
        _postproc_params: Any = None,
        scheduling_params: SchedulingParams | None = None,
        conversation_params: Any = None,
        cache_salt: str | None = None,
        priority: float = 0.5,
    ) -> RequestOutput:
        """Submit one prompt and return its result (1.3: #12362 and later)."""
        given = {name: value for name, value in locals().items() if name not in {"self", "inputs", "sampling_params"}}
        if not 0 <= priority <= 1:
            raise ValueError(f"priority must be between 0.0 and 1.0, got {priority}")
        return self._generate(inputs, sampling_params, given)

    def _generate(self, inputs: Any, params: SamplingParams | None, given: dict[str, Any]) -> RequestOutput:
        executor = self._executor
        if executor is None or executor.is_shutdown():
            raise RuntimeError("LLM is shutting down")
        _raise_asked(fake.faults.submit_error)
        prompt, ids = self._encode(inputs, params)
        params = self._prepare_sampling_params(params)
        disaggregated = given["disaggregated_params"]
        if disaggregated is not None and disaggregated.request_type == "context_only":
            params.max_tokens = 1
        self._check_arguments(ids)
        assert isinstance(ids[0], int), "prompt_token_ids must be Python ints"  # rule 20; [] is an IndexError
        request = GenerationRequest(
            prompt_token_ids=list(ids),
            sampling_params=params,
            streaming=given["streaming"],
            cache_salt=given["cache_salt"],
            disaggregated_params=disaggregated,
            guide=forced_ids(params.guided_decoding, self.args["guided_decoding_backend"]),
        )
        sampling = {part.name: getattr(params, part.name) for part in dataclasses.fields(params)}
        facts = {"prompt": prompt, "sampling": sampling, "arguments": given, "result_class": RequestOutput}
        result = executor.submit(request, facts, self.tokenizer)
        assert isinstance(result, RequestOutput)
        return result

    def _encode(self, inputs: Any, params: SamplingParams | None) -> tuple[str | None, Sequence[Any]]:
        """Rule 21: no chat template; a text gets BOS unless `add_special_tokens` is off."""
        if isinstance(inputs, dict):
            if "prompt_token_ids" in inputs:
                return inputs.get("prompt"), inputs["prompt_token_ids"]
            if "prompt" not in inputs:
                raise TypeError("The inputs must be type str or list of int, or a dict with prompt_token_ids or prompt")
            inputs = inputs["prompt"]
        if isinstance(inputs, str):
            if self.tokenizer is None:
                raise ValueError("tokenizer is required to tokenize string prompt")
            special = params is None or params.add_special_tokens
            return inputs, self.tokenizer.encode(inputs, add_special_tokens=special)
        if not isinstance(inputs, list):
            raise TypeError(f"The inputs must be type str or list of int, but got {type(inputs)}")
        return None, inputs

    def _prepare_sampling_params(self, params: SamplingParams | None) -> SamplingParams:
        """Rule 3: mutates the caller's object. Rule 8: nothing is tokenised when `end_id` is given."""
        params = SamplingParams() if params is None else params
        if not isinstance(params, SamplingParams):
            raise TypeError(f"The sampling_params must be type SamplingParams, but got {type(params)}")
        if params._fake_submitted:
            fake.calls.misuses.append("a SamplingParams object was submitted twice")
        params._fake_submitted = True
        if params.end_id is None:
            if self.tokenizer is None:
                raise ValueError(
                    "tokenizer is required to reset end_id if it is None, or you can explicitly specify the end_id"
                )
            params._setup(self.tokenizer)
        params._stream_interval = self.args["stream_interval"]
        params.return_perf_metrics = params.return_perf_metrics or self.args["return_perf_metrics"]
        return params

    def _check_arguments(self, ids: Sequence[Any]) -> None:
        limit = self.args["max_num_tokens"]
        if limit is not None and not self.args["enable_chunked_prefill"] and len(ids) > limit:
            # Rule 25: at once here, while more than max_seq_len fails at iteration.
            raise ValueError(f"The sum of prompt length ({len(ids)}) should not exceed max_num_tokens ({limit})")

    def get_stats(self, timeout: float | None = 2) -> list[dict[str, Any]]:
        """Read iteration statistics, blocking for up to `timeout` seconds."""
        return self._live().get_stats(timeout or 0)

    def get_stats_async(self, timeout: float | None = 2) -> Any:
        """Return an async iterable of statistics; not a coroutine function, and it may block (rule 26)."""
        return self._live().aget_stats(timeout or 0)

    def get_kv_cache_events(self, timeout: float | None = 2) -> list[dict[str, Any]]:
        """Read KV cache events, blocking for up to `timeout` seconds."""
        return self._live().get_kv_events(timeout or 0)

    def get_kv_cache_events_async(self, timeout: float | None = 2) -> Any:
        """Return an async iterable of KV cache events, like `get_stats_async`."""
        return self._live().aget_kv_events(timeout or 0)

    def shutdown(self) -> None:
        """Stop the engine, blocking (rule 19); a second call does nothing."""
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None

    def _check_health(self) -> bool:
        """Rule 18: only says that `shutdown()` has not been called ([B] `llm.py@f786e75`, #9057)."""
        return self._executor is not None and not self._executor.is_shutdown()

    def _live(self) -> GenerationExecutorProxy:
        if self._executor is None:
            raise RuntimeError("LLM is shutting down")
        return self._executor

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.shutdown()

    def __del__(self) -> None:
        # Rule 19: blocks whatever thread drops the last reference.
        self.shutdown()


def _raise_asked(error: str) -> None:
    if not error:
        return
    name, _, message = error.partition(": ")
    kind = getattr(builtins, name, RuntimeError)
    raise kind(message)


def _shut_down(reference: weakref.ref[LLM]) -> None:
    llm = reference()
    if llm is not None:
        llm.shutdown()


_generate_async_1_2 = LLM.generate_async


def _apply_version(version: str) -> None:
    """Give `generate_async` the signature of this version (T45)."""
    newer = tuple(int(part) for part in version.split(".")[:2]) >= (1, 3)
    chosen = LLM._generate_async_1_3 if newer else _generate_async_1_2
    LLM.generate_async = chosen  # type: ignore[method-assign, assignment]


fake.on_version(_apply_version)
