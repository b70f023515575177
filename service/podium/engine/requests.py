"""Read a `GenerateRequest`: what it asks becomes a `JobSpec`, what cannot be honoured is refused.

Nothing is ignored silently, with four exceptions that cannot change the output: `original_text`
and `arrival_time` (for logs), `exclude_input_from_output` (the prompt is never in the output) and
`return_perf_metrics` (always sent).
"""

from __future__ import annotations

import math
from typing import Any

from smg_grpc_proto.generated import trtllm_service_pb2 as pb

from podium.engine.guides import vet
from podium.engine.job import JobSpec, SamplingSpec
from podium.engine.quarantine import guide_digest
from podium.errors import FieldViolation, InvalidRequest
from podium.inference.engine import Guide, GuideKind

__all__ = ["RequestReader"]

_MAX_ID = 256
_MAX_STOPS = 256
_ANY_JSON = '{"type":"object","additionalProperties":true}'

# Presence of these is refused: (message path, field names).
_REFUSED_FIELDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "",
        (
            "lora_config", "prompt_tuning_config", "multimodal_input", "kv_cache_retention",
            "disaggregated_params", "lookahead_config", "cache_salt_id",
        ),
    ),
    (
        "sampling_config",
        (
            "top_p_min", "top_p_reset_ids", "top_p_decay", "beam_search_diversity_rate", "prompt_ignore_length",
            "length_penalty", "early_stopping", "no_repeat_ngram_size",
        ),
    ),
    ("output_config", ("logprobs", "prompt_logprobs")),
)  # fmt: skip
# These are refused when they are not empty or false.
_REFUSED_VALUES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("", ("embedding_bias", "stop", "bad", "bad_token_ids")),
    ("tokenized", ("query_token_ids",)),
    ("sampling_config", ("beam_width_array",)),
    ("output_config", ("return_context_logits", "return_generation_logits", "return_encoder_output")),
)

_GUIDE_KINDS = {
    pb.GuidedDecodingParams.GUIDE_TYPE_JSON_SCHEMA: GuideKind.JSON_SCHEMA,
    pb.GuidedDecodingParams.GUIDE_TYPE_REGEX: GuideKind.REGEX,
    pb.GuidedDecodingParams.GUIDE_TYPE_EBNF_GRAMMAR: GuideKind.EBNF,
}


class RequestReader:
    """Turns wire requests into job specs for one model.

    Args:
        max_seq_len: longest prompt plus output, in tokens.
        vocab_size: ids run from 0 to this, exclusive; 0 when unknown.
    """

    def __init__(self, *, max_seq_len: int, vocab_size: int) -> None:
        self._max_seq_len = max_seq_len
        self._vocab_size = vocab_size

    def read(self, request: Any, deadline: float) -> JobSpec:
        """Check `request` (a `GenerateRequest`) whole, before anything is queued.

        Args:
            request: the message.
            deadline: instant of the host's clock at which the generation is given up.

        Raises:
            InvalidRequest: with a violation that names the first field that cannot be honoured.
        """
        _refuse_unsupported(request)
        if not 1 <= len(request.request_id) <= _MAX_ID:
            raise _bad("request_id", f"must have 1 to {_MAX_ID} characters")
        prompt = self._prompt(request)
        guide = _guide(request)
        return JobSpec(
            request_id=request.request_id,
            prompt=prompt,
            max_tokens=self._max_tokens(request, len(prompt)),
            min_tokens=_min_tokens(request),
            sampling=_sampling(request.sampling_config),
            guide=guide,
            guide_digest="" if guide is None else guide_digest(guide),
            stop_token_ids=self._stops(request),
            ignore_eos=request.ignore_eos,
            include_stop=request.include_stop_token_in_output,
            deadline=deadline,
        )

    def _prompt(self, request: Any) -> tuple[int, ...]:
        if not request.HasField("tokenized") or not request.tokenized.input_token_ids:
            raise _bad("tokenized.input_token_ids", "must hold at least one token id")
        prompt = tuple(request.tokenized.input_token_ids)
        if len(prompt) >= self._max_seq_len:
            raise _bad(
                "tokenized.input_token_ids",
                f"has {len(prompt)} ids; with room for output the model takes {self._max_seq_len - 1}",
            )
        self._known(prompt, "tokenized.input_token_ids")
        return prompt

    def _stops(self, request: Any) -> frozenset[int]:
        stops = tuple(request.stop_token_ids)
        if len(stops) > _MAX_STOPS:
            raise _bad("stop_token_ids", f"holds more than {_MAX_STOPS} ids")
        self._known(stops, "stop_token_ids")
        return frozenset(stops)

    def _known(self, ids: tuple[int, ...], field: str) -> None:
        if self._vocab_size and ids and max(ids) >= self._vocab_size:
            raise _bad(field, f"holds an id above the vocabulary of {self._vocab_size}")

    def _max_tokens(self, request: Any, prompt_tokens: int) -> int:
        if request.max_tokens < 1:
            raise _bad("max_tokens", "must be sent, and at least 1")
        # As TensorRT-LLM does: what does not fit is cut, and the finish reason then says `length`.
        return min(int(request.max_tokens), self._max_seq_len - prompt_tokens)


def _refuse_unsupported(request: Any) -> None:
    for path, names in _REFUSED_FIELDS:
        message = getattr(request, path) if path else request
        for name in names:
            if message.HasField(name):
                raise _unsupported(path, name)
    for path, names in _REFUSED_VALUES:
        message = getattr(request, path) if path else request
        for name in names:
            if getattr(message, name):
                raise _unsupported(path, name)
    if request.sampling_config.beam_width > 1:
        raise _unsupported("sampling_config", "beam_width")
    if request.sampling_config.num_return_sequences > 1:
        raise _unsupported("sampling_config", "num_return_sequences")


def _sampling(config: Any) -> SamplingSpec:
    def value(name: str, default: float, low: float, high: float) -> float:
        if not config.HasField(name):
            return default
        given = float(getattr(config, name))
        # Not-a-number fails both comparisons.
        if not low <= given <= high:
            raise _bad(f"sampling_config.{name}", f"must lie between {low:g} and {high:g}")
        return given

    # Unset means sampling at 1.0 on this wire, unlike in process.
    repetition = value("repetition_penalty", 1.0, 0.0, 10.0)
    if repetition == 0.0:
        raise _bad("sampling_config.repetition_penalty", "must be above 0")
    return SamplingSpec(
        temperature=value("temperature", 1.0, 0.0, 100.0),
        top_p=value("top_p", 1.0, 0.0, 1.0),
        top_k=int(value("top_k", 0, 0, math.inf)),
        min_p=value("min_p", 0.0, 0.0, 1.0),
        seed=int(config.seed) if config.HasField("seed") else None,
        repetition_penalty=repetition,
        presence_penalty=value("presence_penalty", 0.0, -2.0, 2.0),
        frequency_penalty=value("frequency_penalty", 0.0, -2.0, 2.0),
    )


def _min_tokens(request: Any) -> int:
    minimum = int(request.sampling_config.min_tokens) if request.sampling_config.HasField("min_tokens") else 0
    if minimum > request.max_tokens:
        raise _bad("sampling_config.min_tokens", "must not be above max_tokens")
    return minimum


def _guide(request: Any) -> Guide | None:
    # An empty guide means none on this wire.
    if not request.HasField("guided_decoding") or not request.guided_decoding.guide:
        return None
    params = request.guided_decoding
    if params.guide_type == pb.GuidedDecodingParams.GUIDE_TYPE_JSON:
        return Guide(GuideKind.JSON_SCHEMA, _ANY_JSON)
    kind = _GUIDE_KINDS.get(params.guide_type)
    if kind is None:
        raise _bad("guided_decoding.guide_type", "must be JSON, JSON_SCHEMA, REGEX or EBNF_GRAMMAR")
    return vet(Guide(kind, params.guide))


def _unsupported(path: str, name: str) -> InvalidRequest:
    field = f"{path}.{name}" if path else name
    return _bad(field, "is not supported by this engine; leave it unset")


def _bad(field: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{field} {why}.", violations=[FieldViolation(field, why)])
