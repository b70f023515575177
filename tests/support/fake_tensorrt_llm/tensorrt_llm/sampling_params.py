"""`SamplingParams` and `GuidedDecodingParams` (section 2.4; `sampling_params.py@a98a906` [A])."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

__all__ = ["GuidedDecodingParams", "SamplingParams"]


@dataclass(slots=True, kw_only=True)
class GuidedDecodingParams:
    """One guide. More than one is refused when it becomes part of `SamplingParams`."""

    json: str | dict[str, Any] | type | None = None
    regex: str | None = None
    grammar: str | None = None
    json_object: bool = False
    structural_tag: str | None = None

    def _validate(self) -> None:
        guides = (self.json, self.regex, self.grammar, self.json_object or None, self.structural_tag)
        given = sum(guide is not None for guide in guides)
        if given > 1:
            raise ValueError(f"Only one guide can be used for a request, but got {given}.")


@dataclass(slots=True, kw_only=True)
class SamplingParams:
    """How one request is sampled. Slotted: an unknown attribute raises AttributeError."""

    end_id: int | None = None
    pad_id: int | None = None
    max_tokens: int | None = 32  # rule 7: 32, not "as many as fit"
    bad: str | list[str] | None = None
    bad_token_ids: list[int] | None = None
    _bad_word_ids: list[list[int]] | None = field(default=None, init=False, repr=False)
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool = False
    _stop_word_ids: list[list[int]] | None = field(default=None, init=False, repr=False)
    embedding_bias: Any = None
    logits_processor: Any = None
    apply_batched_logits_processor: bool = False
    n: int = 1
    best_of: int | None = None
    use_beam_search: bool = False
    top_k: int | None = None
    top_p: float | None = None
    top_p_min: float | None = None
    top_p_reset_ids: int | None = None
    top_p_decay: float | None = None
    seed: int | None = None
    temperature: float | None = None
    min_tokens: int | None = None
    beam_search_diversity_rate: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    length_penalty: float | None = None
    early_stopping: int | None = None
    no_repeat_ngram_size: int | None = None
    min_p: float | None = None
    beam_width_array: list[int] | None = None
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    return_context_logits: bool = False
    return_generation_logits: bool = False
    exclude_input_from_output: bool = True
    return_encoder_output: bool = False
    return_perf_metrics: bool = False
    additional_model_outputs: list[Any] | None = None
    lookahead_config: Any = None
    guided_decoding: GuidedDecodingParams | None = None
    ignore_eos: bool = False
    detokenize: bool = True
    add_special_tokens: bool = True
    truncate_prompt_tokens: int | None = None
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    _stream_interval: int | None = field(default=None, init=False, repr=False)
    # Not in the real class: whether this object was submitted before (rule 3).
    _fake_submitted: bool = field(default=False, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.pad_id is None:
            self.pad_id = self.end_id
        self.best_of = self.best_of if self.best_of is not None else self.n
        self._validate()

    def _validate(self) -> None:
        if self.top_p is not None and not 0 <= self.top_p <= 1:
            raise ValueError(f"require 0 <= top_p <= 1, got top_p={self.top_p}")
        if self.top_k is not None and self.top_k < 0:
            raise ValueError(f"require top_k >= 0, got top_k={self.top_k}")
        if self.temperature is not None and self.temperature < 0:
            raise ValueError(f"require temperature >= 0, got temperature={self.temperature}")
        best_of = self.best_of or self.n
        if best_of < self.n:
            raise ValueError(f"best_of ({best_of}) cannot be less than n ({self.n})")
        if best_of > 1 and self._greedy_decoding and not os.environ.get("TLLM_ALLOW_N_GREEDY_DECODING"):
            raise ValueError(
                f"Greedy decoding in the LLM API does not allow multiple returns: best_of={best_of}, n={self.n}."
            )
        if self.truncate_prompt_tokens is not None and self.truncate_prompt_tokens < 1:
            raise ValueError(f"truncate_prompt_tokens must be >= 1, got {self.truncate_prompt_tokens}")
        if self.guided_decoding is not None:
            self.guided_decoding._validate()

    @property
    def _greedy_decoding(self) -> bool:
        """All three unset means greedy; so does each one's degenerate value. Beam search is not greedy."""
        if self.use_beam_search:
            return False
        unset = self.temperature is None and self.top_p is None and self.top_k is None
        return unset or self.top_k == 1 or self.top_p == 0.0 or self.temperature == 0

    def _setup(self, tokenizer: Any) -> SamplingParams:
        """Fill in ids from the tokenizer: the mutation of rule 3, skipped when `end_id` is given (rule 8)."""
        if self.end_id is None:
            self.end_id = tokenizer.eos_token_id
            self.pad_id = tokenizer.pad_token_id
            if self.pad_id is None:
                self.pad_id = self.end_id
        if self.bad is not None:
            self._bad_word_ids = [tokenizer.encode(text, add_special_tokens=False) for text in _texts(self.bad)]
        if self.stop is not None:
            self._stop_word_ids = [tokenizer.encode(text, add_special_tokens=False) for text in _texts(self.stop)]
        return self

    def _get_bad_words(self) -> list[list[int]]:
        if self.bad is not None and self._bad_word_ids is None:
            raise RuntimeError(f"self.bad={self.bad!r} is not processed by tokenizer, please call the setup method.")
        return [[token] for token in self.bad_token_ids or ()] + (self._bad_word_ids or [])

    def _get_stop_words(self) -> list[list[int]]:
        if self.stop is not None and self._stop_word_ids is None:
            raise RuntimeError(f"self.stop={self.stop!r} is not processed by tokenizer, please call the setup method.")
        return [[token] for token in self.stop_token_ids or ()] + (self._stop_word_ids or [])

    def _get_stop_reasons_and_words(self) -> list[tuple[int | str, list[int]]]:
        reasons: list[int | str] = [*(self.stop_token_ids or ())]
        if self.stop is not None:
            reasons += _texts(self.stop)
        return list(zip(reasons, self._get_stop_words(), strict=True))


def _texts(given: str | list[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)
