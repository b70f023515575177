"""Read a `GenerateRequest`: what it asks becomes a `JobSpec`, what cannot be honoured is refused.

What an engine can do decides what is refused. Nothing is ignored silently, with four exceptions
that cannot change the output: `original_text`
and `arrival_time` (for logs), `exclude_input_from_output` (the prompt is never in the output) and
`return_perf_metrics` (always sent).
"""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

from smg_grpc_proto.generated import trtllm_service_pb2 as pb

from podium.engine.backend import Capabilities
from podium.engine.guides import unwrap_schema, vet
from podium.engine.job import JobSpec, Retention, SamplingSpec
from podium.engine.quarantine import guide_digest
from podium.errors import FailedPrecondition, FieldViolation, InvalidRequest
from podium.inference.engine import Guide, GuideKind

__all__ = ["RequestReader"]

_MAX_ID = 256
_MAX_STOPS = 256
_MAX_RETENTIONS = 16
_DEFAULT_RETENTION = 35
_ANY_JSON = '{"type":"object","additionalProperties":true}'

# Presence of these is refused unless the engine has the field: (message path, field names).
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
    pb.GuidedDecodingParams.GUIDE_TYPE_STRUCTURAL_TAG: GuideKind.STRUCTURAL_TAG,
}
# The values at which a setting changes nothing.
_NEUTRAL = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


class RequestReader:
    """Turns wire requests into job specs for one model.

    Args:
        capabilities: what the engine can do.
        max_seq_len: longest prompt plus output, in tokens.
        vocab_size: ids run from 0 to this, exclusive; 0 when unknown.
        max_prompt_tokens: a lower limit on the prompt alone, for engines that have one; 0 for none.
    """

    def __init__(
        self, capabilities: Capabilities, *, max_seq_len: int, vocab_size: int, max_prompt_tokens: int = 0
    ) -> None:
        self._can = capabilities
        self._max_seq_len = max_seq_len
        self._vocab_size = vocab_size
        self._max_prompt = min(max_seq_len - 1, max_prompt_tokens or max_seq_len)

    def read(self, request: Any, deadline: float) -> JobSpec:
        """Check `request` (a `GenerateRequest`) whole, before anything is queued.

        Args:
            request: the message.
            deadline: instant of the host's clock at which the generation is given up.

        Raises:
            InvalidRequest: with a violation that names the first field that cannot be honoured.
            FailedPrecondition: this version or configuration of the engine would ignore a field.
        """
        _refuse_unsupported(request, self._can)
        if not 1 <= len(request.request_id) <= _MAX_ID:
            raise _bad("request_id", f"must have 1 to {_MAX_ID} characters")
        prompt = self._prompt(request)
        guide = self._guide(request)
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
            sequences=self._sequences(request),
            logprobs=self._logprobs(request.output_config),
            lora_id=self._lora(request),
            cache_salt=str(request.cache_salt_id) if request.HasField("cache_salt_id") else "",
            bad_token_ids=self._ids(request, "bad_token_ids"),
            retention=_retention(request.kv_cache_retention, len(prompt)),
        )

    def _prompt(self, request: Any) -> tuple[int, ...]:
        if not request.HasField("tokenized") or not request.tokenized.input_token_ids:
            raise _bad("tokenized.input_token_ids", "must hold at least one token id")
        prompt = tuple(request.tokenized.input_token_ids)
        if len(prompt) > self._max_prompt:
            raise _bad(
                "tokenized.input_token_ids",
                f"has {len(prompt)} ids; with room for output the model takes {self._max_prompt}",
            )
        self._known(prompt, "tokenized.input_token_ids")
        return prompt

    def _stops(self, request: Any) -> frozenset[int]:
        return frozenset(self._ids(request, "stop_token_ids"))

    def _ids(self, request: Any, field: str) -> tuple[int, ...]:
        ids = tuple(getattr(request, field))
        if len(ids) > _MAX_STOPS:
            raise _bad(field, f"holds more than {_MAX_STOPS} ids")
        self._known(ids, field)
        return ids

    def _known(self, ids: tuple[int, ...], field: str) -> None:
        if self._vocab_size and ids and max(ids) >= self._vocab_size:
            raise _bad(field, f"holds an id above the vocabulary of {self._vocab_size}")

    def _max_tokens(self, request: Any, prompt_tokens: int) -> int:
        if request.max_tokens < 1:
            raise _bad("max_tokens", "must be sent, and at least 1")
        # As TensorRT-LLM does: what does not fit is cut, and the finish reason then says `length`.
        return min(int(request.max_tokens), self._max_seq_len - prompt_tokens)

    def _sequences(self, request: Any) -> int:
        wanted = max(1, int(request.sampling_config.num_return_sequences))
        if wanted > self._can.max_sequences:
            raise _bad("sampling_config.num_return_sequences", f"must not be above {self._can.max_sequences}")
        if wanted > 1 and _sampling(request.sampling_config).greedy:
            raise _bad("sampling_config.num_return_sequences", "must be 1 for greedy decoding: all would be the same")
        return wanted

    def _logprobs(self, config: Any) -> int | None:
        if not config.HasField("logprobs"):
            return None
        if not 0 <= config.logprobs <= self._can.max_logprobs:
            most = self._can.max_logprobs
            allowed = f"must lie between 0 and {most}" if most else "must be 0: this engine tells of no alternatives"
            raise _bad("output_config.logprobs", allowed)
        return int(config.logprobs)

    def _lora(self, request: Any) -> int | None:
        if not request.HasField("lora_config"):
            return None
        # Weights in a request would be code and file access for whoever may send one.
        if request.lora_config.HasField("weights") or request.lora_config.HasField("config_json"):
            raise _bad("lora_config", "must hold only the task_id of an adapter from the host's configuration")
        if request.lora_config.task_id not in self._can.lora_ids:
            raise FailedPrecondition("This adapter is not in the engine host's configuration; see its features.")
        return int(request.lora_config.task_id)

    def _guide(self, request: Any) -> Guide | None:
        # An empty guide means none on this wire.
        if not request.HasField("guided_decoding") or not request.guided_decoding.guide:
            return None
        params = request.guided_decoding
        if not self._can.guides:
            raise FailedPrecondition("Guided decoding is off: start the engine host with a guided decoding backend.")
        if params.guide_type == pb.GuidedDecodingParams.GUIDE_TYPE_JSON:
            return Guide(GuideKind.JSON_SCHEMA, _ANY_JSON)
        kind = _GUIDE_KINDS.get(params.guide_type)
        if kind not in self._can.guides or kind is None:
            known = " or ".join(["JSON", *sorted(kind.name for kind in self._can.guides)])
            raise _bad("guided_decoding.guide_type", f"must be {known}")
        text = unwrap_schema(params.guide) if kind is GuideKind.JSON_SCHEMA else params.guide
        return vet(Guide(kind, text))


def _refuse_unsupported(request: Any, can: Capabilities) -> None:
    for path, names in _REFUSED_FIELDS:
        message = getattr(request, path) if path else request
        for name in names:
            if message.HasField(name) and _dotted(path, name) not in can.fields:
                raise _unsupported(path, name)
    for path, names in _REFUSED_VALUES:
        message = getattr(request, path) if path else request
        for name in names:
            if getattr(message, name) and _dotted(path, name) not in can.fields:
                raise _unsupported(path, name)
    if request.sampling_config.beam_width > 1:
        raise _unsupported("sampling_config", "beam_width")
    if request.sampling_config.num_return_sequences > 1 and can.max_sequences == 1:
        raise _unsupported("sampling_config", "num_return_sequences")
    for name, why in can.inert.items():
        config = request.sampling_config
        if config.HasField(name) and getattr(config, name) != _NEUTRAL.get(name):
            raise FailedPrecondition(f"sampling_config.{name} is ignored by this engine ({why}); leave it unset.")


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


def _retention(config: Any, prompt_tokens: int) -> tuple[Retention, ...]:
    """Read retention hints: JSON in the shape that TensorRT-LLM's own class has."""
    if not config.config_json:
        return ()
    try:
        entries = json.loads(config.config_json)["token_range_retention_configs"]
        ranges = tuple(_retention_range(entry, prompt_tokens) for entry in entries)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _bad(
            "kv_cache_retention.config_json",
            "must hold token_range_retention_configs: a list of {token_start, token_end, priority, duration_ms}",
        ) from error
    if len(ranges) > _MAX_RETENTIONS:
        raise _bad("kv_cache_retention.config_json", f"holds more than {_MAX_RETENTIONS} ranges")
    ordered = sorted(ranges, key=lambda part: part.start)
    for before, after in itertools.pairwise(ordered):
        if before.end is None or before.end > after.start:
            raise _bad("kv_cache_retention.config_json", "holds ranges that overlap")
    return tuple(ordered)


def _retention_range(entry: Any, prompt_tokens: int) -> Retention:
    start = int(entry.get("token_start", 0))
    end = None if entry.get("token_end") is None else int(entry["token_end"])
    priority = int(entry.get("priority", _DEFAULT_RETENTION))
    duration = None if entry.get("duration_ms") is None else float(entry["duration_ms"]) / 1000
    if not 0 <= start < prompt_tokens or (end is not None and end <= start) or not 0 <= priority <= 100:
        raise ValueError("out of range")
    if duration is not None and not 0 < duration <= 86_400:
        raise ValueError("out of range")
    return Retention(start=start, end=end, priority=priority, seconds=duration)


def _dotted(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _unsupported(path: str, name: str) -> InvalidRequest:
    return _bad(_dotted(path, name), "is not supported by this engine; leave it unset")


def _bad(field: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{field} {why}.", violations=[FieldViolation(field, why)])
