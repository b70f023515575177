"""The OpenVINO engine behind the `Pipeline` protocol: continuous batching, prefix cache, guides.

Only this module imports OpenVINO, and only when a host starts.
"""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from podium.engine.job import JobSpec, Pipeline, PipelineHandle, StepResult
from podium.errors import FailedPrecondition, InvalidRequest
from podium.inference.engine import FinishReason, Guide, GuideKind

__all__ = ["OpenVinoFactory", "silence_telemetry"]

_log = logging.getLogger(__name__)

# What follows a repeated run of up to `_NGRAM` tokens is likely what followed it before: so many tokens are guessed and
# checked in one step, which costs hardly more than one token. Whatever copies from its prompt takes half the steps.
_GUESSED, _NGRAM = 5, 3
# OpenVINO keeps the cache in blocks of this many tokens on a CPU.
_BLOCK_TOKENS = 32
_MAX_SEED = 2**63


def silence_telemetry() -> None:
    """Keep OpenVINO from sending usage data: call before anything imports it.

    Its tools import `openvino_telemetry` and fall back to a stub that does nothing when that is
    missing; an entry of None in `sys.modules` makes it missing, in this process only and without
    writing a file.

    Raises:
        FailedPrecondition: it is imported already, so it may have sent something.
    """
    if sys.modules.get("openvino_telemetry") is not None:
        raise FailedPrecondition("openvino_telemetry is loaded already; the engine host needs a process of its own.")
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # the documented way to block an import


def _load() -> tuple[Any, Any]:
    try:
        import openvino  # noqa: PLC0415  # heavy, optional, and only after the telemetry is off
        import openvino_genai  # noqa: PLC0415
    except ImportError as missing:
        raise FailedPrecondition(
            "The OpenVINO engine is not installed: install podium with its 'embedded' extra."
        ) from missing
    return openvino, openvino_genai


class OpenVinoFactory:
    """Builds pipelines for one model; the second build reuses the tokenizer and takes half the time.

    Args:
        weights: a .gguf file or an OpenVINO model folder.
        eos_token_id: the token that ends an answer.
    """

    def __init__(
        self,
        weights: Path,
        *,
        device: str,
        kv_cache_tokens: int,
        max_active: int,
        threads: int,
        eos_token_id: int,
    ) -> None:
        self._weights = weights
        self._device = device
        self._kv_blocks = -(-kv_cache_tokens // _BLOCK_TOKENS) + max_active
        self._max_active = max_active
        self._properties: dict[str, Any] = {"prompt_lookup": True} | (
            {"INFERENCE_NUM_THREADS": threads} if threads else {}
        )
        self._eos = eos_token_id
        self._tokenizer: Any = None

    @staticmethod
    def version() -> str:
        """Return the version of the engine.

        Raises:
            FailedPrecondition: it is not installed.
        """
        return str(_load()[1].get_version())

    def __call__(self) -> Pipeline:
        """Load the model: 3 to 5 s for 135 M parameters.

        Raises:
            FailedPrecondition: OpenVINO is not installed.
            InvalidRequest: OpenVINO cannot load this model.
        """
        openvino, genai = _load()
        scheduler = genai.SchedulerConfig()
        scheduler.enable_prefix_caching = True
        scheduler.num_kv_blocks = self._kv_blocks
        scheduler.max_num_seqs = self._max_active
        try:
            # The engine needs its own tokenizer for guides, which are compiled against the vocabulary.
            if self._tokenizer is None:
                self._tokenizer = genai.Tokenizer(self._weights)
            inner = genai.ContinuousBatchingPipeline(
                self._weights, self._tokenizer, scheduler, self._device, **self._properties
            )
        except RuntimeError as error:
            _log.exception("OpenVINO cannot load the model")
            raise InvalidRequest("OpenVINO cannot load this model; the log of the engine host says why.") from error
        return _OpenVinoPipeline(inner, openvino, genai, self._eos)


class _OpenVinoPipeline:
    def __init__(self, inner: Any, openvino: Any, genai: Any, eos_token_id: int) -> None:
        import numpy as np  # noqa: PLC0415  # comes with openvino

        self._inner = inner
        self._genai = genai
        self._eos = eos_token_id
        self._tensor: Callable[[tuple[int, ...]], Any] = lambda ids: openvino.Tensor(np.array([ids], dtype=np.int64))

    def add(self, number: int, spec: JobSpec) -> PipelineHandle:
        config = self._config(spec)
        try:
            handle = self._inner.add_request(number, self._tensor(spec.prompt), config)
        except RuntimeError as error:
            # Its text is about settings, not about the prompt.
            _log.warning("OpenVINO refused a request: %s", str(error).strip().splitlines()[-1])
            raise InvalidRequest("The engine refuses this combination of settings.") from error
        return _OpenVinoHandle(handle, self._genai, logprobs=spec.logprobs is not None)

    def step(self) -> None:
        self._inner.step()

    def _config(self, spec: JobSpec) -> Any:
        config = self._genai.GenerationConfig()
        config.apply_chat_template = False
        config.max_new_tokens = spec.max_tokens
        config.min_new_tokens = spec.min_tokens
        # With `ignore_eos` OpenVINO ignores the other stop tokens as well; the stepper watches for those.
        config.eos_token_id = self._eos
        config.stop_token_ids = {self._eos, *spec.stop_token_ids}
        config.ignore_eos = spec.ignore_eos
        config.num_assistant_tokens, config.max_ngram_size = _GUESSED, _NGRAM
        # Taken from the model's own logits, before a guide's mask and everything in `sampling`. With 0 they
        # are all 0.0 in greedy decoding.
        config.logprobs = 0 if spec.logprobs is None else 1
        sampling = spec.sampling
        config.repetition_penalty = sampling.repetition_penalty
        config.presence_penalty = sampling.presence_penalty
        config.frequency_penalty = sampling.frequency_penalty
        if not sampling.greedy:
            config.do_sample = True
            config.temperature = sampling.temperature
            config.top_p = sampling.top_p
            if sampling.top_k > 0:
                config.top_k = sampling.top_k
            config.min_p = sampling.min_p
            # Its own default is a constant, which would make every unseeded request the same.
            config.rng_seed = secrets.randbelow(_MAX_SEED) if sampling.seed is None else sampling.seed % _MAX_SEED
        if spec.guide is not None:
            config.structured_output_config = self._structured(spec.guide)
        return config

    def _structured(self, guide: Guide) -> Any:
        names = {GuideKind.JSON_SCHEMA: "json_schema", GuideKind.REGEX: "regex", GuideKind.EBNF: "grammar"}
        return self._genai.StructuredOutputConfig(**{names[guide.kind]: guide.text})


class _OpenVinoHandle:
    def __init__(self, handle: Any, genai: Any, *, logprobs: bool) -> None:
        self._handle = handle
        self._logprobs = logprobs
        self._stop = genai.GenerationFinishReason.STOP
        self._length = genai.GenerationFinishReason.LENGTH
        self._ignored = genai.GenerationStatus.IGNORED
        self._running = genai.GenerationStatus.RUNNING

    def read(self) -> StepResult:
        ids: list[int] = []
        logprobs: list[float] | None = [] if self._logprobs else None
        finish: FinishReason | None = None
        while self._handle.can_read():
            for output in self._handle.read().values():
                ids.extend(output.generated_ids)
                if logprobs is not None:
                    logprobs.extend(output.generated_log_probs)
                if output.finish_reason == self._stop:
                    finish = FinishReason.STOP
                elif output.finish_reason == self._length:
                    finish = FinishReason.LENGTH
        if finish is None and not ids:
            finish = self._ended_without_output()
        return StepResult(ids, finish, logprobs)

    def _ended_without_output(self) -> FinishReason | None:
        status = self._handle.get_status()
        if status == self._running:
            return None
        if status == self._ignored:
            _log.error("the engine ran out of cache memory under a request")
            return FinishReason.ERROR
        return FinishReason.STOP

    def cancel(self) -> None:
        self._handle.cancel()
